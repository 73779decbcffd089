/* The first process of a virtual machine of stage1-kvm.
 *
 * It decides nothing: the host sends it operations (operations.c) and specs of apps (process.c) on a channel, which is a virtio-serial
 * port, and it tells what became of them. It starts and reaps processes and carries their streams. It is the pod's process 1.
 *
 * From the host: 'o' operations, 'a' an app, 's' start it, 'e' one more process in it, 'k' a signal, 'K' kill all that belongs to it,
 * 'f' forget it, 'd' data for a stream, 'z' its end, 'w' room for a stream's data, 'c' a terminal's size, 't' a tree as tar, 'x' end.
 * To the host: 'H' hello, 'R' reply, 'S' started, 'P' a handler started, 'X' ended, 'D' data,
 * 'Z' end of a stream, 'W' room for data, 'J' a message by syslog, 'N' notification of readiness, 'L' something to say, 'O' it is over.
 *
 * The id of a frame about a process is one that the host has chosen; streams of process P are 4 * P (input), 4 * P + 1 and 4 * P + 2. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

#define CREDIT 65536
/* How long after the end of a process somebody else may keep its streams open. */
#define DRAIN_MS 2000

struct stream {
	int fd;
	uint32_t credit; /* outputs: how much the host takes; input: how much of ours is free */
	char *data;	 /* input on its way */
	size_t start, end;
	int ending;
};

struct process {
	struct process *next;
	uint32_t id;
	struct spec *spec;
	struct process *of; /* the app that an entered process belongs to */
	pid_t pid;
	int handler, after; /* which handler runs: -1 is the program itself */
	int ended, status, reported; /* status: what wait(2) gives */
	long drained_at;
	int terminal, peer, notify; /* peer: keeps a terminal from hanging up while the process lives */
	struct stream streams[3];
};

