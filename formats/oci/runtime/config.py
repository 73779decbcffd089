"""The configuration of a container, ``config.json`` of its bundle (runtime-spec 1.2 ``config.md``). Hot-path module."""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.jsondoc import parse_object
from rktpy.formats.oci import members
from rktpy.formats.oci.runtime.document import WHAT, IDMapping, id_mappings
from rktpy.formats.oci.runtime.linux import Linux
from rktpy.formats.oci.runtime.process import Process
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.oci.runtime.hooks import Hook


class Mount(Record):
    """One of ``mounts``; options as they were written."""

    destination: str
    kind: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()


class RuntimeConfig(Record):
    """A whole configuration. ``document`` is what was read, with all its members."""

    version: str
    root_path: str
    root_readonly: bool
    process: Process | None
    hostname: str
    domainname: str
    mounts: tuple[Mount, ...]
    hooks: dict[str, tuple[Hook, ...]]
    annotations: dict[str, str]
    linux: Linux
    document: dict[str, Any]

    @classmethod
    def parse(cls, data: bytes | str) -> RuntimeConfig:
        """Read the JSON document. Raises FormatError."""
        return cls.from_dict(parse_object(data, WHAT))

    @classmethod
    def from_dict(cls, doc: dict[str, Any]) -> RuntimeConfig:
        """Read a parsed document, which is left alone. Raises FormatError."""
        version = members.text(doc, "ociVersion", WHAT, "", required=True)
        if not _supported(version):
            raise FormatError(WHAT, "ociVersion", f"{version!r} is not supported, only 1.x is")
        root = members.object_member(doc, "root", WHAT, "")
        if root is None:
            raise FormatError(WHAT, "root", "is missing")
        process = members.object_member(doc, "process", WHAT, "")
        hooks = members.object_member(doc, "hooks", WHAT, "")
        linux = members.object_member(doc, "linux", WHAT, "")
        found: dict[str, tuple[Hook, ...]] = {}
        if hooks:
            from rktpy.formats.oci.runtime.hooks import read_hooks

            found = read_hooks(hooks)
        for platform in ("windows", "solaris", "vm", "zos", "freebsd"):
            if doc.get(platform) is not None and linux is None:
                raise FormatError(WHAT, platform, "this is Linux")
        return cls(
            version,
            members.text(root, "path", WHAT, "root", required=True),
            members.flag(root, "readonly", WHAT, "root"),
            None if process is None else Process.from_dict(process),
            _name(doc, "hostname"),
            _name(doc, "domainname"),
            tuple([_mount(item, where) for item, where in members.objects(doc, "mounts", WHAT, "")]),
            found,
            members.text_map(doc, "annotations", WHAT, ""),
            Linux.from_dict(linux or {}),
            doc,
        )

    def to_dict(self) -> dict[str, Any]:
        """The document that was read."""
        return members.copied(self.document, WHAT)


def _supported(version: str) -> bool:
    major, dot, rest = version.partition(".")
    return major == "1" and bool(dot) and rest[:1].isdigit()


def _name(doc: dict[str, Any], name: str) -> str:
    value = members.text(doc, name, WHAT, "")
    if len(value) > 64:
        raise FormatError(WHAT, name, "is longer than 64 characters")
    return value


def _mount(doc: dict[str, Any], path: str) -> Mount:
    mount = Mount(
        members.text(doc, "destination", WHAT, path, required=True),
        members.text(doc, "type", WHAT, path),
        members.text(doc, "source", WHAT, path),
        members.texts(doc, "options", WHAT, path) or (),
        id_mappings(doc, "uidMappings", path) if doc.get("uidMappings") else (),
        id_mappings(doc, "gidMappings", path) if doc.get("gidMappings") else (),
    )
    if bool(mount.uid_mappings) != bool(mount.gid_mappings):
        raise FormatError(WHAT, path, "uidMappings and gidMappings must be there both or not at all")
    return mount
