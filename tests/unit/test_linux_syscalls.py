"""The C extension and its ctypes fallback: the same functions, the same errors."""

from __future__ import annotations

import errno
import functools
import inspect
import os
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from types import ModuleType

import pytest

from rktpy.linux import _ctypes, syscalls
from rktpy.linux import constants as c

try:
    from rktpy.linux import _sys
except ImportError:
    _sys = None  # type: ignore[assignment, unused-ignore]


@pytest.fixture(params=["extension", "ctypes"])
def calls(request: pytest.FixtureRequest) -> ModuleType:
    if request.param == "ctypes":
        return _ctypes
    if _sys is None:
        pytest.skip("the C extension is not built")
    return _sys


def test_same_names() -> None:
    if _sys is None:
        pytest.skip("the C extension is not built")
    ours = {name for name, value in vars(_sys).items() if not name.startswith("_") and callable(value)}
    fallback = {name for name, value in vars(_ctypes).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert ours == fallback == set(syscalls.__all__)


def test_importing_the_fallback_does_not_load_ctypes() -> None:
    program = f"import sys; sys.path.insert(0, {os.getcwd()!r}); import rktpy.linux._ctypes; sys.exit('ctypes' in sys.modules)"
    assert subprocess.run([sys.executable, "-I", "-c", program]).returncode == 0


@pytest.mark.parametrize("path", ["/does/not/exist", b"/does/not/exist"])
def test_error_carries_errno_and_path(calls: ModuleType, path: str | bytes) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        calls.openat2(c.AT_FDCWD, path, os.O_RDONLY, 0, 0)
    assert raised.value.errno == errno.ENOENT
    assert raised.value.filename == path


def test_two_paths_in_an_error(calls: ModuleType, tmp_path: object) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        calls.renameat2(c.AT_FDCWD, f"{tmp_path}/a", c.AT_FDCWD, f"{tmp_path}/b", 0)
    assert (raised.value.filename, raised.value.filename2) == (f"{tmp_path}/a", f"{tmp_path}/b")


def test_embedded_null_byte_is_refused(calls: ModuleType) -> None:
    with pytest.raises(ValueError, match="null byte"):
        calls.openat2(c.AT_FDCWD, "/tmp\0/x", os.O_RDONLY, 0, 0)


def test_openat2_stays_in_root(calls: ModuleType, tmp_path: object) -> None:
    os.mkdir(f"{tmp_path}/etc")
    with open(f"{tmp_path}/etc/passwd", "w") as file:
        file.write("inside")
    os.symlink("/etc/passwd", f"{tmp_path}/absolute")
    os.symlink("../../../../../../../etc/passwd", f"{tmp_path}/relative")
    root = os.open(str(tmp_path), os.O_PATH | os.O_DIRECTORY)
    try:
        for name in ("absolute", "relative", "/../../etc/passwd"):
            fd = calls.openat2(root, name, os.O_RDONLY | os.O_CLOEXEC, 0, c.RESOLVE_IN_ROOT)
            with open(fd) as file:
                assert file.read() == "inside"
        with pytest.raises(OSError) as raised:
            calls.openat2(root, "absolute", os.O_RDONLY, 0, c.RESOLVE_NO_SYMLINKS)
        assert raised.value.errno == errno.ELOOP
    finally:
        os.close(root)


def test_renameat2_noreplace_and_exchange(calls: ModuleType, tmp_path: object) -> None:
    for name in "ab":
        with open(f"{tmp_path}/{name}", "w") as file:
            file.write(name)
    with pytest.raises(FileExistsError):
        calls.renameat2(c.AT_FDCWD, f"{tmp_path}/a", c.AT_FDCWD, f"{tmp_path}/b", c.RENAME_NOREPLACE)
    calls.renameat2(c.AT_FDCWD, f"{tmp_path}/a", c.AT_FDCWD, f"{tmp_path}/b", c.RENAME_EXCHANGE)
    with open(f"{tmp_path}/a") as file:
        assert file.read() == "b"


def test_syncing(calls: ModuleType, tmp_path: object) -> None:
    fd = os.open(f"{tmp_path}/f", os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.write(fd, b"x" * 8192)
        calls.sync_file_range(fd, 0, 4096, c.SYNC_FILE_RANGE_WRITE)
    finally:
        os.close(fd)
    with pytest.raises(OSError) as raised:
        calls.syncfs(-1)
    assert raised.value.errno == errno.EBADF


def test_capabilities_read(calls: ModuleType) -> None:
    effective, permitted, inheritable = calls.capget()
    with open("/proc/self/status") as file:
        status = dict(line.split(":\t", 1) for line in file if line.startswith("Cap"))
    assert effective == int(status["CapEff"], 16)
    assert permitted == int(status["CapPrm"], 16)
    assert inheritable == int(status["CapInh"], 16)


def test_prctl_returns_a_number(calls: ModuleType) -> None:
    assert calls.prctl(c.PR_GET_DUMPABLE, 0, 0, 0, 0) in (0, 1, 2)
    with pytest.raises(OSError) as raised:
        calls.prctl(c.PR_CAPBSET_READ, 1000, 0, 0, 0)
    assert raised.value.errno == errno.EINVAL


def test_pidfd(calls: ModuleType) -> None:
    child = subprocess.Popen(["sleep", "60"])
    fd = calls.pidfd_open(child.pid, 0)
    try:
        calls.pidfd_send_signal(fd, signal.SIGKILL, 0)
        assert child.wait(10) == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            calls.pidfd_send_signal(fd, signal.SIGKILL, 0)
    finally:
        os.close(fd)


def in_one_thread(test: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    """Run a test in a fork of this process: there it is the only thread, which a worker of pytest-xdist is not."""

    @functools.wraps(test)
    def forked(calls: ModuleType) -> None:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                test(calls)
                status = 0
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "see the traceback on stderr"

    return forked


def cloned(calls: ModuleType, flags: int, function: Callable[[], int]) -> int:
    """Exit status of ``function`` in a process that clone3 made, waited for through its descriptor."""
    pid, pidfd = calls.clone3(flags, -1)
    if pid == 0:
        status = 99
        try:
            status = function() if pidfd == -1 else 98
        finally:
            os._exit(status)
    try:
        assert not os.get_inheritable(pidfd)
        found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    finally:
        os.close(pidfd)
    assert found is not None and found.si_pid == pid
    return found.si_status


def alone(function: Callable[[], None]) -> None:
    """Call ``function`` in a process of one thread, whatever other tests have left in this one."""

    def child() -> int:
        function()
        return 0

    assert in_child(child) == 0


@in_one_thread
def test_clone3_forks_the_interpreter(calls: ModuleType) -> None:
    def inside() -> None:
        seen: list[str] = []
        os.register_at_fork(
            before=lambda: seen.append("before"),
            after_in_parent=lambda: seen.append("parent"),
            after_in_child=lambda: seen.append("child"),
        )
        assert cloned(calls, 0, lambda: 7 if seen[-2:] == ["before", "child"] else 1) == 7
        assert seen[-2:] == ["before", "parent"]
        assert cloned(calls, 0, lambda: 0 if threading.get_native_id() == os.getpid() else 1) == 0

    alone(inside)


@in_one_thread
def test_the_clone_can_raise_a_signal_and_fork(calls: ModuleType) -> None:
    def child() -> int:
        caught: list[int] = []
        signal.signal(signal.SIGUSR1, lambda number, _frame: caught.append(number))
        signal.raise_signal(signal.SIGUSR1)  # goes to the thread whose number the C library remembers
        return 0 if caught and subprocess.run(["true"]).returncode == 0 else 1

    def inside() -> None:
        assert cloned(calls, 0, child) == 0

    alone(inside)


@pytest.mark.root
@in_one_thread
def test_clone3_into_namespaces(calls: ModuleType) -> None:
    names = ("pid", "mnt", "uts", "ipc", "net", "cgroup")
    outside = {name: os.readlink(f"/proc/self/ns/{name}") for name in names}
    flags = c.CLONE_NEWPID | c.CLONE_NEWNS | c.CLONE_NEWUTS | c.CLONE_NEWIPC | c.CLONE_NEWNET | c.CLONE_NEWCGROUP

    def child() -> int:
        if os.getpid() != 1:
            return 1
        return sum(os.readlink(f"/proc/self/ns/{name}") == link for name, link in outside.items() if name != "pid")

    def inside() -> None:
        assert cloned(calls, flags, child) == 0

    alone(inside)


@in_one_thread
def test_clone3_says_why_it_fails(calls: ModuleType) -> None:
    def inside() -> None:
        for flags in (0x100, c.CLONE_NEWNS | c.CLONE_FS):  # CLONE_VM; a pair that the kernel refuses
            with pytest.raises(OSError) as raised:
                calls.clone3(flags, -1)
            assert raised.value.errno == errno.EINVAL
        with open("/dev/null") as file, pytest.raises(OSError) as raised:
            calls.clone3(0, file.fileno())
        assert raised.value.errno == errno.EBADF

    alone(inside)


def test_the_fallback_does_not_clone_threads() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        with pytest.raises(OSError, match="needs the C extension") as raised:
            _ctypes.clone3(0, -1)
    finally:
        release.set()
        thread.join()
    assert raised.value.errno == errno.ENOSYS


def test_close_range(calls: ModuleType) -> None:
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
    os.set_inheritable(fds[0], True)
    calls.close_range(fds[0], fds[0], c.CLOSE_RANGE_CLOEXEC)
    calls.close_range(fds[1], fds[1], 0)
    assert not os.get_inheritable(fds[0])
    with pytest.raises(OSError):
        os.fstat(fds[1])
    os.close(fds[0])
    os.close(fds[2])


def test_seccomp_program_length_is_checked(calls: ModuleType) -> None:
    with pytest.raises(OSError) as raised:
        calls.seccomp_filter(b"1234567", 0)
    assert raised.value.errno == errno.EINVAL


def in_child(function: object, *arguments: object) -> int:
    """Exit status of ``function`` in a forked child (128 + signal when it was killed)."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            status = function(*arguments)  # type: ignore[operator]
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def test_seccomp_filter_is_installed(calls: ModuleType) -> None:
    # load the system call's number; uname -> ENOSYS; else allow
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (0x20, 0, 0, 0),
            (0x15, 0, 1, {"x86_64": 63, "aarch64": 160}[os.uname().machine]),
            (0x06, 0, 0, c.SECCOMP_RET_ERRNO | errno.ENOSYS),
            (0x06, 0, 0, c.SECCOMP_RET_ALLOW),
        )
    )

    def child() -> int:
        calls.prctl(c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        calls.seccomp_filter(program, 0)
        try:
            os.uname()
        except OSError as error:
            return error.errno
        return 0

    os.uname()
    assert in_child(child) == errno.ENOSYS


def test_landlock_denies_what_no_rule_allows(calls: ModuleType, tmp_path: object) -> None:
    try:
        assert calls.landlock_create_ruleset(None, c.LANDLOCK_CREATE_RULESET_VERSION) >= 1
    except OSError as error:
        assert error.errno in (errno.ENOSYS, errno.EOPNOTSUPP)
        pytest.skip("no Landlock in this kernel")
    for name in ("allowed", "denied"):
        os.mkdir(f"{tmp_path}/{name}")
        with open(f"{tmp_path}/{name}/file", "w") as file:
            file.write(name)

    def child() -> int:
        handled = c.LANDLOCK_ACCESS_FS_READ_FILE
        ruleset = calls.landlock_create_ruleset(struct.pack("=Q", handled), 0)
        directory = os.open(f"{tmp_path}/allowed", os.O_PATH)
        calls.landlock_add_rule(ruleset, c.LANDLOCK_RULE_PATH_BENEATH, struct.pack("=Qi", handled, directory), 0)
        calls.prctl(c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        calls.landlock_restrict_self(ruleset, 0)
        os.close(os.open(f"{tmp_path}/allowed/file", os.O_RDONLY))
        try:
            os.close(os.open(f"{tmp_path}/denied/file", os.O_RDONLY))
        except PermissionError:
            return 0
        return 1

    assert in_child(child) == 0


def test_landlock_says_what_is_wrong(calls: ModuleType) -> None:
    for call in (
        lambda: calls.landlock_create_ruleset(b"\0" * 8192, 0),
        lambda: calls.landlock_add_rule(-1, 1, b"x" * 65, 0),
        lambda: calls.landlock_restrict_self(-1, 0),
    ):
        with pytest.raises(OSError) as raised:
            call()
        assert raised.value.errno in (errno.E2BIG, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP)


def test_a_session_keyring_of_our_own(calls: ModuleType) -> None:
    def child() -> int:
        try:
            first = calls.keyctl_join(None)
        except OSError as error:
            return 50 if error.errno == errno.ENOSYS else 1
        return 0 if 0 < first != calls.keyctl_join(None) else 2

    status = in_child(child)
    if status == 50:
        pytest.skip("no keyrings in this kernel")
    assert status == 0


@pytest.mark.root
def test_a_program_is_loaded_and_what_is_wrong_with_one_is_said(calls: ModuleType) -> None:
    accepted = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 1, 0x95, 0, 0, 0)  # r0 = 1; exit
    fd = calls.bpf_load(c.BPF_PROG_TYPE_CGROUP_DEVICE, accepted, "Apache-2.0", 0)
    assert "anon_inode:bpf-prog" in os.readlink(f"/proc/self/fd/{fd}")
    with pytest.raises(OSError) as raised:
        calls.bpf_attach(fd, fd, c.BPF_CGROUP_DEVICE, c.BPF_F_ALLOW_MULTI)  # not a control group
    os.close(fd)
    assert raised.value.errno == errno.EBADF
    with pytest.raises(OSError) as raised:
        calls.bpf_load(c.BPF_PROG_TYPE_CGROUP_DEVICE, accepted[8:], "Apache-2.0", 0)  # r0 was never set
    assert raised.value.errno in (errno.EACCES, errno.EINVAL)
