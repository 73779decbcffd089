/* An app whose first instruction can be seen from outside, in any runtime:
 *
 *     stamp FILE         write the time (CLOCK_REALTIME, nanoseconds) to FILE and end
 *     stamp FILE stay    the same, then write a line and do nothing until SIGTERM
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec now;
	sigset_t set;
	int fd, got;

	clock_gettime(CLOCK_REALTIME, &now);
	if (argc < 2)
		return 2;
	fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || dprintf(fd, "%lld%09ld\n", (long long)now.tv_sec, now.tv_nsec) < 0)
		return 1;
	close(fd);
	if (argc < 3)
		return 0;
	puts("started");
	fflush(stdout);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM); /* as the first process of a pid namespace it has to ask for it */
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigwait(&set, &got);
	return 0;
}
