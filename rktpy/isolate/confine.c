/* Restricts itself with Landlock, then executes a program: for an app that something else than rktpy starts, in its own root.
 *
 *     confine FILES PORTS [path RIGHTS PATH]... [port RIGHTS PORT]... [label FILE LABEL] -- PROGRAM ARGUMENT-0 [ARGUMENT...]
 *
 * FILES, PORTS   what is restricted: masks of Landlock's rights, in hexadecimal digits; Landlock is left alone if both are 0
 * RIGHTS         what is allowed all the same below PATH (of a file: as far as files have such rights), or for PORT (decimal)
 *
 * LABEL          the label that the program gets from a security module, written to FILE (proc_pid_attr(5))
 *
 * A path that is not there is passed over. Without CAP_SYS_ADMIN no-new-privileges is set, which the kernel demands. Needs no C library,
 * so it runs in any image. Ends with 254 when something fails, before the program had a chance.
 */
typedef unsigned long long u64;

#if defined(__x86_64__)
enum { WRITE = 1, CLOSE = 3, EXECVE = 59, PRCTL = 157, EXIT = 231, OPENAT = 257 };
#define DIRECTORY 0200000
static long call(long number, long a, long b, long c, long d)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = 0;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return result;
}
__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
#elif defined(__aarch64__)
enum { WRITE = 64, CLOSE = 57, EXECVE = 221, PRCTL = 167, EXIT = 94, OPENAT = 56 };
#define DIRECTORY 040000
static long call(long number, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = 0;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
}
__asm__(".globl _start\n_start:\n\tmov x0, sp\n\tbl begin\n");
#else
#error "not ported to this machine"
#endif

enum { CREATE_RULESET = 444, ADD_RULE = 445, RESTRICT_SELF = 446 };
enum { PATH_BENEATH = 1, NET_PORT = 2 };
enum { HERE = -100, O_PATH_CLOEXEC = 010000000 | 02000000, O_WRONLY_CLOEXEC = 1 | 02000000, NO_NEW_PRIVS = 38 };
enum { EPERM = 1, ENOENT = 2, EACCES = 13, ENOTDIR = 20, ELOOP = 40 };
#define RIGHTS_OF_FILES 0xc007ull /* execute, write, read, truncate, ioctl */

struct ruleset {
	u64 files, ports;
};

struct path_rule {
	u64 rights;
	int fd;
} __attribute__((packed));

struct port_rule {
	u64 rights, port;
};

static void say(const char *text)
{
	long length = 0;

	while (text[length])
		length++;
	call(WRITE, 2, (long)text, length, 0);
}

static void fail(const char *what, const char *name)
{
	say("stage1: can't ");
	say(what);
	say(name);
	say("\n");
	call(EXIT, 254, 0, 0, 0);
	__builtin_unreachable();
}

static int same(const char *first, const char *second)
{
	while (*first && *first == *second)
		first++, second++;
	return *first == *second;
}

static u64 number(const char *text, unsigned base)
{
	u64 value = 0;
	const char *at = text;

	do {
		unsigned digit = (unsigned)(*at <= '9' ? *at - '0' : *at - 'a' + 10);

		if (digit >= base)
			fail("read the number ", text);
		value = value * base + digit;
	} while (*++at);
	return value;
}

static void allow_path(long ruleset, u64 rights, const char *path)
{
	struct path_rule rule = {rights, 0};
	long fd = call(OPENAT, HERE, (long)path, O_PATH_CLOEXEC | DIRECTORY, 0);

	if (fd == -ENOTDIR) {
		rule.rights &= RIGHTS_OF_FILES;
		fd = call(OPENAT, HERE, (long)path, O_PATH_CLOEXEC, 0);
	}
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -EACCES || fd == -ELOOP || !rule.rights)
		return; /* not to be had anyway */
	if (fd < 0)
		fail("open ", path);
	rule.fd = (int)fd;
	if (call(ADD_RULE, ruleset, PATH_BENEATH, (long)&rule, 0) < 0)
		fail("allow ", path);
	call(CLOSE, fd, 0, 0, 0);
}

static void label(const char *file, const char *text)
{
	long length = 0, fd = call(OPENAT, HERE, (long)file, O_WRONLY_CLOEXEC, 0);

	while (text[length])
		length++;
	if (fd < 0 || call(WRITE, fd, (long)text, length, 0) != length)
		fail("give the app the label ", text);
	call(CLOSE, fd, 0, 0, 0);
}

void begin(long *stack)
{
	long count = stack[0], error, ruleset = -1;
	char **argument = (char **)(stack + 1);
	char **end = argument + count;
	struct ruleset restricted;
	int labelled = 0;

	if (count < 6)
		fail("confine without arguments", "");
	restricted.files = number(argument[1], 16);
	restricted.ports = number(argument[2], 16);
	/* An old kernel takes a structure without the second member. */
	if (restricted.files || restricted.ports) {
		ruleset = call(CREATE_RULESET, (long)&restricted, restricted.ports ? sizeof restricted : sizeof restricted.files, 0, 0);
		if (ruleset < 0)
			fail("use Landlock", "");
	}
	for (argument += 3; argument + 2 < end && !same(*argument, "--"); argument += 3) {
		if (same(*argument, "path")) {
			allow_path(ruleset, number(argument[1], 16), argument[2]);
		} else if (same(*argument, "port")) {
			struct port_rule rule = {number(argument[1], 16), number(argument[2], 10)};

			if (call(ADD_RULE, ruleset, NET_PORT, (long)&rule, 0) < 0)
				fail("allow port ", argument[2]);
		} else if (same(*argument, "label")) {
			label(argument[1], argument[2]);
			labelled = 1;
		} else {
			fail("understand ", *argument);
		}
	}
	if (argument + 2 >= end || !same(*argument, "--"))
		fail("find a program", "");
	if (ruleset < 0 && !labelled)
		fail("find a restriction", "");
	if (ruleset >= 0) {
		error = call(RESTRICT_SELF, ruleset, 0, 0, 0);
		if (error == -EPERM) {
			call(PRCTL, NO_NEW_PRIVS, 1, 0, 0);
			error = call(RESTRICT_SELF, ruleset, 0, 0, 0);
		}
		if (error < 0)
			fail("restrict the app with Landlock", "");
		call(CLOSE, ruleset, 0, 0, 0);
	}
	error = call(EXECVE, (long)argument[1], (long)(argument + 2), (long)(end + 1), 0);
	say("stage1: can't execute \"");
	say(argument[1]);
	say(error == -ENOENT ? "\": no such file or directory\n" : error == -EACCES ? "\": permission denied\n" : "\"\n");
	call(EXIT, 254, 0, 0, 0);
	__builtin_unreachable();
}
