"""Rendered trees: what an app sees as its root file system before anything is mounted over it.

A tree is rendered once for each ordered set of images, by one process while the others wait, into ``cas/tmp`` and appears under
its name in one step. When it may be trusted after a crash is told in ``tree_ready``.

The ``hash`` of a tree is not written when it is rendered: reading everything back would take half as long again as rendering.
``image verify`` renders a second time from the checked blobs, compares, and then keeps the hash.
"""

from __future__ import annotations

from os import O_CLOEXEC, O_DIRECTORY, O_RDONLY, close, listdir, stat
from os import open as open_fd
from typing import TYPE_CHECKING

from rktpy.errors import StoreError
from rktpy.store import dependencies, locks, lookup
from rktpy.store.paths import is_tree_id
from rktpy.store.temporary import take_out, write_durably
from rktpy.store.tree_ready import SYNCED, boot_id, marker

if TYPE_CHECKING:
    from rktpy.store.paths import Layout

MARKER_MODE = 0o644


def steps_of(layout: Layout, image_id: str) -> list[dependencies.Step]:
    """What is laid down for an image, bottom first: itself, after its dependencies. Raises NotFoundError, InputError."""
    if image_id.startswith("sha256-"):
        # Only ACIs have dependencies; whether the image is there is seen when it is rendered.
        return [dependencies.Step(image_id, ())]
    return dependencies.order(layout, image_id)


def remove(layout: Layout, wanted: str) -> None:
    """Remove a tree, if it is there. The caller knows that no pod uses it."""
    try:
        with locks.acquire(layout.tree_lock(wanted), exclusive=True) as lock:
            out = take_out(layout, layout.tree(wanted))
            lock.forget_file()
        if out is not None:
            out.close()
    except OSError as error:
        raise StoreError(f"cannot remove tree {wanted}") from error


def tree_ids(layout: Layout) -> list[str]:
    """The IDs of all trees, sorted."""
    try:
        return sorted([name for name in listdir(layout.trees) if is_tree_id(name)])
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError("cannot list trees") from error


def image_of(layout: Layout, wanted: str) -> str:
    """The image that a tree was rendered for; empty if that cannot be told."""
    try:
        return lookup.read_file(layout.tree(wanted) + "/image").decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def trees_of(layout: Layout, image_id: str) -> list[str]:
    """The trees that were rendered for an image (several when its dependencies changed meanwhile)."""
    return [wanted for wanted in tree_ids(layout) if image_of(layout, wanted) == image_id]


def settle(layout: Layout) -> list[str]:
    """Write out the trees that vouch for themselves only until the machine restarts; returns their IDs.

    Called by the garbage collection, long after rendering as a rule, when the kernel has written most of it anyway.
    """
    boot = boot_id()
    pending = [(wanted, _marker_file(layout, wanted)) for wanted in tree_ids(layout) if boot and marker(layout, wanted) == boot]
    if not pending:
        return []
    from rktpy.linux.syscalls import syncfs

    try:
        fd = open_fd(layout.trees, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        try:
            syncfs(fd)
        finally:
            close(fd)
    except OSError as error:
        raise StoreError("cannot write out rendered trees") from error
    for wanted, file in pending:
        with locks.acquire(layout.tree_lock(wanted), exclusive=True):
            # It may have been removed and rendered again since, and then it was not written out.
            if file is not None and _marker_file(layout, wanted) == file:
                write_durably(layout, f"{layout.tree(wanted)}/rendered", SYNCED, MARKER_MODE)
    return [wanted for wanted, _ in pending]


def _marker_file(layout: Layout, wanted: str) -> tuple[int, int] | None:
    try:
        facts = stat(layout.tree(wanted) + "/rendered")
    except FileNotFoundError:
        return None
    return facts.st_ino, facts.st_ctime_ns
