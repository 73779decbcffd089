/*
 * System calls for rktpy, limited API of Python 3.11.
 *
 * One function per system call. A function retries on EINTR (letting Python's signal handlers run first, as PEP 475 does) and raises
 * OSError with errno and the path it was given. It decides nothing, logs nothing, keeps nothing.
 *
 * Structures and numbers of newer calls are spelt out here so that the file builds with old kernel headers. The numbers from 424 on
 * are the same on all architectures.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_move_mount
#define SYS_move_mount 429
#endif
#ifndef SYS_fsopen
#define SYS_fsopen 430
#endif
#ifndef SYS_fsconfig
#define SYS_fsconfig 431
#endif
#ifndef SYS_fsmount
#define SYS_fsmount 432
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

struct how_to_open {
    uint64_t flags, mode, resolve;
};

struct mount_attributes {
    uint64_t attr_set, attr_clr, propagation, userns_fd;
};

struct clone_arguments {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

struct program_to_load { /* the beginning of union bpf_attr for BPF_PROG_LOAD */
    uint32_t type, count;
    uint64_t instructions, license;
    uint32_t log_level, log_size;
    uint64_t log;
    uint32_t kernel_version, flags;
    char name[16];
    uint32_t interface, attach_type;
};

struct program_to_attach { /* the same for BPF_PROG_ATTACH */
    uint32_t target_fd, program_fd, attach_type, flags;
};

struct filter_instruction {
    uint16_t code;
    uint8_t jt, jf;
    uint32_t k;
};

struct filter_program {
    unsigned short len;
    const struct filter_instruction *filter;
};

struct cap_header {
    uint32_t version;
    int pid;
};

struct cap_data {
    uint32_t effective, permitted, inheritable;
};

#define CAP_VERSION_3 0x20080522u

#define WITH_CHILD_CLEARTID 0x00200000u
#define WITH_CHILD_SETTID 0x01000000u
#define WITH_PIDFD 0x00001000u
#define WITH_VM 0x00000100u
#define WITH_SETTLS 0x00080000u
#define AS_SIBLING 0x00008000u /* CLONE_PARENT */
#define INTO_CGROUP 0x200000000ull
#define GET_TID_ADDRESS 40

/* Run `call` without the interpreter lock until it is not interrupted. When a signal handler raised, the result is -1 and the exception
 * is set, which raised() leaves alone. */
#define RETRY(result, call)                                                                                                          \
    do {                                                                                                                             \
        int errno_;                                                                                                                  \
        Py_BEGIN_ALLOW_THREADS                                                                                                       \
        result = (long)(call);                                                                                                       \
        errno_ = errno;                                                                                                              \
        Py_END_ALLOW_THREADS                                                                                                         \
        errno = errno_;                                                                                                              \
    } while (result < 0 && errno == EINTR && PyErr_CheckSignals() == 0)

/* A path argument: str or bytes as PyUnicode_FSConverter takes them, or None for a null pointer. */
struct path {
    PyObject *given;
    PyObject *bytes;
    const char *text;
};

static int path_converter(PyObject *argument, void *address)
{
    struct path *path = address;
    if (argument == NULL) { /* a later argument was wrong */
        Py_CLEAR(path->bytes);
        return 1;
    }
    path->given = argument;
    path->bytes = NULL;
    path->text = NULL;
    if (argument == Py_None)
        return 1;
    if (!PyUnicode_FSConverter(argument, &path->bytes))
        return 0;
    path->text = PyBytes_AsString(path->bytes);
    return path->text != NULL ? Py_CLEANUP_SUPPORTED : 0;
}

static PyObject *raised(PyObject *first, PyObject *second)
{
    if (PyErr_Occurred())
        return NULL;
    if (first == Py_None)
        first = NULL;
    if (second == Py_None)
        second = NULL;
    if (first == NULL) {
        first = second;
        second = NULL;
    }
    if (second == NULL)
        return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, first);
    return PyErr_SetFromErrnoWithFilenameObjects(PyExc_OSError, first, second);
}

static PyObject *none(long result, PyObject *first, PyObject *second)
{
    if (result < 0)
        return raised(first, second);
    Py_RETURN_NONE;
}

