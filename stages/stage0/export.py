"""Writing an app of an exited pod to an ACI: its root as the app left it, under the manifest of its image.

Source: rkt 1.30 ``rkt/export.go``. The pod's overlay is read through a detached mount, so nothing has to be taken down afterwards
and the pod is not changed.
"""

from __future__ import annotations

import os
import stat
import zlib

from rktpy.errors import RktpyError, StateError, UsageError
from rktpy.formats.aci.write import write_aci
from rktpy.formats.stage1 import APPS_INFO_DIR, app_rootfs
from rktpy.formats.tar import TarEntry
from rktpy.isolate.shift_tree import unshift_capability
from rktpy.log import note
from rktpy.stage0.enter import choose_app
from rktpy.stage0.mounts import mounts_below
from rktpy.stage0.overlay import open_overlay
from rktpy.stage0.pod_states import EXITED, EXITED_GARBAGE, quoted
from rktpy.stage0.pods import find_pod
from rktpy.stage0.private_users import pod_range
from rktpy.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rktpy.formats.user_range import UserRange
    from rktpy.stage0.options import Globals
    from rktpy.stage0.pods import Pod

_GZIP = 31
_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}
#: Extended attributes that belong to the machine or to overlayfs, not to the files.
_FOREIGN = ("trusted.", "security.selinux", "system.posix_acl")


def export(g: Globals, uuid: str, app: str | None, path: str, overwrite: bool = False) -> None:
    """Write ``app`` (None: the only one) of an exited pod to the gzipped ACI ``path``.

    The file appears under its name when it is complete. Raises StateError when the pod has not exited, UsageError when the file
    is there already and ``overwrite`` is not given, RktpyError, OSError.
    """
    with find_pod(g.data_dir, uuid, "problem retrieving pod") as pod:
        if pod.state not in (EXITED, EXITED_GARBAGE):
            raise StateError("pod is not exited. Only exited pods can be exported")
        name = choose_app(pod, app, "export")
        if not overwrite and os.path.lexists(path):
            raise UsageError("error building aci: target file exists (try --overwrite)")
        manifest = pod.read(f"{APPS_INFO_DIR}/{name}/manifest")
        from rktpy.stage0.exported_root import exported_entries, keeps_roots

        if keeps_roots(pod):
            spool = os.open(os.path.dirname(pod.path), os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                found = exported_entries(g, pod, name, _tree_path(g, pod, name), spool)
                _write(path, manifest, found, overwrite=overwrite)
            finally:
                os.close(spool)
            return
        users = pod_range(pod)
        root = _open_root(g, pod, name, users)
        if pod.uses_overlay:
            users = None  # the overlay shows the pod's IDs
        try:
            _write(path, manifest, _entries(root, users), overwrite=overwrite)
        finally:
            os.close(root)


def _tree_path(g: Globals, pod: Pod, app: str) -> str:
    """The tree of the app's image, rendered again if it is not there; empty when the app's root is a copy. Raises RktpyError."""
    tree_id = pod.tree_id(app)
    if not pod.uses_overlay or tree_id is None:
        return ""
    store = Store(g.data_dir, create=False)
    if not store.tree_ready(tree_id):
        image_id: str = next(entry["image"]["id"] for entry in pod.app_documents() if entry["name"] == app)
        if Store(g.data_dir).ensure_tree(image_id) != tree_id:
            raise StateError(f"the tree of app {app} is not in the store any more")
    return f"{store.tree_path(tree_id)}/rootfs"


def _open_root(g: Globals, pod: Pod, app: str, users: UserRange | None) -> int:
    tree_id, lower = pod.tree_id(app), _tree_path(g, pod, app)
    if tree_id is not None and lower:
        return open_overlay(pod.path, tree_id, lower, app, users)
    if mounts_below(os.fsencode(f"{pod.path}/{app_rootfs(app)}")):
        raise StateError("pod has remaining mountpoints. Only pods using overlayfs or with no mountpoints can be exported")
    return os.open(app_rootfs(app), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=pod.fileno())


def _write(
    path: str, manifest: bytes, entries: Iterable[tuple[TarEntry, Callable[[int], bytes] | None]], *, overwrite: bool
) -> None:
    temporary = f"{path}.{os.getpid()}.new"
    try:
        with open(temporary, "xb") as file:
            packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)

            def write(data: bytes) -> None:
                file.write(packer.compress(data))

            write_aci(write, manifest, entries)
            file.write(packer.flush())
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.rename(temporary, path)
        else:
            try:
                os.link(temporary, path)
            except FileExistsError:
                raise UsageError("error building aci: target file exists (try --overwrite)") from None
            os.unlink(temporary)
    except OSError as error:
        raise RktpyError("error building aci") from error
    finally:
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass


