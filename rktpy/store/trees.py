"""Rendered trees: what an app sees as its root file system before anything is mounted over it.

A tree is rendered once for each ordered set of images, by one process while the others wait, into ``cas/tmp`` and appears under
its name in one step. When it may be trusted after a crash is told in ``tree_ready``.

The ``hash`` of a tree is not written when it is rendered: reading everything back would take half as long again as rendering.
``image verify`` renders a second time from the checked blobs, compares, and then keeps the hash.

Hot-path module: every start of a pod comes by :func:`ensure`, and finds the tree there as a rule.
"""

from __future__ import annotations

from os import O_CLOEXEC, O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_WRONLY, close, fchmod, listdir, stat
from os import open as open_fd

from rktpy.errors import StoreError
from rktpy.store import dependencies, locks, lookup, tree_size
from rktpy.store.paths import TREE_MODE, is_tree_id
from rktpy.store.temporary import create_directory, sync_directory, take_out, write_all, write_durably
from rktpy.store.tree_ready import SYNCED, boot_id, marker, tree_id, tree_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from rktpy.store.paths import Layout
    from rktpy.store.temporary import Temporary

FILE_MODE = 0o644


def steps_of(layout: Layout, image_id: str) -> list[dependencies.Step]:
    """What is laid down for an image, bottom first: itself, after its dependencies. Raises NotFoundError, InputError."""
    if image_id.startswith("sha256-"):
        # Only ACIs have dependencies; whether the image is there is seen when it is rendered.
        return [dependencies.Step(image_id, ())]
    return dependencies.order(layout, image_id)


def ensure(layout: Layout, image_id: str) -> str:
    """Render an image's tree if it is not there; returns the tree's ID.

    Raises NotFoundError (:class:`dependencies.MissingDependency` names the image to fetch), InputError, ArchiveError, StoreError.
    """
    steps = steps_of(layout, image_id)
    wanted = tree_id([step.image_id for step in steps])
    if tree_ready(layout, wanted):
        return wanted
    with locks.acquire(layout.tree_lock(wanted), exclusive=True):
        if not tree_ready(layout, wanted):
            with render_aside(layout, steps, image_id) as fresh:
                put_in_place(layout, wanted, fresh)
    return wanted


def render_aside(layout: Layout, steps: list[dependencies.Step], image_id: str) -> Temporary:
    """Render a tree under a temporary name, complete with its marker."""
    from rktpy.store.rendering import render_steps

    fresh = begin(layout)
    try:
        rendered = render_steps(layout, steps, fresh.path + "/rootfs")
        complete(layout, fresh, image_id, rendered.tree_bytes)
    except OSError as error:
        fresh.close()
        raise StoreError(f"cannot render image {image_id}") from error
    except BaseException:
        fresh.close()
        raise
    return fresh


def begin(layout: Layout) -> Temporary:
    """An empty directory for a tree, under a temporary name."""
    try:
        fresh = create_directory(layout, "tree", TREE_MODE)
        try:
            fchmod(fresh.fd, TREE_MODE)
        except BaseException:
            fresh.close()
            raise
    except OSError as error:
        raise StoreError("cannot make a directory for a tree") from error
    return fresh


def complete(layout: Layout, fresh: Temporary, image_id: str, size: int) -> None:
    """Write what belongs beside the root file system of a rendered tree of ``size`` bytes. The image is in the store."""
    try:
        for name, data in (
            ("manifest", lookup.read_file(layout.manifest(image_id))),
            ("image", image_id.encode()),
            ("size", tree_size.note(size)),
            ("rendered", boot_id() or _written_out(fresh.fd)),
        ):
            _write_file(f"{fresh.path}/{name}", data)
    except OSError as error:
        raise StoreError(f"cannot render image {image_id}") from error


def _written_out(fd: int) -> bytes:
    """The marker of a tree where nobody can tell one boot from another: it is written out at once."""
    from rktpy.linux.syscalls import syncfs

    syncfs(fd)
    return SYNCED


def put_in_place(layout: Layout, wanted: str, fresh: Temporary) -> None:
    """Give a rendered tree its name; what had that name before is removed. The caller holds the tree's lock."""
    target = layout.tree(wanted)
    try:
        out = take_out(layout, target)
        fresh.rename(target)
        sync_directory(layout.trees)
        if out is not None:
            out.close()
    except OSError as error:
        raise StoreError(f"cannot render tree {wanted}") from error


def _write_file(path: str, data: bytes) -> None:
    fd = open_fd(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE)
    try:
        fchmod(fd, FILE_MODE)
        write_all(fd, data)
    finally:
        close(fd)


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


def settle(layout: Layout, among: Collection[str] | None = None) -> list[str]:
    """Write out the trees (those ``among``, or all) that vouch for themselves only until the machine restarts; returns their IDs.

    Called by the garbage collection, long after rendering as a rule, when the kernel has written most of it anyway.
    """
    boot = boot_id()
    ids = tree_ids(layout) if among is None else among
    pending = [(wanted, _marker_file(layout, wanted)) for wanted in ids if boot and marker(layout, wanted) == boot]
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
                write_durably(layout, f"{layout.tree(wanted)}/rendered", SYNCED, FILE_MODE)
    return [wanted for wanted, _ in pending]


def _marker_file(layout: Layout, wanted: str) -> tuple[int, int] | None:
    try:
        facts = stat(layout.tree(wanted) + "/rendered")
    except FileNotFoundError:
        return None
    return facts.st_ino, facts.st_ctime_ns