static PyObject *number(long result, PyObject *first)
{
    if (result < 0)
        return raised(first, NULL);
    return PyLong_FromLong(result);
}

static PyObject *sys_mount(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct path source = {0}, target = {0}, fstype = {0}, data = {0};
    unsigned long flags;
    long result;
    PyObject *answer;
    if (!PyArg_ParseTuple(args, "O&O&O&kO&:mount", path_converter, &source, path_converter, &target, path_converter, &fstype, &flags,
                          path_converter, &data))
        return NULL;
    RETRY(result, mount(source.text, target.text, fstype.text, flags, data.text));
    answer = none(result, target.given, source.given);
    Py_XDECREF(source.bytes);
    Py_XDECREF(target.bytes);
    Py_XDECREF(fstype.bytes);
    Py_XDECREF(data.bytes);
    return answer;
}

static PyObject *sys_umount2(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct path target = {0};
    int flags;
    long result;
    PyObject *answer;
    if (!PyArg_ParseTuple(args, "O&i:umount2", path_converter, &target, &flags))
        return NULL;
    RETRY(result, umount2(target.text, flags));
    answer = none(result, target.given, NULL);
    Py_XDECREF(target.bytes);
    return answer;
}

static PyObject *sys_pivot_root(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct path new_root = {0}, put_old = {0};
    long result;
    PyObject *answer;
    if (!PyArg_ParseTuple(args, "O&O&:pivot_root", path_converter, &new_root, path_converter, &put_old))
        return NULL;
    RETRY(result, syscall(SYS_pivot_root, new_root.text, put_old.text));
    answer = none(result, new_root.given, put_old.given);
    Py_XDECREF(new_root.bytes);
    Py_XDECREF(put_old.bytes);
    return answer;
}

static PyObject *sys_unshare(PyObject *Py_UNUSED(module), PyObject *args)
{
    unsigned int flags;
    long result;
    if (!PyArg_ParseTuple(args, "I:unshare", &flags))
        return NULL;
    RETRY(result, unshare((int)flags));
    return none(result, NULL, NULL);
}

/* clone3(2) as os.fork() forks: two processes, each with its copy of the memory and of the interpreter. The child goes on in this
 * thread, so the lock that the import system may hold and the handlers of os.register_at_fork are seen to. The C library is passed by:
 * of what its fork() does, the number of the thread that it keeps (raise() reads it) is set by the kernel at the address that it was
 * told when the thread began; the locks of its allocator are free as long as no other thread runs.
 * Not repeated when interrupted: the kernel restarts it. Flags that would share the memory or the thread pointer make no copy. */
static PyObject *sys_clone3(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct clone_arguments arguments = {0};
    unsigned long long flags;
    uint64_t tid_address = 0;
    int cgroup_fd, pidfd = -1, errno_;
    long pid;
    if (!PyArg_ParseTuple(args, "Ki:clone3", &flags, &cgroup_fd))
        return NULL;
    if (flags & (WITH_VM | WITH_SETTLS)) {
        errno = EINVAL;
        return raised(NULL, NULL);
    }
    arguments.flags = flags | WITH_PIDFD;
    arguments.pidfd = (uint64_t)(uintptr_t)&pidfd;
    arguments.exit_signal = flags & AS_SIBLING ? 0 : SIGCHLD; /* a sibling's is that of the caller */
    if (cgroup_fd >= 0) {
        arguments.flags |= INTO_CGROUP;
        arguments.cgroup = (uint64_t)cgroup_fd;
    }
    if (prctl(GET_TID_ADDRESS, &tid_address, 0, 0, 0) == 0 && tid_address != 0) {
        arguments.flags |= WITH_CHILD_SETTID | WITH_CHILD_CLEARTID;
        arguments.child_tid = tid_address;
    }
    PyOS_BeforeFork();
    pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    errno_ = errno;
    if (pid == 0) {
        PyOS_AfterFork_Child();
        pidfd = -1;
    } else {
        PyOS_AfterFork_Parent();
    }
    errno = errno_;
    if (pid < 0)
        return raised(NULL, NULL);
    return Py_BuildValue("(li)", pid, pidfd);
}

