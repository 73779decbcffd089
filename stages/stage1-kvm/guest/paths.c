/* Paths inside of an app's root. An image may have put links anywhere: the kernel resolves them inside of the root
 * (openat2(2), RESOLVE_IN_ROOT). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest.h"

static int open_in(int root, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(unsigned int)flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, root, *path ? path : "/", &how, sizeof how);
}

static int open_root(const char *root)
{
	return open(*root ? root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

int root_open(const char *root, const char *path, int flags)
{
	int top = open_root(root), fd;

	if (top < 0)
		return -1;
	fd = open_in(top, path, flags);
	close(top);
	return fd;
}

int root_target(const char *root, const char *path, int directory)
{
	int top = open_root(root), above, fd = -1;
	char *prefix = strdup(path), *end;
	size_t length;

	if (top < 0 || !prefix)
		goto out;
	length = strlen(prefix);
	while (length > 1 && prefix[length - 1] == '/')
		prefix[--length] = 0;
	for (end = prefix; *end == '/'; end++)
		;
	if (!*end) {
		fd = open_in(top, "/", O_PATH);
		goto out;
	}
	for (;;) {
		char *start = end, was;
		int last;

		end = strchrnul(start, '/');
		was = *end;
		last = !was;
		*end = 0;
		fd = open_in(top, prefix, O_PATH);
		if (fd < 0 && errno == ENOENT) {
			int made;

			start[-1] = 0;
			above = open_in(top, prefix, O_PATH | O_DIRECTORY);
			start[-1] = '/';
			if (above < 0)
				break;
			if (!last || directory) {
				made = mkdirat(above, start, 0755);
			} else {
				made = openat(above, start, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
				if (made >= 0)
					close(made);
			}
			close(above);
			if (made < 0)
				break;
			fd = open_in(top, prefix, O_PATH);
		}
		*end = was;
		if (fd < 0 || last)
			break;
		close(fd);
		fd = -1;
		while (*end == '/')
			end++;
	}
out:
	free(prefix);
	if (top >= 0) {
		int error = errno;

		close(top);
		errno = error;
	}
	return fd;
}

int root_parent(const char *root, const char *path, const char **name)
{
	char *copy = strdup(path), *slash;
	int fd;

	if (!copy)
		return -1;
	slash = strrchr(copy, '/');
	*name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	if (slash)
		*slash = 0;
	fd = root_target(root, slash ? copy : "/", 1);
	free(copy);
	return fd;
}
