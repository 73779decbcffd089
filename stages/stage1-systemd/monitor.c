/* The outer end of a pod: the process that whoever ran the pod waits for.
 *
 * It is what rktpy becomes once the pod runs, because somebody outside the pod's pid namespace has to hold the pod's lock, carry the
 * console and return the exit status, and an interpreter is too large to stay for that. It decides nothing: what is to be done at the
 * end of the pod is a program that it becomes then (finish).
 *
 *     monitor PID PIDFD CONSOLE TERMINAL OVER NOTIFY GROUP MODE FIRST-FAILURE READY -- FINISH [ARG...]
 *
 * PID, PIDFD     the pod's first process
 * CONSOLE        master of the pod's console
 * TERMINAL       its other side: as long as that is open, the console does not end while nobody in the pod has it open
 * OVER           read end of a FIFO whose write end the pod's systemd holds until everything has stopped
 * NOTIFY         datagram socket on which the pod's systemd says READY=1
 * GROUP          cgroup.procs of the control group that the monitor is in, -1 for none; see expect_moves
 * MODE           "lines": copy the console to standard output; "interactive": also standard input to the console, in raw mode;
 *                "journal:UNIT": lines go to the host's journal, of which standard output is a stream (monitor_journal.h)
 * FIRST-FAILURE  file with the exit status of the app that failed first, or a status and words; "-" when none did
 * READY          symbolic link to make when the pod is ready
 *
 * SIGTERM, SIGINT, SIGHUP and SIGQUIT stop the pod in order (SIGRTMIN+3 to its systemd). Three ^] within a second end it at once, as in
 * systemd-nspawn. At the end FINISH is executed with one more argument, the exit status.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "monitor_journal.h"

#define ESCAPE 0x1d /* ^] */
#define INOTIFY_INSTANCES 3 /* of a pod's systemd 252 */

static int console = -1;
static int raw;
static struct termios before;

static void restore_terminal(void)
{
	if (raw)
		tcsetattr(0, TCSADRAIN, &before);
	raw = 0;
}

static void raw_terminal(void)
{
	struct termios now;

	if (tcgetattr(0, &before) < 0)
		return;
	now = before;
	cfmakeraw(&now);
	if (tcsetattr(0, TCSADRAIN, &now) == 0)
		raw = 1;
}

static void copy_window_size(void)
{
	struct winsize size;

	if (console >= 0 && (ioctl(1, TIOCGWINSZ, &size) == 0 || ioctl(0, TIOCGWINSZ, &size) == 0))
		ioctl(console, TIOCSWINSZ, &size);
}

/* Bytes on their way from one descriptor to another. */
struct buffer {
	char data[4096];
	size_t start, end;
};

static int fill(struct buffer *b, int fd)
{
	ssize_t n = read(fd, b->data, sizeof b->data);

	if (n > 0) {
		b->start = 0;
		b->end = (size_t)n;
		return 1;
	}
	return n < 0 && (errno == EINTR || errno == EAGAIN) ? 0 : -1;
}

static int drain(struct buffer *b, int fd)
{
	ssize_t n = write(fd, b->data + b->start, b->end - b->start);

	if (n >= 0)
		b->start += (size_t)n;
	else if (errno != EINTR && errno != EAGAIN)
		return -1;
	return 0;
}

/* Three ^] within a second. Only what the user types counts. */
static int escaped(const struct buffer *b)
{
	static int count;
	static struct timespec first;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	for (size_t i = b->start; i < b->end; i++) {
		if (b->data[i] != ESCAPE) {
			count = 0;
			continue;
		}
		if (count && (now.tv_sec - first.tv_sec) * 1000 + (now.tv_nsec - first.tv_nsec) / 1000000 > 1000)
			count = 0;
		if (count++ == 0)
			first = now;
		if (count == 3)
			return 1;
	}
	return 0;
}