static PyObject *sys_setns(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd;
    unsigned int nstype;
    long result;
    if (!PyArg_ParseTuple(args, "iI:setns", &fd, &nstype))
        return NULL;
    RETRY(result, setns(fd, (int)nstype));
    return none(result, NULL, NULL);
}

static PyObject *sys_open_tree(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct path path = {0};
    int dirfd;
    unsigned int flags;
    long result;
    PyObject *answer;
    if (!PyArg_ParseTuple(args, "iO&I:open_tree", &dirfd, path_converter, &path, &flags))
        return NULL;
    RETRY(result, syscall(SYS_open_tree, dirfd, path.text, flags));
    answer = number(result, path.given);
    Py_XDECREF(path.bytes);
    return answer;
}

static PyObject *sys_move_mount(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct path from = {0}, to = {0};
    int from_fd, to_fd;
    unsigned int flags;
    long result;
    PyObject *answer;
    if (!PyArg_ParseTuple(args, "iO&iO&I:move_mount", &from_fd, path_converter, &from, &to_fd, path_converter, &to, &flags))
        return NULL;
    RETRY(result, syscall(SYS_move_mount, from_fd, from.text, to_fd, to.text, flags));
    answer = none(result, to.given, from.given);
    Py_XDECREF(from.bytes);
    Py_XDECREF(to.bytes);
    return answer;
}

static PyObject *sys_fsopen(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *fstype;
    unsigned int flags;
    long result;
    if (!PyArg_ParseTuple(args, "sI:fsopen", &fstype, &flags))
        return NULL;
    RETRY(result, syscall(SYS_fsopen, fstype, flags));
    return number(result, NULL);
}

static PyObject *sys_fsconfig(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct path key = {0}, value = {0};
    int fd, aux;
    unsigned int command;
    long result;
    PyObject *answer;
    if (!PyArg_ParseTuple(args, "iIO&O&i:fsconfig", &fd, &command, path_converter, &key, path_converter, &value, &aux))
        return NULL;
    RETRY(result, syscall(SYS_fsconfig, fd, command, key.text, value.text, aux));
    answer = none(result, value.given, NULL);
    Py_XDECREF(key.bytes);
    Py_XDECREF(value.bytes);
    return answer;
}

static PyObject *sys_fsmount(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd;
    unsigned int flags, attributes;
    long result;
    if (!PyArg_ParseTuple(args, "iII:fsmount", &fd, &flags, &attributes))
        return NULL;
    RETRY(result, syscall(SYS_fsmount, fd, flags, attributes));
    return number(result, NULL);
}

static PyObject *sys_mount_setattr(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct path path = {0};
    struct mount_attributes attributes = {0};
    int dirfd;
    unsigned int flags;
    unsigned long long attr_set, attr_clr, propagation, userns_fd;
    long result;
    PyObject *answer;
    if (!PyArg_ParseTuple(args, "iO&IKKKK:mount_setattr", &dirfd, path_converter, &path, &flags, &attr_set, &attr_clr, &propagation,
                          &userns_fd))
        return NULL;
    attributes.attr_set = attr_set;
    attributes.attr_clr = attr_clr;
    attributes.propagation = propagation;
    attributes.userns_fd = userns_fd;
    RETRY(result, syscall(SYS_mount_setattr, dirfd, path.text, flags, &attributes, sizeof attributes));
    answer = none(result, path.given, NULL);
    Py_XDECREF(path.bytes);
    return answer;
}

static PyObject *sys_openat2(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct path path = {0};
    struct how_to_open how = {0};
    int dirfd;
    unsigned long long flags, mode, resolve;
    long result;
    PyObject *answer;
    if (!PyArg_ParseTuple(args, "iO&KKK:openat2", &dirfd, path_converter, &path, &flags, &mode, &resolve))
        return NULL;
    how.flags = flags;
    how.mode = mode;
    how.resolve = resolve;
    RETRY(result, syscall(SYS_openat2, dirfd, path.text, &how, sizeof how));
    answer = number(result, path.given);
    Py_XDECREF(path.bytes);
    return answer;
}

