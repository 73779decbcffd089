"""Operations on containers of a pod: by its runtime, on the pod in the working directory. Hot-path module."""

from __future__ import annotations

import os
from time import time_ns

from rktpy.errors import Stage1Error
from rktpy.formats import stage1 as names
from rktpy.formats.cri_line import log_line
from rktpy.stage1.oci.paths import CONMON
from rktpy.stage1.oci.runtime import Runtime, absolute, call, execute

_LONGEST_LINE = 8192  # conmon's, in bytes


def start_container(runtime: Runtime, container: str) -> None:
    """Let a container that was made execute its program. Raises Stage1Error."""
    call(runtime.command("start", container))


def kill_container(runtime: Runtime, container: str, number: int) -> bool:
    """Send a signal to the first process of a container; whether there was one."""
    try:
        call(runtime.command("kill", container, str(number)))
    except Stage1Error:
        return False
    return True


def delete_container(runtime: Runtime, container: str) -> None:
    """Let the runtime forget a container; one that it does not know is fine. Raises Stage1Error for one that stays."""
    call(runtime.command("delete", "--force", container))


def run_handler(runtime: Runtime, app: str, bundle: str) -> None:
    """Run an event handler of an app in a container of its own and wait for it; what it writes goes to the app's log.

    Raises Stage1Error with its status when it fails.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        command = runtime.command("run", "--bundle", absolute(bundle), f"{app}.handler")
        execute(command, stdout=writer, stderr=writer)
    os.close(writer)
    log = os.open(f"{names.OCI_LOGS}/{app}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(reader, "rb", buffering=_LONGEST_LINE) as output:
        while line := output.readline(_LONGEST_LINE):
            whole = line.endswith(b"\n")
            os.write(log, log_line(time_ns(), "stdout", line.removesuffix(b"\n"), partial=not whole))
    os.close(log)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise Stage1Error(f"app {app}: {bundle.split('/')[-2]} event handler failed with status {status}", status & 0xFF)


def has_ended(app: str) -> bool:
    """Whether it is written down how an app ended."""
    return os.path.exists(f"{names.STAGE1_ROOTFS}/{names.STATUS_DIR}/{app}")


def container_pid(app: str) -> int:
    """The process that an app's container was made with, in the host's view; 0 when there was none."""
    try:
        with open(f"{CONMON}/{app}.container", "rb", buffering=0) as file:
            return int(file.read(32))
    except (FileNotFoundError, ValueError):
        return 0


def is_running(app: str) -> bool:
    """Whether an app of the pod in the working directory was started and has not ended."""
    pid = container_pid(app)
    return bool(pid) and not has_ended(app) and os.path.exists(f"/proc/{pid}")
