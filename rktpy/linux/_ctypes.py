"""The functions of ``_sys.c`` without a compiler: the same names, arguments and errors, through ctypes.

ctypes costs 3-5 ms, so it is loaded at the first call and not when this module is imported. System call numbers from 424 on are
the same on all architectures; the older ones that have no function in every C library are listed per machine.
"""

from __future__ import annotations

import os
from errno import E2BIG, EINTR, EINVAL, ENOSYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any

    Path = str | bytes | PathLike[str]

_AT_424 = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}
_BY_MACHINE = {
    "x86_64": {
        "pivot_root": 155,
        "capget": 125,
        "capset": 126,
        "renameat2": 316,
        "seccomp": 317,
        "keyctl": 250,
        "bpf": 321,
        "prlimit64": 302,
        "ioprio_set": 251,
        "sched_setattr": 314,
        "personality": 135,
        "set_mempolicy": 238,
    },
    "aarch64": {
        "pivot_root": 41,
        "capget": 90,
        "capset": 91,
        "renameat2": 276,
        "seccomp": 277,
        "keyctl": 219,
        "bpf": 280,
        "prlimit64": 261,
        "ioprio_set": 30,
        "sched_setattr": 274,
        "personality": 92,
        "set_mempolicy": 237,
    },
    "i686": {
        "pivot_root": 217,
        "capget": 184,
        "capset": 185,
        "renameat2": 353,
        "seccomp": 354,
        "keyctl": 288,
        "bpf": 357,
        "prlimit64": 340,
        "ioprio_set": 289,
        "sched_setattr": 351,
        "personality": 136,
        "set_mempolicy": 276,
    },
}
_CLONE_PIDFD = 0x1000
_CLONE_CHILD_TID = 0x01200000  # set and clear
_CLONE_PARENT = 0x8000
_CLONE_INTO_CGROUP = 0x200000000
_CLONE_VM_OR_TLS = 0x00080100
_PR_GET_TID_ADDRESS = 40
_SIGCHLD = 17  # the same on all machines of the table above
_CAPABILITY_VERSION_3 = 0x20080522

_loaded: Any = None


def _c() -> Any:
    """ctypes and the C library, once."""
    global _loaded
    if _loaded is None:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        library.syscall.restype = ctypes.c_long
        _loaded = (ctypes, library)
    return _loaded


def _number(name: str) -> int:
    if name in _AT_424:
        return _AT_424[name]
    machine = os.uname().machine
    try:
        return _BY_MACHINE[machine][name]
    except KeyError:
        raise OSError(ENOSYS, f"system call {name} has no known number on {machine}") from None


def _text(path: Path | None) -> bytes | None:
    if path is None:
        return None
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    return encoded


def _checked(call: Any, arguments: tuple[Any, ...], first: object = None, second: object = None) -> int:
    """Call until not interrupted; raise with the first path that was given."""
    ctypes = _c()[0]
    while True:
        result: int = call(*arguments)
        if result >= 0:
            return result
        number: int = ctypes.get_errno()
        if number != EINTR:
            break
    if first is None:
        first, second = second, None
    if second is None:
        raise OSError(number, os.strerror(number), first)
    raise OSError(number, os.strerror(number), first, None, second)


def _raw(name: str, arguments: tuple[Any, ...], first: object = None, second: object = None) -> int:
    """A system call by number; integers are widened to a register, None is a null pointer."""
    ctypes, library = _c()
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(library.syscall, (ctypes.c_long(_number(name)), *wide), first, second)


def mount(source: Path | None, target: Path, fstype: Path | None, flags: int, data: Path | None, /) -> None:
    """mount(2); a path or text may be None for a null pointer."""
    ctypes, library = _c()
    _checked(library.mount, (_text(source), _text(target), _text(fstype), ctypes.c_ulong(flags), _text(data)), target, source)


def umount2(target: Path, flags: int, /) -> None:
    """umount2(2)."""
    _checked(_c()[1].umount2, (_text(target), flags), target)


def pivot_root(new_root: Path, put_old: Path, /) -> None:
    """pivot_root(2)."""
    _raw("pivot_root", (_text(new_root), _text(put_old)), new_root, put_old)


def unshare(flags: int, /) -> None:
    """unshare(2)."""
    ctypes, library = _c()
    _checked(library.unshare, (ctypes.c_int(flags),))