static PyObject *sys_renameat2(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct path from = {0}, to = {0};
    int from_fd, to_fd;
    unsigned int flags;
    long result;
    PyObject *answer;
    if (!PyArg_ParseTuple(args, "iO&iO&I:renameat2", &from_fd, path_converter, &from, &to_fd, path_converter, &to, &flags))
        return NULL;
    RETRY(result, syscall(SYS_renameat2, from_fd, from.text, to_fd, to.text, flags));
    answer = none(result, from.given, to.given);
    Py_XDECREF(from.bytes);
    Py_XDECREF(to.bytes);
    return answer;
}

static PyObject *sys_syncfs(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd;
    long result;
    if (!PyArg_ParseTuple(args, "i:syncfs", &fd))
        return NULL;
    RETRY(result, syncfs(fd));
    return none(result, NULL, NULL);
}

static PyObject *sys_sync_file_range(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd;
    long long offset, length;
    unsigned int flags;
    long result;
    if (!PyArg_ParseTuple(args, "iLLI:sync_file_range", &fd, &offset, &length, &flags))
        return NULL;
    RETRY(result, sync_file_range(fd, offset, length, flags));
    return none(result, NULL, NULL);
}

static PyObject *sys_sethostname(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *name;
    Py_ssize_t length;
    long result;
    if (!PyArg_ParseTuple(args, "s#:sethostname", &name, &length))
        return NULL;
    RETRY(result, sethostname(name, (size_t)length));
    return none(result, NULL, NULL);
}

static PyObject *sys_setdomainname(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *name;
    Py_ssize_t length;
    long result;
    if (!PyArg_ParseTuple(args, "s#:setdomainname", &name, &length))
        return NULL;
    RETRY(result, setdomainname(name, (size_t)length));
    return none(result, NULL, NULL);
}

static PyObject *sys_prctl(PyObject *Py_UNUSED(module), PyObject *args)
{
    int option;
    unsigned long second, third, fourth, fifth;
    long result;
    if (!PyArg_ParseTuple(args, "ikkkk:prctl", &option, &second, &third, &fourth, &fifth))
        return NULL;
    RETRY(result, prctl(option, second, third, fourth, fifth));
    return number(result, NULL);
}

static PyObject *sys_capget(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    struct cap_header header = {CAP_VERSION_3, 0};
    struct cap_data data[2] = {{0}};
    if (syscall(SYS_capget, &header, data) < 0)
        return raised(NULL, NULL);
    return Py_BuildValue("(KKK)", (unsigned long long)data[1].effective << 32 | data[0].effective,
                         (unsigned long long)data[1].permitted << 32 | data[0].permitted,
                         (unsigned long long)data[1].inheritable << 32 | data[0].inheritable);
}

static PyObject *sys_capset(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct cap_header header = {CAP_VERSION_3, 0};
    struct cap_data data[2] = {{0}};
    unsigned long long effective, permitted, inheritable;
    if (!PyArg_ParseTuple(args, "KKK:capset", &effective, &permitted, &inheritable))
        return NULL;
    data[0].effective = (uint32_t)effective;
    data[1].effective = (uint32_t)(effective >> 32);
    data[0].permitted = (uint32_t)permitted;
    data[1].permitted = (uint32_t)(permitted >> 32);
    data[0].inheritable = (uint32_t)inheritable;
    data[1].inheritable = (uint32_t)(inheritable >> 32);
    return none(syscall(SYS_capset, &header, data), NULL, NULL);
}

/* seccomp(SECCOMP_SET_MODE_FILTER): the program is the bytes of struct sock_filter[], in the machine's byte order. */
static PyObject *sys_seccomp_filter(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct filter_program program = {0};
    const char *bytes;
    Py_ssize_t length;
    unsigned int flags;
    long result;
    if (!PyArg_ParseTuple(args, "y#I:seccomp_filter", &bytes, &length, &flags))
        return NULL;
    if (length % (Py_ssize_t)sizeof(struct filter_instruction) != 0 || length / (Py_ssize_t)sizeof(struct filter_instruction) > 65535) {
        errno = EINVAL;
        return raised(NULL, NULL);
    }
    program.len = (unsigned short)(length / (Py_ssize_t)sizeof(struct filter_instruction));
    program.filter = (const struct filter_instruction *)bytes;
    RETRY(result, syscall(SYS_seccomp, 1u, flags, &program));
    return number(result, NULL);
}

