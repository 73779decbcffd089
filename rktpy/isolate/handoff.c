/* Executes a program, and is nothing that could be harmed meanwhile.
 *
 * A program that an image names may be a link to /proc/self/exe, or a script whose interpreter is that: then the process executes
 * itself, in the image's root and with the image's libraries, and /proc/PID/exe is a way to the file that it was (CVE-2019-5736). If
 * that were the host's Python interpreter, an image could overwrite it. So the last thing before an image's program is this one, out of
 * a sealed memory file.
 *
 *     handoff PROGRAM ARGUMENT-0 [ARGUMENT...]
 *     handoff --landlock FILES PORTS N [PATH RIGHTS]... M [PORT RIGHTS]... PROGRAM ARGUMENT-0 [ARGUMENT...]
 *
 * The second form restricts the process with Landlock before (landlock(7)): masks of the rights that are restricted, N paths and M ports
 * that are excepted, all numbers decimal. A path that is not there is passed over. It is for apps that systemd starts, which has no
 * setting for that.
 *
 * Needs no C library and, but for Landlock, no system call but execve, write and exit: a filter may be in force already. Ends with 254
 * when the program cannot be executed or the restriction is refused.
 */
#if defined(__x86_64__)
#define EXECVE 59
#define WRITE 1
#define EXIT 231
#define OPENAT 257
static long call(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return result;
}
__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
#elif defined(__aarch64__)
#define EXECVE 221
#define WRITE 64
#define EXIT 94
#define OPENAT 56
static long call(long number, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}
__asm__(".globl _start\n_start:\n\tmov x0, sp\n\tbl begin\n");
#else
#error "not ported to this machine"
#endif

#define LANDLOCK_CREATE_RULESET 444
#define LANDLOCK_ADD_RULE 445
#define LANDLOCK_RESTRICT_SELF 446
#define PATH_BENEATH 1
#define NET_PORT 2
#define RIGHTS_OF_FILES 0xc007 /* execute, write, read, truncate, ioctl */
#define AT_FDCWD -100
#define O_PATH_CLOEXEC 012000000
#define EINVAL 22

static void say(const char *text)
{
	long length = 0;

	while (text[length])
		length++;
	call(WRITE, 2, (long)text, length, 0);
}

static void fail(const char *text)
{
	say(text);
	call(EXIT, 254, 0, 0, 0);
	__builtin_unreachable();
}

/* The next argument; they end with a null pointer. */
static char *next(char ***arguments)
{
	if (!**arguments)
		fail("stage1: handoff: an argument is missing\n");
	return *(*arguments)++;
}

static unsigned long number(char ***arguments)
{
	unsigned long value = 0;

	for (const char *digit = next(arguments); *digit; digit++)
		value = value * 10 + (unsigned long)(*digit - '0');
	return value;
}

static void restrict_process(char ***arguments)
{
	unsigned long ruleset[2];
	long fd, rules;

	ruleset[0] = number(arguments);
	ruleset[1] = number(arguments);
	/* A kernel that knows no ports takes the shorter form only. */
	fd = call(LANDLOCK_CREATE_RULESET, (long)ruleset, ruleset[1] ? 16 : 8, 0, 0);
	if (fd < 0)
		fail("stage1: can't restrict the app with Landlock\n");
	for (rules = (long)number(arguments); rules; rules--) {
		const char *path = next(arguments);
		struct {
			unsigned long rights;
			int directory;
		} __attribute__((packed)) rule = { .rights = number(arguments) };
		long opened = call(OPENAT, AT_FDCWD, (long)path, O_PATH_CLOEXEC, 0);
		long result;

		if (opened < 0)
			continue;
		rule.directory = (int)opened;
		result = call(LANDLOCK_ADD_RULE, fd, PATH_BENEATH, (long)&rule, 0);
		if (result == -EINVAL && rule.rights & RIGHTS_OF_FILES) {
			rule.rights &= RIGHTS_OF_FILES;
			result = call(LANDLOCK_ADD_RULE, fd, PATH_BENEATH, (long)&rule, 0);
		}
		if (result < 0 && result != -EINVAL)
			fail("stage1: can't restrict the app with Landlock\n");
	}
	for (rules = (long)number(arguments); rules; rules--) {
		unsigned long port = number(arguments);
		unsigned long rule[2] = { number(arguments), port };

		if (call(LANDLOCK_ADD_RULE, fd, NET_PORT, (long)rule, 0) < 0)
			fail("stage1: can't restrict the app with Landlock\n");
	}
	if (call(LANDLOCK_RESTRICT_SELF, fd, 0, 0, 0) < 0)
		fail("stage1: can't restrict the app with Landlock\n");
}

static int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

void begin(long *stack)
{
	long count = stack[0];
	char **arguments = (char **)(stack + 1);
	char **environment = arguments + count + 1;
	long error;

	arguments++;
	if (count >= 2 && same(arguments[0], "--landlock")) {
		arguments++;
		restrict_process(&arguments);
	}
	if (count >= 3 && arguments[0] && arguments[1]) {
		error = -call(EXECVE, (long)arguments[0], (long)(arguments + 1), (long)environment, 0);
		say("stage1: can't execute \"");
		say(arguments[0]);
		say(error == 2	  ? "\": no such file or directory\n"
		    : error == 13 ? "\": permission denied\n"
		    : error == 8  ? "\": exec format error\n"
				  : "\"\n");
	}
	call(EXIT, 254, 0, 0, 0);
	__builtin_unreachable();
}
