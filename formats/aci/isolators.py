"""Isolators: the typed values of appc and the rules that a set of them must keep.

Source: appc/spec 0.8.11 ``spec/ace.md`` (Isolators), ``schema/types/isolator*.go`` for what the text leaves open, and
``os/linux/apparmor-profile`` from the specification's head. ``rktpy/landlock`` is our own. Unknown isolators are kept with
``parsed`` ``None``; whoever enforces isolators has to report them.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.aci.document import Document, Members, check_text
from rktpy.formats.aci.quantity import parse_quantity
from rktpy.formats.aci.types import read_ac_identifier
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

CPU_NAME = "resource/cpu"
MEMORY_NAME = "resource/memory"
BLOCK_BANDWIDTH_NAME = "resource/block-bandwidth"
BLOCK_IOPS_NAME = "resource/block-iops"
NETWORK_BANDWIDTH_NAME = "resource/network-bandwidth"
CAPS_RETAIN_NAME = "os/linux/capabilities-retain-set"
CAPS_REMOVE_NAME = "os/linux/capabilities-remove-set"
NO_NEW_PRIVILEGES_NAME = "os/linux/no-new-privileges"
SECCOMP_RETAIN_NAME = "os/linux/seccomp-retain-set"
SECCOMP_REMOVE_NAME = "os/linux/seccomp-remove-set"
SELINUX_CONTEXT_NAME = "os/linux/selinux-context"
APPARMOR_PROFILE_NAME = "os/linux/apparmor-profile"
OOM_SCORE_ADJ_NAME = "os/linux/oom-score-adj"
CPU_SHARES_NAME = "os/linux/cpu-shares"
SYSCTL_NAME = "os/unix/sysctl"
LANDLOCK_NAME = "rktpy/landlock"

# What an app gets when no capability isolator is there; remove sets are taken from it.
DEFAULT_CAPABILITIES = (
    "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_KILL", "CAP_MKNOD",
    "CAP_NET_RAW", "CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETFCAP", "CAP_SYS_CHROOT",
)  # fmt: skip


class Memory(Record):
    """``resource/memory`` in bytes. ``request`` is ``limit`` when the isolator does not say."""

    request: int | None = None
    limit: int | None = None


class CPU(Record):
    """``resource/cpu`` in thousandths of a core. ``request`` is ``limit`` when the isolator does not say."""

    request: int | None = None
    limit: int | None = None


class BlockBandwidth(Record):
    """``resource/block-bandwidth`` in bytes per second."""

    limit: int | None = None


class BlockIOPS(Record):
    """``resource/block-iops`` in operations per second."""

    limit: int | None = None


class NetworkBandwidth(Record):
    """``resource/network-bandwidth`` in bits per second; loopback is exempt."""

    limit: int | None = None


class CPUShares(Record):
    """``os/linux/cpu-shares``, 2 to 262144."""

    value: int


class OOMScoreAdj(Record):
    """``os/linux/oom-score-adj``, -1000 to 1000."""

    value: int


class CapsRetain(Record):
    """``os/linux/capabilities-retain-set``: exactly these capabilities (``CAP_...``)."""

    set: tuple[str, ...]


class CapsRemove(Record):
    """``os/linux/capabilities-remove-set``: the default capabilities without these."""

    set: tuple[str, ...]


class NoNewPrivileges(Record):
    """``os/linux/no-new-privileges``; of several, one true is enough."""

    value: bool


class SeccompRetain(Record):
    """``os/linux/seccomp-retain-set``: only these calls. An empty ``errno`` means death by SIGSYS."""

    set: tuple[str, ...]
    errno: str = ""


class SeccompRemove(Record):
    """``os/linux/seccomp-remove-set``: all calls but these. An empty ``errno`` means death by SIGSYS."""

    set: tuple[str, ...]
    errno: str = ""


class SELinuxContext(Record):
    """``os/linux/selinux-context``."""

    user: str
    role: str
    type: str
    level: str

    def __str__(self) -> str:
        return f"{self.user}:{self.role}:{self.type}:{self.level}"


class AppArmorProfile(Record):
    """``os/linux/apparmor-profile``: start must be refused when the profile is not loaded."""

    profile: str


class Sysctl(Record):
    """``os/unix/sysctl``: (key, value) pairs in the order of the document."""

    values: tuple[tuple[str, str], ...]


class Landlock(Record):
    """``rktpy/landlock``: the paths that may be read, written or executed, with all below them, and the TCP ports that may be
    bound or connected to. ``None``: not restricted; empty: nothing is allowed.
    """

    read: tuple[str, ...] | None = None
    write: tuple[str, ...] | None = None
    exec: tuple[str, ...] | None = None
    bind: tuple[int, ...] | None = None
    connect: tuple[int, ...] | None = None


class Isolator(Document):
    """One isolator: its name, the JSON value as it stands, and the typed value (``None`` when the name is unknown)."""

    name: str
    value: Any = None
    parsed: Record | None = None

    MEMBERS = (("name", "name", True), ("value", "value", True))

    @classmethod
    def _parse(cls, members: Members) -> Isolator:
        name = read_ac_identifier(members, "name")
        value = members.get("value")
        reader = _READERS.get(name)
        parsed = None if reader is None else reader(value, members.what, members.at("value"))
        return cls(name, value, parsed)


def isolator(name: str, value: Any) -> Isolator:
    """A new isolator with the typed value filled in. Raises :class:`FormatError` when ``value`` breaks its rules."""
    return Isolator.from_dict({"name": name, "value": value}, name)


_REQUEST_LIMIT = {"default": "default", "request": "request", "limit": "limit"}


def _amount(members: Members, name: str, milli: bool) -> int | None:
    value = members.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise members.fail(name, "must be a quantity")
    # An integer of thousands of digits cannot be turned into text; it is over the cap anyway.
    text = value if isinstance(value, str) else repr(value) if not isinstance(value, int) or abs(value) < 10**40 else "1e40"
    quantity = parse_quantity(text, members.what, members.at(name))
    if quantity.nanos < 0:
        raise members.fail(name, "must not be negative")
    return quantity.milli_value() if milli else quantity.value()


def _request_limit(value: object, what: str, path: str, milli: bool) -> tuple[int | None, int | None]:
    members = Members(value, _REQUEST_LIMIT, what, path)
    if members.boolean("default"):
        raise members.fail("default", "must be false")
    limit = _amount(members, "limit", milli)
    request = _amount(members, "request", milli)
    return (limit if request is None else request), limit


def _memory(value: object, what: str, path: str) -> Memory:
    return Memory(*_request_limit(value, what, path, False))


def _cpu(value: object, what: str, path: str) -> CPU:
    return CPU(*_request_limit(value, what, path, True))


def _default_limit(value: object, what: str, path: str) -> int | None:
    members = Members(value, _REQUEST_LIMIT, what, path)
    if not members.boolean("default"):
        raise members.fail("default", "must be true")
    if members.get("request") is not None:
        raise members.fail("request", "not supported by this resource, must be empty")
    return _amount(members, "limit", False)


def _block_bandwidth(value: object, what: str, path: str) -> BlockBandwidth:
    return BlockBandwidth(_default_limit(value, what, path))


def _block_iops(value: object, what: str, path: str) -> BlockIOPS:
    return BlockIOPS(_default_limit(value, what, path))


def _network_bandwidth(value: object, what: str, path: str) -> NetworkBandwidth:
    return NetworkBandwidth(_default_limit(value, what, path))


def _integer(value: object, what: str, path: str, lowest: int, highest: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise FormatError(what, path, "must be an integer")
    if not lowest <= value <= highest:
        shown = value if abs(value) < 10**20 else "a huge number"
        raise FormatError(what, path, f"must be between {lowest} and {highest}, got {shown}")
    return value


def _cpu_shares(value: object, what: str, path: str) -> CPUShares:
    return CPUShares(_integer(value, what, path, 2, 262144))


def _oom_score_adj(value: object, what: str, path: str) -> OOMScoreAdj:
    return OOMScoreAdj(_integer(value, what, path, -1000, 1000))


_SET = {"set": "set"}
_SET_ERRNO = {"set": "set", "errno": "errno"}
_UPPER = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


def _set(members: Members) -> tuple[str, ...]:
    entries = members.texts("set")
    if not entries:
        raise members.fail("set", "must be non-empty")
    for index, entry in enumerate(entries):
        if not entry:
            raise members.fail(f"set[{index}]", "cannot be empty")
    return entries


def _caps_retain(value: object, what: str, path: str) -> CapsRetain:
    return CapsRetain(_set(Members(value, _SET, what, path)))


def _caps_remove(value: object, what: str, path: str) -> CapsRemove:
    return CapsRemove(_set(Members(value, _SET, what, path)))


def _no_new_privileges(value: object, what: str, path: str) -> NoNewPrivileges:
    if value is not True and value is not False:
        raise FormatError(what, path, "must be true or false")
    return NoNewPrivileges(value)


def _seccomp(value: object, what: str, path: str) -> tuple[tuple[str, ...], str]:
    members = Members(value, _SET_ERRNO, what, path)
    entries = _set(members)
    errno = members.text("errno")
    if errno and errno[0] != "E":
        raise members.fail("errno", f"must start with an 'E' character, got {errno!r}")
    if not _UPPER.issuperset(errno):
        raise members.fail("errno", f"can only contain upper case or numeric characters, got {errno!r}")
    return entries, errno


def _seccomp_retain(value: object, what: str, path: str) -> SeccompRetain:
    return SeccompRetain(*_seccomp(value, what, path))


def _seccomp_remove(value: object, what: str, path: str) -> SeccompRemove:
    return SeccompRemove(*_seccomp(value, what, path))


_SELINUX = {"user": "user", "role": "role", "type": "type", "level": "level"}


def _selinux_context(value: object, what: str, path: str) -> SELinuxContext:
    members = Members(value, _SELINUX, what, path)
    parts = [members.os_text(name) for name in _SELINUX]
    for name, part in zip(_SELINUX, parts, strict=True):
        if not part or (name != "level" and ":" in part):
            raise members.fail(name, f"invalid {name} value {part!r}")
    return SELinuxContext(*parts)


def _apparmor_profile(value: object, what: str, path: str) -> AppArmorProfile:
    members = Members(value, {"profile": "profile"}, what, path)
    return AppArmorProfile(members.required_text("profile"))


def _sysctl(value: object, what: str, path: str) -> Sysctl:
    if not isinstance(value, dict):
        raise FormatError(what, path, "must be an object")
    pairs: list[tuple[str, str]] = []
    for key, setting in value.items():  # pyright: ignore[reportUnknownVariableType]
        name = check_text(key, what, path)  # pyright: ignore[reportUnknownArgumentType]
        pairs.append((name, check_text(setting, what, f"{path}.{name}")))  # pyright: ignore[reportUnknownArgumentType]
    return Sysctl(tuple(pairs))


_LANDLOCK = {name: name for name in ("read", "write", "exec", "bind", "connect")}


def _landlock(value: Any, what: str, path: str) -> Landlock:
    members = Members(value, _LANDLOCK, what, path)
    if not members.values:
        raise FormatError(what, path, "must say what is restricted")
    for name in value:
        if name.casefold() not in _LANDLOCK:
            raise members.fail(name, "is unknown")  # something that somebody wants restricted
    read, write, exec_ = (_paths(members, name) for name in ("read", "write", "exec"))
    bind, connect = (_ports(members, name) for name in ("bind", "connect"))
    return Landlock(read, write, exec_, bind, connect)


def _paths(members: Members, name: str) -> tuple[str, ...] | None:
    if name not in members.values:
        return None
    paths = members.texts(name)
    for index, entry in enumerate(paths):
        if entry[:1] != "/":
            raise members.fail(f"{name}[{index}]", f"must be an absolute path, got {entry!r}")
    return paths


def _ports(members: Members, name: str) -> tuple[int, ...] | None:
    if name not in members.values:
        return None
    return tuple(
        [_integer(port, members.what, members.at(f"{name}[{at}]"), 0, 65535) for at, port in enumerate(members.array(name))]
    )


_READERS: dict[str, Callable[[object, str, str], Record]] = {
    CPU_NAME: _cpu,
    MEMORY_NAME: _memory,
    BLOCK_BANDWIDTH_NAME: _block_bandwidth,
    BLOCK_IOPS_NAME: _block_iops,
    NETWORK_BANDWIDTH_NAME: _network_bandwidth,
    CAPS_RETAIN_NAME: _caps_retain,
    CAPS_REMOVE_NAME: _caps_remove,
    NO_NEW_PRIVILEGES_NAME: _no_new_privileges,
    SECCOMP_RETAIN_NAME: _seccomp_retain,
    SECCOMP_REMOVE_NAME: _seccomp_remove,
    SELINUX_CONTEXT_NAME: _selinux_context,
    APPARMOR_PROFILE_NAME: _apparmor_profile,
    OOM_SCORE_ADJ_NAME: _oom_score_adj,
    CPU_SHARES_NAME: _cpu_shares,
    SYSCTL_NAME: _sysctl,
    LANDLOCK_NAME: _landlock,
}

_ONCE = frozenset(
    (
        SECCOMP_RETAIN_NAME,
        SECCOMP_REMOVE_NAME,
        SELINUX_CONTEXT_NAME,
        APPARMOR_PROFILE_NAME,
        OOM_SCORE_ADJ_NAME,
        CPU_SHARES_NAME,
        SYSCTL_NAME,
    )
)
_CONFLICTS = ((SECCOMP_RETAIN_NAME, SECCOMP_REMOVE_NAME), (CAPS_RETAIN_NAME, CAPS_REMOVE_NAME))


def check_set(isolators: tuple[Isolator, ...], what: str, path: str) -> None:
    """The rules of a set: what may be there once only, and what excludes what. Raises :class:`FormatError`."""
    seen: set[str] = set()
    for index, one in enumerate(isolators):
        if one.name in seen and one.name in _ONCE:
            raise FormatError(what, f"{path}[{index}]", f"isolators set contains too many instances of type {one.name}")
        seen.add(one.name)
    for retain, remove in _CONFLICTS:
        if retain in seen and remove in seen:
            raise FormatError(what, path, f"isolators set contains incompatible types {retain} and {remove}")


def read_isolators(members: Members, member: str = "isolators") -> tuple[Isolator, ...]:
    """Read a list of isolators and check it as a set. Raises :class:`FormatError`."""
    isolators = members.records(member, Isolator)
    if len(isolators) > 1:
        check_set(isolators, members.what, members.at(member))
    return isolators


def parse_isolators(value: object, path: str = "", what: str = "isolators") -> tuple[Isolator, ...]:
    """Read a JSON list of isolators. Raises :class:`FormatError`."""
    isolators = Members({"isolators": value}, {"isolators": "isolators"}, what, path)
    return read_isolators(isolators)


def find_last(isolators: tuple[Isolator, ...], name: str) -> Isolator | None:
    """The last isolator called ``name``: of several, the last one counts."""
    for one in reversed(isolators):
        if one.name == name:
            return one
    return None


def effective_capabilities(isolators: tuple[Isolator, ...]) -> tuple[str, ...]:
    """The capabilities that a set of isolators leaves to an app, in the order of the isolator or of the default set.

    Several retain sets add up, as do several remove sets.
    """
    retained: list[str] = []
    removed: set[str] = set()
    for one in isolators:
        if isinstance(one.parsed, CapsRetain):
            retained += [name for name in one.parsed.set if name not in retained]
        elif isinstance(one.parsed, CapsRemove):
            removed.update(one.parsed.set)
    if retained:
        return tuple(retained)
    return tuple([name for name in DEFAULT_CAPABILITIES if name not in removed])


def last_of_each(isolators: Iterable[Isolator]) -> tuple[Isolator, ...]:
    """Of several isolators of a name the last one counts, as in rkt."""
    return tuple({isolator.name: isolator for isolator in isolators}.values())
