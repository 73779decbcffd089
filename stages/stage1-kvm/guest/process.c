/* A process of an app: who it is and what it may do, as the host's spec of the app says, then its program. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest.h"

#define HANDLERS 32
/* systemd's status of a program that could not be executed (systemd.exec(5)) */
#define EXIT_EXEC 203

struct spec {
	char *memory; /* what all strings below are in */
	struct list pairs;
	char *program, *name, *root, *directory, *cgroup, *oom, *terminal_type;
	char **argv, **envp, **before[HANDLERS], **after[HANDLERS];
	char streams[3];
	uid_t uid;
	gid_t gid, *groups;
	size_t group_count;
	uint64_t bounding;
	int limits_capabilities, no_new_privileges, notifies;
	struct text seccomp, devices, landlock;
};

static char **strings_of(struct list *list)
{
	char **found = calloc(list->count + 1, sizeof *found);

	for (uint32_t i = 0; found && i < list->count; i++)
		found[i] = list->items[i].data;
	return found;
}

static char **handler(struct text *value)
{
	struct list words = list_read(value->data, value->length);
	char **argv = words.count ? strings_of(&words) : NULL;

	list_free(&words);
	return argv;
}

static void append(char ***array, char *value)
{
	size_t count = 0;

	while (*array && (*array)[count])
		count++;
	*array = realloc(*array, (count + 2) * sizeof **array);
	if (!*array)
		abort();
	(*array)[count] = value;
	(*array)[count + 1] = NULL;
}

static struct spec *bad(struct spec *spec, const char *what, char *problem, size_t size)
{
	snprintf(problem, size, "%s", what);
	spec_free(spec);
	return NULL;
}

/* The pairs belong to a frame, which goes: they are copied. */
struct spec *spec_read(struct list *frame, char *problem, size_t size)
{
	struct spec *spec = calloc(1, sizeof *spec);
	size_t total = 0, befores = 0, afters = 0;
	char *at;

	if (!spec)
		abort();
	for (uint32_t i = 0; i < frame->count; i++)
		total += frame->items[i].length + 1;
	spec->memory = at = malloc(total + 1);
	spec->pairs.items = calloc(frame->count + 1, sizeof *spec->pairs.items);
	spec->pairs.count = frame->count;
	if (!at || !spec->pairs.items)
		abort();
	for (uint32_t i = 0; i < frame->count; i++) {
		struct text *item = &spec->pairs.items[i];

		item->length = frame->items[i].length;
		item->data = at;
		memcpy(at, frame->items[i].data, item->length);
		at[item->length] = 0;
		at += item->length + 1;
	}
	spec->directory = spec->root = spec->oom = spec->cgroup = spec->name = "";
	memset(spec->streams, 'n', 3);
	for (uint32_t i = 0; i + 1 < spec->pairs.count; i += 2) {
		const char *key = spec->pairs.items[i].data;
		struct text *value = &spec->pairs.items[i + 1];

		if (strcmp(key, "name") == 0)
			spec->name = value->data;
		else if (strcmp(key, "root") == 0)
			spec->root = value->data;
		else if (strcmp(key, "directory") == 0)
			spec->directory = value->data;
		else if (strcmp(key, "cgroup") == 0)
			spec->cgroup = value->data;
		else if (strcmp(key, "oom") == 0)
			spec->oom = value->data;
		else if (strcmp(key, "program") == 0)
			spec->program = value->data;
		else if (strcmp(key, "argument") == 0)
			append(&spec->argv, value->data);
		else if (strcmp(key, "variable") == 0)
			append(&spec->envp, value->data);
		else if (strcmp(key, "before") == 0 && befores < HANDLERS - 1)
			spec->before[befores++] = handler(value);
		else if (strcmp(key, "after") == 0 && afters < HANDLERS - 1)
			spec->after[afters++] = handler(value);
		else if (strcmp(key, "streams") == 0 && value->length == 3)
			memcpy(spec->streams, value->data, 3);
		else if (strcmp(key, "uid") == 0)
			spec->uid = (uid_t)strtoul(value->data, NULL, 10);
		else if (strcmp(key, "gid") == 0)
			spec->gid = (gid_t)strtoul(value->data, NULL, 10);
		else if (strcmp(key, "group") == 0) {
			spec->groups = realloc(spec->groups, (spec->group_count + 1) * sizeof *spec->groups);
			if (!spec->groups)
				abort();
			spec->groups[spec->group_count++] = (gid_t)strtoul(value->data, NULL, 10);
		} else if (strcmp(key, "capabilities") == 0) {
			spec->bounding = strtoull(value->data, NULL, 16);
			spec->limits_capabilities = 1;
		} else if (strcmp(key, "no-new-privileges") == 0)
			spec->no_new_privileges = 1;
		else if (strcmp(key, "notifies") == 0)
			spec->notifies = 1;
		else if (strcmp(key, "seccomp") == 0)
			spec->seccomp = *value;
		else if (strcmp(key, "devices") == 0)
			spec->devices = *value;
		else if (strcmp(key, "landlock") == 0)
			spec->landlock = *value;
		else
			return bad(spec, "unknown word in the spec of an app", problem, size);
	}
	if (!spec->argv)
		return bad(spec, "an app without a program", problem, size);
	if (!spec->envp)
		spec->envp = calloc(1, sizeof *spec->envp);
	return spec;
}

