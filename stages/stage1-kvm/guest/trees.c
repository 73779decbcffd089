/* Whole directory trees: copying one (the beginning of a volume), and sending one as a tar archive (export). */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "guest.h"

static void fd_path(char *path, size_t size, int fd, const char *name)
{
	snprintf(path, size, "/proc/self/fd/%d%s%s", fd, *name ? "/" : "", name);
}

static void copy_attributes(const char *from, const char *to)
{
	char names[8192], value[65536];
	ssize_t length = llistxattr(from, names, sizeof names);

	for (ssize_t at = 0; at < length; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t size = lgetxattr(from, names + at, value, sizeof value);

		if (size >= 0 && strncmp(names + at, "trusted.", 8) != 0)
			lsetxattr(to, names + at, value, (size_t)size, 0);
	}
}

static int copy_file(int from, int to, const char *name, const struct stat *status)
{
	int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), result = in < 0 || out < 0 ? -1 : 0;
	char data[65536];
	ssize_t n;

	while (result == 0 && (n = read(in, data, sizeof data)) != 0)
		if (n < 0 || write(out, data, (size_t)n) != n)
			result = -1;
	if (result == 0 && (fchown(out, status->st_uid, status->st_gid) < 0 || fchmod(out, status->st_mode & 07777) < 0))
		result = -1;
	close(in);
	close(out);
	return result;
}

static int copy_entry(int from, int to, const char *name)
{
	char source[512], target[512], link[4096];
	struct stat status;
	struct timespec times[2];
	int result = -1;

	if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return -1;
	fd_path(source, sizeof source, from, name);
	fd_path(target, sizeof target, to, name);
	if (S_ISDIR(status.st_mode)) {
		int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), out;

		if (mkdirat(to, name, 0700) < 0 && errno != EEXIST) {
			close(in);
			return -1;
		}
		out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		result = in < 0 || out < 0 ? -1 : copy_tree(in, out);
		close(in);
		close(out);
	} else if (S_ISREG(status.st_mode)) {
		result = copy_file(from, to, name, &status);
	} else if (S_ISLNK(status.st_mode)) {
		ssize_t n = readlinkat(from, name, link, sizeof link - 1);

		link[n > 0 ? n : 0] = 0;
		result = n < 0 ? -1 : symlinkat(link, to, name);
		if (result == 0)
			result = fchownat(to, name, status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW);
	} else if (!S_ISSOCK(status.st_mode)) {
		result = mknodat(to, name, status.st_mode, status.st_rdev);
		if (result == 0)
			result = fchownat(to, name, status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW);
	} else {
		return 0;
	}
	if (result < 0)
		return -1;
	copy_attributes(source, target);
	times[0] = status.st_atim;
	times[1] = status.st_mtim;
	utimensat(to, name, times, AT_SYMLINK_NOFOLLOW);
	return 0;
}

