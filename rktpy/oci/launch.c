/* Starts the low-level runtime: executes the interpreter that the first line of the script `rktpy-oci` beside it names.
 *
 * A process of a container can look at a process of ours that goes in, and open the file that it executes (CVE-2019-5736). Opened so, it
 * is on the mount that it was executed from; so that mount is made here, read-only and in no namespace, where nobody can change it.
 * The script does the same with a second start of the interpreter, which takes longer than all that this program does.
 *
 *     launch [ARGUMENT...]
 *
 * Needs no C library. Without the rights to make the mount the interpreter is executed as it is.
 */
#if defined(__x86_64__)
#define READ 0
#define OPEN_AT 257
#define READ_LINK_AT 267
#define EXECVE_AT 322
#define WRITE 1
#define EXIT 231
static long call(long number, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return result;
}
__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
#elif defined(__aarch64__)
#define READ 63
#define OPEN_AT 56
#define READ_LINK_AT 78
#define EXECVE_AT 281
#define WRITE 64
#define EXIT 94
static long call(long number, long a, long b, long c, long d, long e)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
}
__asm__(".globl _start\n_start:\n\tmov x0, sp\n\tbl begin\n");
#else
#error "not ported to this machine"
#endif

#define OPEN_TREE 428
#define MOUNT_SETATTR 442
#define HERE (-100) /* AT_FDCWD */
#define CLOEXEC 02000000
#define CLONE 1 /* OPEN_TREE_CLONE */
#define EMPTY_PATH 0x1000
#define RDONLY 1 /* MOUNT_ATTR_RDONLY */

static char script[4096], line[512];

static void fail(const char *text)
{
	long length = 0;

	while (text[length])
		length++;
	call(WRITE, 2, (long)text, length, 0, 0);
	call(EXIT, 1, 0, 0, 0, 0);
	__builtin_unreachable();
}

/* The first line of the script: the interpreter and one argument for it, as the kernel reads them. */
static char *split(char *text, char **argument)
{
	char *interpreter = text + 2;

	*argument = 0;
	if (text[0] != '#' || text[1] != '!')
		fail("rktpy-oci: the script has no interpreter\n");
	while (*text && *text != '\n') {
		if (*text == ' ' && !*argument) {
			*text = 0;
			*argument = text + 1;
		}
		text++;
	}
	*text = 0;
	return interpreter;
}

void begin(long *stack)
{
	static const char name[] = "rktpy-oci";
	long attributes[4] = {RDONLY, 0, 0, 0};
	long count = stack[0];
	char **arguments = (char **)(stack + 1);
	char **environment = arguments + count + 1;
	char **new = __builtin_alloca(sizeof(char *) * (unsigned long)(count + 6));
	char *interpreter, *argument;
	long length, fd, place = 0, mark;

	length = call(READ_LINK_AT, HERE, (long)"/proc/self/exe", (long)script, sizeof script - sizeof name, 0);
	if (length < 1)
		fail("rktpy-oci: /proc is not mounted\n");
	while (length > 0 && script[length - 1] != '/')
		length--;
	for (unsigned long i = 0; i < sizeof name; i++)
		script[length + (long)i] = name[i];
	fd = call(OPEN_AT, HERE, (long)script, CLOEXEC, 0, 0);
	if (fd < 0 || call(READ, fd, (long)line, sizeof line - 1, 0, 0) < 3)
		fail("rktpy-oci: the script beside this program cannot be read\n");
	interpreter = split(line, &argument);
	new[place++] = interpreter;
	if (argument)
		new[place++] = argument;
	mark = place;
	new[place++] = "-X"; /* told to the script: nobody can write to the interpreter */
	new[place++] = "rktpy_unwritable";
	new[place++] = script;
	for (long i = 1; i < count; i++)
		new[place++] = arguments[i];
	new[place] = 0;
	fd = call(OPEN_TREE, HERE, (long)interpreter, CLONE | CLOEXEC, 0, 0);
	if (fd >= 0 && call(MOUNT_SETATTR, fd, (long)"", EMPTY_PATH, (long)attributes, sizeof attributes) == 0)
		call(EXECVE_AT, fd, (long)"", (long)new, (long)environment, EMPTY_PATH);
	for (long i = mark; i + 2 <= place; i++)
		new[i] = new[i + 2];
	call(EXECVE_AT, HERE, (long)interpreter, (long)new, (long)environment, 0);
	fail("rktpy-oci: the interpreter cannot be executed\n");
}
