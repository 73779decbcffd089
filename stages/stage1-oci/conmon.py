"""An app's container with conmon beside it: it keeps the app's streams and log, and writes down how the app ended.

conmon (github.com/containers/conmon) is what podman and CRI-O put beside a container. It makes the container, tells its process
on a pipe (``_OCI_SYNCPIPE``) and stays until the container has ended; the app is started later by the runtime's ``start``. Its
exit directory is the contract's ``rkt/status``, its log ``oci/logs``. Hot-path module.
"""

from __future__ import annotations

import os
import sys

from rktpy.errors import FormatError, Stage1Error
from rktpy.formats import jsondoc
from rktpy.formats import stage1 as names
from rktpy.stage1.oci.paths import APPS, CONMON, ENDED, STATE
from rktpy.stage1.oci.runtime import Runtime, absolute, execute, find_program, message_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cgroup.subtree import Subtree

_HERE = os.path.dirname(os.path.abspath(__file__))
_LARGEST_ANSWER = 1 << 16


def conmon_program() -> str:
    """The path of the host's conmon. Raises Stage1Error."""
    program = find_program("conmon") or find_program("/usr/libexec/podman/conmon")
    if not program:
        raise Stage1Error("conmon is not installed: stage1-oci puts it beside each app (try --stage1=systemd)")
    return program


def create_container(
    runtime: Runtime, app: str, groups: Subtree | None, *, terminal: bool = False, post_stop: bool = False
) -> int:
    """Make the container of an app of the pod in the working directory; its process ID. The bundle is there.

    ``groups`` are entered first when the runtime leaves containers in the caller's. With ``post_stop`` there are event handlers
    to run when the app has ended. Raises Stage1Error, OSError.
    """
    for path in (f"{CONMON}/{app}", f"{CONMON}/{app}.container", f"{names.STAGE1_ROOTFS}/{names.STATUS_DIR}/{app}"):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
    command = [
        conmon_program(),
        *("--api-version", "1", "--cid", app, "--cuuid", app, "--name", app),
        *("--runtime", runtime.program, "--bundle", absolute(f"{APPS}/{app}")),
        *("--conmon-pidfile", f"{CONMON}/{app}", "--container-pidfile", absolute(f"{CONMON}/{app}.container")),
        *("--exit-dir", ENDED if post_stop else f"{names.STAGE1_ROOTFS}/{names.STATUS_DIR}"),
        *("--persist-dir", f"{CONMON}/{app}.d"),
        *("--log-path", f"k8s-file:{names.OCI_LOGS}/{app}.log", "--log-level", "error"),
        "--full-attach",  # its socket is in the bundle
        *("--runtime-arg", "--root", "--runtime-arg", absolute(STATE)),
        *[word for argument in runtime.arguments for word in ("--runtime-arg", argument)],
        *(_exit_command(app) if post_stop else ()),
        *(("--terminal", "--stdin", "--leave-stdin-open") if terminal else ()),
    ]
    os.makedirs(f"{CONMON}/{app}.d", 0o700, exist_ok=True)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        if runtime.without_groups and groups is not None:
            groups.enter()
        execute(command, keep=(writer,), environment={"_OCI_SYNCPIPE": str(writer)})
    os.close(writer)
    answer = b""
    while chunk := os.read(reader, _LARGEST_ANSWER):
        answer += chunk
        if b"\n" in answer or len(answer) > _LARGEST_ANSWER:
            break
    os.close(reader)
    os.waitpid(child, 0)  # it goes on in a child of its own
    return _process(answer, app, runtime)


def _exit_command(app: str) -> list[str]:
    program = [sys.executable or "/usr/bin/python3", "-IS", f"{_HERE}/ended", app]
    return ["--exit-command", program[0], *[word for argument in program[1:] for word in ("--exit-command-arg", argument)]]


def _process(answer: bytes, app: str, runtime: Runtime) -> int:
    try:
        document = jsondoc.parse_object(answer.partition(b"\n")[0], "answer of conmon")
    except FormatError:
        raise Stage1Error(f"app {app}: conmon could not make the container") from None
    pid = document.get("data", document.get("pid"))
    if type(pid) is int and pid > 0:
        return pid
    said = str(document.get("message", "")).strip().rpartition("\n")[2]
    raise Stage1Error(f"app {app}: {runtime.name}: {message_of(said) or 'the container could not be made'}")