int copy_tree(int from, int to)
{
	DIR *directory = fdopendir(dup(from));
	struct dirent *entry;
	struct stat status;
	int result = 0;

	if (!directory)
		return -1;
	while (result == 0 && (entry = readdir(directory)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			result = copy_entry(from, to, entry->d_name);
	closedir(directory);
	if (result == 0 && fstat(from, &status) == 0 &&
	    (fchown(to, status.st_uid, status.st_gid) < 0 || fchmod(to, status.st_mode & 07777) < 0))
		result = -1;
	return result;
}

/* A tar archive in the format of pax (POSIX.1-2001): every entry with a header of its own for what ustar has no room for. */

#define BLOCK 512

static char pending[LARGEST_TO_HOST];
static uint32_t pending_length, pending_stream;

static void flush(void)
{
	if (pending_length)
		channel_send('D', pending_stream, pending, pending_length);
	pending_length = 0;
}

static void put(const void *data, size_t length)
{
	while (length) {
		size_t n = sizeof pending - pending_length;

		if (n > length)
			n = length;
		memcpy(pending + pending_length, data, n);
		pending_length += (uint32_t)n;
		data = (const char *)data + n;
		length -= n;
		if (pending_length == sizeof pending)
			flush();
	}
}

static void pad(uint64_t length)
{
	static const char zeros[BLOCK];

	if (length % BLOCK)
		put(zeros, BLOCK - length % BLOCK);
}

static void octal(char *field, size_t size, uint64_t value)
{
	char digits[32];

	snprintf(digits, sizeof digits, "%0*llo", (int)size - 1, (unsigned long long)(value & ((1ull << 3 * (size - 1)) - 1)));
	memcpy(field, digits, size - 1);
}

static void header(const char *name, char type, const struct stat *status, uint64_t size)
{
	char h[BLOCK] = { 0 };
	unsigned int sum = 0;

	snprintf(h, 100, "%s", name);
	octal(h + 100, 8, status ? status->st_mode & 07777 : 0644);
	octal(h + 108, 8, status ? status->st_uid : 0);
	octal(h + 116, 8, status ? status->st_gid : 0);
	octal(h + 124, 12, size);
	octal(h + 136, 12, status ? (uint64_t)status->st_mtim.tv_sec : 0);
	memset(h + 148, ' ', 8);
	h[156] = type;
	memcpy(h + 257, "ustar\00000", 8);
	if (status && (S_ISCHR(status->st_mode) || S_ISBLK(status->st_mode))) {
		octal(h + 329, 8, major(status->st_rdev));
		octal(h + 337, 8, minor(status->st_rdev));
	}
	for (int i = 0; i < BLOCK; i++)
		sum += (unsigned char)h[i];
	snprintf(h + 148, 8, "%06o", sum);
	put(h, BLOCK);
}

struct records {
	char *data;
	size_t length, room;
};

static void record(struct records *r, const char *key, const char *value, size_t size)
{
	size_t fixed = strlen(key) + size + 3, digits = 1, total;
	char number[24];

	for (size_t limit = 10; fixed + digits >= limit; limit *= 10)
		digits++;
	total = fixed + digits;
	if (r->length + total > r->room) {
		r->room = (r->length + total) * 2;
		r->data = realloc(r->data, r->room);
		if (!r->data)
			abort();
	}
	snprintf(number, sizeof number, "%zu ", total);
	memcpy(r->data + r->length, number, digits + 1);
	r->length += digits + 1;
	memcpy(r->data + r->length, key, strlen(key));
	r->length += strlen(key);
	r->data[r->length++] = '=';
	memcpy(r->data + r->length, value, size);
	r->length += size;
	r->data[r->length++] = '\n';
}

static void record_number(struct records *r, const char *key, long long value)
{
	char text[32];
	int n = snprintf(text, sizeof text, "%lld", value);

	record(r, key, text, (size_t)n);
}

/* Hard links by inode. */
static struct seen {
	dev_t device;
	ino_t inode;
	char *path;
} *seen;
static size_t seen_count;

static const char *first_name(const struct stat *status, const char *path)
{
	if (S_ISDIR(status->st_mode) || status->st_nlink < 2)
		return NULL;
	for (size_t i = 0; i < seen_count; i++)
		if (seen[i].inode == status->st_ino && seen[i].device == status->st_dev)
			return seen[i].path;
	seen = realloc(seen, (seen_count + 1) * sizeof *seen);
	if (!seen)
		abort();
	seen[seen_count++] = (struct seen){ status->st_dev, status->st_ino, strdup(path) };
	return NULL;
}

static void extended(int above, const char *name, struct records *r)
{
	char path[512], names[8192], value[65536], key[600];
	ssize_t length;

	fd_path(path, sizeof path, above, name);
	length = llistxattr(path, names, sizeof names);
	for (ssize_t at = 0; at < length; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t size = lgetxattr(path, names + at, value, sizeof value);

		if (size < 0 || strncmp(names + at, "trusted.", 8) == 0 || strncmp(names + at, "system.", 7) == 0)
			continue;
		snprintf(key, sizeof key, "SCHILY.xattr.%s", names + at);
		record(r, key, value, (size_t)size);
	}
}

static int send_content(int above, const char *name, uint64_t size)
{
	int fd = openat(above, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	uint64_t left = size;
	char data[65536];

	if (fd < 0)
		return -1;
	while (left) {
		ssize_t n = read(fd, data, left < sizeof data ? left : sizeof data);

		if (n <= 0) {
			memset(data, 0, sizeof data);
			n = (ssize_t)(left < sizeof data ? left : sizeof data);
		}
		put(data, (size_t)n);
		left -= (uint64_t)n;
	}
	close(fd);
	pad(size);
	return 0;
}

static int send_entry(int above, const char *name, const char *path)
{
	struct records r = { NULL, 0, 0 };
	struct stat status;
	const char *first;
	char link[4097], type;
	uint64_t size = 0;
	int result = 0;

	if (fstatat(above, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -1;
	if (S_ISSOCK(status.st_mode))
		return 0;
	first = first_name(&status, path);
	record(&r, "path", path, strlen(path));
	if (first) {
		type = '1';
		record(&r, "linkpath", first, strlen(first));
	} else if (S_ISLNK(status.st_mode)) {
		ssize_t n = readlinkat(above, name, link, sizeof link - 1);

		if (n < 0)
			return -1;
		type = '2';
		record(&r, "linkpath", link, (size_t)n);
	} else if (S_ISREG(status.st_mode)) {
		type = '0';
		size = (uint64_t)status.st_size;
		record_number(&r, "size", (long long)size);
	} else {
		type = S_ISDIR(status.st_mode) ? '5' : S_ISCHR(status.st_mode) ? '3' : S_ISBLK(status.st_mode) ? '4' : '6';
	}
	record_number(&r, "uid", status.st_uid);
	record_number(&r, "gid", status.st_gid);
	{
		char text[64];
		int n = snprintf(text, sizeof text, "%lld.%09ld", (long long)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);

		record(&r, "mtime", text, (size_t)n);
	}
	if (!first)
		extended(above, name, &r);
	header("pax", 'x', NULL, r.length);
	put(r.data, r.length);
	pad(r.length);
	free(r.data);
	header("entry", type, &status, size);
	if (size)
		result = send_content(above, name, size);
	if (type == '5') {
		int fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		DIR *directory = fd < 0 ? NULL : fdopendir(fd);
		struct dirent *entry;

		if (!directory)
			return -1;
		while (result == 0 && (entry = readdir(directory))) {
			char *below;

			if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
				continue;
			if (asprintf(&below, "%s%s%s", strcmp(path, ".") ? path : "", strcmp(path, ".") ? "/" : "", entry->d_name) < 0)
				abort();
			result = send_entry(dirfd(directory), entry->d_name, below);
			free(below);
		}
		closedir(directory);
	}
	return result;
}

int send_tar(const char *path, uint32_t stream)
{
	static const char zeros[2 * BLOCK];
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), result;

	if (fd < 0)
		return -1;
	pending_stream = stream;
	result = send_entry(fd, ".", ".");
	close(fd);
	put(zeros, sizeof zeros);
	flush();
	return result;
}