void spec_free(struct spec *spec)
{
	for (int i = 0; i < HANDLERS; i++) {
		free(spec->before[i]);
		free(spec->after[i]);
	}
	free(spec->argv);
	free(spec->envp);
	free(spec->groups);
	free(spec->pairs.items);
	free(spec->memory);
	free(spec);
}

const char *spec_name(const struct spec *spec)
{
	return spec->name;
}

const char *spec_root(const struct spec *spec)
{
	return spec->root;
}

const char *spec_cgroup(const struct spec *spec)
{
	return spec->cgroup;
}

int spec_handlers(const struct spec *spec, int after)
{
	int count = 0;

	while ((after ? spec->after : spec->before)[count])
		count++;
	return count;
}

int spec_terminal(const struct spec *spec)
{
	return memchr(spec->streams, 't', 3) != NULL;
}

int spec_notifies(const struct spec *spec)
{
	return spec->notifies;
}

char spec_stream(const struct spec *spec, int number)
{
	return spec->streams[number];
}

static void fail(const char *what, const char *which)
{
	dprintf(2, "can't %s%s%s%s: %s\n", what, *which ? " \"" : "", which, *which ? "\"" : "", strerror(errno));
	_exit(EXIT_EXEC);
}

/* Devices that the processes of a group may use: a program of the kernel's BPF, which is what version 2 of control groups has. */
static void restrict_devices(const struct spec *spec)
{
	union bpf_attr load = { 0 }, attach = { 0 };
	int group = open(spec->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC), program;

	load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	load.insns = (uint64_t)(uintptr_t)spec->devices.data;
	load.insn_cnt = spec->devices.length / 8;
	load.license = (uint64_t)(uintptr_t)"Apache-2.0";
	program = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
	attach.target_fd = (uint32_t)group;
	attach.attach_bpf_fd = (uint32_t)program;
	attach.attach_type = BPF_CGROUP_DEVICE;
	if (group < 0 || program < 0 || syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach) < 0)
		fail("restrict the devices of the app", "");
	close(program);
	close(group);
}

static void join_group(const struct spec *spec)
{
	char path[512];
	int fd;

	snprintf(path, sizeof path, "%s/cgroup.procs", spec->cgroup);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		fail("join the control group of the app", "");
	close(fd);
}

static void enter_root(const struct spec *spec, pid_t beside)
{
	if (beside) {
		char path[64];
		int space, root;

		snprintf(path, sizeof path, "/proc/%d/ns/mnt", (int)beside);
		space = open(path, O_RDONLY | O_CLOEXEC);
		snprintf(path, sizeof path, "/proc/%d/root", (int)beside);
		root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (space < 0 || root < 0 || setns(space, CLONE_NEWNS) < 0 || fchdir(root) < 0 || chroot(".") < 0)
			fail("enter the app", "");
		return;
	}
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || chdir(spec->root) < 0 ||
	    syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		fail("enter the root of the app", "");
}

