/* Lines of the pod's console for the host's journal, each with the name of the app that wrote it.
 *
 * The pod's journald prints "[   12.345678] APP[PID]: LINE" on the console (journald.conf(5), ForwardToConsole=). Where our standard output
 * is the host's journal, that prefix would be part of the text there, under our own name. So the fields are sent apart, by the journal's
 * native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL): SYSLOG_IDENTIFIER is the app, and nothing that an app writes can become
 * another field, as its text goes with its length.
 */
#define LONGEST_LINE 65536 /* journald cuts lines at 48 KiB (LineMax=) */

static struct {
	char line[LONGEST_LINE];
	size_t length;
	int socket;
	const char *pod, *unit;
} journal = { .socket = -1 };

/* Connect to the host's journal. UNIT is the unit that ran us, if we have left it for a scope of our own; else it is empty. */
static int open_journal(const char *pod, const char *unit)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket" };

	journal.socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	journal.pod = pod;
	journal.unit = unit;
	if (journal.socket >= 0 && connect(journal.socket, (struct sockaddr *)&to, sizeof to) == 0)
		return 0;
	if (journal.socket >= 0)
		close(journal.socket);
	journal.socket = -1;
	return -1;
}

/* Where the text begins after "[time] NAME[PID]: "; 0 when the line has another form. */
static size_t after_name(const char *line, size_t length, size_t *name, size_t *name_length)
{
	size_t at = 0;

	if (length && line[0] == '[') {
		while (at < length && line[at] != ']')
			at++;
		at += 2; /* and the space */
	}
	*name = at;
	while (at < length && ((line[at] >= 'a' && line[at] <= 'z') || (line[at] >= '0' && line[at] <= '9') || line[at] == '-'))
		at++;
	*name_length = at - *name;
	if (at >= length || *name_length == 0 || line[at++] != '[')
		return 0;
	while (at < length && line[at] >= '0' && line[at] <= '9')
		at++;
	return at + 3 <= length && memcmp(line + at, "]: ", 3) == 0 ? at + 3 : 0;
}

/* Whether the line was taken; it has no newline. */
static int send_line(const char *line, size_t length)
{
	char head[512], size[8];
	size_t name, name_length, text = after_name(line, length, &name, &name_length), left;
	int n;

	if (!text || name_length > 200) {
		text = 0;
		name_length = 0;
	}
	n = snprintf(head, sizeof head, "PRIORITY=6\nSYSLOG_IDENTIFIER=%.*s\nRKTPY_POD=%.64s\n%s%.200s%sMESSAGE\n",
		     name_length ? (int)name_length : 5, name_length ? line + name : "rktpy", journal.pod,
		     *journal.unit ? "OBJECT_SYSTEMD_UNIT=" : "", journal.unit, *journal.unit ? "\n" : "");
	if (n < 0 || (size_t)n >= sizeof head)
		return 0;
	left = length - text;
	for (size_t i = 0; i < 8; i++)
		size[i] = (char)(left >> (8 * i));
	struct iovec parts[] = {
		{ head, (size_t)n }, { size, 8 }, { (char *)line + text, left }, { (char *)"\n", 1 },
	};
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 4 };

	return sendmsg(journal.socket, &message, MSG_NOSIGNAL) >= 0;
}

/* Take a piece of the console; lines that the journal does not take go to standard output. */
static void to_journal(const char *data, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (data[i] != '\n' && journal.length < sizeof journal.line - 1) {
			journal.line[journal.length++] = data[i];
			continue;
		}
		if (data[i] != '\n')
			i--; /* too long for one entry: the rest is one of its own */
		if (journal.length && journal.line[journal.length - 1] == '\r')
			journal.length--;
		if (!send_line(journal.line, journal.length)) {
			journal.line[journal.length++] = '\n';
			(void)!write(1, journal.line, journal.length);
		}
		journal.length = 0;
	}
}
