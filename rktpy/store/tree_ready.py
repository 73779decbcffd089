"""Whether a rendered tree is there: the questions that every start of a pod asks.

Writing out a tree of hundreds of megabytes before it may be used would take longer than rendering it, so the marker
``rendered`` comes in two kinds. ``synced`` says that the tree has been written out to the disk. Otherwise it holds the boot
ID of the kernel that rendered it: until the machine restarts its page cache vouches for the tree; after a restart nobody
does, and the tree is rendered anew. ``trees.settle`` turns the second kind into the first.

Hot-path module.
"""

from __future__ import annotations

from _sha512 import sha512

from rktpy.errors import StoreError
from rktpy.store.lookup import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from rktpy.store.paths import Layout

SYNCED = b"synced\n"


def tree_id(image_ids: Collection[str]) -> str:
    """The ID of the tree rendered from images in this order (rkt: ``treestore.GetID``, half of a sha512)."""
    return "deps-sha512-" + sha512(",".join(image_ids).encode()).hexdigest()[:64]


def boot_id() -> bytes:
    """The running kernel's boot ID, a line; empty where /proc does not tell, so that no unsynced tree is trusted."""
    try:
        return read_file("/proc/sys/kernel/random/boot_id")
    except OSError:
        return b""


def marker(layout: Layout, wanted: str) -> bytes | None:
    """The content of a tree's marker, None if there is none."""
    try:
        return read_file(layout.tree(wanted) + "/rendered")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot examine tree {wanted}") from error


def tree_ready(layout: Layout, wanted: str) -> bool:
    """Whether a tree is rendered and whole."""
    text = marker(layout, wanted)
    return text is not None and (text == SYNCED or (text != b"" and text == boot_id()))
