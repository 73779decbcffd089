"""Landlock for an app (``rktpy/landlock``): which paths and TCP ports it may use, on top of what permissions allow.

What can be restricted depends on the version of the kernel's Landlock ABI (landlock(7), the kernel's userspace-api/landlock);
what the kernel cannot do is in the report. The restriction holds for all that the process starts and cannot be taken off.
Hot-path module.
"""

from __future__ import annotations

import os
import stat
from errno import ENOSYS, ENOTSUP
from struct import pack

from rktpy.errors import Stage1Error
from rktpy.formats.aci.isolators import LANDLOCK_NAME, Landlock
from rktpy.formats.stage1 import Enforcement
from rktpy.isolate.plan import Operation, shown
from rktpy.isolate.root import Root
from rktpy.linux import constants as c
from rktpy.linux import syscalls

_READ = c.LANDLOCK_ACCESS_FS_READ_FILE | c.LANDLOCK_ACCESS_FS_READ_DIR
_EXECUTE = c.LANDLOCK_ACCESS_FS_EXECUTE
_WRITE = (
    c.LANDLOCK_ACCESS_FS_WRITE_FILE
    | c.LANDLOCK_ACCESS_FS_REMOVE_DIR
    | c.LANDLOCK_ACCESS_FS_REMOVE_FILE
    | c.LANDLOCK_ACCESS_FS_MAKE_CHAR
    | c.LANDLOCK_ACCESS_FS_MAKE_DIR
    | c.LANDLOCK_ACCESS_FS_MAKE_REG
    | c.LANDLOCK_ACCESS_FS_MAKE_SOCK
    | c.LANDLOCK_ACCESS_FS_MAKE_FIFO
    | c.LANDLOCK_ACCESS_FS_MAKE_BLOCK
    | c.LANDLOCK_ACCESS_FS_MAKE_SYM
)
#: Later rights of writing: the ABI that brought them, and what an older kernel does.
_LATER = (
    (2, c.LANDLOCK_ACCESS_FS_REFER, "files cannot be moved to another directory"),
    (3, c.LANDLOCK_ACCESS_FS_TRUNCATE, "truncating is not restricted"),
    (5, c.LANDLOCK_ACCESS_FS_IOCTL_DEV, "ioctl on devices is not restricted"),
)
#: The rights that a rule for a file, not a directory, may have.
_OF_FILES = (
    _EXECUTE
    | c.LANDLOCK_ACCESS_FS_READ_FILE
    | c.LANDLOCK_ACCESS_FS_WRITE_FILE
    | c.LANDLOCK_ACCESS_FS_TRUNCATE
    | c.LANDLOCK_ACCESS_FS_IOCTL_DEV
)
_PORTS_SINCE = 4
#: System calls of the program ``confine``.
CONFINE_CALLS = (
    "close",
    "execve",
    "exit_group",
    "landlock_add_rule",
    "landlock_create_ruleset",
    "landlock_restrict_self",
    "openat",
    "prctl",
    "write",
)


class RestrictWithLandlock(Operation):
    """landlock_restrict_self(2) for the calling thread. ``files`` and ``ports`` are masks of the rights that are restricted;
    ``paths`` inside the root and ``allowed_ports`` are exceptions with their rights. A path that is not there is passed over.

    Needs CAP_SYS_ADMIN or no-new-privileges. The paths are looked up as the process is then, so before it drops privileges.
    """

    files: int
    ports: int
    paths: tuple[tuple[str, int], ...] = ()
    allowed_ports: tuple[tuple[int, int], ...] = ()

    def describe(self) -> str:
        words: list[str] = []
        for name, right in (
            ("read", c.LANDLOCK_ACCESS_FS_READ_DIR),
            ("write", c.LANDLOCK_ACCESS_FS_WRITE_FILE),
            ("execute", _EXECUTE),
        ):
            if self.files & right:
                words.append(f"{name} {' '.join([shown(path) for path, rights in self.paths if rights & right]) or 'nothing'}")
        for name, right in (("bind", c.LANDLOCK_ACCESS_NET_BIND_TCP), ("connect to", c.LANDLOCK_ACCESS_NET_CONNECT_TCP)):
            if self.ports & right:
                ports = " ".join([str(port) for port, rights in self.allowed_ports if rights & right])
                words.append(f"{name} {f'port {ports}' if ports else 'no port'}")
        return f"let Landlock allow only: {', '.join(words)}"

    def execute(self, root: Root) -> None:
        attributes = pack("=QQ", self.files, self.ports) if self.ports else pack("=Q", self.files)
        ruleset = syscalls.landlock_create_ruleset(attributes, 0)
        try:
            for path, rights in self.paths:
                try:
                    fd = root.open(path)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                try:
                    if not stat.S_ISDIR(os.fstat(fd).st_mode):
                        rights &= _OF_FILES
                    if rights:
                        syscalls.landlock_add_rule(ruleset, c.LANDLOCK_RULE_PATH_BENEATH, pack("=Qi", rights, fd), 0)
                finally:
                    os.close(fd)
            for port, rights in self.allowed_ports:
                syscalls.landlock_add_rule(ruleset, c.LANDLOCK_RULE_NET_PORT, pack("=QQ", rights, port), 0)
            syscalls.landlock_restrict_self(ruleset, 0)
        finally:
            os.close(ruleset)


