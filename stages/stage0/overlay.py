"""Overlays of a pod: a rendered tree below, the pod's own changes above.

A running pod's overlays are mounted in the mount namespace of its stage1 alone. Whoever wants to look at one from outside gets a
detached, read-only mount that goes away with its descriptor, so nothing is ever left mounted. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import RktpyError, describe
from rktpy.linux.constants import (
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_STRING,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    MNT_DETACH,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
)
from rktpy.linux.syscalls import fsconfig, fsmount, fsopen, mount, umount2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.user_range import UserRange

#: File systems that cannot carry the upper layer (rkt: aufs and zfs; the others refuse the extended attributes or whiteouts).
_UNFIT = ("aufs", "zfs", "overlay", "ecryptfs", "nfs", "nfs4", "cifs", "smb3", "vfat", "exfat", "9p")


def why_not(data_dir: str) -> str:
    """Why overlays cannot be used for pods in ``data_dir``; empty when they can."""
    if not _known_to_kernel():
        _load_module()
        if not _known_to_kernel():
            return "overlay entry not present in /proc/filesystems"
    kind = _filesystem_of(data_dir)
    return f"unsupported filesystem: {kind}" if kind in _UNFIT else ""


def why_not_mapped(layers: tuple[str, str], users: UserRange) -> str:
    """Why overlays cannot have lower layers with the IDs of a user namespace; empty when they can.

    That takes a kernel (Linux 5.19) and a file system, so it is tried with two directories of the store; nothing is changed.
    """
    from rktpy.isolate.userns import BorrowedMountNamespace, cover_mapped

    try:
        with BorrowedMountNamespace():
            for path in layers:
                cover_mapped(path, users)
            os.close(_detached(layers))
    except OSError as error:
        return f"no id-mapped layers here: {describe(OSError(error.errno, error.strerror))}"
    return ""


def _known_to_kernel() -> bool:
    with open("/proc/filesystems", "rb", buffering=0) as file:
        return b"\toverlay\n" in file.read()


def _load_module() -> None:
    import subprocess

    try:
        subprocess.run(["modprobe", "overlay"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        pass


def _filesystem_of(path: str) -> str:
    device = os.stat(path).st_dev
    wanted = f" {os.major(device)}:{os.minor(device)} "
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if wanted in line:
                return line.partition(" - ")[2].partition(" ")[0]
    return ""


def _escaped(path: str) -> str:
    """``path`` for an option of overlayfs: commas end an option, colons a layer."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def layer_dirs(tree_id: str, app: str) -> tuple[str, str]:
    """Where the upper and the work directory of an app are, relative to the pod's directory; of stage1 itself with no ``app``."""
    below = f"/{app}" if app else ""
    return f"overlay/{tree_id}/upper{below}", f"overlay/{tree_id}/work{below}"


def make_layer_dirs(pod_fd: int, tree_id: str, lower: str, app: str, users: UserRange | None = None) -> None:
    """Create the upper and work directories of an overlay. The upper one is what the app sees as its root: it gets mode and
    owner of the tree's. Raises OSError, RktpyError."""
    root = os.stat(lower)
    upper, work = layer_dirs(tree_id, app)
    for path, mode in (("overlay", 0o750), (f"overlay/{tree_id}", 0o750), (f"overlay/{tree_id}/upper", 0o755), (upper, 0o755)):
        _mkdir(pod_fd, path, mode)
    _mkdir(pod_fd, f"overlay/{tree_id}/work", 0o750)
    _mkdir(pod_fd, work, 0o750)
    uid, gid = root.st_uid, root.st_gid
    if users is not None:
        uid, gid = users.shifted(uid), users.shifted(gid)
    os.chown(upper, uid, gid, dir_fd=pod_fd, follow_symlinks=False)
    os.chmod(upper, root.st_mode & 0o7777, dir_fd=pod_fd)


def _mkdir(pod_fd: int, path: str, mode: int) -> None:
    try:
        os.mkdir(path, mode, dir_fd=pod_fd)
    except FileExistsError:
        return
    # A set-group-ID bit of the pods directory must not reach what apps create.
    os.chmod(path, mode, dir_fd=pod_fd)


