/* Operations that the host asks for: lists of words, the first of which says what to do. Paths with a root before them are resolved
 * inside of it. What they are made from is guest_plan.py. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

static const char *word(const struct list *words, uint32_t number)
{
	return number < words->count ? words->items[number].data : "";
}

static unsigned long number(const struct list *words, uint32_t at)
{
	return strtoul(word(words, at), NULL, 0);
}

static void fd_path(char *path, size_t size, int fd)
{
	snprintf(path, size, "/proc/self/fd/%d", fd);
}

static int do_module(const struct list *w)
{
	int fd = open(word(w, 1), O_RDONLY | O_CLOEXEC);
	long result;

	if (fd < 0)
		return -1;
	result = syscall(SYS_finit_module, fd, word(w, 2), 0);
	close(fd);
	return result < 0 && errno != EEXIST ? -1 : 0;
}

/* The node of the disk that has a name (its serial number). */
static int find_disk(const char *name, char *path, size_t size)
{
	for (char letter = 'a'; letter <= 'z'; letter++) {
		char serial[64] = "";
		int fd;

		snprintf(path, size, "/sys/block/vd%c/serial", letter);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		(void)!read(fd, serial, sizeof serial - 1);
		close(fd);
		serial[strcspn(serial, "\n")] = 0;
		if (strcmp(serial, name) == 0) {
			snprintf(path, size, "/dev/vd%c", letter);
			return 0;
		}
	}
	errno = ENODEV;
	return -1;
}

/* mount ROOT SOURCE TARGET TYPE FLAGS DATA; a source "disk:NAME" is a disk */
static int do_mount(const struct list *w)
{
	char path[64], disk[64];
	const char *source = word(w, 2);
	int fd, result;

	if (strncmp(source, "disk:", 5) == 0) {
		if (find_disk(source + 5, disk, sizeof disk) < 0)
			return -1;
		source = disk;
	}
	fd = root_target(word(w, 1), word(w, 3), 1);
	if (fd < 0)
		return -1;
	fd_path(path, sizeof path, fd);
	result = mount(source, path, word(w, 4), number(w, 5), word(w, 6));
	close(fd);
	return result;
}

static int bind_fd(int source, int target, unsigned long flags)
{
	char from[64], to[64];

	fd_path(from, sizeof from, source);
	fd_path(to, sizeof to, target);
	return mount(from, to, NULL, MS_BIND | (flags & MS_REC), NULL);
}

/* bind ROOT SOURCE-ROOT SOURCE TARGET FLAGS; bind-missing only where the target is not there */
static int do_bind(const struct list *w, int missing)
{
	struct stat status;
	char path[64];
	unsigned long flags = number(w, 5);
	int source = root_open(word(w, 2), word(w, 3), O_PATH), target, result;

	if (source < 0)
		return -1;
	if (missing && (target = root_open(word(w, 1), word(w, 4), O_PATH)) >= 0) {
		close(source);
		close(target);
		return 0;
	}
	if (fstat(source, &status) < 0 || (target = root_target(word(w, 1), word(w, 4), S_ISDIR(status.st_mode))) < 0) {
		close(source);
		return -1;
	}
	result = bind_fd(source, target, flags);
	close(source);
	close(target);
	if (result < 0 || !(flags & ~(unsigned long)MS_REC))
		return result;
	/* The mount that is there now, which the old descriptor does not lead to. */
	target = root_open(word(w, 1), word(w, 4), O_PATH);
	if (target < 0)
		return -1;
	fd_path(path, sizeof path, target);
	result = mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | (flags & ~(unsigned long)MS_REC), NULL);
	close(target);
	return result;
}

/* readonly ROOT PATH: what is not there needs no protection */
static int do_readonly(const struct list *w)
{
	char path[64];
	int fd = root_open(word(w, 1), word(w, 2), O_PATH), result;

	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	if (strcmp(word(w, 2), "/") != 0) {
		result = bind_fd(fd, fd, MS_REC);
		close(fd);
		if (result < 0 || (fd = root_open(word(w, 1), word(w, 2), O_PATH)) < 0)
			return -1;
	}
	fd_path(path, sizeof path, fd);
	result = mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | number(w, 3), NULL);
	close(fd);
	return result;
}

/* mask ROOT PATH */
static int do_mask(const struct list *w)
{
	struct stat status;
	char path[64];
	int fd = root_open(word(w, 1), word(w, 2), O_PATH), null, result;

	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	if (fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
		fd_path(path, sizeof path, fd);
		result = mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=0,mode=000");
	} else {
		null = open("/dev/null", O_PATH | O_CLOEXEC);
		result = null < 0 ? -1 : bind_fd(null, fd, 0);
		close(null);
	}
	close(fd);
	return result;
}

/* mkdir ROOT PATH MODE UID GID [once: an existing directory stays as it is] */
static int do_mkdir(const struct list *w)
{
	char path[64];
	int fd, result = 0;

	if (*word(w, 6)) {
		fd = root_open(word(w, 1), word(w, 2), O_PATH);
		if (fd >= 0) {
			close(fd);
			return 0;
		}
	}
	fd = root_target(word(w, 1), word(w, 2), 1);
	if (fd < 0)
		return -1;
	fd_path(path, sizeof path, fd);
	if (chown(path, (uid_t)number(w, 4), (gid_t)number(w, 5)) < 0 || chmod(path, (mode_t)number(w, 3)) < 0)
		result = -1;
	close(fd);
	return result;
}