static struct process *processes;
static int signals = -1, syslogd = -1;
static uint32_t syslog_credit = CREDIT;

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct process *find(uint32_t id)
{
	struct process *p = processes;

	while (p && p->id != id)
		p = p->next;
	return p;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_streams(struct process *p)
{
	for (int i = 0; i < 3; i++)
		close_fd(&p->streams[i].fd);
	close_fd(&p->terminal);
	close_fd(&p->peer);
	close_fd(&p->notify);
}

static struct process *add(uint32_t id, struct spec *spec)
{
	struct process *p = calloc(1, sizeof *p);

	if (!p)
		abort();
	p->id = id;
	p->spec = spec;
	p->terminal = p->peer = p->notify = -1;
	p->ended = p->reported = 1;
	for (int i = 0; i < 3; i++)
		p->streams[i].fd = -1;
	p->next = processes;
	processes = p;
	return p;
}

static void drop(struct process *p)
{
	for (struct process **at = &processes; *at; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
	close_streams(p);
	for (int i = 0; i < 3; i++)
		free(p->streams[i].data);
	spec_free(p->spec);
	free(p);
}

/* A socket in the app's root on which it says that it is ready (sd_notify(3)). */
static void open_notify(struct process *p)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int directory = root_target(spec_root(p->spec), "/run/systemd", 1);

	if (directory < 0)
		return;
	p->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	unlinkat(directory, "notify", 0);
	snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/notify", directory);
	if (bind(p->notify, (struct sockaddr *)&address, sizeof address) < 0)
		close_fd(&p->notify);
	else
		chmod(address.sun_path, 0666);
	close(directory);
}

static int open_pty(struct process *p, struct streams *s)
{
	int slave;

	if (openpty(&p->terminal, &slave, NULL, NULL, NULL) < 0)
		return -1;
	fcntl(p->terminal, F_SETFD, FD_CLOEXEC);
	fcntl(p->terminal, F_SETFL, O_RDWR | O_NONBLOCK);
	fcntl(slave, F_SETFD, FD_CLOEXEC);
	s->terminal = slave;
	p->peer = fcntl(slave, F_DUPFD_CLOEXEC, 3);
	return slave;
}

/* Streams of a process that is about to be started; those of its app's handlers before it go on. */
static int open_streams(struct process *p, struct streams *s)
{
	int terminal = -1;

	s->terminal = -1;
	if (spec_terminal(p->spec)) {
		terminal = open_pty(p, s);
		if (terminal < 0)
			return -1;
	}
	for (int i = 0; i < 3; i++) {
		int ends[2];

		s->child[i] = -1;
		p->streams[i].fd = -1;
		p->streams[i].credit = CREDIT;
		p->streams[i].start = p->streams[i].end = 0;
		p->streams[i].ending = 0;
		if (spec_stream(p->spec, i) == 't') {
			s->child[i] = terminal;
			if (i < 2)
				p->streams[i].fd = dup(p->terminal);
		} else if (spec_stream(p->spec, i) == 's') {
			s->child[i] = s->child[1]; /* the same as standard output, in one order with it */
		} else if (spec_stream(p->spec, i) == 'p') {
			if (pipe2(ends, O_CLOEXEC) < 0)
				return -1;
			s->child[i] = ends[i == 0 ? 0 : 1];
			p->streams[i].fd = ends[i == 0 ? 1 : 0];
			fcntl(p->streams[i].fd, F_SETFL, fcntl(p->streams[i].fd, F_GETFL) | O_NONBLOCK);
		}
		if (p->streams[i].fd >= 0)
			fcntl(p->streams[i].fd, F_SETFD, FD_CLOEXEC);
	}
	/* Output on a terminal is one stream, whichever of the two it is. */
	if (terminal >= 0 && p->streams[1].fd < 0)
		p->streams[1].fd = dup(p->terminal);
	if (!p->streams[0].data)
		p->streams[0].data = malloc(CREDIT);
	return 0;
}

static void close_children(struct process *p, struct streams *s)
{
	int terminal = -1;

	for (int i = 0; i < 3; i++) {
		if (s->child[i] >= 0 && spec_stream(p->spec, i) == 't')
			terminal = s->child[i];
		else if (s->child[i] >= 0 && spec_stream(p->spec, i) == 'p')
			close(s->child[i]);
	}
	if (terminal >= 0)
		close(terminal);
}

static void report_started(struct process *p)
{
	char data[4];

	store32(data, (uint32_t)p->pid);
	channel_send(p->handler < 0 ? 'S' : 'P', p->id, data, 4);
}

static void start(struct process *p)
{
	struct streams s;

	p->ended = p->reported = p->status = 0;
	p->after = 0;
	p->handler = spec_handlers(p->spec, 0) ? 0 : -1;
	if (spec_notifies(p->spec))
		open_notify(p);
	if (open_streams(p, &s) < 0) {
		say("streams: %s", strerror(errno));
		p->ended = 1;
		p->status = 254;
		return;
	}
	p->pid = process_start(p->spec, p->handler, 0, &s, p->of ? p->of->pid : 0);
	close_children(p, &s);
	report_started(p);
}

/* A handler has run, or the program has: what comes next writes to where that has written. */
static void go_on(struct process *p)
{
	int outputs[3] = { -1, -1, -1 };
	struct streams kept = { { -1, -1, -1 }, -1 };

	for (int i = 0; i < 3; i++) {
		if (i && spec_stream(p->spec, i) == 'p') {
			int ends[2];

			if (pipe2(ends, O_CLOEXEC) < 0)
				continue;
			outputs[i] = ends[1];
			kept.child[i] = ends[1];
			close_fd(&p->streams[i].fd);
			p->streams[i].fd = ends[0];
			fcntl(ends[0], F_SETFL, O_NONBLOCK);
		} else if (spec_stream(p->spec, i) == 'p') {
			int ends[2];

			if (pipe2(ends, O_CLOEXEC) < 0)
				continue;
			outputs[i] = ends[0];
			kept.child[i] = ends[0];
			close_fd(&p->streams[i].fd);
			p->streams[i].fd = ends[1];
			fcntl(ends[1], F_SETFL, O_WRONLY | O_NONBLOCK);
		} else if (spec_stream(p->spec, i) == 's') {
			kept.child[i] = kept.child[1];
		} else if (spec_stream(p->spec, i) == 't' && p->terminal >= 0) {
			if (outputs[0] < 0) {
				outputs[0] = ioctl(p->terminal, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
				kept.terminal = p->after ? -1 : outputs[0];
			}
			kept.child[i] = outputs[0];
		}
	}
	p->pid = process_start(p->spec, p->handler, p->after, &kept, 0);
	for (int i = 0; i < 3; i++)
		close_fd(&outputs[i]);
	report_started(p);
}

static void set_group(const struct process *p, const char *file, const char *value)
{
	char path[512];
	int fd;

	if (!*spec_cgroup(p->spec))
		return;
	snprintf(path, sizeof path, "%s/%s", spec_cgroup(p->spec), file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		(void)!write(fd, value, strlen(value));
		close(fd);
	}
}

static void pass_on(struct process *p, int which);

static void ended(struct process *p, int status)
{
	pass_on(p, 1);
	pass_on(p, 2);
	if (p->handler >= 0 && !p->after) {
		if (status == 0) {
			p->handler = p->handler + 1 < spec_handlers(p->spec, 0) ? p->handler + 1 : -1;
			go_on(p);
			return;
		}
		p->status = status;
	} else {
		if (!p->after)
			p->status = status;
		/* What an app leaves behind ends with it. */
		if (!p->of)
			set_group(p, "cgroup.kill", "1");
		if (!p->of && (p->after ? p->handler + 1 : 0) < spec_handlers(p->spec, 1)) {
			p->handler = p->after ? p->handler + 1 : 0;
			p->after = 1;
			go_on(p);
			return;
		}
	}
	close_fd(&p->peer);
	p->ended = 1;
	p->pid = 0;
	p->drained_at = now_ms() + DRAIN_MS;
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (struct process *p = processes; p; p = p->next)
			if (p->pid == pid && !p->ended) {
				ended(p, status);
				break;
			}
}

/* Tell the end of a process when all that it wrote has been sent. */
static void report_ended(struct process *p)
{
	char data[5];

	if (!p->ended || p->reported)
		return;
	if (now_ms() < p->drained_at && (p->streams[1].fd >= 0 || p->streams[2].fd >= 0))
		return;
	for (int i = 1; i < 3; i++)
		if (p->streams[i].fd >= 0)
			channel_send('Z', p->id * 4 + (uint32_t)i, NULL, 0);
	close_streams(p);
	data[0] = WIFEXITED(p->status) ? 'e' : 's';
	store32(data + 1, (uint32_t)(WIFEXITED(p->status) ? WEXITSTATUS(p->status) : WTERMSIG(p->status)));
	p->reported = 1;
	channel_send('X', p->id, data, sizeof data);
}

static void pass_on(struct process *p, int which)
{
	struct stream *s = &p->streams[which];
	char data[LARGEST_TO_HOST];

	while (s->fd >= 0 && s->credit) {
		ssize_t n = read(s->fd, data, s->credit < sizeof data ? s->credit : sizeof data);

		if (n > 0) {
			channel_send('D', p->id * 4 + (uint32_t)which, data, (uint32_t)n);
			s->credit -= (uint32_t)n;
			continue;
		}
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			return;
		/* A terminal fails when nobody has it open, which may be so for a moment only. */
		if (n < 0 && spec_terminal(p->spec) && !p->ended)
			return;
		close_fd(&s->fd);
		channel_send('Z', p->id * 4 + (uint32_t)which, NULL, 0);
		return;
	}
}

static void feed(struct process *p)
{
	struct stream *s = &p->streams[0];

	while (s->fd >= 0 && s->start < s->end) {
		ssize_t n = write(s->fd, s->data + s->start, s->end - s->start);

		if (n > 0) {
			char room[4];

			s->start += (size_t)n;
			store32(room, (uint32_t)n);
			channel_send('W', p->id * 4, room, 4);
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else if (n < 0 && errno == EAGAIN) {
			return;
		} else {
			close_fd(&s->fd);
			channel_send('Z', p->id * 4, NULL, 0);
		}
	}
	s->start = s->end = 0;
	if (s->ending && s->fd >= 0)
		close_fd(&s->fd);
}

static void take_data(struct frame *f)
{
	struct process *p = find(f->id / 4);
	struct stream *s = p ? &p->streams[0] : NULL;

	if (!s || f->id % 4 || s->fd < 0 || !s->data)
		return;
	if (f->type == 'z') {
		s->ending = 1;
	} else {
		if (s->start) {
			memmove(s->data, s->data + s->start, s->end - s->start);
			s->end -= s->start;
			s->start = 0;
		}
		if (f->length > CREDIT - s->end)
			f->length = (uint32_t)(CREDIT - s->end);
		memcpy(s->data + s->end, f->data, f->length);
		s->end += f->length;
	}
	feed(p);
}

static void notified(struct process *p)
{
	char message[4096];
	ssize_t n;

	while ((n = recv(p->notify, message, sizeof message, MSG_DONTWAIT)) > 0)
		channel_send('N', p->id, message, (uint32_t)n);
}

/* What apps say by syslog(3), with the process and, by its control group, the app that says it. */
static void take_syslog(void)
{
	char data[4 + 8192], path[64], group[512];
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(struct ucred))];
	} control;

	while (syslog_credit >= sizeof data) {
		struct iovec piece = { data + 4, sizeof data - 4 };
		struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
		ssize_t n = recvmsg(syslogd, &message, MSG_DONTWAIT);
		struct cmsghdr *head = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
		struct ucred sender;
		int fd;

		if (n < 0)
			return;
		if (!head || head->cmsg_type != SCM_CREDENTIALS)
			continue;
		memcpy(&sender, CMSG_DATA(head), sizeof sender);
		snprintf(path, sizeof path, "/proc/%d/cgroup", (int)sender.pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		memset(group, 0, sizeof group);
		(void)!read(fd, group, sizeof group - 1);
		close(fd);
		group[strcspn(group, "\n")] = 0;
		for (struct process *p = processes; p; p = p->next) {
			const char *wanted = strrchr(spec_cgroup(p->spec), '/'), *mine = strrchr(group, '/');

			if (p->of || !wanted || !mine || strcmp(wanted, mine) != 0)
				continue;
			store32(data, (uint32_t)sender.pid);
			channel_send('J', p->id, data, (uint32_t)n + 4);
			syslog_credit -= (uint32_t)n + 4;
			break;
		}
	}
}

static void open_syslog(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/journal/dev-log" };
	int yes = 1;

	mkdir("/journal", 0755);
	syslogd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bind(syslogd, (struct sockaddr *)&address, sizeof address) < 0 || setsockopt(syslogd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) < 0)
		say("syslog: %s", strerror(errno));
	chmod(address.sun_path, 0666);
}

