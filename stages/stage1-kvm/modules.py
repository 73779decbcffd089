"""Which of the kernel's modules a guest needs, with what they need themselves, in the order to load them (modules.dep(5))."""

from __future__ import annotations

import os

from rktpy.errors import NotFoundError

#: What every guest loads at once: the channel to the host, and the file systems of apps' roots.
EARLY = ("virtio_mmio", "virtio_console", "erofs", "overlay")
#: What is loaded when there is something to use it for: devices, found anew by a guest that was restored from a snapshot.
BLOCK = ("virtio_blk",)
NETWORK = ("virtio_net",)
SHARED = ("virtiofs",)
_ENDINGS = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")


class Modules:
    """The modules of one kernel."""

    def __init__(self, directory: str) -> None:
        """Read ``modules.dep`` and ``modules.builtin`` in ``directory``. Raises OSError."""
        self.directory = directory
        self._needs: dict[str, list[str]] = {}
        self._paths: dict[str, str] = {}
        with open(f"{directory}/modules.dep", encoding="utf-8") as file:
            for line in file:
                path, _, needs = line.partition(":")
                self._needs[path] = needs.split()
                self._paths[_name(path)] = path
        with open(f"{directory}/modules.builtin", encoding="utf-8") as file:
            self._built_in = frozenset([_name(line.strip()) for line in file])

    def order(self, names: tuple[str, ...]) -> list[str]:
        """Paths below the directory of ``names`` and all that they need, each after what it needs. Raises NotFoundError."""
        found: list[str] = []
        for name in names:
            path = self._paths.get(name)
            if path is None:
                if name in self._built_in:
                    continue
                raise NotFoundError(f"the kernel in {self.directory} has no module {name}")
            # depmod(8) writes first what is to be loaded last.
            for needed in (*reversed(self._needs[path]), path):
                if needed not in found:
                    found.append(needed)
        return found

    def read(self, path: str) -> bytes:
        """The content of a module, decompressed. Raises OSError."""
        with open(f"{self.directory}/{path}", "rb") as file:
            data = file.read()
        if path.endswith(".xz"):
            import lzma

            return lzma.decompress(data)
        if path.endswith(".zst"):
            import pyzstd

            unpacked: bytes = pyzstd.decompress(data)
            return unpacked
        if path.endswith(".gz"):
            import gzip

            return gzip.decompress(data)
        return data


def file_name(path: str) -> str:
    """The name of a module's file in the guest."""
    return f"{_name(path)}.ko"


def _name(path: str) -> str:
    base = os.path.basename(path)
    for ending in _ENDINGS:
        if base.endswith(ending):
            return base.removesuffix(ending).replace("-", "_")
    return base
