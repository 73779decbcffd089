/* The outer end of a pod whose apps an OCI runtime runs: the process that whoever ran the pod waits for.
 *
 * It is what rktpy becomes once the pod runs: it holds the pod's lock and the pipe that keeps the pod's first process alive, prints what
 * the apps write, and ends the pod when its apps have ended. It decides no more than that; stopping in order and cleaning up are programs
 * that it starts or becomes (halt, finish).
 *
 *     monitor PIDFD KEEP STATUS LOGS APPS FIRST-FAILURE TERMINAL -- HALT [ARG...] -- FINISH [ARG...]
 *
 * PIDFD          the pod's first process
 * KEEP           write end of the pipe that is its standard input
 * STATUS         directory in which the exit status of an app appears as a file of the app's name
 * LOGS           directory of the apps' log files, APP.log (kubelet-cri-logging)
 * APPS           how many apps end the pod with their end; 0: it has no end of its own (mutable pods)
 * FIRST-FAILURE  file that gets the exit status of the app that failed first, which ends a pod that has an end of its own
 * TERMINAL       socket to attach to the terminal of the only app (conmon's), -1 for none
 *
 * SIGTERM, SIGINT, SIGHUP and SIGQUIT start HALT. SIGUSR1, and three ^] within a second, end the pod at once. At the end FINISH is
 * executed with one more argument, the exit status.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ESCAPE 0x1d /* ^] */
#define NAME 64 /* an app's name is a DNS label (appc/spec 0.8.11 spec/types.md) */
#define MOST 512
#define PATIENCE_MS 5000

/* What is read of an app's log. */
struct log {
	char name[NAME];
	int fd;
};
static struct log logs[MOST];
static size_t known;
static struct log *unfinished; /* the line whose beginning is the last that was printed: its log, and the letter of its stream */
static char unfinished_stream;
static const char *status_directory, *log_directory;
static struct termios before;
static int raw, quiet, lines;

static void restore_terminal(void)
{
	if (raw)
		tcsetattr(0, TCSADRAIN, &before);
	raw = 0;
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void out(const char *data, size_t length)
{
	while (length && !quiet) {
		ssize_t n = write(1, data, length);

		if (n < 0 && errno == EAGAIN)
			poll(&(struct pollfd){ 1, POLLOUT, 0 }, 1, -1);
		else if (n < 0 && errno != EINTR)
			quiet = 1; /* nobody reads any more; the pod goes on */
		if (n > 0)
			data += n, length -= (size_t)n;
	}
}

/* One line of a log, without its end: <time> <stream> <tag> <text>. A line of an app may be in several. */
static void line(struct log *log, char *text, size_t length)
{
	char *end = text + length, *at = text;
	char head[128], stream;
	int partial;
	struct timespec now;

	at = memchr(at, ' ', length);
	if (!at || end - at < 10) /* " stdout F " */
		return;
	stream = at[4];
	at = memchr(at + 1, ' ', (size_t)(end - at - 1));
	if (!at || end - at < 3)
		return;
	partial = at[1] == 'P';
	at += 3;
	if (unfinished && (unfinished != log || unfinished_stream != stream)) {
		out("\n", 1);
		unfinished = NULL;
	}
	if (!unfinished) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		out(head, (size_t)snprintf(head, sizeof head, "[%5ld.%06ld] %s: ", (long)now.tv_sec, now.tv_nsec / 1000, log->name));
	}
	unfinished_stream = stream;
	unfinished = partial ? log : NULL;
	*end = '\n';
	out(at, (size_t)(end - at) + !partial);
}

static void read_log(struct log *log)
{
	static char data[65536];
	ssize_t n;

	/* Only whole lines are taken; conmon writes one with one call. Lines are shorter than this: conmon splits at 8 KiB. */
	while ((n = pread(log->fd, data, sizeof data - 1, lseek(log->fd, 0, SEEK_CUR))) > 0) {
		char *at = data, *end;

		while ((end = memchr(at, '\n', (size_t)(data + n - at)))) {
			line(log, at, (size_t)(end - at));
			at = end + 1;
		}
		if (at == data)
			return;
		lseek(log->fd, at - data, SEEK_CUR);
	}
}

static struct log *find_log(const char *file)
{
	size_t length = strlen(file);
	struct log *log = logs + known;
	char path[4096];