/* What the pod's systemd says goes on to whoever wants to know about us (sd_notify(3)). */
static void notified(int fd, const char *ready)
{
	char message[4096];
	ssize_t n = recv(fd, message, sizeof message - 1, MSG_DONTWAIT);
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t length;
	int out;

	if (n <= 0)
		return;
	message[n] = 0;
	if (strncmp(message, "READY=1", 7) == 0 && (message[7] == 0 || message[7] == '\n'))
		if (symlink("ready", ready) < 0 && errno != EEXIST)
			perror("monitor: supervisor-status");
	if (!path || (*path != '/' && *path != '@') || (length = strlen(path)) >= sizeof to.sun_path)
		return;
	memcpy(to.sun_path, path, length);
	if (*path == '@')
		to.sun_path[0] = 0;
	out = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (out < 0)
		return;
	(void)!sendto(out, message, (size_t)n, MSG_NOSIGNAL, (struct sockaddr *)&to,
		      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
	close(out);
}

/* Whether a process is on its way out (PF_EXITING of its flags, proc(5)): its files close before it can be waited for. */
static int exiting(pid_t pid)
{
	char path[32], text[512];
	unsigned int flags = 0;
	char *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	end = strrchr(text, ')');
	return end && sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1 && flags & 4;
}

/* Before a process is moved into a control group, the kernel waits for all processors (a grace period of RCU, ten milliseconds), unless
 * such a move has just been (rcu_sync in cgroup_threadgroup_rwsem). systemd moves itself when it starts, and then each service; so
 * while the pod starts, and while it stops, moves are kept going that move nothing: this process into the group that it is in. */
#define MOVES_EVERY_MS 4
#define MOVES_FOR_MS 300
static long moves_until;

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void expect_moves(void)
{
	moves_until = now_ms() + MOVES_FOR_MS;
}

static int moves_timeout(int group)
{
	static long last;
	long now;

	if (group < 0 || !moves_until)
		return -1;
	now = now_ms();
	if (now >= moves_until) {
		moves_until = 0;
		return -1;
	}
	if (now - last >= MOVES_EVERY_MS) {
		(void)!write(group, "0", 1);
		last = now_ms();
	}
	return MOVES_EVERY_MS;
}

/* From now on the end of what is left in the console is the end. */
static void close_terminal(int terminal)
{
	close(terminal);
	if (console >= 0)
		fcntl(console, F_SETFL, fcntl(console, F_GETFL) | O_NONBLOCK);
}

/* The status, -1 for none. Words that follow it are what there is to say. */
static int first_failure(const char *path)
{
	char text[128] = "", *words;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0 || text[0] == '-')
		return -1;
	text[strcspn(text, "\n")] = 0;
	words = strchr(text, ' ');
	if (words)
		fprintf(stderr, "stage1:%s\n", words);
	return atoi(text) & 0xff;
}

/* systemd says nothing when it cannot even begin. What it lacks on a host with many pods, it has just given back. */
static void tell_why(int status)
{
	int instances = 0;

	while (instances < INOTIFY_INSTANCES && inotify_init1(IN_CLOEXEC) >= 0)
		instances++;
	if (instances < INOTIFY_INSTANCES && errno == EMFILE)
		fputs("stage1: the limit of inotify instances is reached, of which every pod needs three: raise fs.inotify.max_user_instances "
		      "(sysctl(8))\n",
		      stderr);
	else
		fprintf(stderr, "stage1: the pod's systemd has failed with status %d (--debug shows what it says)\n", status);
}