static PyObject *sys_close_range(PyObject *Py_UNUSED(module), PyObject *args)
{
    unsigned int first, last, flags;
    long result;
    if (!PyArg_ParseTuple(args, "III:close_range", &first, &last, &flags))
        return NULL;
    RETRY(result, syscall(SYS_close_range, first, last, flags));
    return none(result, NULL, NULL);
}

static PyObject *sys_pidfd_open(PyObject *Py_UNUSED(module), PyObject *args)
{
    int pid;
    unsigned int flags;
    long result;
    if (!PyArg_ParseTuple(args, "iI:pidfd_open", &pid, &flags))
        return NULL;
    RETRY(result, syscall(SYS_pidfd_open, pid, flags));
    return number(result, NULL);
}

static PyObject *sys_pidfd_send_signal(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd, number_of_signal;
    unsigned int flags;
    long result;
    if (!PyArg_ParseTuple(args, "iiI:pidfd_send_signal", &fd, &number_of_signal, &flags))
        return NULL;
    RETRY(result, syscall(SYS_pidfd_send_signal, fd, number_of_signal, NULL, flags));
    return none(result, NULL, NULL);
}

static PyObject *sys_pidfd_getfd(PyObject *Py_UNUSED(module), PyObject *args)
{
    int pidfd, fd;
    unsigned int flags;
    long result;
    if (!PyArg_ParseTuple(args, "iiI:pidfd_getfd", &pidfd, &fd, &flags))
        return NULL;
    RETRY(result, syscall(SYS_pidfd_getfd, pidfd, fd, flags));
    return number(result, NULL);
}

/* fstatfs(2): only the type of the file system. */
static PyObject *sys_filesystem_type(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct statfs status;
    int fd;
    long result;
    if (!PyArg_ParseTuple(args, "i:filesystem_type", &fd))
        return NULL;
    RETRY(result, fstatfs(fd, &status));
    if (result < 0)
        return raised(NULL, NULL);
    return PyLong_FromUnsignedLongLong((unsigned long long)status.f_type & 0xffffffffull);
}

/* prlimit(2): limits as unsigned numbers; gives those that were in force before. */
static PyObject *sys_prlimit(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct {
        uint64_t soft, hard;
    } limits, before;
    unsigned long long soft, hard;
    int pid, resource, change;
    long result;
    if (!PyArg_ParseTuple(args, "iipKK:prlimit", &pid, &resource, &change, &soft, &hard))
        return NULL;
    limits.soft = soft;
    limits.hard = hard;
    RETRY(result, syscall(SYS_prlimit64, pid, resource, change ? &limits : NULL, &before));
    if (result < 0)
        return raised(NULL, NULL);
    return Py_BuildValue("(KK)", (unsigned long long)before.soft, (unsigned long long)before.hard);
}

static PyObject *sys_ioprio_set(PyObject *Py_UNUSED(module), PyObject *args)
{
    int which, who, priority;
    long result;
    if (!PyArg_ParseTuple(args, "iii:ioprio_set", &which, &who, &priority))
        return NULL;
    RETRY(result, syscall(SYS_ioprio_set, which, who, priority));
    return none(result, NULL, NULL);
}

/* sched_setattr(2): the attributes are the bytes of struct sched_attr, whose first number is its size. */
static PyObject *sys_sched_setattr(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *attributes;
    Py_ssize_t length;
    int pid;
    unsigned int flags;
    long result;
    if (!PyArg_ParseTuple(args, "iy#I:sched_setattr", &pid, &attributes, &length, &flags))
        return NULL;
    if (length < 48) { /* the first version of the structure */
        errno = EINVAL;
        return raised(NULL, NULL);
    }
    RETRY(result, syscall(SYS_sched_setattr, pid, attributes, flags));
    return none(result, NULL, NULL);
}

