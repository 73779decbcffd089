"""The disks of a machine: read-only images of the apps' trees, and one for all that is written.

::

    <data>/stage1-kvm/images/<tree>.erofs     made once for a tree of the store, used by all pods of the image
    <data>/stage1-kvm/empty-<size>.ext4       an empty file system
    <pod>/machine/disk                        the pod's copy of it: what apps write, and empty volumes
    <pod>/machine/<app>.erofs                 the image of an app whose root is a copy

An image is EROFS without compression (docs/adr/0026). Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import NotFoundError, Stage1Error
from rktpy.formats import stage1 as names
from rktpy.isolate.plan import shown
from rktpy.isolate.pod_app import read_file
from rktpy.log import debug
from rktpy.stage1.kvm.snapshot import copy_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.isolate.pod_app import PodApp

#: Directory of the pod's for what belongs to its machine.
MACHINE_DIR = "machine"
DISK_FILE = f"{MACHINE_DIR}/disk"
_DIRECTORIES = ("/usr/bin", "/usr/sbin", "/sbin", "/bin", "/usr/local/bin")
#: Images of trees that no pod has used for so long are removed when another one is made, in seconds.
_KEEP = 30 * 86400
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def open_image(cache: str, app: PodApp, source: str = "") -> int:
    """The read-only image of an app's root, made of ``source`` (empty: the root itself) if there is none: a descriptor.

    Raises NotFoundError, Stage1Error, OSError.
    """
    tree = _tree(app)
    path = f"{cache}/images/{tree}.erofs" if tree else f"{MACHINE_DIR}/{app.name}.erofs"
    if not tree or not os.path.exists(path):
        _make_image(source or app.rootfs, path)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if tree:
        try:
            os.utime(fd)
        except OSError:
            pass
    return fd


def _tree(app: PodApp) -> str:
    """The name of the app's tree in the store, empty when its root is a copy."""
    if not os.path.exists(names.OVERLAY_PREPARED_FILE):
        return ""
    try:
        name = read_file(f"{names.APPS_INFO_DIR}/{app.name}/{names.APP_TREE_FILE}").decode().strip()
    except FileNotFoundError:
        return ""
    return "" if not name or "/" in name or name.startswith(".") else name


def _make_image(source: str, path: str) -> None:
    directory = os.path.dirname(path)
    os.makedirs(directory, 0o700, exist_ok=True)
    if directory != MACHINE_DIR:
        _forget_old(directory)
    temporary = f"{path}.{os.getpid()}"
    debug("stage1", f"making the image {path}")
    try:
        # Times of files are only in the larger form of inodes.
        _run("mkfs.erofs", "erofs-utils", ("-E", "force-inode-extended", "--quiet", temporary, source))
        os.chmod(temporary, 0o600)
        os.rename(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def _forget_old(directory: str) -> None:
    from time import time

    limit = time() - _KEEP
    for name in os.listdir(directory):
        try:
            if os.stat(f"{directory}/{name}").st_mtime < limit:
                os.unlink(f"{directory}/{name}")
        except FileNotFoundError:
            pass


def open_disk(cache: str, size: int) -> int:
    """A new file of ``size`` MiB for what the pod in the working directory writes: a descriptor. Raises RktpyError, OSError."""
    template = f"{cache}/empty-{size}.ext4"
    if not os.path.exists(template):
        _make_empty(template, size)
    source = os.open(template, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fd = os.open(DISK_FILE, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.ftruncate(fd, size << 20)
        copy_memory(source, fd)
        return fd
    finally:
        os.close(source)


def _make_empty(path: str, size: int) -> None:
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    # What is sparse is zero; nothing is to be written later for the tables of inodes.
    extended = "lazy_itable_init=1,lazy_journal_init=1,assume_storage_prezeroed=1,nodiscard"
    try:
        _run(
            "mke2fs",
            "e2fsprogs",
            ("-q", "-F", "-t", "ext4", "-m", "0", "-O", "^resize_inode", "-J", "size=8", "-E", extended, temporary, f"{size}M"),
        )
        os.chmod(temporary, 0o600)
        os.rename(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _run(program: str, package: str, arguments: tuple[str, ...]) -> None:
    """Run one of the host's tools. Raises NotFoundError, Stage1Error with what it says."""
    path = next((f"{one}/{program}" for one in _DIRECTORIES if os.access(f"{one}/{program}", os.X_OK)), "")
    if not path:
        raise NotFoundError(f"{program} is not installed (Debian: {package}), which stage1-kvm needs")
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]  # type: ignore[list-item]
        pid = os.posix_spawn(path, [program, *arguments], _ENVIRONMENT, file_actions=actions)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status:
            text = os.pread(output, 4096, 0).decode("utf-8", "replace").strip().splitlines()
            raise Stage1Error(f"{program} ended with status {status}: {shown(text[-1] if text else '')}")
    finally:
        os.close(output)