def _entries(root: int, users: UserRange | None) -> Iterator[tuple[TarEntry, Callable[[int], bytes] | None]]:
    """Every file below the directory ``root``, nothing reached through a symbolic link."""
    first_names: dict[tuple[int, int], bytes] = {}
    yield _entry(b".", ".", root, users, first_names)[0], None
    pending = [b""]
    while pending:
        below = pending.pop()
        directory = os.open(below or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        try:
            for name in sorted(os.listdir(directory)):
                full = below + b"/" + os.fsencode(name) if below else os.fsencode(name)
                entry, mode = _entry(full, name, directory, users, first_names)
                if entry.type == "":
                    note("export", f"{os.fsdecode(full)} is a socket, left out")
                    continue
                if stat.S_ISDIR(mode):
                    pending.append(full)
                yield entry, _File(root, full, entry.size) if entry.type == "file" else None
        finally:
            os.close(directory)


def _entry(
    full: bytes, name: str, directory: int, users: UserRange | None, first_names: dict[tuple[int, int], bytes]
) -> tuple[TarEntry, int]:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    kind = _TYPES.get(stat.S_IFMT(status.st_mode), "")
    identity = (status.st_dev, status.st_ino)
    link = b""
    if status.st_nlink > 1 and kind not in ("dir", ""):
        link = first_names.setdefault(identity, full)
        if link != full:
            return TarEntry(full, "hardlink", link=link), 0
        link = b""
    if kind == "symlink":
        link = os.fsencode(os.readlink(name, dir_fd=directory))
    device = kind in ("char", "block")
    entry = TarEntry(
        full,
        kind,
        stat.S_IMODE(status.st_mode),
        status.st_uid if users is None else users.unshifted(status.st_uid),
        status.st_gid if users is None else users.unshifted(status.st_gid),
        status.st_size if kind == "file" else 0,
        status.st_mtime_ns,
        link,
        os.major(status.st_rdev) if device else 0,
        os.minor(status.st_rdev) if device else 0,
        _attributes(f"/proc/self/fd/{directory}/{name}", users),
    )
    return entry, status.st_mode


def _attributes(path: str, users: UserRange | None) -> dict[bytes, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    found: dict[bytes, bytes] = {}
    for name in names:
        if not name.startswith(_FOREIGN):
            value = os.getxattr(path, name, follow_symlinks=False)
            if users is not None and name == "security.capability":
                value = unshift_capability(value, users)
            found[os.fsencode(name)] = value
    return found


class _File:
    """The content of a file, opened when the first byte is asked for and closed after the last."""

    def __init__(self, root: int, path: bytes, size: int) -> None:
        self._root = root
        self._path = path
        self._left = size
        self._fd = -1

    def __call__(self, size: int) -> bytes:
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self._root)
        data = os.read(self._fd, min(size, self._left))
        self._left -= len(data)
        if not data or not self._left:
            os.close(self._fd)
        if not data:
            raise RktpyError(f"file {quoted(os.fsdecode(self._path))} became shorter while it was read")
        return data
