"""``start``. Hot-path module."""

from __future__ import annotations

import os
from errno import ENXIO

from rktpy.oci.command_line import Arguments
from rktpy.oci.container import FIFO, Container
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.main import state_root


def run(arguments: Arguments) -> int:
    """Let the first process of a container go; 0. Raises RktpyError, OSError."""
    container = Container.load(state_root(arguments), arguments.args[0])
    lock = container.lock()
    try:
        start(container)
    finally:
        os.close(lock)
    return 0


def start(container: Container) -> None:
    """Start a container that was created. Raises RuntimeFailure."""
    status = container.status()
    if status == "stopped":
        raise RuntimeFailure("cannot start a container that has stopped")
    if status == "running":
        raise RuntimeFailure("cannot start an already running container")
    if status != "created":
        raise RuntimeFailure(f"cannot start a container in the {status} state")
    path = f"{container.directory}/{FIFO}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == ENXIO:  # nobody waits
            raise RuntimeFailure("cannot start a container that has stopped") from None
        raise
    try:
        os.write(fd, b"0")
        os.unlink(path)
        _wait_until_closed(fd)
    finally:
        os.close(fd)
    with open(f"{container.directory}/config.json", "rb", buffering=0) as file:
        if b'"poststart"' not in (file.readall() or b""):
            return
    hooks = container.config().hooks.get("poststart")
    if hooks:
        from rktpy.oci.hooks import run_hooks

        try:
            run_hooks("poststart", hooks, container.hook_document("running"), str(container.state.get("bundle", "")))
        except RuntimeFailure:
            from rktpy.oci.identity import send_signal

            send_signal(container.pid, container.began, 9)
            raise


def _wait_until_closed(fd: int) -> None:
    """The process closes the fifo by executing its program (or ends)."""
    import select

    poll = select.poll()
    poll.register(fd, 0)  # that nobody reads any more is told anyhow
    poll.poll(None)