static PyObject *sys_personality(PyObject *Py_UNUSED(module), PyObject *args)
{
    unsigned long persona;
    long result;
    if (!PyArg_ParseTuple(args, "k:personality", &persona))
        return NULL;
    RETRY(result, syscall(SYS_personality, persona));
    return number(result, NULL);
}

/* set_mempolicy(2): the nodes are a bit mask of whole words. */
static PyObject *sys_set_mempolicy(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *nodes;
    Py_ssize_t length;
    int mode;
    long result;
    if (!PyArg_ParseTuple(args, "iy#:set_mempolicy", &mode, &nodes, &length))
        return NULL;
    if (length % (Py_ssize_t)sizeof(unsigned long) != 0) {
        errno = EINVAL;
        return raised(NULL, NULL);
    }
    RETRY(result, syscall(SYS_set_mempolicy, mode, length ? nodes : NULL, length ? (unsigned long)length * 8 + 1 : 0));
    return none(result, NULL, NULL);
}

/* landlock_create_ruleset(2): the attributes are the bytes of struct landlock_ruleset_attr; None to ask for the version of the ABI. */
static PyObject *sys_landlock_create_ruleset(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *attributes;
    Py_ssize_t length;
    unsigned int flags;
    long result;
    if (!PyArg_ParseTuple(args, "z#I:landlock_create_ruleset", &attributes, &length, &flags))
        return NULL;
    RETRY(result, syscall(SYS_landlock_create_ruleset, attributes, attributes ? (size_t)length : 0, flags));
    return number(result, NULL);
}

/* landlock_add_rule(2): the attributes are the bytes of the structure that the type of rule has; the kernel reads no more of them. */
static PyObject *sys_landlock_add_rule(PyObject *Py_UNUSED(module), PyObject *args)
{
    char padded[64] = {0};
    const char *attributes;
    Py_ssize_t length;
    int fd;
    unsigned int type, flags;
    long result;
    if (!PyArg_ParseTuple(args, "iIy#I:landlock_add_rule", &fd, &type, &attributes, &length, &flags))
        return NULL;
    if (length > (Py_ssize_t)sizeof padded) {
        errno = E2BIG;
        return raised(NULL, NULL);
    }
    memcpy(padded, attributes, (size_t)length); /* the call is not told the length */
    RETRY(result, syscall(SYS_landlock_add_rule, fd, type, padded, flags));
    return none(result, NULL, NULL);
}

static PyObject *sys_landlock_restrict_self(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd;
    unsigned int flags;
    long result;
    if (!PyArg_ParseTuple(args, "iI:landlock_restrict_self", &fd, &flags))
        return NULL;
    RETRY(result, syscall(SYS_landlock_restrict_self, fd, flags));
    return none(result, NULL, NULL);
}

/* keyctl(KEYCTL_JOIN_SESSION_KEYRING): None for a keyring without a name. */
static PyObject *sys_keyctl_join(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *name;
    long result;
    if (!PyArg_ParseTuple(args, "z:keyctl_join", &name))
        return NULL;
    RETRY(result, syscall(SYS_keyctl, 1, name, 0, 0, 0));
    return number(result, NULL);
}

/* bpf(BPF_PROG_LOAD): the program is the bytes of struct bpf_insn[], in the machine's byte order. */
static PyObject *sys_bpf_load(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct program_to_load load = {0};
    const char *bytes, *license;
    Py_ssize_t length;
    unsigned int type, attach_type;
    long result;
    if (!PyArg_ParseTuple(args, "Iy#sI:bpf_load", &type, &bytes, &length, &license, &attach_type))
        return NULL;
    load.type = type;
    load.count = (uint32_t)(length / 8);
    load.instructions = (uint64_t)(uintptr_t)bytes;
    load.license = (uint64_t)(uintptr_t)license;
    load.attach_type = attach_type;
    RETRY(result, syscall(SYS_bpf, 5, &load, sizeof load));
    return number(result, NULL);
}

