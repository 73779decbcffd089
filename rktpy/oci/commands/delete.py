"""``delete``. Hot-path module."""

from __future__ import annotations

import os
import time

from rktpy.errors import FormatError
from rktpy.oci.command_line import Arguments
from rktpy.oci.container import Container, check_id
from rktpy.oci.destroy import destroy
from rktpy.oci.failure import NoSuchContainer, RuntimeFailure
from rktpy.oci.identity import open_process
from rktpy.oci.main import state_root

_PATIENCE = 10.0
_KILL = 9


def run(arguments: Arguments) -> int:
    """Delete a container; 0. Raises RktpyError, OSError."""
    root, container_id = state_root(arguments), arguments.args[0]
    force = arguments.switch("force")
    try:
        container = Container.load(root, container_id)
    except NoSuchContainer:
        if not force and not _is_rest(root, container_id):
            raise
        _remove_rest(root, container_id)
        return 0
    except FormatError:
        if not force:
            raise
        _remove_rest(root, container_id)
        return 0
    lock = container.lock()
    try:
        status = container.status()
        if status not in ("stopped", "created") and not force:
            raise RuntimeFailure(f"cannot delete container {container.id} that is not stopped: {status}")
        if status != "stopped":
            kill_first(container)
        destroy(container)
    finally:
        os.close(lock)
    return 0


def kill_first(container: Container) -> None:
    """Kill the first process and wait for its end. Raises RuntimeFailure."""
    fd = open_process(container.pid, container.began)
    if fd < 0:
        return
    import select

    from rktpy.linux.syscalls import pidfd_send_signal
    from rktpy.oci.container import is_frozen

    try:
        try:
            pidfd_send_signal(fd, _KILL, 0)
        except ProcessLookupError:
            return
        groups = container.groups
        if is_frozen(groups):
            from rktpy.oci.groups import set_frozen

            set_frozen(groups, frozen=False)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(_PATIENCE * 1000):
            raise RuntimeFailure("container init still running")
    finally:
        os.close(fd)


def _is_rest(root: str, container_id: str) -> bool:
    """What a ``create`` that was killed left: a directory without a state that nobody is at."""
    check_id(container_id)
    from fcntl import LOCK_EX, LOCK_NB, flock

    try:
        fd = os.open(f"{root}/{container_id}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _remove_rest(root: str, container_id: str) -> None:
    check_id(container_id)
    deadline = time.monotonic() + 1
    container = Container(root, container_id)
    while os.path.isdir(container.directory) and not _is_rest(root, container_id):
        if time.monotonic() > deadline:
            raise RuntimeFailure(f"container {container_id} is being made")
        time.sleep(0.01)
    container.remove()