int main(int argc, char **argv)
{
	struct buffer in = { .end = 0 }, out = { .end = 0 };
	int stdin_open, stdout_open = 1, asked = 0, stopped = 0, escape = 0, ended = 0, status = 0, failure;
	char last = '\n';
	int interactive, pidfd, terminal, over, notify, group, signals;
	pid_t pid;
	siginfo_t info;
	sigset_t set;

	if (argc < 13 || strcmp(argv[11], "--") != 0) {
		fputs("monitor: is started by rktpy run\n", stderr);
		return 254;
	}
	pid = atoi(argv[1]);
	pidfd = atoi(argv[2]);
	console = atoi(argv[3]);
	terminal = atoi(argv[4]);
	over = atoi(argv[5]);
	notify = atoi(argv[6]);
	group = atoi(argv[7]);
	interactive = strcmp(argv[8], "interactive") == 0;
	stdin_open = interactive;
	if (strncmp(argv[8], "journal:", 8) == 0)
		open_journal(argv[argc - 1], argv[8] + 8);

	sigemptyset(&set);
	for (size_t i = 0; i < 5; i++)
		sigaddset(&set, (int[]){ SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGWINCH }[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (interactive)
		raw_terminal();
	copy_window_size();
	expect_moves();

	while (!ended || out.start < out.end || console >= 0) {
		/* At the end only what is left in the console is waited for, and only as long as it comes. */
		struct pollfd polls[] = {
			{ signals, POLLIN, 0 },
			{ ended ? -1 : pidfd, POLLIN, 0 },
			{ ended ? -1 : over, POLLIN, 0 },
			{ ended ? -1 : notify, POLLIN, 0 },
			{ out.start == out.end ? console : -1, POLLIN, 0 },
			{ out.start < out.end ? 1 : -1, POLLOUT, 0 },
			{ stdin_open && !ended && in.start == in.end ? 0 : -1, POLLIN, 0 },
			{ !ended && in.start < in.end ? console : -1, POLLOUT, 0 },
		};
		int n = poll(polls, sizeof polls / sizeof *polls, !ended ? moves_timeout(group) : out.start == out.end ? 0 : -1);

		if (n < 0 && errno != EINTR)
			break;
		if (n == 0 && ended && out.start == out.end)
			break; /* somebody else keeps the console open: nothing more is coming from the pod */
		if (n <= 0)
			continue;
		if (polls[0].revents) {
			struct signalfd_siginfo got;

			while (read(signals, &got, sizeof got) == sizeof got) {
				if (got.ssi_signo == SIGWINCH) {
					copy_window_size();
				} else if (!ended) {
					asked = 1;
					expect_moves();
					kill(pid, SIGRTMIN + 3);
				}
			}
		}
		if (polls[3].revents)
			notified(notify, argv[10]);
		if (polls[2].revents) {
			/* All apps and the journal have stopped. What systemd would still do the kernel does anyhow; finish waits for
			 * the death, which takes longer than it takes to start it. */
			over = -1;
			if (!exiting(pid)) {
				kill(pid, SIGKILL);
				stopped = ended = 1;
				close_terminal(terminal);
			}
		}
		if (polls[4].revents && fill(&out, console) < 0) {
			close(console);
			console = -1;
		}
		if (journal.socket >= 0) {
			to_journal(out.data + out.start, out.end - out.start);
			out.start = out.end;
		}
		if (polls[5].revents) {
			if (!stdout_open || drain(&out, 1) < 0) {
				stdout_open = 0; /* nobody reads any more; the pod goes on */
				out.start = out.end;
			}
		}
		if (polls[6].revents) {
			if (fill(&in, 0) < 0) {
				/* The end of our input is the end of the app's: ^D, and one more to end a line that has begun. */
				memset(in.data, 4, 2);
				in.start = 0;
				in.end = raw ? 0 : last == '\n' ? 1 : 2;
				stdin_open = 0;
			} else if (in.end > in.start) {
				last = in.data[in.end - 1];
			}
			if (stdin_open && raw && escaped(&in)) {
				escape = 1;
				kill(pid, SIGKILL);
			}
		}
		if (polls[7].revents && console >= 0 && drain(&in, console) < 0)
			in.start = in.end;
		if (!ended && polls[1].revents && waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED) == 0) {
			ended = 1;
			close_terminal(terminal);
		}
	}
	restore_terminal();

	failure = first_failure(argv[9]);
	if (escape)
		status = 1;
	else if (asked)
		status = 0;
	else if (failure >= 0)
		status = failure;
	else if (stopped)
		status = 0;
	else if (!ended)
		status = 254;
	else if (info.si_code == CLD_EXITED)
		status = info.si_status;
	else
		status = 1; /* somebody killed the pod */
	if (!escape && !asked && failure < 0 && !stopped && ended && info.si_code == CLD_EXITED && status)
		tell_why(status);

	for (size_t i = 0; i < 4; i++)
		signal((int[]){ SIGTERM, SIGINT, SIGHUP, SIGQUIT }[i], SIG_IGN);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	{
		char text[16], **command = argv + 12, *finish[64];
		int count = argc - 12;

		if (count > 62)
			return status;
		snprintf(text, sizeof text, "%d", status);
		memcpy(finish, command, (size_t)count * sizeof *finish);
		finish[count] = text;
		finish[count + 1] = NULL;
		execv(finish[0], finish);
		fprintf(stderr, "monitor: %s: %s\n", finish[0], strerror(errno));
	}
	return status;
}