/* symlink ROOT PATH TARGET; mknod ROOT PATH MODE MAJOR MINOR: in place of what is there */
static int do_node(const struct list *w, int link)
{
	const char *name;
	int above = root_parent(word(w, 1), word(w, 2), &name), result;

	if (above < 0)
		return -1;
	unlinkat(above, name, 0);
	if (link) {
		result = symlinkat(word(w, 3), above, name);
	} else {
		mode_t mask = umask(0);

		result = mknodat(above, name, (mode_t)number(w, 3), makedev((unsigned int)number(w, 4), (unsigned int)number(w, 5)));
		umask(mask);
	}
	close(above);
	return result;
}

/* write ROOT PATH CONTENT MODE [once] */
static int do_write(const struct list *w)
{
	const char *name;
	int above, fd;
	ssize_t n;

	if (*word(w, 5)) {
		fd = root_open(word(w, 1), word(w, 2), O_PATH);
		if (fd >= 0) {
			close(fd);
			return 0;
		}
	}
	above = root_parent(word(w, 1), word(w, 2), &name);
	if (above < 0)
		return -1;
	unlinkat(above, name, 0);
	fd = openat(above, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, number(w, 4));
	close(above);
	if (fd < 0)
		return -1;
	n = write(fd, word(w, 3), w->count > 3 ? w->items[3].length : 0);
	fchmod(fd, (mode_t)number(w, 4));
	close(fd);
	return n < 0 ? -1 : 0;
}

/* set PATH VALUE: a file of the kernel's */
static int do_set(const struct list *w)
{
	int fd = open(word(w, 1), O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, word(w, 2), w->count > 2 ? w->items[2].length : 0);
	close(fd);
	return n < 0 ? -1 : 0;
}

/* copy ROOT PATH DIRECTORY: what an image has at a place becomes the beginning of a volume */
static int do_copy(const struct list *w)
{
	int from = root_open(word(w, 1), word(w, 2), O_RDONLY | O_DIRECTORY), to, result;

	if (from < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
	to = open(word(w, 3), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	result = to < 0 ? -1 : copy_tree(from, to);
	close(from);
	close(to);
	return result;
}

/* entropy BYTES: credited, and mixed in at once; nothing that this machine draws afterwards was in a snapshot */
static int do_entropy(const struct list *w)
{
	uint32_t length = w->count > 1 ? w->items[1].length : 0;
	struct rand_pool_info *pool = calloc(1, sizeof *pool + length + 4);
	int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC), result = -1;

	if (pool && fd >= 0) {
		pool->entropy_count = (int)length * 8;
		pool->buf_size = (int)length;
		memcpy(pool->buf, word(w, 1), length);
		result = ioctl(fd, RNDADDENTROPY, pool);
		if (result == 0)
			result = ioctl(fd, RNDRESEEDCRNG);
		memset(pool->buf, 0, length);
	}
	free(pool);
	close(fd);
	return result;
}

static int do_clock(const struct list *w)
{
	struct timespec now = { (time_t)strtoll(word(w, 1), NULL, 10), (long)number(w, 2) };

	return clock_settime(CLOCK_REALTIME, &now);
}

int operation(struct list *w, char *problem, size_t size)
{
	const char *name = word(w, 0);
	int result;

	errno = 0;
	if (strcmp(name, "interface") == 0)
		return set_interface(w, problem, size);
	if (strcmp(name, "route") == 0)
		return add_route(w, problem, size);
	if (strcmp(name, "module") == 0)
		result = do_module(w);
	else if (strcmp(name, "mount") == 0)
		result = do_mount(w);
	else if (strcmp(name, "bind") == 0)
		result = do_bind(w, 0);
	else if (strcmp(name, "bind-missing") == 0)
		result = do_bind(w, 1);
	else if (strcmp(name, "readonly") == 0)
		result = do_readonly(w);
	else if (strcmp(name, "mask") == 0)
		result = do_mask(w);
	else if (strcmp(name, "mkdir") == 0)
		result = do_mkdir(w);
	else if (strcmp(name, "symlink") == 0)
		result = do_node(w, 1);
	else if (strcmp(name, "mknod") == 0)
		result = do_node(w, 0);
	else if (strcmp(name, "write") == 0)
		result = do_write(w);
	else if (strcmp(name, "set") == 0)
		result = do_set(w);
	else if (strcmp(name, "copy") == 0)
		result = do_copy(w);
	else if (strcmp(name, "unmount") == 0)
		result = umount2(word(w, 1), MNT_DETACH | UMOUNT_NOFOLLOW);
	else if (strcmp(name, "hostname") == 0)
		result = sethostname(word(w, 1), w->count > 1 ? w->items[1].length : 0);
	else if (strcmp(name, "entropy") == 0)
		result = do_entropy(w);
	else if (strcmp(name, "clock") == 0)
		result = do_clock(w);
	else {
		result = -1;
		errno = ENOSYS;
	}
	if (result < 0) {
		/* The place, of those that have one; never the content of a file. */
		const char *place = strncmp(name, "bind", 4) == 0 ? word(w, 4) : strcmp(name, "mount") == 0 ? word(w, 3) :
			     strcmp(name, "set") == 0 || strcmp(name, "module") == 0 || strcmp(name, "unmount") == 0 ? word(w, 1) :
			     strcmp(name, "entropy") == 0 || strcmp(name, "clock") == 0 ? "" : word(w, 2);
		snprintf(problem, size, "%s \"%s\": %s", name, place, strerror(errno));
	}
	return result;
}
