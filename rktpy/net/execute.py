"""Run a plugin: the executable part of CNI's protocol.

Source: CNI ``SPEC.md`` 1.1.0 section 2 ("Execution protocol"), libcni ``pkg/invoke``. The configuration goes to standard
input, the result comes from standard output, what it says on standard error is shown with ``--debug``. The plugin is run
where the caller is: in the host's network namespace.

A plugin gets no descriptor of ours but one: the lock of the pod's networks (rktpy.net.records), so that nobody takes a
network down while a plugin of a killed command is still at it. The pod's own lock is closed: a plugin that leaves a daemon
behind must not make the pod look alive. Each plugin is a process group, so that one that takes too long is killed with what
it started.

Hot-path module.
"""

from __future__ import annotations

import fcntl
import os
import select
from errno import ECHILD, ESRCH, ETXTBSY
from time import monotonic, sleep

from rktpy.errors import NetworkError
from rktpy.formats.cni.failure import Failure, parse_failure
from rktpy.linux.constants import SIGKILL
from rktpy.log import debug, debugging

SYSTEM_DIRS = ("/usr/lib/rktpy/plugins/net", "/usr/lib/cni", "/opt/cni/bin")

#: Seconds that a plugin may take. DHCP takes its time; nothing that is longer is worth waiting for.
TIMEOUT = 120.0
_LARGEST = 1 << 20  # bytes of one output
_BUSY_TRIES = 5
_SIGPIPE, _SIGXFSZ = 13, 25
_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


class PluginError(NetworkError):
    """A plugin failed. ``failure`` is what it said."""

    def __init__(self, message: str, failure: Failure) -> None:
        self.failure = failure
        super().__init__(message)


def plugin_dirs(local_config: str) -> tuple[str, ...]:
    """Where plugins are looked for, in order: the user's own beside the configurations (as rkt), then the system's."""
    return (f"{local_config}/net.d", *SYSTEM_DIRS) if local_config else SYSTEM_DIRS


def find_plugin(kind: str, dirs: tuple[str, ...]) -> str:
    """The path of the plugin ``kind``. Raises NetworkError."""
    for directory in dirs:
        path = f"{directory}/{kind}"
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise NetworkError(f'could not find plugin "{kind}" in {":".join(dirs)} (Debian has plugins in containernetworking-plugins)')


def run_plugin(path: str, config: bytes, variables: dict[str, str], lock_fd: int = -1, timeout: float = TIMEOUT) -> bytes:
    """Run a plugin to its end and return what it wrote on standard output.

    ``variables`` are those of CNI (``CNI_COMMAND`` ...), ``config`` what it reads, ``lock_fd`` a descriptor that it shall
    keep (-1: none), ``timeout`` in seconds. Raises PluginError when it fails, NetworkError when it cannot be run or takes too
    long.
    """
    stdout, stderr, status = run_program([path], config, variables, lock_fd, timeout)
    name = os.path.basename(path)
    if debugging():
        for line in stderr.decode("utf-8", "backslashreplace").splitlines():
            debug("networking", f"{name}: {line}")
    if status != 0:
        failure = parse_failure(stdout, stderr)
        how = f" (killed by signal {-status})" if status < 0 else ""
        raise PluginError(f"plugin {name} failed on {variables['CNI_COMMAND']}{how}: {failure}", failure)
    return stdout


def run_program(
    argv: list[str], stdin: bytes = b"", variables: dict[str, str] | None = None, lock_fd: int = -1, timeout: float = TIMEOUT
) -> tuple[bytes, bytes, int]:
    """Run a program (``argv[0]`` is its path) to its end: what it wrote on its two outputs, and its exit status.

    A negative status is the signal that killed it. Raises NetworkError when it cannot be run or takes too long.
    """
    deadline = monotonic() + timeout
    started = _start(argv, stdin, {**_environment(), **(variables or {})}, lock_fd)
    return _collect(argv[0], started, deadline)


def find_program(name: str) -> str:
    """The path of a program of the system, empty when it is not there."""
    for directory in _environment()["PATH"].split(":"):
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return ""


