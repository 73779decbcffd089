/* The first process of a virtual machine of stage1-kvm: what its parts share. See init.c. */
#ifndef GUEST_H
#define GUEST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The version of the protocol; formats of messages are in frames.py, which is the other side. */
#define PROTOCOL "1"

/* wire.c: frames on the channel, and lists of strings in them. */

#define LARGEST_FROM_HOST (4u << 20)
#define LARGEST_TO_HOST 32768u

struct frame {
	uint8_t type;
	uint32_t id, length;
	char *data;
};

/* A string of a message; the byte behind it is 0. */
struct text {
	uint32_t length;
	char *data;
};

struct list {
	uint32_t count;
	struct text *items;
};

extern int channel;

void channel_open(void);
/* One frame if a whole one has come; 1, or 0 for not yet. The data is the caller's until the next call. */
int channel_read(struct frame *out);
void channel_send(uint8_t type, uint32_t id, const void *data, uint32_t length);
void channel_reply(uint32_t id, int failed, const char *message);
/* The strings of a message, which is changed so that each ends with a 0. NULL items when it is malformed. */
struct list list_read(char *data, uint32_t length);
void list_free(struct list *list);
uint32_t number32(const char *data);
void store32(char *data, uint32_t value);
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* paths.c: paths inside of roots that are not trusted. */

int root_open(const char *root, const char *path, int flags);
/* A descriptor (O_PATH) of a path that is made if it is not there. */
int root_target(const char *root, const char *path, int directory);
int root_parent(const char *root, const char *path, const char **name);

/* operations.c */

/* Carry out one operation: 0, or -1 with what went wrong in problem. */
int operation(struct list *words, char *problem, size_t size);

/* network.c */

int set_interface(struct list *words, char *problem, size_t size);
int add_route(struct list *words, char *problem, size_t size);

/* trees.c */

int copy_tree(int from, int to);
/* Send a directory as a tar stream (pax) on a stream: what was made of it is called ".". */
int send_tar(const char *path, uint32_t stream);

/* landlock.c: the calling process restricts itself; 0, or the call that failed. */

const char *landlock_apply(const char *rules, uint32_t length);

/* process.c */

struct spec;

struct spec *spec_read(struct list *pairs, char *problem, size_t size);
void spec_free(struct spec *spec);
const char *spec_name(const struct spec *spec);
const char *spec_root(const struct spec *spec);
const char *spec_cgroup(const struct spec *spec);
int spec_handlers(const struct spec *spec, int after);
int spec_terminal(const struct spec *spec);
int spec_notifies(const struct spec *spec);
/* Modes of 0, 1 and 2: 'n' null, 'p' pipe, 't' terminal, 's' the same as 1. */
char spec_stream(const struct spec *spec, int number);

struct streams {
	int child[3]; /* ends of the new process, -1: /dev/null */
	int terminal; /* the other side of a terminal, -1 for none */
};

/* Start the program of a spec, or its handler of that number before or after; in the namespace of another process if that is not 0. */
pid_t process_start(const struct spec *spec, int handler, int after, const struct streams *streams, pid_t beside);

#endif
