"""Run a Python function as root in namespaces of its own, so that a test on the real kernel leaves the machine alone.

:func:`isolated` forks, enters new mount, pid, ipc, uts (and on request network) namespaces and calls the function there. Inside:

- a private mount tree, a /proc of the new pid namespace, empty tmpfs on /run and /sys/fs/cgroup;
- a /dev of its own (a runtime that changes the owner of its stdio would else change the machine's /dev/null);
- with ``cgroups=True``: a cgroup subtree of its own in every hierarchy that the machine has mounted, seen as the root of
  hierarchies mounted below /sys/fs/cgroup as on the machine; it is removed afterwards. $RKTPY_TEST_CGROUP names the v2 group
  that it is made in: one that hands out its controllers, which the test's own group, with processes in it, cannot do.

When the function returns, or the time is up, every process left in the pid namespace is killed and all mounts are gone.
"""

from __future__ import annotations

import os
import pickle
import select
import stat
import time
import traceback
from collections.abc import Callable
from signal import SIGKILL
from typing import Any, TypeVar

from rktpy.linux import constants as c
from rktpy.linux import syscalls

T = TypeVar("T")

_DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0), ("fuse", 10, 229))
_LINKS = (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"))


class Hierarchy:
    """One cgroup hierarchy mounted on the machine: where, and with which filesystem type and options to mount it again."""

    def __init__(self, mount_point: str, fstype: str, options: str, own: str) -> None:
        self.mount_point = mount_point
        self.fstype = fstype
        self.options = options
        self.own = own

    def subtree(self, name: str) -> str:
        return os.path.join(self.mount_point, self.own.lstrip("/"), name)


def can_isolate() -> bool:
    """Whether this process may make the namespaces (CAP_SYS_ADMIN)."""
    return bool(syscalls.capget()[0] & 1 << 21)


def hierarchies() -> list[Hierarchy]:
    """The cgroup hierarchies that are mounted here and that this process is a member of by a path below the mount."""
    membership: dict[str, str] = {}
    with open("/proc/self/cgroup") as lines:
        for line in lines:
            _number, controllers, path = line.rstrip("\n").split(":", 2)
            membership[controllers] = path
    given = os.environ.get("RKTPY_TEST_CGROUP") or membership.get("", "/")
    found: dict[str, Hierarchy] = {}  # by mount point: a later mount covers an earlier one
    with open("/proc/self/mountinfo") as lines:
        for line in lines:
            left, right = line.rstrip("\n").split(" - ", 1)
            mount_point = left.split()[4]
            fstype, _source, super_options = right.split(" ", 2)
            if fstype == "cgroup2":
                found[mount_point] = Hierarchy(mount_point, fstype, "", given)
            elif fstype == "cgroup":
                for controllers, path in membership.items():
                    if controllers and set(controllers.split(",")) <= set(super_options.split(",")):
                        found[mount_point] = Hierarchy(mount_point, fstype, controllers, path)
    return list(found.values())


def controllers() -> set[str]:
    """The controllers, of v1 and v2, that a function called with ``cgroups=True`` finds."""
    found: set[str] = set()
    for tree in hierarchies():
        if tree.fstype == "cgroup2":
            with open(os.path.join(tree.mount_point, tree.own.lstrip("/"), "cgroup.controllers")) as file:
                found.update(file.read().split())
        else:
            found.update(tree.options.split(","))
    return found


def _own_groups() -> list[str]:
    """The directories of this process's own groups in the v2 hierarchies that are mounted."""
    with open("/proc/self/cgroup") as lines:
        own = "".join(line.rstrip("\n").partition("::")[2] for line in lines if line.startswith("0::"))
    return [f"{tree.mount_point}{own.rstrip('/')}" for tree in hierarchies() if tree.fstype == "cgroup2"]


def isolated(
    function: Callable[..., T],
    *arguments: Any,
    timeout: float = 30.0,
    cgroups: bool = False,
    network: bool = False,
) -> T:
    """Call ``function(*arguments)`` in namespaces of its own and return its (picklable) result.

    ``timeout`` is in seconds. An exception inside is raised here as AssertionError with the traceback from there.
    """
    name = f"rktpy-test-{os.getpid()}-{time.monotonic_ns()}"
    trees = hierarchies() if cgroups else []
    read_end, write_end = os.pipe()
    try:
        for tree in trees:
            _make_subtree(tree, name)
        child = os.fork()
        if child == 0:
            os.close(read_end)
            _guarded(write_end, lambda: _enter(function, arguments, write_end, trees, name, network))
        os.close(write_end)
        write_end = -1
        data = _collect(read_end, child, timeout)
    finally:
        os.close(read_end)
        if write_end >= 0:
            os.close(write_end)
        for tree in trees:
            _remove_subtree(tree.subtree(name))
    if not data:
        raise AssertionError(f"{function.__name__} ended without a result")
    good, value = pickle.loads(data)
    if not good:
        raise AssertionError(value)
    return value  # type: ignore[no-any-return]


def _collect(read_end: int, child: int, timeout: float) -> bytes:
    """Everything from the pipe until the child ends; kills it when the time is up."""
    deadline = time.monotonic() + timeout
    chunks: list[bytes] = []
    poller = select.poll()
    poller.register(read_end, select.POLLIN)
    timed_out = False
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poller.poll(left * 1000):
            timed_out = True
            os.kill(child, SIGKILL)
            break
        chunk = os.read(read_end, 1 << 16)
        if not chunk:
            break
        chunks.append(chunk)
    os.waitpid(child, 0)
    if timed_out:
        raise AssertionError(f"still running after {timeout} seconds")
    return b"".join(chunks)


def _guarded(write_end: int, call: Callable[[], None]) -> None:
    """Run ``call`` in a forked child: report what it raises, never return."""
    status = 1
    try:
        call()
        status = 0
    except BaseException:
        os.write(write_end, pickle.dumps((False, traceback.format_exc())))
    finally:
        os._exit(status)


def _enter(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    write_end: int,
    trees: list[Hierarchy],
    name: str,
    network: bool,
) -> None:
    # Opened now: the other process is going to mount over these paths, and we leave these groups.
    outside = [os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for path in _own_groups() if trees]
    for tree in trees:
        with open(os.path.join(tree.subtree(name), "cgroup.procs"), "w") as file:
            file.write("0")
    flags = c.CLONE_NEWNS | c.CLONE_NEWPID | c.CLONE_NEWIPC | c.CLONE_NEWUTS | c.CLONE_NEWCGROUP
    syscalls.unshare(flags | (c.CLONE_NEWNET if network else 0))
    init = os.fork()
    if init == 0:
        _guarded(write_end, lambda: _init(function, arguments, write_end, trees))
    os.close(write_end)
    for fd in outside:
        # A process that is seen from nowhere inside would keep the group from handing out controllers.
        os.write(fd, b"0")
    os.waitpid(init, 0)


def _init(function: Callable[..., Any], arguments: tuple[Any, ...], write_end: int, trees: list[Hierarchy]) -> None:
    syscalls.prctl(c.PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    _mounts(trees)
    worker = os.fork()
    if worker == 0:
        _guarded(write_end, lambda: _work(function, arguments, write_end))
    os.close(write_end)
    while os.wait()[0] != worker:
        pass


def _work(function: Callable[..., Any], arguments: tuple[Any, ...], write_end: int) -> None:
    data = pickle.dumps((True, function(*arguments)))
    while data:
        data = data[os.write(write_end, data) :]


def _mounts(trees: list[Hierarchy]) -> None:
    syscalls.mount(None, "/", None, c.MS_REC | c.MS_PRIVATE, None)
    syscalls.mount("proc", "/proc", "proc", c.MS_NOSUID | c.MS_NODEV | c.MS_NOEXEC, None)
    syscalls.mount("tmpfs", "/run", "tmpfs", c.MS_NOSUID, "mode=755")
    _dev()
    syscalls.mount("tmpfs", "/sys/fs/cgroup", "tmpfs", c.MS_NOSUID, "mode=755")
    for tree in trees:
        target = os.path.join("/sys/fs/cgroup", os.path.basename(tree.mount_point)) if tree.options or len(trees) > 1 else ""
        if target:
            os.mkdir(target)
        syscalls.mount("cgroup", target or "/sys/fs/cgroup", tree.fstype, 0, tree.options or None)


def _dev() -> None:
    staging = "/run/dev"
    os.mkdir(staging)
    syscalls.mount("tmpfs", staging, "tmpfs", c.MS_NOSUID, "mode=755")
    for name, major, minor in _DEVICES:
        os.mknod(f"{staging}/{name}", stat.S_IFCHR, os.makedev(major, minor))
        os.chmod(f"{staging}/{name}", 0o666)
    for name, target in _LINKS:
        os.symlink(target, f"{staging}/{name}")
    for name in ("pts", "shm"):
        os.mkdir(f"{staging}/{name}")
    syscalls.mount("devpts", f"{staging}/pts", "devpts", c.MS_NOSUID | c.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    syscalls.mount("tmpfs", f"{staging}/shm", "tmpfs", c.MS_NOSUID | c.MS_NODEV, "mode=1777")
    os.symlink("pts/ptmx", f"{staging}/ptmx")
    syscalls.mount(staging, "/dev", None, c.MS_MOVE, None)
    os.rmdir(staging)


def _make_subtree(tree: Hierarchy, name: str) -> None:
    path = tree.subtree(name)
    os.mkdir(path)
    if "cpuset" in tree.options.split(","):
        for setting in ("cpuset.cpus", "cpuset.mems"):
            with open(os.path.join(os.path.dirname(path), setting)) as file:
                value = file.read().strip()
            with open(os.path.join(path, setting), "w") as file:
                file.write(value)


def _remove_subtree(path: str) -> None:
    """Remove a cgroup and everything below it; its processes are dying, which takes the kernel a moment."""
    deadline = time.monotonic() + 5
    for directory, _names, _files in os.walk(path, topdown=False):
        while True:
            try:
                os.rmdir(directory)
                break
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