def _environment() -> dict[str, str]:
    """Ours, without what others meant for us, and with a PATH on which iptables is found."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("CNI_", "RKT_", "LISTEN_", "NOTIFY_SOCKET"))
    }
    present = environment.get("PATH", "").split(":") if environment.get("PATH") else []
    environment["PATH"] = ":".join([*present, *[directory for directory in _PATH if directory not in present]])
    return environment


def _start(argv: list[str], config: bytes, environment: dict[str, str], lock_fd: int) -> tuple[int, int, int]:
    """Start it; its process ID and the ends of its outputs. Waits for a file that is being written (a second, five times)."""
    stdin = _above_standard(os.memfd_create("stdin", os.MFD_CLOEXEC))
    ends: list[int] = [stdin]
    try:
        rest = memoryview(config)
        while rest:
            rest = rest[os.write(stdin, rest) :]
        os.lseek(stdin, 0, os.SEEK_SET)
        out, out_child = map(_above_standard, os.pipe2(os.O_CLOEXEC))
        ends += [out, out_child]
        err, err_child = map(_above_standard, os.pipe2(os.O_CLOEXEC))
        ends += [err, err_child]
        actions: list[tuple[int, int, int] | tuple[int, int]] = [
            (os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable_fds() if fd != lock_fd
        ]
        actions += [(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate((stdin, out_child, err_child))]
        if lock_fd >= 0:
            actions.append((os.POSIX_SPAWN_DUP2, lock_fd, lock_fd))
        pid = _spawn(argv, environment, actions)
    except BaseException:
        for fd in ends:
            os.close(fd)
        raise
    for fd in (stdin, out_child, err_child):
        os.close(fd)
    return pid, out, err


def _above_standard(fd: int) -> int:
    """``fd``, moved if a caller without standard streams let it become one of them."""
    if fd > 2:
        return fd
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return moved


def _spawn(argv: list[str], environment: dict[str, str], actions: list[tuple[int, int, int] | tuple[int, int]]) -> int:
    tries = 0
    while True:
        try:
            return os.posix_spawn(
                argv[0],
                argv,
                environment,
                file_actions=actions,
                setpgroup=0,
                # Python ignores these two, and ignored signals stay ignored through execve(2).
                setsigdef=(_SIGPIPE, _SIGXFSZ),
            )
        except OSError as error:
            if error.errno != ETXTBSY or tries == _BUSY_TRIES:
                raise NetworkError(f"cannot execute {argv[0]}") from OSError(error.errno, error.strerror)
        tries += 1
        sleep(1)


def _inheritable_fds() -> list[int]:
    """The descriptors above 2 that a program would get from us."""
    found: list[int] = []
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2:
            try:
                if not fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                    found.append(fd)
            except OSError:
                pass  # the one that listed them
    return found


def _collect(path: str, started: tuple[int, int, int], deadline: float) -> tuple[bytes, bytes, int]:
    """What it writes until it ends, and its exit status (negative: the signal that killed it)."""
    pid, out, err = started
    pidfd = -1
    outputs: dict[int, list[bytes]] = {out: [], err: []}
    sizes = {out: 0, err: 0}
    reaped = False
    try:
        pidfd = os.pidfd_open(pid)
        poller = select.poll()
        for fd in (out, err):
            os.set_blocking(fd, False)
            poller.register(fd, select.POLLIN)
        poller.register(pidfd, select.POLLIN)
        reading = {out, err}
        ended = False
        while not ended:
            left = deadline - monotonic()
            ready = poller.poll(left * 1000) if left > 0 else []
            if not ready:
                raise NetworkError(f"{path} took too long and was killed")
            # A daemon that it leaves behind may keep the pipes open: its own end is the end.
            ended = any(fd == pidfd for fd, _event in ready)
            for fd in tuple(reading) if ended else [fd for fd, _event in ready]:
                if not _drain(fd, outputs[fd], sizes):
                    reading.remove(fd)
                    poller.unregister(fd)
            if max(sizes.values()) > _LARGEST:
                raise NetworkError(f"{path} wrote more than {_LARGEST} bytes and was killed")
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        reaped = True
    finally:
        if not reaped:
            _kill(pid)
        for fd in (out, err, pidfd):
            if fd >= 0:
                os.close(fd)
    return b"".join(outputs[out]), b"".join(outputs[err]), status


def _drain(fd: int, parts: list[bytes], sizes: dict[int, int]) -> bool:
    """Read what is there. False at the end of the file."""
    while sizes[fd] <= _LARGEST:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return True
        if not data:
            return False
        parts.append(data)
        sizes[fd] += len(data)
    return True


def _kill(pid: int) -> None:
    """Kill the plugin with its group, and wait for its end."""
    try:
        os.killpg(pid, SIGKILL)
    except OSError as error:
        if error.errno != ESRCH:
            raise
    try:
        os.waitpid(pid, 0)
    except OSError as error:
        if error.errno != ECHILD:
            raise
