"""Calling a stage1's entry points about one app of a running pod: app/add, app/rm, app/start, app/stop and attach.

Those of a bundled stage1 are called in this process. Those of a foreign one are programs in its root, which is mounted in the
mount namespace that stage0 made for the pod: a child joins that namespace through the process that ``ppid`` or ``pid`` names and
executes the program there, beside the pod's mounts. A stage1 whose process has left that namespace cannot be reached so.

Arguments, environment and working directory as in rkt 1.30's ``stage0/common.go`` (CrossingEntrypoint). Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import RktpyError, Stage1Error, StateError, innermost
from rktpy.formats import jsondoc
from rktpy.formats.stage1 import (
    APP_ROOT_FD,
    DEFAULT_PATH,
    ENTER,
    ENTER_APP,
    ENTER_COMMAND,
    ENTER_PID,
    INTERFACE_VERSION,
    STAGE1_MANIFEST,
    STAGE1_ROOTFS,
)
from rktpy.linux.constants import CLONE_NEWNS
from rktpy.linux.syscalls import setns
from rktpy.log import debug, debugging, note
from rktpy.stage0 import stage1_image
from rktpy.stage0.enter import container_pid
from rktpy.stage0.pod_files import objects_in
from rktpy.stage0.pod_states import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rktpy.stage0.pods import Pod

_ANNOTATION_PREFIX = INTERFACE_VERSION.rpartition("/")[0]
_LARGEST_OUTPUT = 1 << 20
#: What rkt's app/stop gives for an app that has no unit (systemctl).
NO_SUCH_UNIT = 5


def call_app(pod: Pod, name: str, app: str, arguments: list[str], *, interactive: bool = False, root_fd: int = -1) -> int:
    """Call the entry point ``name`` (``app_add`` ... ``attach``) about ``app`` and wait for its end; its exit status.

    What it prints is shown with ``--debug`` only, unless it is ``interactive``: then it has this command's streams. ``root_fd``
    is handed to a bundled stage1 as the app's root. Raises StateError when the stage1 has no such entry point or cannot be
    reached, and what a bundled one raises.
    """
    annotation = f"{_ANNOTATION_PREFIX}/{name.replace('_', '/', 1)}"
    path = _entry_point(pod, annotation)
    if not path:
        raise StateError(f"{quoted(annotation)} not implemented for pod's stage1")
    try:
        pid = container_pid(pod)
    except (RktpyError, OSError) as error:
        raise StateError(f"unable to determine the pid for pod {quoted(pod.uuid)}") from error
    bundled = pod.bundled_stage1
    if bundled is not None:
        debug("stage0", f"Calling {name} of stage1 {bundled} {arguments}")
        program = stage1_image.bundled_program(bundled, _entry_point(pod, ENTER))
        return _call_here(pod, bundled, name, arguments, _environment(program, pid, app, root_fd))
    environment = _environment(f"{pod.path}/{STAGE1_ROOTFS}/{_entry_point(pod, ENTER)}", pid, app, -1)
    environment["PATH"] = os.environ.get("PATH") or DEFAULT_PATH
    program = f"{pod.path}/{STAGE1_ROOTFS}/{path}"
    debug("stage0", f"Execing {[program, *arguments]}")
    return _execute(pod, program, arguments, environment, interactive)


def _entry_point(pod: Pod, annotation: str) -> str:
    """The path that the stage1's manifest gives for an entry point, as it was validated when the stage1 was chosen."""
    document = jsondoc.parse_object(pod.read_optional(STAGE1_MANIFEST) or b"{}", "stage1 manifest")
    for pair in objects_in(document.get("annotations")):
        if pair.get("name") == annotation:
            return str(pair.get("value", "")).lstrip("/")
    return ""


def require_success(status: int, name: str) -> None:
    """Raise Stage1Error unless ``status`` is 0."""
    if status:
        raise Stage1Error(f"error executing stage1 entrypoint: {name.replace('_', '/', 1)} ended with status {status}")


def _environment(enter: str, pid: int, app: str, root_fd: int) -> dict[str, str]:
    environment = {ENTER_COMMAND: enter, ENTER_PID: str(pid), ENTER_APP: app}
    if root_fd >= 0:
        environment[APP_ROOT_FD] = str(root_fd)
    return environment


def _call_here(pod: Pod, bundled: str, name: str, arguments: list[str], environment: dict[str, str]) -> int:
    module = stage1_image.bundled_module(bundled, name)
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.environ.update(environment)
    try:
        os.fchdir(pod.fileno())
        status: int = module.main(arguments)
        return status
    finally:
        for variable in environment:
            os.environ.pop(variable, None)
        os.fchdir(before)
        os.close(before)


def _execute(pod: Pod, program: str, arguments: list[str], environment: dict[str, str], interactive: bool) -> int:
    output = -1 if interactive else os.memfd_create("stage1-output", os.MFD_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            if output >= 0:
                null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
                os.dup2(null, 0)
            join_namespace(pod)
            if output >= 0:
                os.dup2(output, 1)
                os.dup2(output, 2)
            os.execve(program, [program, *arguments], environment)
        except (RktpyError, OSError) as error:
            note("stage0", innermost(error))
        finally:
            os._exit(254)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if output >= 0:
        if debugging():
            text = os.pread(output, _LARGEST_OUTPUT, 0).decode("utf-8", "replace").rstrip("\n")
            if text:
                note("stage0", text)
        os.close(output)
    return status if status >= 0 else 128 - status


def in_namespace(pod: Pod, action: Callable[[int, str], None]) -> None:
    """Call ``action`` with the pod's open directory and the path of the stage1's root below it, where that root can be changed.

    For a foreign stage1 of a running pod that is a child in the pod's mount namespace, whose working directory is the pod's.
    Raises what ``action`` raises, from a child as RktpyError with the same words.
    """
    if pod.bundled_stage1 is not None or pod.state != "running":
        action(pod.fileno(), pod.stage1_rootfs())
        return
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        status = 254
        try:
            join_namespace(pod)
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            action(fd, STAGE1_ROOTFS)
            status = 0
        except (RktpyError, OSError) as error:
            os.write(writer, innermost(error).encode("utf-8", "backslashreplace")[:4096])
        finally:
            os._exit(status)
    os.close(writer)
    problem = b""
    while chunk := os.read(reader, 4096):
        problem += chunk
    os.close(reader)
    if os.waitpid(child, 0)[1] != 0:
        raise RktpyError(problem.decode("utf-8", "replace") or "a process in the pod's mount namespace died")


def join_namespace(pod: Pod) -> None:
    """Move this process (of one thread) into the mount namespace that stage0 made for the pod, into the pod's directory.

    Raises StateError when the pod's process is in another one, where the pod's directory is not to be found.
    """
    pid = pod.recorded_parent_pid()
    if pid is None:
        pid = pod.recorded_pid()
    problem = f"the process {pid} of the pod's stage1 does not share the mounts that the pod was started with"
    try:
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StateError("the process of the pod's stage1 cannot be reached") from error
    try:
        # A number that has been used again may be any process.
        if os.path.samestat(os.fstat(namespace), os.stat("/proc/self/ns/mnt")):
            raise StateError(problem)
        setns(namespace, CLONE_NEWNS)
    finally:
        os.close(namespace)
    try:
        os.chdir(pod.path)
        found = os.path.samestat(os.stat("."), os.fstat(pod.fileno()))
        if found and pod.uses_overlay:
            found = os.stat(STAGE1_ROOTFS).st_dev != os.stat(".").st_dev
    except FileNotFoundError:
        found = False
    if not found:
        raise StateError(problem)
