"""``linux`` of a configuration (runtime-spec 1.2 ``config-linux.md``, 1.3 for netDevices and memoryPolicy). Hot-path module."""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.oci import members
from rktpy.formats.oci.runtime.document import I64, U32, WHAT, IDMapping, id_mappings, one_of, required
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.oci.runtime.resources import Resources
    from rktpy.formats.oci.runtime.seccomp import SeccompProfile

NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
PROPAGATIONS = ("shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable")
DEVICE_KINDS = ("c", "b", "u", "p")


class Device(Record):
    """A device node that is made in the container. ``kind``: ``c``, ``b``, ``p``."""

    path: str
    kind: str
    major: int = 0
    minor: int = 0
    mode: int = 0o666
    uid: int = 0
    gid: int = 0


class MemoryPolicy(Record):
    """set_mempolicy(2)."""

    mode: str
    nodes: str = ""
    flags: tuple[str, ...] = ()


class Linux(Record):
    """``namespaces`` by type, with the path of one to join or an empty text for a new one."""

    namespaces: dict[str, str]
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    time_offsets: tuple[tuple[str, int, int], ...] = ()  # clock, seconds, nanoseconds
    devices: tuple[Device, ...] = ()
    cgroups_path: str = ""
    resources: Resources | None = None
    sysctl: dict[str, str] = {}
    seccomp: SeccompProfile | None = None
    rootfs_propagation: str = ""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    personality: str = ""
    personality_flags: tuple[str, ...] = ()
    net_devices: dict[str, str] = {}  # name outside, name inside
    memory_policy: MemoryPolicy | None = None
    intel_rdt: bool = False

    @classmethod
    def from_dict(cls, doc: dict[str, Any]) -> Linux:
        """Read the object ``linux``. Raises FormatError."""
        path = "linux"
        resources = members.object_member(doc, "resources", WHAT, path)
        read: Resources | None = None
        if resources is not None:
            from rktpy.formats.oci.runtime.resources import Resources

            read = Resources.from_dict(resources)
        profile = members.object_member(doc, "seccomp", WHAT, path)
        seccomp: SeccompProfile | None = None
        if profile is not None:
            from rktpy.formats.oci.runtime.seccomp import SeccompProfile

            seccomp = SeccompProfile.from_dict(profile)
        personality = members.object_member(doc, "personality", WHAT, path)
        namespaces = _namespaces(doc)
        linux = cls(
            namespaces,
            id_mappings(doc, "uidMappings", path) if doc.get("uidMappings") else (),
            id_mappings(doc, "gidMappings", path) if doc.get("gidMappings") else (),
            _time_offsets(doc) if doc.get("timeOffsets") else (),
            tuple([_device(item, where) for item, where in members.objects(doc, "devices", WHAT, path)]),
            members.text(doc, "cgroupsPath", WHAT, path),
            read,
            members.text_map(doc, "sysctl", WHAT, path) if doc.get("sysctl") is not None else {},
            seccomp,
            one_of(doc, "rootfsPropagation", path, PROPAGATIONS),
            members.texts(doc, "maskedPaths", WHAT, path) or (),
            members.texts(doc, "readonlyPaths", WHAT, path) or (),
            members.text(doc, "mountLabel", WHAT, path),
            "" if personality is None else members.text(personality, "domain", WHAT, "linux.personality", required=True),
            () if personality is None else members.texts(personality, "flags", WHAT, "linux.personality") or (),
            _net_devices(doc) if doc.get("netDevices") else {},
            _memory_policy(doc) if doc.get("memoryPolicy") is not None else None,
            members.object_member(doc, "intelRdt", WHAT, path) is not None,
        )
        linux._check()
        return linux

    def _check(self) -> None:
        own_users = self.namespaces.get("user")
        if (self.uid_mappings or self.gid_mappings) and own_users is None:
            raise FormatError(WHAT, "linux.uidMappings", "mappings need a user namespace")
        if own_users == "" and not (self.uid_mappings and self.gid_mappings):
            raise FormatError(WHAT, "linux.uidMappings", "a new user namespace needs uidMappings and gidMappings")
        if self.time_offsets and self.namespaces.get("time") != "":
            raise FormatError(WHAT, "linux.timeOffsets", "offsets need a new time namespace")
        if self.net_devices and "network" not in self.namespaces:
            raise FormatError(WHAT, "linux.netDevices", "devices need a network namespace")