static void do_operations(struct frame *f)
{
	struct list operations = list_read(f->data, f->length);
	char problem[512] = "";
	int failed = !operations.items;

	for (uint32_t i = 0; i < operations.count && !failed; i++) {
		struct list words = list_read(operations.items[i].data, operations.items[i].length);

		failed = !words.items || operation(&words, problem, sizeof problem) < 0;
		list_free(&words);
	}
	list_free(&operations);
	channel_reply(f->id, failed, failed && !*problem ? "malformed operations" : problem);
}

static struct process *new_process(struct frame *f, struct process *of)
{
	struct list pairs = list_read(f->data, f->length);
	char problem[256] = "malformed spec";
	struct spec *spec = pairs.items ? spec_read(&pairs, problem, sizeof problem) : NULL;
	struct process *p = NULL;

	list_free(&pairs);
	if (spec) {
		p = add(f->id, spec);
		p->of = of;
	}
	channel_reply(f->id, !spec, spec ? "" : problem);
	return p;
}

/* The frame begins with the id of the app. */
static void enter(struct frame *f)
{
	struct process *of = f->length < 4 ? NULL : find(number32(f->data)), *p;

	if (!of || of->ended || of->handler >= 0) {
		channel_reply(f->id, 1, "the app is not running");
		return;
	}
	f->data += 4;
	f->length -= 4;
	p = new_process(f, of);
	if (p)
		start(p);
}

