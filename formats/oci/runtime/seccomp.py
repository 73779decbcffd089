"""``linux.seccomp`` of a configuration (runtime-spec 1.2 ``config-linux.md``, Seccomp). Hot-path module."""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.oci import members
from rktpy.formats.oci.runtime.document import U32, U64, WHAT, required
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ACTIONS = (
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
)
OPERATORS = (
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
)
FLAGS = (
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
)


class Argument(Record):
    """A condition on argument ``index`` of a call."""

    index: int
    value: int
    value_two: int
    operator: str


class Rule(Record):
    """What happens to calls by these names when all the conditions hold."""

    names: tuple[str, ...]
    action: str
    errno: int | None = None
    arguments: tuple[Argument, ...] = ()


class SeccompProfile(Record):
    """A filter. ``architectures`` as libseccomp calls them (``SCMP_ARCH_X86_64``), empty for the machine's own."""

    default_action: str
    default_errno: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    listener_path: str = ""
    listener_metadata: str = ""
    rules: tuple[Rule, ...] = ()

    @classmethod
    def from_dict(cls, doc: dict[str, Any]) -> SeccompProfile:
        """Read the object. Raises FormatError."""
        path = "linux.seccomp"
        flags = members.texts(doc, "flags", WHAT, path) or ()
        for number, flag in enumerate(flags):
            if flag not in FLAGS:
                raise FormatError(WHAT, f"{path}.flags[{number}]", f"{flag!r} is no flag of a filter")
        profile = cls(
            _action(doc, "defaultAction", path),
            members.integer(doc, "defaultErrnoRet", WHAT, path, 0, U32),
            members.texts(doc, "architectures", WHAT, path) or (),
            flags,
            members.text(doc, "listenerPath", WHAT, path),
            members.text(doc, "listenerMetadata", WHAT, path),
            tuple([_rule(item, where) for item, where in members.objects(doc, "syscalls", WHAT, path)]),
        )
        if profile.default_action == "SCMP_ACT_NOTIFY":
            raise FormatError(WHAT, f"{path}.defaultAction", "SCMP_ACT_NOTIFY cannot be the default")
        if profile.listener_metadata and not profile.listener_path:
            raise FormatError(WHAT, f"{path}.listenerMetadata", "needs a listenerPath")
        return profile

    @property
    def notifies(self) -> bool:
        """Whether a process has to be there that answers."""
        return any(rule.action == "SCMP_ACT_NOTIFY" for rule in self.rules)


def _action(doc: dict[str, Any], name: str, path: str) -> str:
    action = members.text(doc, name, WHAT, path, required=True)
    if action not in ACTIONS:
        raise FormatError(WHAT, members.join(path, name), f"{action!r} is no action of a filter")
    return action


def _rule(doc: dict[str, Any], path: str) -> Rule:
    names = members.texts(doc, "names", WHAT, path)
    if not names:
        raise FormatError(WHAT, f"{path}.names", "must not be empty")
    return Rule(
        names,
        _action(doc, "action", path),
        members.integer(doc, "errnoRet", WHAT, path, 0, U32),
        tuple([_argument(item, where) for item, where in members.objects(doc, "args", WHAT, path)]) if doc.get("args") else (),
    )


def _argument(doc: dict[str, Any], path: str) -> Argument:
    operator = members.text(doc, "op", WHAT, path, required=True)
    if operator not in OPERATORS:
        raise FormatError(WHAT, f"{path}.op", f"{operator!r} is no operator")
    return Argument(
        required(doc, "index", path, 0, 5),
        required(doc, "value", path, 0, U64),
        members.integer(doc, "valueTwo", WHAT, path, 0, U64) or 0,
        operator,
    )