static PyObject *sys_bpf_attach(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct program_to_attach attach = {0};
    int target, program;
    unsigned int type, flags;
    long result;
    if (!PyArg_ParseTuple(args, "iiII:bpf_attach", &target, &program, &type, &flags))
        return NULL;
    attach.target_fd = (uint32_t)target;
    attach.program_fd = (uint32_t)program;
    attach.attach_type = type;
    attach.flags = flags;
    RETRY(result, syscall(SYS_bpf, 8, &attach, sizeof attach));
    return none(result, NULL, NULL);
}

#define METHOD(name, signature) {#name, sys_##name, METH_VARARGS, signature}

static PyMethodDef methods[] = {
    METHOD(mount, "mount(source, target, fstype, flags, data)"),
    METHOD(umount2, "umount2(target, flags)"),
    METHOD(pivot_root, "pivot_root(new_root, put_old)"),
    METHOD(unshare, "unshare(flags)"),
    METHOD(clone3, "clone3(flags, cgroup_fd) -> (pid, pidfd)"),
    METHOD(setns, "setns(fd, nstype)"),
    METHOD(open_tree, "open_tree(dirfd, path, flags) -> fd"),
    METHOD(move_mount, "move_mount(from_fd, from_path, to_fd, to_path, flags)"),
    METHOD(fsopen, "fsopen(fstype, flags) -> fd"),
    METHOD(fsconfig, "fsconfig(fd, command, key, value, aux)"),
    METHOD(fsmount, "fsmount(fd, flags, attributes) -> fd"),
    METHOD(mount_setattr, "mount_setattr(dirfd, path, flags, attr_set, attr_clr, propagation, userns_fd)"),
    METHOD(openat2, "openat2(dirfd, path, flags, mode, resolve) -> fd"),
    METHOD(renameat2, "renameat2(from_fd, from_path, to_fd, to_path, flags)"),
    METHOD(syncfs, "syncfs(fd)"),
    METHOD(sync_file_range, "sync_file_range(fd, offset, length, flags)"),
    METHOD(sethostname, "sethostname(name)"),
    METHOD(setdomainname, "setdomainname(name)"),
    METHOD(prctl, "prctl(option, arg2, arg3, arg4, arg5) -> int"),
    {"capget", sys_capget, METH_NOARGS, "capget() -> (effective, permitted, inheritable)"},
    METHOD(capset, "capset(effective, permitted, inheritable)"),
    METHOD(seccomp_filter, "seccomp_filter(program, flags) -> int"),
    METHOD(landlock_create_ruleset, "landlock_create_ruleset(attributes, flags) -> fd or version"),
    METHOD(landlock_add_rule, "landlock_add_rule(fd, type, attributes, flags)"),
    METHOD(landlock_restrict_self, "landlock_restrict_self(fd, flags)"),
    METHOD(keyctl_join, "keyctl_join(name) -> serial number of the keyring"),
    METHOD(bpf_load, "bpf_load(type, program, license, attach_type) -> fd"),
    METHOD(bpf_attach, "bpf_attach(target_fd, program_fd, attach_type, flags)"),
    METHOD(close_range, "close_range(first, last, flags)"),
    METHOD(pidfd_open, "pidfd_open(pid, flags) -> fd"),
    METHOD(pidfd_send_signal, "pidfd_send_signal(fd, signal, flags)"),
    METHOD(pidfd_getfd, "pidfd_getfd(pidfd, fd, flags) -> fd"),
    METHOD(filesystem_type, "filesystem_type(fd) -> f_type of fstatfs"),
    METHOD(prlimit, "prlimit(pid, resource, change, soft, hard) -> (soft, hard) before"),
    METHOD(ioprio_set, "ioprio_set(which, who, priority)"),
    METHOD(sched_setattr, "sched_setattr(pid, attributes, flags)"),
    METHOD(personality, "personality(persona) -> the persona before"),
    METHOD(set_mempolicy, "set_mempolicy(mode, nodes)"),
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "rktpy.linux._sys", "System calls that Python 3.11's os lacks.", 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__sys(void)
{
    return PyModuleDef_Init(&definition);
}