	if (length < 5 || length - 4 >= NAME || strcmp(file + length - 4, ".log") != 0)
		return NULL;
	length -= 4;
	for (size_t i = 0; i < known; i++)
		if (strncmp(logs[i].name, file, length) == 0 && !logs[i].name[length])
			return logs + i;
	if (known == MOST || snprintf(path, sizeof path, "%s/%s", log_directory, file) >= (int)sizeof path)
		return NULL;
	log->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (log->fd < 0)
		return NULL;
	memcpy(log->name, file, length);
	log->name[length] = 0;
	known++;
	return log;
}

/* Calls a function for the name of each file in a directory. */
static void each(const char *path, void (*function)(const char *name))
{
	DIR *directory = opendir(path);
	struct dirent *entry;

	while (directory && (entry = readdir(directory)))
		function(entry->d_name);
	if (directory)
		closedir(directory);
}

static void look_at_log(const char *file)
{
	struct log *log = lines ? find_log(file) : NULL;

	if (log)
		read_log(log);
}

/* The status in an app's file, -1 when there is none. */
static int status_of(const char *app)
{
	char path[4096], text[16] = "";
	int fd;
	ssize_t n;

	if (strchr(app, '.') || strchr(app, '/') || snprintf(path, sizeof path, "%s/%s", status_directory, app) >= (int)sizeof path)
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	return n > 0 && *text >= '0' && *text <= '9' ? atoi(text) & 0xff : -1;
}

static int is_app(const char *name)
{
	size_t length = strlen(name);

	/* APP-created and APP-started tell of mutable pods, which do not come here. */
	return *name && length < NAME && !strchr(name, '.');
}

static const char *failure;
static char counted[MOST][NAME];
static int count, first = -1, asked, escape;

static void note_failure(int status)
{
	char text[8];
	int fd = open(failure, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);

	if (fd < 0)
		return;
	(void)!write(fd, text, (size_t)snprintf(text, sizeof text, "%d\n", status));
	close(fd);
}

static void look_at_status(const char *app)
{
	int status = is_app(app) ? status_of(app) : -1;

	for (int i = 0; i < count; i++)
		if (strcmp(counted[i], app) == 0)
			return;
	if (status < 0 || count == MOST)
		return;
	strcpy(counted[count++], app);
	if (status && first < 0 && !asked && !escape) {
		first = status;
		note_failure(status);
	}
}

/* How many children there are: the pod's first process, conmons, halt. */
static int children(void)
{
	char path[64], data[8192];
	int fd, number = 0;
	ssize_t n;

	snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return MOST;
	n = read(fd, data, sizeof data);
	close(fd);
	for (ssize_t i = 0; i < n; i++)
		number += data[i] == ' ';
	return number;
}

static pid_t start(char **command)
{
	pid_t pid = fork();
	sigset_t none;

	if (pid == 0) {
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execv(command[0], command);
		_exit(127);
	}
	return pid;
}