static void resize(struct frame *f)
{
	struct process *p = find(f->id);
	struct winsize size = { 0 };

	if (!p || p->terminal < 0 || f->length < 8)
		return;
	size.ws_row = (unsigned short)number32(f->data);
	size.ws_col = (unsigned short)number32(f->data + 4);
	ioctl(p->terminal, TIOCSWINSZ, &size);
}

static void end(struct frame *f)
{
	struct list places = list_read(f->data, f->length);

	for (struct process *p = processes; p; p = p->next)
		set_group(p, "cgroup.kill", "1");
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	for (uint32_t i = 0; i < places.count; i++)
		umount2(places.items[i].data, 0);
	sync();
	channel_send('O', f->id, NULL, 0);
}

static void send_tree(struct frame *f)
{
	int failed = send_tar(f->data, f->id * 4 + 1) < 0;

	channel_send('Z', f->id * 4 + 1, NULL, 0);
	channel_reply(f->id, failed, failed ? strerror(errno) : "");
}

static void obey(struct frame *f)
{
	struct process *p = find(f->id);

	switch (f->type) {
	case 'o':
		do_operations(f);
		break;
	case 'a':
		if (p)
			channel_reply(f->id, 1, "there is such an app");
		else
			new_process(f, NULL);
		break;
	case 's':
		if (p && p->reported)
			start(p);
		channel_reply(f->id, !p, p ? "" : "no such app");
		break;
	case 'e':
		enter(f);
		break;
	case 'k':
		if (p && !p->ended && p->pid && f->length >= 4)
			kill(p->pid, (int)number32(f->data));
		break;
	case 'K':
		if (p && !p->of)
			set_group(p, "cgroup.kill", "1");
		else if (p && p->pid)
			kill(-p->pid, SIGKILL);
		break;
	case 'f':
		if (p && p->reported) {
			if (*spec_cgroup(p->spec) && !p->of)
				rmdir(spec_cgroup(p->spec));
			drop(p);
		}
		break;
	case 'd':
	case 'z':
		take_data(f);
		break;
	case 'w':
		if (f->id == 0 && f->length >= 4)
			syslog_credit += number32(f->data);
		p = find(f->id / 4);
		if (p && f->id % 4 < 3 && f->length >= 4) {
			p->streams[f->id % 4].credit += number32(f->data);
			pass_on(p, (int)(f->id % 4));
		}
		break;
	case 'c':
		resize(f);
		break;
	case 't':
		send_tree(f);
		break;
	case 'x':
		end(f);
		break;
	default:
		say("unknown frame %c", f->type);
	}
}