def mount_overlay(pod_fd: int, tree_id: str, lower: str, target: str, app: str = "", users: UserRange | None = None) -> None:
    """Mount the overlay of an app (of stage1 itself with no ``app``) on ``target``.

    ``target`` is relative to the working directory, the pod's, which is also open as ``pod_fd``. With ``users`` the files of the
    tree have the IDs of that range, and so has what the pod writes to the upper layer. Call this in a mount namespace of the
    pod's own. Raises RktpyError.
    """
    try:
        make_layer_dirs(pod_fd, tree_id, lower, app, users)
        upper, work = layer_dirs(tree_id, app)
        options = f"lowerdir={_escaped(lower)},upperdir={_escaped(upper)},workdir={_escaped(work)}"
        if users is None:
            mount("overlay", target, "overlay", 0, options)
            return
        from rktpy.isolate.userns import cover_mapped

        cover_mapped(lower, users)
        try:
            mount("overlay", target, "overlay", 0, options)
        finally:
            umount2(lower, MNT_DETACH)  # the overlay has a mount of it for itself
    except OSError as error:
        raise RktpyError(f"error rendering overlay filesystem on {target} (try --no-overlay)") from error


def detached_overlay(pod_path: str, tree_id: str, lower: str, app: str = "", users: UserRange | None = None) -> int:
    """The descriptor of a detached, read-only mount that shows what an app (stage1 with no ``app``) has made of its tree.

    What a pod with the IDs of ``users`` wrote is shown with the IDs that it has in the pod. The mount can be attached somewhere
    with move_mount(2); otherwise it goes away when it is closed. Changes nothing. Raises RktpyError.
    """
    upper = f"{pod_path}/{layer_dirs(tree_id, app)[0]}"
    try:
        if users is None:
            return _detached((upper, lower))
        from rktpy.isolate.userns import BorrowedMountNamespace, cover_mapped

        with BorrowedMountNamespace():
            cover_mapped(upper, users, reverse=True)
            return _detached((upper, lower))
    except OSError as error:
        raise RktpyError("problem mounting overlay filesystem") from error


def _detached(paths: tuple[str, ...]) -> int:
    layers: list[int] = []
    try:
        for path in paths:
            layers.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        context = fsopen("overlay", FSOPEN_CLOEXEC)
        try:
            fsconfig(context, FSCONFIG_SET_STRING, "source", "overlay", 0)
            # By descriptor: a string here may have 255 bytes at most.
            fsconfig(context, FSCONFIG_SET_STRING, "lowerdir", ":".join([f"/proc/self/fd/{fd}" for fd in layers]), 0)
            fsconfig(context, FSCONFIG_CMD_CREATE, None, None, 0)
            attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
            return fsmount(context, FSMOUNT_CLOEXEC, attributes)
        finally:
            os.close(context)
    finally:
        for fd in layers:
            os.close(fd)


def writable_overlay(pod_fd: int, tree_id: str, lower: str, app: str, users: UserRange | None = None, pod_path: str = "") -> int:
    """The descriptor of a detached mount of an app's root, to be attached with move_mount(2) in the pod's mount namespace.

    The upper and work directories are made in the pod's directory, open as ``pod_fd``. With ``users``, see :func:`mount_overlay`,
    the directory's path is needed as well. Raises RktpyError.
    """
    try:
        make_layer_dirs(pod_fd, tree_id, lower, app, users)
        upper, work = layer_dirs(tree_id, app)
        if users is None:
            return _writable(lower, upper, work, pod_fd)
        from rktpy.isolate.userns import BorrowedMountNamespace, cover_mapped

        with BorrowedMountNamespace():
            cover_mapped(lower, users)
            # The kernel takes no layers of another mount namespace, which is what the pod's descriptor leads to.
            return _writable(lower, f"{pod_path}/{upper}", f"{pod_path}/{work}")
    except OSError as error:
        raise RktpyError(f"error rendering overlay filesystem of app {app} (try --no-overlay)") from error


def _writable(lower: str, upper: str, work: str, dir_fd: int | None = None) -> int:
    layers: list[int] = []
    try:
        layers.append(os.open(lower, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        for path in (upper, work):
            layers.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd))
        context = fsopen("overlay", FSOPEN_CLOEXEC)
        try:
            fsconfig(context, FSCONFIG_SET_STRING, "source", "overlay", 0)
            for name, fd in zip(("lowerdir", "upperdir", "workdir"), layers, strict=True):
                fsconfig(context, FSCONFIG_SET_STRING, name, f"/proc/self/fd/{fd}", 0)
            fsconfig(context, FSCONFIG_CMD_CREATE, None, None, 0)
            return fsmount(context, FSMOUNT_CLOEXEC, 0)
        finally:
            os.close(context)
    finally:
        for fd in layers:
            os.close(fd)


def open_overlay(pod_path: str, tree_id: str, lower: str, app: str = "", users: UserRange | None = None) -> int:
    """The open root directory of a :func:`detached_overlay`, which lives until this is closed. Raises RktpyError."""
    detached = detached_overlay(pod_path, tree_id, lower, app, users)
    try:
        # The mount's own descriptor only names it; an open directory keeps it alive.
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=detached)
    finally:
        os.close(detached)