/* Three ^] within a second. */
static int escaped(const char *data, ssize_t length)
{
	static int count;
	static long first;

	for (ssize_t i = 0; i < length; i++) {
		if (data[i] != ESCAPE) {
			count = 0;
			continue;
		}
		if (count && now_ms() - first > 1000)
			count = 0;
		if (count++ == 0)
			first = now_ms();
		if (count == 3)
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int pidfd, keep, inotify, apps, terminal, signals, statuses, halting = 0, ended = 0, gone = 1;
	long deadline = 0;
	char **halt, **finish, text[16];
	sigset_t set;

	if (argc < 12 || strcmp(argv[8], "--") != 0) {
		fputs("monitor: is started by rktpy run\n", stderr);
		return 254;
	}
	pidfd = atoi(argv[1]);
	keep = atoi(argv[2]);
	status_directory = argv[3];
	log_directory = argv[4];
	apps = atoi(argv[5]);
	failure = argv[6];
	terminal = atoi(argv[7]);
	lines = terminal < 0; /* else what the app writes comes from its terminal */
	halt = argv + 9;
	for (finish = halt; *finish && strcmp(*finish, "--") != 0; finish++)
		;
	if (!*finish)
		return 254;
	*finish++ = NULL;

	sigemptyset(&set);
	for (size_t i = 0; i < 6; i++)
		sigaddset(&set, (int[]){ SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGCHLD }[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	statuses = inotify_add_watch(inotify, status_directory, IN_MOVED_TO | IN_CLOSE_WRITE);
	if (statuses < 0 || inotify_add_watch(inotify, log_directory, IN_CREATE | IN_MODIFY) < 0) {
		fprintf(stderr, "monitor: cannot watch the pod's directory: %s (see fs.inotify.max_user_instances, sysctl(8))\n",
			strerror(errno));
		close(keep);
		keep = -1;
	}
	if (terminal >= 0 && isatty(0) && tcgetattr(0, &before) == 0) {
		struct termios now = before;

		cfmakeraw(&now);
		raw = tcsetattr(0, TCSADRAIN, &now) == 0;
	}
	each(log_directory, look_at_log);
	each(status_directory, look_at_status);

	for (;;) {
		struct pollfd polls[] = {
			{ signals, POLLIN, 0 },
			{ ended ? -1 : pidfd, POLLIN, 0 },
			{ inotify, POLLIN, 0 },
			{ terminal, POLLIN, 0 },
			{ terminal >= 0 && !ended ? 0 : -1, POLLIN, 0 },
		};
		int waited;

		if ((escape || (apps && count == apps)) && keep >= 0) {
			close(keep);
			keep = -1;
			if (escape)
				syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
		} else if ((asked || (apps && first >= 0)) && !halting) {
			halting = 1;
			if (start(halt) < 0 && keep >= 0) {
				close(keep);
				keep = -1;
			}
		}
		/* What is left in the end are the processes that write the logs and statuses. */
		while ((waited = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		if (gone && apps && !halting && keep >= 0 && children() <= 1) {
			/* Nobody is left to say how the others ended: on a full disk conmon cannot. */
			each(status_directory, look_at_status);
			if (count < apps && first < 0)
				first = 254;
			count = apps;
			gone = 0;
			continue;
		}
		gone = 0;
		if (ended && (waited < 0 || now_ms() > deadline))
			break;
		if (poll(polls, sizeof polls / sizeof *polls, ended ? 20 : -1) < 0 && errno != EINTR)
			break;
		if (polls[0].revents) {
			struct signalfd_siginfo got;

			while (read(signals, &got, sizeof got) == sizeof got)
				if (got.ssi_signo == SIGUSR1)
					escape = 1;
				else if (got.ssi_signo == SIGCHLD)
					gone = 1;
				else
					asked = 1;
		}
		if (polls[2].revents) {
			char data[8192] __attribute__((aligned(8)));
			ssize_t n = read(inotify, data, sizeof data);

			for (char *at = data; at < data + n;) {
				struct inotify_event *event = (struct inotify_event *)at;

				at += sizeof *event + event->len;
				if (!event->len)
					continue;
				if (event->wd == statuses)
					look_at_status(event->name);
				else
					look_at_log(event->name);
			}
		}
		if (polls[3].revents) {
			char data[8193];
			ssize_t n = recv(terminal, data, sizeof data, 0);

			if (n > 1)
				out(data + 1, (size_t)n - 1); /* the first byte names the stream */
			if (n <= 0) {
				close(terminal);
				terminal = -1;
			}
		}
		if (polls[4].revents) {
			char data[4096];
			ssize_t n = read(0, data, sizeof data);

			if (n <= 0) {
				data[0] = 4; /* the end of our input is the end of the app's: ^D */
				(void)!send(terminal, data, 1, MSG_NOSIGNAL);
				close(0);
				open("/dev/null", O_WRONLY); /* which never becomes readable */
			} else if (raw && escaped(data, n)) {
				escape = 1;
			} else {
				(void)!send(terminal, data, (size_t)n, MSG_NOSIGNAL);
			}
		}
		if (!ended && polls[1].revents) {
			ended = 1;
			deadline = now_ms() + PATIENCE_MS;
		}
	}
	each(log_directory, look_at_log);
	if (unfinished)
		out("\n", 1);
	restore_terminal();

	for (size_t i = 0; i < 5; i++)
		signal((int[]){ SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1 }[i], SIG_IGN);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	snprintf(text, sizeof text, "%d", asked ? 0 : escape ? 1 : first >= 0 ? first : apps && count == apps ? 0 : 1);
	{
		char *command[64];
		int words = 0;

		while (finish[words] && words < 62)
			command[words] = finish[words], words++;
		command[words] = text;
		command[words + 1] = NULL;
		execv(command[0], command);
		fprintf(stderr, "monitor: %s: %s\n", command[0], strerror(errno));
	}
	return atoi(text);
}