static void limit_capabilities(const struct spec *spec)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	for (int i = 0;; i++) {
		int has = prctl(PR_CAPBSET_READ, i, 0, 0, 0);

		if (has < 0)
			break;
		if (has && !(spec->bounding >> i & 1) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
			fail("limit capabilities", "");
	}
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capget, &header, data) == 0) {
		data[0].inheritable &= (uint32_t)spec->bounding;
		data[1].inheritable &= (uint32_t)(spec->bounding >> 32);
		syscall(SYS_capset, &header, data);
	}
}

static void become_user(const struct spec *spec)
{
	if (setresgid(spec->gid, spec->gid, spec->gid) < 0 || setgroups(spec->group_count, spec->groups) < 0 ||
	    setresuid(spec->uid, spec->uid, spec->uid) < 0)
		fail("become the user of the app", "");
}

static void filter_calls(const struct spec *spec)
{
	struct sock_fprog program = { (unsigned short)(spec->seccomp.length / 8), (struct sock_filter *)spec->seccomp.data };

	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		fail("filter system calls", "");
}

static int is_program(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

/* As execvp(3), by the app's own PATH. What is found is what will be executed, so that errors name it. */
static const char *find(const char *name, char **envp)
{
	static char path[4096];
	const char *search = "";

	if (strchr(name, '/'))
		return name;
	for (; *envp; envp++)
		if (strncmp(*envp, "PATH=", 5) == 0)
			search = *envp + 5;
	while (*search) {
		size_t length = strcspn(search, ":");

		snprintf(path, sizeof path, "%.*s/%s", (int)length, search, name);
		if (length && is_program(path))
			return path;
		search += length + (search[length] == ':');
	}
	return name;
}

static void set_oom_score(const struct spec *spec)
{
	int fd;

	if (!*spec->oom)
		return;
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, spec->oom, strlen(spec->oom)) < 0)
		fail("set oom_score_adj", "");
	close(fd);
}

static void __attribute__((noreturn)) become(const struct spec *spec, char **argv, const struct streams *streams, pid_t beside)
{
	sigset_t none;
	const char *program, *problem;

	sigemptyset(&none);
	for (int i = 1; i < 65; i++)
		signal(i, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	for (int i = 0; i < 3; i++) {
		int fd = streams->child[i];

		if (fd < 0)
			fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (dup2(fd, i) < 0)
			_exit(EXIT_EXEC);
	}
	if (streams->terminal >= 0 && ioctl(streams->terminal, TIOCSCTTY, 0) < 0)
		fail("take the terminal", "");
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	if (spec->devices.length && !beside)
		restrict_devices(spec);
	if (*spec->cgroup)
		join_group(spec);
	set_oom_score(spec);
	/* From here on other processes of the pod can see this one. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	enter_root(spec, beside);
	if (spec->landlock.length && (spec->no_new_privileges || spec->uid))
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (spec->landlock.length && (problem = landlock_apply(spec->landlock.data, spec->landlock.length)))
		fail("apply Landlock", problem);
	if (spec->limits_capabilities)
		limit_capabilities(spec);
	become_user(spec);
	if (*spec->directory && chdir(spec->directory) < 0)
		fail("change to the working directory", spec->directory);
	if (spec->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		fail("set no-new-privileges", "");
	program = argv == spec->argv && spec->program ? spec->program : find(argv[0], spec->envp);
	if (spec->seccomp.length)
		filter_calls(spec);
	execve(program, argv, spec->envp);
	fail("execute", program);
	_exit(EXIT_EXEC);
}

pid_t process_start(const struct spec *spec, int number, int after, const struct streams *streams, pid_t beside)
{
	char **argv = number < 0 ? spec->argv : (after ? spec->after : spec->before)[number];
	pid_t pid = fork();

	if (pid == 0)
		become(spec, argv, streams, beside);
	return pid;
}
