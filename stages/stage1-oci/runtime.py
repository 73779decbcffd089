"""The OCI runtime of a pod: which one, and calling it. Hot-path module.

Its command line is runc's (``create``, ``start``, ``kill``, ``delete``, ``exec``), which crun, runsc and kata-runtime share.
"""

from __future__ import annotations

import os

from rktpy.errors import FormatError, Stage1Error
from rktpy.formats import jsondoc
from rktpy.formats.stage1 import OCI_RUNTIME_FILE
from rktpy.isolate.become import default_signals
from rktpy.isolate.plan import shown
from rktpy.isolate.pod_app import read_file, write_file
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.record import Record
from rktpy.stage1.oci.paths import RUNTIME_FILE, STATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

#: The low-level runtime that comes with rktpy, which is used when none is named.
OWN = "rktpy-oci"
_OWN_PROGRAMS = ("launch", "rktpy-oci")  # of rktpy/oci: the program that starts it where that could be built, and its script
_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LARGEST_FD = 2**32 - 1
_LARGEST_MESSAGE = 8192


class Runtime(Record):
    """A runtime's program and the global arguments that this machine makes necessary.

    ``without_groups`` says why it cannot be given control groups here, empty if it can: its containers stay in the caller's.
    """

    program: str
    arguments: tuple[str, ...] = ()
    without_groups: str = ""

    @property
    def name(self) -> str:
        """The file name of the program."""
        return os.path.basename(self.program)

    def command(self, *arguments: str) -> list[str]:
        """The command line of an operation, for the pod in the working directory."""
        return [self.program, *self.arguments, "--root", absolute(STATE), *arguments]

    def save(self) -> None:
        """Write down which runtime the pod in the working directory has. Raises OSError."""
        document = {"program": self.program, "arguments": list(self.arguments), "withoutGroups": self.without_groups}
        write_file(RUNTIME_FILE, jsondoc.dump(document))

    @classmethod
    def load(cls) -> Runtime:
        """The runtime of the pod in the working directory. Raises FormatError, OSError."""
        what = "runtime of the pod"
        document = jsondoc.parse_object(read_file(RUNTIME_FILE), what)
        program, arguments, reason = document.get("program"), document.get("arguments"), document.get("withoutGroups")
        if type(program) is not str or type(arguments) is not list or type(reason) is not str:
            raise FormatError(what, "", "is damaged")
        return cls(program, tuple([str(argument) for argument in arguments]), reason)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def chosen_runtime() -> Runtime:
    """The runtime that stage0 wrote down for the pod in the working directory, else rktpy's own.

    Raises Stage1Error when it is not there.
    """
    try:
        wanted = os.fsdecode(read_file(OCI_RUNTIME_FILE)).strip()
    except FileNotFoundError:
        wanted = OWN
    program = find_program(wanted) or (_own_program() if wanted == OWN else "")
    if not program:
        raise Stage1Error(f"no OCI runtime {shown(wanted)} is installed")
    return _known(program)


def _own_program() -> str:
    package = f"{os.path.dirname(os.path.dirname(os.path.abspath(jsondoc.__file__)))}/oci"
    return next((path for name in _OWN_PROGRAMS if os.access(path := f"{package}/{name}", os.X_OK)), "")


def _known(program: str) -> Runtime:
    name = os.path.basename(program)
    if name.startswith("crun"):
        from rktpy.cgroup.hierarchy import discover

        if any(hierarchy.version == 1 for hierarchy in discover()):
            # It takes nothing but a pure v2.
            return Runtime(program, ("--cgroup-manager=disabled",), f"{name} uses no control groups of version 1")
    return Runtime(program)


def absolute(path: str) -> str:
    """A file of the pod in the working directory, for a program that goes elsewhere (crun, into the bundle).

    Left relative, which runc and conmon can do with, where the path could not be handed over: both write it into JSON, and conmon
    takes a colon for a separator.
    """
    here = os.getcwd()
    return path if ":" in here or not here.isascii() else f"{here}/{path}"


def find_program(name: str) -> str:
    """The path of an executable of the host: ``name`` if it is a path, else where it is found; empty when it is not there."""
    if "/" in name:
        return os.path.abspath(name) if os.access(name, os.X_OK) else ""
    for directory in _SEARCH.split(":"):
        if os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    return ""


def call(command: list[str], *, stdin: int = -1, keep: tuple[int, ...] = (), environment: dict[str, str] | None = None) -> None:
    """Execute ``command`` and wait for it.

    Standard input is ``stdin`` (-1: empty); ``keep`` are the other descriptors that it inherits. When it fails, the last line
    that it said on standard error is raised as Stage1Error.
    """
    # A file rather than a pipe: a container that is made keeps it open.
    said = os.memfd_create("stderr")
    try:
        pid = os.fork()
        if pid == 0:
            execute(command, stdin=stdin, stderr=said, keep=keep, environment=environment)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        text = os.pread(said, _LARGEST_MESSAGE, 0).decode("utf-8", "backslashreplace").strip().rpartition("\n")[2]
    finally:
        os.close(said)
    if status != 0:
        raise Stage1Error(f"{os.path.basename(command[0])}: {message_of(text) or f'failed with status {status}'}")


def message_of(text: str) -> str:
    """What a runtime says in a line of its log: the plain text, or ``msg`` of logrus' forms."""
    at = text.find('msg="')
    if text.startswith("time=") and at >= 0:
        text = text[at + 5 :].rpartition('"')[0].replace('\\"', '"')
    return "".join([character if character.isprintable() else "?" for character in text])


def execute(
    command: list[str],
    *,
    stdin: int = -1,
    stdout: int = -1,
    stderr: int = -1,
    keep: tuple[int, ...] = (),
    environment: dict[str, str] | None = None,
) -> NoReturn:
    """In a child: become ``command``. Of the descriptors above 2 it has ``keep``, with the same numbers."""
    try:
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for fd, target in ((stdin, 0), (stdout, 1), (stderr, 2)):
            os.dup2(fd if fd >= 0 else null, target)
        syscalls.close_range(3, _LARGEST_FD, c.CLOSE_RANGE_CLOEXEC)
        for fd in keep:
            os.set_inheritable(fd, True)
        default_signals()
        os.execve(command[0], command, {"PATH": _SEARCH, **(environment or {})})
    except OSError as error:
        os.write(2, f"can't execute {shown(command[0])}: {(error.strerror or '').lower()}\n".encode())
    finally:
        os._exit(127)
