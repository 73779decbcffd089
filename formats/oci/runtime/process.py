"""The process of a container: ``process`` of the configuration, and the document that ``exec --process`` reads.

runtime-spec 1.2 ``config.md``, sections Process, POSIX process, Linux Process, User. Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.oci import members
from rktpy.formats.oci.runtime.document import I32, U32, U64, WHAT, one_of, required
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RLIMITS = (
    "RLIMIT_CPU RLIMIT_FSIZE RLIMIT_DATA RLIMIT_STACK RLIMIT_CORE RLIMIT_RSS RLIMIT_NPROC RLIMIT_NOFILE RLIMIT_MEMLOCK "
    "RLIMIT_AS RLIMIT_LOCKS RLIMIT_SIGPENDING RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_RTTIME"
)
#: Number of each limit; the same on all our architectures.
RLIMIT_NUMBERS: dict[str, int] = {name: number for number, name in enumerate(RLIMITS.split())}
IO_CLASSES = ("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")
POLICIES = ("SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE")
CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


class User(Record):
    """Who the process runs as; ``umask`` None leaves the runtime's."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    umask: int | None = None


class Capabilities(Record):
    """The five sets, names as in capabilities(7)."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(Record):
    """A limit of setrlimit(2): ``kind`` is ``RLIMIT_NOFILE`` and the like, the numbers are unsigned."""

    kind: str
    soft: int
    hard: int


class IOPriority(Record):
    """ioprio_set(2)."""

    klass: str
    priority: int = 0


class Scheduler(Record):
    """sched_setattr(2); times in nanoseconds."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class Process(Record):
    """What is executed in the container, and as what."""

    args: tuple[str, ...]
    cwd: str
    user: User
    env: tuple[str, ...] = ()
    terminal: bool = False
    console_size: tuple[int, int] | None = None  # rows, columns
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    apparmor_profile: str = ""
    selinux_label: str = ""
    io_priority: IOPriority | None = None
    scheduler: Scheduler | None = None
    exec_cpu_affinity: tuple[str, str] = ("", "")  # initial, final

    @classmethod
    def from_dict(cls, doc: dict[str, Any], path: str = "process", what: str = WHAT) -> Process:
        """Read the object at ``path``. Raises FormatError."""
        cwd = members.text(doc, "cwd", what, path, required=True)
        if not cwd.startswith("/"):
            raise FormatError(what, members.join(path, "cwd"), "must be an absolute path")
        args = members.texts(doc, "args", what, path)
        if not args:
            raise FormatError(what, members.join(path, "args"), "must not be empty")
        env = members.texts(doc, "env", what, path) or ()
        size = members.object_member(doc, "consoleSize", what, path)
        at = members.join(path, "consoleSize")
        inner = members.object_member(doc, "user", what, path)
        capabilities = members.object_member(doc, "capabilities", what, path)
        return cls(
            args,
            cwd,
            User() if inner is None else _user(inner, members.join(path, "user")),
            env,
            members.flag(doc, "terminal", what, path),
            None if size is None else (required(size, "height", at, 0, U32), required(size, "width", at, 0, U32)),
            None if capabilities is None else _capabilities(capabilities, members.join(path, "capabilities"), what),
            _rlimits(doc, path) if doc.get("rlimits") is not None else (),
            members.flag(doc, "noNewPrivileges", what, path),
            members.integer(doc, "oomScoreAdj", what, path, -1000, 1000),
            members.text(doc, "apparmorProfile", what, path),
            members.text(doc, "selinuxLabel", what, path),
            _io_priority(doc, path) if doc.get("ioPriority") is not None else None,
            _scheduler(doc, path) if doc.get("scheduler") is not None else None,
            _affinity(doc, path) if doc.get("execCPUAffinity") is not None else ("", ""),
        )


def _user(doc: dict[str, Any], path: str) -> User:
    groups = members.items(doc, "additionalGids", WHAT, path) or []
    for number, gid in enumerate(groups):
        if not isinstance(gid, int) or isinstance(gid, bool) or not 0 <= gid < U32:
            raise FormatError(WHAT, f"{path}.additionalGids[{number}]", "must be a group ID")
    return User(
        members.integer(doc, "uid", WHAT, path, 0, U32 - 1) or 0,
        members.integer(doc, "gid", WHAT, path, 0, U32 - 1) or 0,
        tuple(groups),
        members.integer(doc, "umask", WHAT, path, 0, 0o7777),
    )


def _capabilities(doc: dict[str, Any], path: str, what: str) -> Capabilities:
    return Capabilities(*[members.texts(doc, name, what, path) or () for name in CAPABILITY_SETS])


def _rlimits(doc: dict[str, Any], path: str) -> tuple[Rlimit, ...]:
    found: list[Rlimit] = []
    for item, where in members.objects(doc, "rlimits", WHAT, path):
        kind = members.text(item, "type", WHAT, where, required=True)
        if kind not in RLIMIT_NUMBERS:
            raise FormatError(WHAT, f"{where}.type", f"{kind!r} is no resource limit of Linux")
        if any(kind == one.kind for one in found):
            raise FormatError(WHAT, f"{where}.type", f"{kind} is there twice")
        soft, hard = (required(item, name, where, 0, U64) for name in ("soft", "hard"))
        if soft > hard:
            raise FormatError(WHAT, f"{where}.soft", "is more than the hard limit")
        found.append(Rlimit(kind, soft, hard))
    return tuple(found)


def _io_priority(doc: dict[str, Any], path: str) -> IOPriority:
    inner = members.checked_object(doc["ioPriority"], WHAT, f"{path}.ioPriority")
    klass = one_of(inner, "class", f"{path}.ioPriority", IO_CLASSES)
    if not klass:
        raise FormatError(WHAT, f"{path}.ioPriority.class", "is missing")
    return IOPriority(klass, members.integer(inner, "priority", WHAT, f"{path}.ioPriority", 0, 7) or 0)


def _scheduler(doc: dict[str, Any], path: str) -> Scheduler:
    path = f"{path}.scheduler"
    inner = members.checked_object(doc["scheduler"], WHAT, path)
    policy = one_of(inner, "policy", path, POLICIES)
    if not policy:
        raise FormatError(WHAT, f"{path}.policy", "is missing")
    return Scheduler(
        policy,
        members.integer(inner, "nice", WHAT, path, -20, 19) or 0,
        members.integer(inner, "priority", WHAT, path, -I32, I32) or 0,
        members.texts(inner, "flags", WHAT, path) or (),
        members.integer(inner, "runtime", WHAT, path, 0, U64) or 0,
        members.integer(inner, "deadline", WHAT, path, 0, U64) or 0,
        members.integer(inner, "period", WHAT, path, 0, U64) or 0,
    )


def _affinity(doc: dict[str, Any], path: str) -> tuple[str, str]:
    path = f"{path}.execCPUAffinity"
    inner = members.checked_object(doc["execCPUAffinity"], WHAT, path)
    return members.text(inner, "initial", WHAT, path), members.text(inner, "final", WHAT, path)
