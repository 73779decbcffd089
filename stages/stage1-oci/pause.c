/* The first process of a pod whose apps an OCI runtime runs: it holds the pod's namespaces and takes in orphans.
 *
 * Its standard input is a pipe of which the process outside (monitor.c) holds the other end. When that is closed, on purpose or because
 * that process has died, this one ends, and the kernel ends all others of the pod with it (pid_namespaces(7)).
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	sigset_t set;
	struct signalfd_siginfo got;
	struct pollfd polls[2] = { { 0, POLLIN, 0 }, { -1, POLLIN, 0 } };

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	polls[1].fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	while (polls[1].fd >= 0) {
		if (poll(polls, 2, -1) < 0 && errno != EINTR)
			return 1;
		if (polls[0].revents)
			return 0;
		while (read(polls[1].fd, &got, sizeof got) == sizeof got)
			if (got.ssi_signo != SIGCHLD)
				return 0;
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	return 1;
}