def confine_program() -> str:
    """The path of the static program ``confine``. Raises Stage1Error when it was not built."""
    path = f"{os.path.dirname(os.path.abspath(__file__))}/confine"
    if not os.access(path, os.X_OK):
        raise Stage1Error(f"{path} is missing: rktpy was installed without a C compiler")
    return path


def confined(
    operation: RestrictWithLandlock | None, confine: str, program: str, argv: tuple[str, ...], context: str = ""
) -> tuple[str, ...]:
    """A command for somebody else to execute in the app's root, as the app: it restricts itself, then executes ``program``.

    ``context`` is the SELinux context that the program gets; empty for that which it has anyway. ``confine`` is where
    :func:`confine_program` is found there. The calls that it makes are ``CONFINE_CALLS``; a filter that is in force by then has
    to allow them.
    """
    command = [confine, f"{operation.files if operation else 0:x}", f"{operation.ports if operation else 0:x}"]
    for path, rights in operation.paths if operation else ():
        command += ["path", f"{rights:x}", path]
    for port, rights in operation.allowed_ports if operation else ():
        command += ["port", f"{rights:x}", str(port)]
    if context:
        command += ["label", "/proc/self/attr/exec", context]
    return (*command, "--", program, *argv)


def landlock_abi() -> int:
    """The version of the kernel's Landlock, 0 when it has none or it is switched off."""
    try:
        return syscalls.landlock_create_ruleset(None, c.LANDLOCK_CREATE_RULESET_VERSION)
    except OSError as error:
        if error.errno in (ENOSYS, ENOTSUP):
            return 0
        raise


def plan_landlock(
    app: str, wanted: Landlock, abi: int, root: Root | None = None
) -> tuple[RestrictWithLandlock | None, Enforcement]:
    """What to do for one isolator of ``app`` on a kernel with Landlock ``abi``, and the report about it.

    ``root`` is where to look for the paths; what is missing there is reported.
    """
    if not abi:
        return None, Enforcement(LANDLOCK_NAME, app, "ignored", "the kernel has no Landlock, or it is switched off")
    problems: list[str] = []
    files = ports = 0
    paths: dict[str, int] = {}
    allowed: dict[int, int] = {}
    # execve(2) opens the program for reading.
    to_execute = _EXECUTE | (c.LANDLOCK_ACCESS_FS_READ_FILE if wanted.read is not None else 0)
    for names, rights in ((wanted.read, _READ), (wanted.write, _write_rights(wanted, abi, problems)), (wanted.exec, to_execute)):
        if names is None:
            continue
        files |= rights
        for name in names:
            paths[name] = paths.get(name, 0) | rights
    if files and wanted.write is None and abi >= 2:
        # Moving to another directory is what Landlock forbids unless told otherwise.
        files |= c.LANDLOCK_ACCESS_FS_REFER
        paths["/"] = paths.get("/", 0) | c.LANDLOCK_ACCESS_FS_REFER
    for numbers, right in ((wanted.bind, c.LANDLOCK_ACCESS_NET_BIND_TCP), (wanted.connect, c.LANDLOCK_ACCESS_NET_CONNECT_TCP)):
        if numbers is None:
            continue
        if abi < _PORTS_SINCE:
            problems.append("ports are not restricted")
            continue
        ports |= right
        for number in numbers:
            allowed[number] = allowed.get(number, 0) | right
    if not files and not ports:
        return None, Enforcement(LANDLOCK_NAME, app, "ignored", f"with version {abi} of the kernel's Landlock {problems[0]}")
    reason = f"with version {abi} of the kernel's Landlock {', '.join(dict.fromkeys(problems))}" if problems else ""
    missing = [name for name in paths if root is not None and root.stat(name) is None]
    if missing:
        reason += f"{'; ' if reason else ''}not there: {', '.join(map(shown, missing))}"
    operation = RestrictWithLandlock(files, ports, tuple(paths.items()), tuple(allowed.items()))
    return operation, Enforcement(LANDLOCK_NAME, app, "changed" if reason else "enforced", reason)


def _write_rights(wanted: Landlock, abi: int, problems: list[str]) -> int:
    rights = _WRITE
    for since, right, otherwise in _LATER:
        if abi >= since:
            rights |= right
        elif wanted.write is not None:
            problems.append(otherwise)
    return rights
