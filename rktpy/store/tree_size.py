"""How many bytes the files of a rendered tree have, as ``image list`` adds them to what is stored of an image.

Counted are the contents of files (holes too, a file with several names once) and the targets of symbolic links. Directories are
not: what they take depends on the file system. The number is noted beside the tree when it is rendered; for a tree without it,
the files are looked at once.

Hot-path module.
"""

from __future__ import annotations

from rktpy.store.lookup import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.store.paths import Layout


def noted(layout: Layout, wanted: str) -> int | None:
    """The size in bytes that was noted of a tree, None if none was."""
    try:
        return int(read_file(layout.tree(wanted) + "/size"))
    except (OSError, ValueError):
        return None


def size_of(layout: Layout, wanted: str) -> int:
    """The size of a tree in bytes, looked up or else counted and noted; 0 for a tree that is gone, or that cannot be read."""
    size = noted(layout, wanted)
    if size is not None:
        return size
    try:
        size = measure(layout.tree(wanted) + "/rootfs")
    except OSError:
        return 0
    try:
        from rktpy.store.temporary import create_file, write_all

        with create_file(layout, "size") as temporary:
            write_all(temporary.fd, note(size))
            temporary.rename(layout.tree(wanted) + "/size")
    except OSError:
        # A read-only store, or the tree was removed: it is counted again next time.
        pass
    return size


def note(size: int) -> bytes:
    """What the file ``size`` beside a tree holds."""
    return b"%d\n" % size


def measure(root: str) -> int:
    """Look at every file below ``root``. Raises OSError."""
    import os

    from rktpy.store.directories import Directories

    size = 0
    seen: set[tuple[int, int]] = set()
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    directories = Directories(root_fd, 1 << 20, 1 << 30, lambda _path: False)
    try:
        pending = [b""]
        while pending:
            above = pending.pop()
            directory = directories.existing(above)
            if directory is None:
                continue  # it is being removed
            with os.scandir(directory.fd) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        name = os.fsencode(entry.name)
                        pending.append(above + b"/" + name if above else name)
                        continue
                    facts = entry.stat(follow_symlinks=False)
                    if facts.st_nlink > 1:
                        if (facts.st_dev, facts.st_ino) in seen:
                            continue
                        seen.add((facts.st_dev, facts.st_ino))
                    size += facts.st_size
    finally:
        directories.close()
        os.close(root_fd)
    return size
