"""Operations on containers of a pod: by its runtime, on the pod in the working directory. Hot-path module."""

from __future__ import annotations

import os

from rktpy.errors import Stage1Error
from rktpy.formats import stage1 as names
from rktpy.isolate.plan import shown
from rktpy.stage1.oci.paths import CONMON
from rktpy.stage1.oci.runtime import Runtime, call, execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


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
    """Run an event handler of an app in a container of its own, with the caller's output, and wait. Raises Stage1Error."""
    container = f"{app}.handler"
    child = os.fork()
    if child == 0:
        _become(runtime.command("run", "--bundle", f"{os.getcwd()}/{bundle}", container))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise Stage1Error(f"app {app}: event handler of {shown(bundle)} failed with status {status}", abs(status))


def _become(command: list[str]) -> NoReturn:
    execute(command, stdout=os.dup(1), stderr=os.dup(2))


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
