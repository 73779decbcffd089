"""Running another process in a container. Hot-path module."""

from __future__ import annotations

import os

from rktpy.errors import FormatError, RktpyError
from rktpy.formats.oci.runtime.process import Process
from rktpy.oci import talk
from rktpy.oci.accompany import send_listener, set_oom_score, write_pid_file
from rktpy.oci.command_line import Arguments
from rktpy.oci.container import Container
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.joining import clone_into
from rktpy.oci.loading import load_more
from rktpy.oci.main import state_root
from rktpy.oci.messages import flush_warnings
from rktpy.oci.preload import preload
from rktpy.oci.process_of import process_of
from rktpy.oci.request import preserved_of
from rktpy.oci.setup import Setup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from rktpy.formats.oci.runtime.config import RuntimeConfig

_FAILED = 255


def execute(arguments: Arguments) -> int:
    """Run another process in a container; its status, 0 with ``--detach``.

    Raises RuntimeFailure with the status 255, which tells a failure of ours from one of the process.
    """
    try:
        return _run(arguments)
    except (RktpyError, OSError) as error:
        if isinstance(error, RuntimeFailure) and error.status != 1:
            raise
        from rktpy.errors import innermost

        text = str(error) if isinstance(error, (RuntimeFailure, FormatError)) and error.__cause__ is None else innermost(error)
        raise RuntimeFailure(f"exec failed: {text}", _FAILED) from None


def _run(arguments: Arguments) -> int:
    container = Container.load(state_root(arguments), arguments.args[0])
    status = container.status()
    if status == "stopped":
        raise RuntimeFailure("cannot exec in a stopped container")
    if status == "paused" and not arguments.switch("ignore-paused"):
        raise RuntimeFailure("cannot exec in a paused container (use --ignore-paused to override)")
    config = container.config()
    process = process_of(arguments, config)
    preserved = preserved_of(arguments)
    for fd in range(3, 3 + preserved):
        os.fstat(fd)
    detach = arguments.switch("detach")
    console_socket = arguments.text("console-socket")
    if process.terminal and detach and not console_socket:
        raise RuntimeFailure("cannot allocate tty if runc will detach without setting console socket")
    if console_socket and not process.terminal:
        raise RuntimeFailure("cannot use console socket if runc will not detach or allocate tty")
    ours, theirs = talk.pair()
    setup = Setup(process, theirs)
    setup.config, setup.preserved, setup.program, setup.container_id = config, preserved, "exec", container.id
    if config.linux.seccomp is not None:
        load_more("filter")
        from rktpy.oci.filter import compile_filter

        compile_filter(setup, config)
    terminal: socket | None = None
    if process.terminal:
        setup.console, terminal = _console(console_socket)
    if not detach:
        from rktpy.oci.foreground import hold_signals

        setup.signal_mask = hold_signals(subreaper=False)
    preload(setup)
    pid, pidfd = clone_into(setup, container, arguments.repeated("cgroup"), ours)
    theirs.close()
    if setup.console is not None:
        setup.console.close()
    try:
        _accompany(ours, pid, pidfd, config, container, process)
        if arguments.text("pidfd-socket"):
            from rktpy.oci.terminal import connect, send_descriptor

            connection = connect(arguments.text("pidfd-socket"))
            send_descriptor(connection, pidfd, b"pidfd")
            connection.close()
        if arguments.text("pid-file"):
            write_pid_file(arguments.text("pid-file"), pid)
        talk.answer(ours)
        if talk.next_message(ours)[0]:
            raise RuntimeFailure("the process said something unexpected")
    except BaseException:
        _end(pid, pidfd)
        raise
    if detach:
        return 0
    flush_warnings()
    if terminal is not None:
        from rktpy.oci.relay import receive_master, relay

        return relay(pid, pidfd, receive_master(terminal))
    from rktpy.oci.foreground import wait_for

    return wait_for(pid, pidfd)


def _console(path: str) -> tuple[socket, socket | None]:
    """Where the process sends its terminal, and the other end when that is ours."""
    if path:
        from rktpy.oci.terminal import connect

        return connect(path), None
    from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socketpair

    theirs, ours = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
    return theirs, ours


def _accompany(ours: socket, pid: int, pidfd: int, config: RuntimeConfig, container: Container, process: Process) -> None:
    if process.oom_score_adj is not None:
        set_oom_score(pid, process.oom_score_adj)
    if process.rlimits and "user" in config.linux.namespaces:
        from rktpy.oci.accompany import raise_rlimits

        raise_rlimits(pid, process)
    while True:
        kind, text = talk.next_message(ours)
        if kind == b"C":
            return
        if kind != b"L":
            raise RuntimeFailure("the process ended while it was set up")
        send_listener(pidfd, int(text), config, container, pid)
        talk.answer(ours)


def _end(pid: int, pidfd: int) -> None:
    from rktpy.linux.syscalls import pidfd_send_signal

    try:
        pidfd_send_signal(pidfd, 9, 0)
        os.waitpid(pid, 0)
    except OSError:
        pass
