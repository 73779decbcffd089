"""Running hooks: the state on standard input, a limit of time, the first that fails ends the series (``config.md``, Hooks)."""

from __future__ import annotations

import os
import select

from rktpy.errors import describe
from rktpy.isolate.handoff import default_signals
from rktpy.linux.syscalls import close_range, pidfd_open
from rktpy.oci.failure import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.oci.runtime.hooks import Hook

_KILL = 9
_CLOEXEC = 4


def run_hooks(kind: str, hooks: tuple[Hook, ...], state: bytes, directory: str = "") -> None:
    """Run all hooks of a kind in order; ``directory`` becomes their working directory.

    Raises RuntimeFailure for the first that fails.
    """
    for number, hook in enumerate(hooks):
        problem = _run(hook, state, directory)
        if problem:
            raise RuntimeFailure(f"error running {kind} hook #{number}: {problem}")


def _run(hook: Hook, state: bytes, directory: str) -> str:
    """Run one; why it failed, empty when it did not."""
    state_reader, state_writer = os.pipe2(os.O_CLOEXEC)
    output_reader, output_writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _become(hook, state_reader, output_writer, directory)
    os.close(state_reader)
    os.close(output_writer)
    pidfd = pidfd_open(pid, 0)
    said = bytearray()
    killed = False
    try:
        killed = not _talk(hook, pid, pidfd, state, state_writer, output_reader, said)
        state_writer = -1
    finally:
        if state_writer >= 0:
            os.close(state_writer)
        os.close(output_reader)
        os.close(pidfd)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    text = said.decode("utf-8", "backslashreplace").strip()
    if killed:
        return f"hook ran past specified timeout of {hook.timeout}s"
    if status == 0:
        return ""
    reason = f"exit status {status}" if status > 0 else f"signal {-status}"
    return f"{reason}, stdout: , stderr: {text}" if text else reason


def _talk(hook: Hook, pid: int, pidfd: int, state: bytes, writer: int, reader: int, said: bytearray) -> bool:
    """Write the state, keep what it says, wait for its end; whether it kept to its time. Closes ``writer``."""
    from time import monotonic

    deadline = monotonic() + hook.timeout if hook.timeout else None
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(reader, select.POLLIN)
    poll.register(writer, select.POLLOUT)
    os.set_blocking(writer, False)
    left = memoryview(state)
    ended = False
    try:
        while not ended:
            remaining = None if deadline is None else max(0.0, deadline - monotonic()) * 1000
            ready = poll.poll(remaining)
            if not ready and deadline is not None and monotonic() >= deadline:
                os.kill(pid, _KILL)
                return False
            for fd, _event in ready:
                if fd == writer:
                    try:
                        left = left[os.write(writer, left) :]
                    except OSError:
                        left = left[:0]  # it does not want to know
                    if not left:
                        poll.unregister(writer)
                        os.close(writer)
                        writer = -1
                elif fd == reader:
                    piece = os.read(reader, 4096)
                    said += piece[: 16384 - len(said)]
                    if not piece:
                        poll.unregister(reader)
                else:
                    ended = True
        os.set_blocking(reader, False)
        try:
            said += os.read(reader, 16384)
        except OSError:
            pass
        return True
    finally:
        if writer >= 0:
            os.close(writer)


def _become(hook: Hook, stdin: int, output: int, directory: str) -> None:
    try:
        os.dup2(stdin, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        close_range(3, 2**32 - 1, _CLOEXEC)
        default_signals()
        if directory:
            os.chdir(directory)
        environment = {name: value for name, _equals, value in [one.partition("=") for one in hook.env]}
        os.execve(hook.path, hook.args, environment)
    except OSError as error:
        os.write(2, f"{describe(error)}".encode("utf-8", "backslashreplace"))
    finally:
        os._exit(127)