static void mount_or_die(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
	mkdir(target, 0755);
	if (mount(source, target, type, flags, data) < 0) {
		int fd = open("/dev/console", O_WRONLY | O_CLOEXEC);

		dprintf(fd >= 0 ? fd : 2, "init: can't mount %s: %s\n", target, strerror(errno));
		reboot(RB_POWER_OFF);
	}
}

static void prepare(void)
{
	char name[128], path[160];
	FILE *order;

	umask(022);
	mount_or_die("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
	mount_or_die("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
	mount_or_die("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=755");
	order = fopen("/modules/order", "re");
	while (order && fgets(name, sizeof name, order)) {
		int fd;

		name[strcspn(name, "\n")] = 0;
		snprintf(path, sizeof path, "/modules/%s", name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		syscall(SYS_finit_module, fd, "", 0);
		close(fd);
	}
	if (order)
		fclose(order);
	channel_open();
	/* A root that processes can leave (pivot_root(2)), which the first one is not. */
	mount_or_die("root", "/root", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
	mkdir("/root/modules", 0700);
	if (mount("/modules", "/root/modules", NULL, MS_BIND, NULL) < 0)
		say("modules: %s", strerror(errno));
	for (size_t i = 0; i < 3; i++) {
		const char *moved[] = { "/proc", "/sys", "/dev" };

		snprintf(path, sizeof path, "/root%s", moved[i]);
		mkdir(path, 0755);
		mount(moved[i], path, NULL, MS_MOVE, NULL);
	}
	if (chdir("/root") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
		say("root: %s", strerror(errno));
	mount_or_die("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
	mount_or_die("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=620,gid=5,ptmxmode=666");
	mount_or_die("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	mount_or_die("mqueue", "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
	unlink("/dev/ptmx");
	symlink("pts/ptmx", "/dev/ptmx");
	open_syslog();
}

static void greet(void)
{
	struct utsname name;
	char text[256];
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
	int n;

	uname(&name);
	n = snprintf(text, sizeof text, "%s %ld %s", PROTOCOL, abi > 0 ? abi : 0, name.release);
	channel_send('H', 0, text, (uint32_t)n);
}

static void turn(void)
{
	struct pollfd polls[512];
	struct {
		struct process *p;
		int which;
	} what[512];
	nfds_t count = 3;
	int timeout = -1;
	struct frame f;

	polls[0] = (struct pollfd){ channel, POLLIN, 0 };
	polls[1] = (struct pollfd){ signals, POLLIN, 0 };
	polls[2] = (struct pollfd){ syslog_credit > 8196 ? syslogd : -1, POLLIN, 0 };
	for (struct process *p = processes; p && count < 508; p = p->next) {
		if (p->ended && !p->reported)
			timeout = 20;
		for (int i = 0; i < 3; i++) {
			struct stream *s = &p->streams[i];
			int wanted = i ? s->credit > 0 : s->start < s->end;

			if (s->fd < 0 || !wanted)
				continue;
			what[count].p = p;
			what[count].which = i;
			polls[count++] = (struct pollfd){ s->fd, i ? POLLIN : POLLOUT, 0 };
		}
		if (p->notify >= 0) {
			what[count].p = p;
			what[count].which = 3;
			polls[count++] = (struct pollfd){ p->notify, POLLIN, 0 };
		}
	}
	if (poll(polls, count, timeout) < 0)
		return;
	if (polls[2].revents)
		take_syslog();
	for (nfds_t i = 3; i < count; i++) {
		if (!polls[i].revents)
			continue;
		if (what[i].which == 3)
			notified(what[i].p);
		else if (what[i].which)
			pass_on(what[i].p, what[i].which);
		else
			feed(what[i].p);
	}
	if (polls[1].revents) {
		struct signalfd_siginfo got;

		while (read(signals, &got, sizeof got) == sizeof got)
			;
		reap();
	}
	for (struct process *p = processes; p; p = p->next)
		report_ended(p);
	if (polls[0].revents)
		while (channel_read(&f))
			obey(&f);
}

int main(void)
{
	sigset_t set;

	prepare();
	if (channel < 0) {
		reboot(RB_POWER_OFF);
		return 1;
	}
	sigfillset(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	greet();
	for (;;)
		turn();
}