def clone3(flags: int, cgroup_fd: int, /) -> tuple[int, int]:
    """clone3(2) in the manner of os.fork(): (pid, descriptor of the process), in the child (0, -1).

    Between the steps of a fork the interpreter runs here and might let another thread run, for which the child would wait in
    vain: so a process of several threads gets ENOSYS, and needs the C extension.
    """
    if flags & _CLONE_VM_OR_TLS:
        raise OSError(EINVAL, os.strerror(EINVAL))
    if len(os.listdir("/proc/self/task")) > 1:
        raise OSError(ENOSYS, "cloning a process of several threads needs the C extension of rktpy")
    ctypes = _c()[0]
    number = _number("clone3")
    with_lock = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock during the call, as a fork must
    with_lock.syscall.restype = ctypes.c_long
    pidfd = ctypes.c_int(-1)
    tid_address = ctypes.c_uint64(0)
    flags |= _CLONE_PIDFD
    if with_lock.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(tid_address), 0, 0, 0) == 0 and tid_address.value:
        flags |= _CLONE_CHILD_TID
    if cgroup_fd >= 0:
        flags |= _CLONE_INTO_CGROUP
    arguments = (ctypes.c_uint64 * 11)(
        flags,
        ctypes.addressof(pidfd),
        tid_address.value,
        0,
        0 if flags & _CLONE_PARENT else _SIGCHLD,  # a sibling's is that of the caller
        *(0, 0, 0, 0, 0),
        cgroup_fd if cgroup_fd >= 0 else 0,
    )
    ctypes.pythonapi.PyOS_BeforeFork()
    pid: int = with_lock.syscall(ctypes.c_long(number), arguments, ctypes.c_size_t(88))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0, -1
    error: int = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(error, os.strerror(error))
    return pid, pidfd.value


def setns(fd: int, nstype: int, /) -> None:
    """setns(2)."""
    ctypes, library = _c()
    _checked(library.setns, (fd, ctypes.c_int(nstype)))


def open_tree(dirfd: int, path: Path, flags: int, /) -> int:
    """open_tree(2)."""
    return _raw("open_tree", (dirfd, _text(path), flags), path)


def move_mount(from_fd: int, from_path: Path, to_fd: int, to_path: Path, flags: int, /) -> None:
    """move_mount(2)."""
    _raw("move_mount", (from_fd, _text(from_path), to_fd, _text(to_path), flags), to_path, from_path)


def fsopen(fstype: str, flags: int, /) -> int:
    """fsopen(2)."""
    return _raw("fsopen", (_text(fstype), flags))


def fsconfig(fd: int, command: int, key: Path | None, value: Path | None, aux: int, /) -> None:
    """fsconfig(2) with string values."""
    _raw("fsconfig", (fd, command, _text(key), _text(value), aux), value)


def fsmount(fd: int, flags: int, attributes: int, /) -> int:
    """fsmount(2)."""
    return _raw("fsmount", (fd, flags, attributes))


def mount_setattr(dirfd: int, path: Path, flags: int, attr_set: int, attr_clr: int, propagation: int, userns_fd: int, /) -> None:
    """mount_setattr(2)."""
    ctypes = _c()[0]
    attributes = (ctypes.c_uint64 * 4)(attr_set, attr_clr, propagation, userns_fd)
    _raw("mount_setattr", (dirfd, _text(path), flags, attributes, 32), path)


def openat2(dirfd: int, path: Path, flags: int, mode: int, resolve: int, /) -> int:
    """openat2(2)."""
    ctypes = _c()[0]
    how = (ctypes.c_uint64 * 3)(flags, mode, resolve)
    return _raw("openat2", (dirfd, _text(path), how, 24), path)


def renameat2(from_fd: int, from_path: Path, to_fd: int, to_path: Path, flags: int, /) -> None:
    """renameat2(2)."""
    _raw("renameat2", (from_fd, _text(from_path), to_fd, _text(to_path), flags), from_path, to_path)


def syncfs(fd: int, /) -> None:
    """syncfs(2)."""
    _checked(_c()[1].syncfs, (fd,))


def sync_file_range(fd: int, offset: int, length: int, flags: int, /) -> None:
    """sync_file_range(2)."""
    ctypes, library = _c()
    _checked(library.sync_file_range, (fd, ctypes.c_int64(offset), ctypes.c_int64(length), ctypes.c_uint(flags)))


def sethostname(name: str | bytes, /) -> None:
    """sethostname(2)."""
    ctypes, library = _c()
    encoded = name.encode() if isinstance(name, str) else name
    _checked(library.sethostname, (encoded, ctypes.c_size_t(len(encoded))))


def setdomainname(name: str | bytes, /) -> None:
    """setdomainname(2)."""
    ctypes, library = _c()
    encoded = name.encode() if isinstance(name, str) else name
    _checked(library.setdomainname, (encoded, ctypes.c_size_t(len(encoded))))


def prctl(option: int, arg2: int, arg3: int, arg4: int, arg5: int, /) -> int:
    """prctl(2) with integer arguments."""
    ctypes, library = _c()
    return _checked(library.prctl, (option, *(ctypes.c_ulong(value) for value in (arg2, arg3, arg4, arg5))))


def capget() -> tuple[int, int, int]:
    """capget(2) of this thread: the effective, permitted and inheritable sets as bit masks."""
    ctypes = _c()[0]
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    _raw("capget", (header, data))
    return data[3] << 32 | data[0], data[4] << 32 | data[1], data[5] << 32 | data[2]


def capset(effective: int, permitted: int, inheritable: int, /) -> None:
    """capset(2) of this thread, sets as bit masks."""
    ctypes = _c()[0]
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    low = 0xFFFFFFFF
    data = (ctypes.c_uint32 * 6)(
        effective & low, permitted & low, inheritable & low, effective >> 32, permitted >> 32, inheritable >> 32
    )
    _raw("capset", (header, data))


