"""Which entries of an ACI come through the path whitelists, and under which names.

Source: appc/spec 0.8.11 ``spec/aci.md`` (pathWhitelist: the complete list of paths that exist after rendering) and
``spec/ace.md`` (Filesystem Setup). A file must be in the whitelist of its own image and in those of all images that depend on
it. Unlike the reference, all real ancestors count and no sibling does, and the directories above a whitelisted path are kept.
"""

from __future__ import annotations

from collections.abc import Iterable

from rktpy.errors import ArchiveError
from rktpy.formats.aci.archive import inside_rootfs
from rktpy.formats.tar import TarEntry, TarReader
from rktpy.formats.tar_fields import printable


class Whitelists:
    """The intersection of whitelists, each a list of absolute paths; an empty list lets everything pass."""

    def __init__(self, whitelists: Iterable[Iterable[str]]) -> None:
        self._lists: list[tuple[set[bytes], set[bytes]]] = []
        for whitelist in whitelists:
            paths = {_relative(path) for path in whitelist}
            if paths:
                above = {b""}
                for path in paths:
                    while path:
                        path = path.rpartition(b"/")[0]
                        above.add(path)
                self._lists.append((paths, above))

    def __bool__(self) -> bool:
        return bool(self._lists)

    def allows(self, path: bytes, is_directory: bool) -> bool:
        """Whether ``path``, relative to the root, may exist."""
        return all(path in paths or (is_directory and path in above) for paths, above in self._lists)


class AciSelection:
    """Chooses and names the entries of one ACI, for :meth:`rktpy.store.unpack.Unpacker.apply`.

    With whitelists, :meth:`prepare` must see the whole archive first: the bytes of a file that is filtered out are needed all the
    same when a hard link to it is not.
    """

    def __init__(self, whitelists: Whitelists) -> None:
        self._whitelists = whitelists
        self._instead: dict[bytes, bytes] = {}
        """Filtered files: the name of the first whitelisted hard link, which gets the bytes."""
        self._final: dict[bytes, bytes] = {}
        self._written: set[bytes] = set()

    def prepare(self, reader: TarReader) -> None:
        """Find the hard links whose target is filtered out. Raises :class:`ArchiveError`."""
        targets = self._final
        while (entry := reader.next()) is not None:
            path = inside_rootfs(entry.name)
            if path is None or entry.type != "hardlink":
                continue
            target = inside_rootfs(entry.link)
            if not target:
                raise ArchiveError(f"hard link {printable(entry.name)} leads out of the rootfs")
            target = targets.get(target, target)
            targets[path] = target
            if self._whitelists.allows(path, False) and not self._whitelists.allows(target, False):
                self._instead.setdefault(target, path)

    def __call__(self, entry: TarEntry) -> bytes | None:
        """The path of ``entry`` in the tree, None when it is left out. The target of a hard link is adjusted."""
        path = inside_rootfs(entry.name)
        if path is None:
            return None
        if entry.type != "hardlink":
            if self._whitelists and not self._whitelists.allows(path, entry.type == "dir"):
                instead = self._instead.get(path) if entry.type != "dir" else None
                if instead is not None:
                    self._written.add(instead)
                return instead
            return path
        target = inside_rootfs(entry.link)
        if not target:
            raise ArchiveError("a hard link that leads out of the rootfs")
        if self._whitelists:
            if not self._whitelists.allows(path, False):
                return None
            target = self._final.get(target, target)
            target = self._instead.get(target, target)
            if target == path and path in self._written:
                return None  # in place of the target
        entry.link = target
        return path


def _relative(path: str) -> bytes:
    return b"/".join([part for part in path.encode("utf-8", "surrogateescape").split(b"/") if part not in (b"", b".")])
