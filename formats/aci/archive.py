"""The rules of an ACI's layout, checked entry by entry in whatever order they come.

Source: appc/spec 0.8.11 ``spec/aci.md`` (Image Layout, Image Archives) and ``aci/layout.go``: exactly two top-level names,
``manifest`` (a regular file) and ``rootfs`` (a directory), and no entry twice. A leading ``./`` and doubled slashes are
tolerated. The reference validator wants an entry for ``rootfs`` itself; rkt never runs it when it fetches, so images
exist that only have entries below ``rootfs/``: these imply it. An image with neither is refused.

Stricter than the reference: ``..`` anywhere in a name or in a hard link's target is refused instead of resolved, and the manifest
may not be given twice.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import ArchiveError
from rktpy.formats.oci.digest import sha256_digest
from rktpy.formats.tar_fields import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.tar import TarEntry

LARGEST_MANIFEST = 4 << 20
"""Most bytes of an image manifest."""

# Of longer names only a digest is remembered: they compress well, so that a small archive could fill the memory with them.
_LONGEST_KEPT = 256


def clean_name(name: bytes) -> bytes:
    """``name`` without ``.`` components, doubled and trailing slashes; empty for the archive's own root.

    Raises :class:`ArchiveError` for an absolute name and for ``..``.
    """
    if name[:1] == b"/":
        raise ArchiveError(f"absolute name in archive: {printable(name)}")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise ArchiveError(f"name with .. in archive: {printable(name)}")
    return b"/".join(parts)


def inside_rootfs(name: bytes) -> bytes | None:
    """``name`` relative to the rootfs (empty for ``rootfs`` itself), ``None`` when it lies elsewhere.

    Raises :class:`ArchiveError` as :func:`clean_name`.
    """
    cleaned = clean_name(name)
    if cleaned == b"rootfs":
        return b""
    return cleaned[7:] if cleaned.startswith(b"rootfs/") else None


class ArchiveRules:
    """Checks the entries of one archive. ``what`` names it in errors."""

    def __init__(self, what: str = "image archive") -> None:
        self._what = what
        self._seen: set[bytes | str] = set()
        self._manifest = False
        self._rootfs = False

    def add(self, entry: TarEntry) -> str:
        """Check one entry; answer ``manifest``, ``rootfs`` (it, or something inside) or ``""`` (the archive's own root).

        Raises :class:`ArchiveError`.
        """
        try:
            return self._add(entry)
        except ArchiveError as error:
            raise ArchiveError(f"{self._what}: {error}") from None

    def _add(self, entry: TarEntry) -> str:
        name = clean_name(entry.name)
        if not name:
            if entry.type != "dir":
                raise ArchiveError(f"entry without a name: {printable(entry.name)}")
            return ""
        key = name if len(name) <= _LONGEST_KEPT else sha256_digest(name)
        if key in self._seen:
            raise ArchiveError(f"duplicate file entry in archive: {printable(name)}")
        self._seen.add(key)
        if name == b"manifest":
            if entry.type != "file":
                raise ArchiveError("manifest is not a regular file")
            if entry.size > LARGEST_MANIFEST:
                raise ArchiveError(f"image manifest of {entry.size} bytes is larger than {LARGEST_MANIFEST}")
            self._manifest = True
            return "manifest"
        if name == b"rootfs":
            if entry.type != "dir":
                raise ArchiveError("rootfs is not a directory")
            self._rootfs = True
            return "rootfs"
        if not name.startswith(b"rootfs/"):
            raise ArchiveError(f"unrecognized file path in layout: {printable(name)}")
        if entry.type == "hardlink" and not inside_rootfs(entry.link):
            raise ArchiveError(f"hard link {printable(name)} to {printable(entry.link)} outside the rootfs")
        self._rootfs = True
        return "rootfs"

    def finish(self) -> None:
        """Check what must be there. Raises :class:`ArchiveError`."""
        if not self._manifest:
            raise ArchiveError(f"{self._what}: no image manifest found in layout")
        if not self._rootfs:
            raise ArchiveError(f"{self._what}: no rootfs found in layout")
