"""Writing ACIs with deterministic bytes: the same manifest and files give the same archive, and so the same image ID.

Source: appc/spec 0.8.11 ``spec/aci.md``. The manifest comes first, so that a reader of the stream can decide early; then the
rootfs, every directory before what is in it, by name; then the hard links, whose targets have all been written by then. User and
group names are left out, they belong to the machine the image was made on.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import ArchiveError
from rktpy.formats.aci.archive import ArchiveRules, clean_name
from rktpy.formats.tar import TarEntry
from rktpy.formats.tar_fields import printable
from rktpy.formats.tar_write import TarWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Data = bytes | Callable[[int], bytes | memoryview] | None


def write_aci(
    write: Callable[[bytes], object],
    manifest: bytes,
    entries: Iterable[tuple[TarEntry, Data]],
    *,
    mtime_ns: int | None = None,
    manifest_mtime_ns: int = 0,
) -> None:
    """Write one uncompressed ACI through ``write(data)``.

    ``entries`` are files with their data, named relative to the rootfs (``b""`` or ``b"."`` is the rootfs itself, which is made
    up when missing), hard-link targets likewise; their order does not matter. Data are bytes or ``read(n)``, asked for only
    when the entry is written. ``mtime_ns`` replaces every file's own time, for reproducible builds. Raises
    :class:`ArchiveError` when the result would break the rules of the layout.
    """
    rules = ArchiveRules("image archive")
    head = TarEntry(b"manifest", size=len(manifest), mtime_ns=manifest_mtime_ns if mtime_ns is None else mtime_ns)
    root = TarEntry(b"rootfs", "dir", 0o755)
    data_of_root: Data = None
    inside: list[tuple[tuple[bool, list[bytes]], TarEntry, Data]] = []
    for entry, data in entries:
        name = clean_name(entry.name)
        renamed = _inside(entry, name)
        if not name:
            root, data_of_root = renamed, data
        else:
            inside.append(((entry.type == "hardlink", name.split(b"/")), renamed, data))
    inside.sort(key=lambda item: item[0])
    targets = {entry.name for (linked, _parts), entry, _data in inside if not linked}
    writer = TarWriter(write)
    for entry, data in [(head, manifest), (root, data_of_root), *[(entry, data) for _order, entry, data in inside]]:
        rules.add(entry)
        if entry.type == "hardlink" and entry.link not in targets:
            raise ArchiveError(f"hard link {printable(entry.name)} to {printable(entry.link)}, which is not in the archive")
        if mtime_ns is not None:
            entry.mtime_ns = mtime_ns
        writer.add(entry, data)
    rules.finish()
    writer.close()


def _inside(entry: TarEntry, name: bytes) -> TarEntry:
    link = entry.link
    if entry.type == "hardlink":
        link = b"rootfs/" + clean_name(link)
    return TarEntry(
        b"rootfs/" + name if name else b"rootfs",
        entry.type,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size,
        entry.mtime_ns,
        link,
        entry.major,
        entry.minor,
        entry.xattrs,
        entry.sparse,
    )