def seccomp_filter(program: bytes, flags: int, /) -> int:
    """seccomp(SECCOMP_SET_MODE_FILTER); ``program`` is the bytes of ``struct sock_filter[]``."""
    ctypes = _c()[0]
    if len(program) % 8 or len(program) // 8 > 65535:
        raise OSError(EINVAL, os.strerror(EINVAL))

    class Program(ctypes.Structure):  # type: ignore[misc, name-defined, unused-ignore]
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

    return _raw("seccomp", (1, flags, ctypes.byref(Program(len(program) // 8, program))))


def landlock_create_ruleset(attributes: bytes | None, flags: int, /) -> int:
    """landlock_create_ruleset(2); ``attributes`` is the bytes of its structure, None to ask for the version of the ABI."""
    return _raw("landlock_create_ruleset", (attributes, len(attributes) if attributes is not None else 0, flags))


def landlock_add_rule(fd: int, type: int, attributes: bytes, flags: int, /) -> None:
    """landlock_add_rule(2); ``attributes`` is the bytes of the structure that the type of rule has."""
    if len(attributes) > 64:
        raise OSError(E2BIG, os.strerror(E2BIG))
    _raw("landlock_add_rule", (fd, type, attributes.ljust(64, b"\0"), flags))


def landlock_restrict_self(fd: int, flags: int, /) -> None:
    """landlock_restrict_self(2)."""
    _raw("landlock_restrict_self", (fd, flags))


def keyctl_join(name: str | None, /) -> int:
    """keyctl(KEYCTL_JOIN_SESSION_KEYRING); None for a keyring without a name."""
    return _raw("keyctl", (1, _text(name), 0, 0, 0))


def bpf_load(type: int, program: bytes, license: str, attach_type: int, /) -> int:
    """bpf(BPF_PROG_LOAD); ``program`` is the bytes of ``struct bpf_insn[]``."""
    ctypes = _c()[0]
    kept = (ctypes.c_char_p(program), ctypes.c_char_p(license.encode()))
    addresses = [ctypes.cast(one, ctypes.c_void_p).value for one in kept]
    attributes = (ctypes.c_uint64 * 9)(type | len(program) // 8 << 32, *addresses, 0, 0, 0, 0, 0, attach_type << 32)
    return _raw("bpf", (5, attributes, 72))


def bpf_attach(target_fd: int, program_fd: int, attach_type: int, flags: int, /) -> None:
    """bpf(BPF_PROG_ATTACH)."""
    ctypes = _c()[0]
    _raw("bpf", (8, (ctypes.c_uint32 * 4)(target_fd, program_fd, attach_type, flags), 16))


def close_range(first: int, last: int, flags: int, /) -> None:
    """close_range(2)."""
    _raw("close_range", (first, last, flags))


def pidfd_open(pid: int, flags: int, /) -> int:
    """pidfd_open(2)."""
    return _raw("pidfd_open", (pid, flags))


def pidfd_send_signal(fd: int, signal: int, flags: int, /) -> None:
    """pidfd_send_signal(2) without siginfo."""
    _raw("pidfd_send_signal", (fd, signal, None, flags))


def pidfd_getfd(pidfd: int, fd: int, flags: int, /) -> int:
    """pidfd_getfd(2)."""
    return _raw("pidfd_getfd", (pidfd, fd, flags))


def filesystem_type(fd: int, /) -> int:
    """The type of the file system that ``fd`` is on: ``f_type`` of fstatfs(2)."""
    ctypes, library = _c()
    status = (ctypes.c_ulong * 32)()
    _checked(library.fstatfs, (fd, status))
    return int(status[0]) & 0xFFFFFFFF


def prlimit(pid: int, resource: int, change: bool, soft: int, hard: int, /) -> tuple[int, int]:
    """prlimit(2): the limits that were in force; they are changed if ``change`` says so."""
    ctypes = _c()[0]
    limits, before = (ctypes.c_uint64 * 2)(soft, hard), (ctypes.c_uint64 * 2)()
    _raw("prlimit64", (pid, resource, limits if change else None, before))
    return before[0], before[1]


def ioprio_set(which: int, who: int, priority: int, /) -> None:
    """ioprio_set(2)."""
    _raw("ioprio_set", (which, who, priority))


def sched_setattr(pid: int, attributes: bytes, flags: int, /) -> None:
    """sched_setattr(2); ``attributes`` is the bytes of ``struct sched_attr``, whose first number is its size."""
    if len(attributes) < 48:
        raise OSError(EINVAL, os.strerror(EINVAL))
    _raw("sched_setattr", (pid, attributes, flags))


def personality(persona: int, /) -> int:
    """personality(2)."""
    return _raw("personality", (persona,))


def set_mempolicy(mode: int, nodes: bytes, /) -> None:
    """set_mempolicy(2); ``nodes`` is a bit mask of whole words."""
    ctypes = _c()[0]
    if len(nodes) % ctypes.sizeof(ctypes.c_ulong):
        raise OSError(EINVAL, os.strerror(EINVAL))
    _raw("set_mempolicy", (mode, nodes or None, len(nodes) * 8 + 1 if nodes else 0))