def _namespaces(doc: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item, where in members.objects(doc, "namespaces", WHAT, "linux"):
        kind = members.text(item, "type", WHAT, where, required=True)
        if kind not in NAMESPACES:
            raise FormatError(WHAT, f"{where}.type", f"{kind!r} is no namespace of Linux")
        if kind in found:
            raise FormatError(WHAT, f"{where}.type", f"{kind} is there twice")
        path = members.text(item, "path", WHAT, where)
        if path and not path.startswith("/"):
            raise FormatError(WHAT, f"{where}.path", "must be an absolute path")
        found[kind] = path
    return found


def _device(doc: dict[str, Any], path: str) -> Device:
    kind = one_of(doc, "type", path, DEVICE_KINDS)
    where = members.text(doc, "path", WHAT, path, required=True)
    if not where.startswith("/"):
        raise FormatError(WHAT, f"{path}.path", "must be an absolute path")
    numbers = (0, 0)
    if kind != "p":
        numbers = (required(doc, "major", path, 0, U32), required(doc, "minor", path, 0, U32))
    mode = members.integer(doc, "fileMode", WHAT, path, 0, U32)
    return Device(
        where,
        "c" if kind in ("u", "") else kind,
        *numbers,
        0o666 if mode is None else mode & 0o7777,
        members.integer(doc, "uid", WHAT, path, 0, U32) or 0,
        members.integer(doc, "gid", WHAT, path, 0, U32) or 0,
    )


def _time_offsets(doc: dict[str, Any]) -> tuple[tuple[str, int, int], ...]:
    inner = members.checked_object(doc["timeOffsets"], WHAT, "linux.timeOffsets")
    found: list[tuple[str, int, int]] = []
    for clock, value in inner.items():
        where = f"linux.timeOffsets.{members.shown(clock)}"
        if clock not in ("monotonic", "boottime"):
            raise FormatError(WHAT, where, "only monotonic and boottime have offsets")
        offset = members.checked_object(value, WHAT, where)
        seconds = members.integer(offset, "secs", WHAT, where, -I64, I64) or 0
        found.append((clock, seconds, members.integer(offset, "nanosecs", WHAT, where, 0, U32) or 0))
    return tuple(found)


def _net_devices(doc: dict[str, Any]) -> dict[str, str]:
    inner = members.checked_object(doc["netDevices"], WHAT, "linux.netDevices")
    found: dict[str, str] = {}
    for name, value in inner.items():
        where = f"linux.netDevices.{members.shown(name)}"
        new = members.text(members.checked_object(value, WHAT, where), "name", WHAT, where) or name
        for one in (name, new):
            if not one or len(one.encode()) > 15 or one in (".", "..") or any(sign in one for sign in "/: \t\n"):
                raise FormatError(WHAT, where, f"{one!r} is no name of a network device")
        if new in found.values():
            raise FormatError(WHAT, where, f"two devices would be called {new!r}")
        found[name] = new
    return found


def _memory_policy(doc: dict[str, Any]) -> MemoryPolicy:
    inner = members.checked_object(doc["memoryPolicy"], WHAT, "linux.memoryPolicy")
    return MemoryPolicy(
        members.text(inner, "mode", WHAT, "linux.memoryPolicy", required=True),
        members.text(inner, "nodes", WHAT, "linux.memoryPolicy"),
        members.texts(inner, "flags", WHAT, "linux.memoryPolicy") or (),
    )
