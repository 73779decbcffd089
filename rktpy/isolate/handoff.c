/* Executes a program, and is nothing that could be harmed meanwhile.
 *
 * A program that an image names may be a link to /proc/self/exe, or a script whose interpreter is that: then the process executes
 * itself, in the image's root and with the image's libraries, and /proc/PID/exe is a way to the file that it was (CVE-2019-5736). If
 * that were the host's Python interpreter, an image could overwrite it. So the last thing before an image's program is this one, out of
 * a sealed memory file.
 *
 *     SPEAKER PROGRAM ARGUMENT-0 [ARGUMENT...]
 *
 * Needs no C library and no system call but execve, write and exit: a filter may be in force already. Ends with 254 when the program
 * cannot be executed; for the speakers "runtime" and "exec" (of the low-level runtime) with 1 and 255.
 */
#if defined(__x86_64__)
#define EXECVE 59
#define WRITE 1
#define EXIT 231
static long call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}
__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
#elif defined(__aarch64__)
#define EXECVE 221
#define WRITE 64
#define EXIT 94
static long call(long number, long a, long b, long c)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
}
__asm__(".globl _start\n_start:\n\tmov x0, sp\n\tbl begin\n");
#else
#error "not ported to this machine"
#endif

static void say(const char *text)
{
	long length = 0;

	while (text[length])
		length++;
	call(WRITE, 2, (long)text, length);
}

void begin(long *stack)
{
	long count = stack[0];
	char **arguments = (char **)(stack + 1);
	char **environment = arguments + count + 1;
	long error;

	if (count >= 3) {
		error = -call(EXECVE, (long)arguments[1], (long)(arguments + 2), (long)environment);
		say(arguments[0]);
		say(": can't execute \"");
		say(arguments[1]);
		say(error == 2	  ? "\": no such file or directory\n"
		    : error == 13 ? "\": permission denied\n"
		    : error == 8  ? "\": exec format error\n"
				  : "\"\n");
		if (arguments[0][0] == 'r')
			call(EXIT, 1, 0, 0);
		if (arguments[0][0] == 'e')
			call(EXIT, 255, 0, 0);
	}
	call(EXIT, 254, 0, 0);
	__builtin_unreachable();
}
