"""Operations on the mount tree.

Targets are paths inside the app's root and are resolved there (see :mod:`rktpy.isolate.root`); what is missing is created. A
bind is made detached (open_tree), gets its attributes, and is only then attached, so that a read-only bind is never writable.
The kernel's mount(2) flag games with a second MS_REMOUNT are not needed, and read-only is recursive where the bind is.

Hot-path module.
"""

from __future__ import annotations

import os
import stat
from errno import EINVAL

from rktpy.errors import Stage1Error
from rktpy.isolate.plan import Operation, shown
from rktpy.isolate.root import Root
from rktpy.linux import constants as c
from rktpy.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.user_range import UserRange

_CLONE = c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC
_ATTACH = c.MOVE_MOUNT_F_EMPTY_PATH | c.MOVE_MOUNT_T_EMPTY_PATH


class OwnMountNamespace(Operation):
    """A mount namespace of our own. What the host mounts still shows up; what is mounted here does not reach the host.

    With ``unshare`` false the caller has made the namespace already.
    """

    unshare: bool = True

    def describe(self) -> str:
        return f"{'unshare the mount namespace and ' if self.unshare else ''}make all mounts slaves of the host's"

    def execute(self, root: Root) -> None:
        if self.unshare:
            syscalls.unshare(c.CLONE_NEWNS)
        syscalls.mount(None, "/", None, c.MS_REC | c.MS_SLAVE, None)
        if self.unshare:
            root.reopen()  # the descriptor is still one of the old namespace


class BindRoot(Operation):
    """Make the root a mount of its own when it is a plain directory: only a mount can be read-only or a pivot's target."""

    def describe(self) -> str:
        return "bind the root onto itself"

    def execute(self, root: Root) -> None:
        if os.fstat(root.fd).st_dev != os.stat("..", dir_fd=root.fd).st_dev:
            return  # a mount already, an overlay for example
        syscalls.mount(root.path, root.path, None, c.MS_BIND | c.MS_REC, None)
        root.reopen()


class Bind(Operation):
    """Mount ``source``, a path of the host, at ``target`` inside the root.

    ``namespace`` is the path of another mount namespace to take ``source`` from, if it is the same file there. A shared mount
    taken from there stays a peer of the original: what is mounted below either shows up in the other. With ``users`` the files of
    the host's user N are shown as those of the pod's user N, else with the IDs that they have.
    """

    source: str
    target: str
    recursive: bool = False
    read_only: bool = False
    namespace: str = ""
    users: UserRange | None = None

    def describe(self) -> str:
        words = ["bind"]
        if self.recursive:
            words.append("recursively")
        if self.read_only:
            words.append("read-only")
        if self.namespace:
            words.append("shared")
        mapped = f" with IDs of {self.users}" if self.users else ""
        return f"{' '.join(words)} {shown(self.source)} at {shown(self.target)}{mapped}"

    def execute(self, root: Root) -> None:
        self.opened().execute(root)

    def opened(self) -> AttachTree:
        """What can be attached in another mount namespace, where ``source`` cannot be seen. Raises OSError."""
        recursive = c.AT_RECURSIVE if self.recursive else 0
        tree = _tree_of_namespace(self.namespace, self.source, _CLONE | recursive) if self.namespace else -1
        if tree < 0:
            tree = syscalls.open_tree(c.AT_FDCWD, self.source, _CLONE | recursive)
        try:
            if self.users is not None:
                from rktpy.isolate.userns import map_mount

                map_mount(tree, self.users, recursive=self.recursive)
            if self.read_only:
                syscalls.mount_setattr(tree, "", c.AT_EMPTY_PATH | recursive, c.MOUNT_ATTR_RDONLY, 0, 0, 0)
        except OSError:
            os.close(tree)
            raise
        return AttachTree(tree, self.source, self.target)


class AttachTree(Operation):
    """Attach the detached mounts that are open as ``tree``, which is closed, at ``target`` inside the root."""

    tree: int
    source: str
    target: str

    def describe(self) -> str:
        return f"bind {shown(self.source)} at {shown(self.target)}"

    def execute(self, root: Root) -> None:
        try:
            is_directory = stat.S_ISDIR(os.fstat(self.tree).st_mode)
            target = root.target(self.target, directory=is_directory)
            try:
                if stat.S_ISDIR(os.fstat(target).st_mode) != is_directory:
                    source, where = shown(self.source), shown(self.target)
                    if is_directory:
                        raise Stage1Error(f"can't mount because {source} is a directory while {where} is not")
                    raise Stage1Error(f"can't mount because {source} is not a directory while {where} is")
                syscalls.move_mount(self.tree, "", target, "", _ATTACH)
            finally:
                os.close(target)
        finally:
            os.close(self.tree)


def _tree_of_namespace(namespace: str, source: str, flags: int) -> int:
    """open_tree(2) in another mount namespace, -1 when ``source`` is something else there. The working directory stays."""
    expected = os.stat(source)
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    other = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(other, c.CLONE_NEWNS)
        try:
            tree = syscalls.open_tree(c.AT_FDCWD, source, flags)
        except FileNotFoundError:
            return -1
        finally:
            syscalls.setns(own, c.CLONE_NEWNS)
            os.fchdir(here)
        if os.path.samestat(os.fstat(tree), expected):
            return tree
        os.close(tree)
        return -1
    finally:
        for fd in (here, own, other):
            os.close(fd)


class Tmpfs(Operation):
    """A fresh tmpfs at ``target``; ``options`` as mount(8) takes them (``size=64m,mode=755``)."""

    target: str
    options: str = ""
    flags: int = 0

    def describe(self) -> str:
        return f"mount a tmpfs at {shown(self.target)}" + (f" with {self.options}" if self.options else "")

    def execute(self, root: Root) -> None:
        target = root.target(self.target, directory=True)
        try:
            syscalls.mount("tmpfs", f"/proc/self/fd/{target}", "tmpfs", self.flags, self.options or None)
        finally:
            os.close(target)


class Filesystem(Operation):
    """A file system of the kernel's (``proc``, ``sysfs``, ``devpts`` ...) at ``target``; ``options`` as mount(8) takes them."""

    kind: str
    target: str
    options: str = ""
    flags: int = c.MS_NOSUID | c.MS_NODEV | c.MS_NOEXEC

    def describe(self) -> str:
        return f"mount {self.kind} at {shown(self.target)}" + (f" with {self.options}" if self.options else "")

    def execute(self, root: Root) -> None:
        target = root.target(self.target, directory=True)
        try:
            syscalls.mount(self.kind, f"/proc/self/fd/{target}", self.kind, self.flags, self.options or None)
        finally:
            os.close(target)


class Symlink(Operation):
    """A symbolic link inside the root; an existing file stays."""

    target: str
    to: str

    def describe(self) -> str:
        return f"link {shown(self.target)} to {shown(self.to)}"

    def execute(self, root: Root) -> None:
        directory, _, name = self.target.rpartition("/")
        parent = root.target(directory or "/", directory=True)
        try:
            os.symlink(self.to, name, dir_fd=parent)
        except FileExistsError:
            pass
        finally:
            os.close(parent)


class Mkdir(Operation):
    """A directory inside the root, with its parents."""

    target: str
    mode: int = 0o755

    def describe(self) -> str:
        return f"make the directory {shown(self.target)}"

    def execute(self, root: Root) -> None:
        os.close(root.target(self.target, directory=True, mode=self.mode))


class WorldWritable(Operation):
    """A directory that everybody may write to, such as /tmp, which some images lack; an existing one stays as it is."""

    target: str

    def describe(self) -> str:
        return f'make the directory "{self.target}" with mode 1777 unless it is there'

    def execute(self, root: Root) -> None:
        if root.stat(self.target) is None:
            fd = root.target(self.target, directory=True)
            try:
                os.chmod(f"/proc/self/fd/{fd}", 0o1777)
            finally:
                os.close(fd)


class Mknod(Operation):
    """A device node inside the root. ``kind`` is ``stat.S_IFCHR`` or ``stat.S_IFBLK``; an existing file stays."""

    target: str
    kind: int
    major: int
    minor: int
    mode: int = 0o666

    def describe(self) -> str:
        letter = "c" if self.kind == stat.S_IFCHR else "b"
        return f"make the device {shown(self.target)} {letter} {self.major}:{self.minor}"

    def execute(self, root: Root) -> None:
        directory, _, name = self.target.rpartition("/")
        parent = root.target(directory or "/", directory=True)
        try:
            os.mknod(name, self.kind | 0o600, os.makedev(self.major, self.minor), dir_fd=parent)
            if root.owner:
                os.chown(name, root.owner, root.owner, dir_fd=parent, follow_symlinks=False)
            os.chmod(f"/proc/self/fd/{parent}/{name}", self.mode)  # the umask does not count
        except FileExistsError:
            pass
        finally:
            os.close(parent)


class WriteFile(Operation):
    """A small file inside the root, unless there is one."""

    target: str
    content: str
    mode: int = 0o644

    def describe(self) -> str:
        return f"write {shown(self.target)} unless it is there"

    def execute(self, root: Root) -> None:
        if root.stat(self.target) is not None:
            return
        path = root.target(self.target, directory=False)
        try:
            fd = os.open(f"/proc/self/fd/{path}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, self.content.encode())
                os.fchmod(fd, self.mode)
            finally:
                os.close(fd)
        finally:
            os.close(path)


class BindOnItself(Operation):
    """Make ``target``, a directory or file that is there, a mount of its own: what becomes of those above does not concern it."""

    target: str

    def describe(self) -> str:
        return f"bind {shown(self.target)} onto itself"

    def execute(self, root: Root) -> None:
        target = root.open(self.target)
        try:
            tree = syscalls.open_tree(target, "", _CLONE | c.AT_EMPTY_PATH)
            try:
                syscalls.move_mount(tree, "", target, "", _ATTACH)
            finally:
                os.close(tree)
        finally:
            os.close(target)


class RemountReadonly(Operation):
    """Make what is mounted at ``target`` read-only. A plain directory is bound onto itself first, a missing one is left."""

    target: str
    recursive: bool = False

    def describe(self) -> str:
        return f"make {shown(self.target)} read-only{' with everything below' if self.recursive else ''}"

    def execute(self, root: Root) -> None:
        recursive = c.AT_RECURSIVE if self.recursive else 0
        if self.target == "/":
            syscalls.mount_setattr(root.fd, "", c.AT_EMPTY_PATH | recursive, c.MOUNT_ATTR_RDONLY, 0, 0, 0)
            return
        try:
            target = root.open(self.target)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            tree = syscalls.open_tree(target, "", _CLONE | c.AT_EMPTY_PATH | c.AT_RECURSIVE)
            try:
                syscalls.mount_setattr(tree, "", c.AT_EMPTY_PATH | recursive, c.MOUNT_ATTR_RDONLY, 0, 0, 0)
                syscalls.move_mount(tree, "", target, "", _ATTACH)
            finally:
                os.close(tree)
        finally:
            os.close(target)


class MaskPath(Operation):
    """Hide ``target``: a directory behind an empty read-only tmpfs, a file behind the host's /dev/null. A missing one is left."""

    target: str

    def describe(self) -> str:
        return f"hide {shown(self.target)}"

    def execute(self, root: Root) -> None:
        try:
            target = root.open(self.target)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            if stat.S_ISDIR(os.fstat(target).st_mode):
                flags = c.MS_RDONLY | c.MS_NOSUID | c.MS_NODEV | c.MS_NOEXEC
                syscalls.mount("tmpfs", f"/proc/self/fd/{target}", "tmpfs", flags, "size=0,nr_inodes=2,mode=000")
                return
            tree = syscalls.open_tree(c.AT_FDCWD, "/dev/null", _CLONE)
            try:
                syscalls.mount_setattr(tree, "", c.AT_EMPTY_PATH, c.MOUNT_ATTR_RDONLY | c.MOUNT_ATTR_NOEXEC, 0, 0, 0)
                syscalls.move_mount(tree, "", target, "", _ATTACH)
            finally:
                os.close(tree)
        finally:
            os.close(target)


class PivotRoot(Operation):
    """Make the app's root the root of the mount namespace and drop everything else.

    Unlike after chroot(2), no path leads back, whatever capabilities the app has. Where the kernel cannot pivot (the machine's
    root is its initramfs), chroot is used.
    """

    def describe(self) -> str:
        return "pivot into the app's root"

    def execute(self, root: Root) -> None:
        os.fchdir(root.fd)
        try:
            # With both names ".", the old root lands on top of the new one and needs no directory in the image.
            syscalls.pivot_root(".", ".")
        except OSError as error:
            if error.errno != EINVAL:
                raise
            os.chroot(".")
            os.chdir("/")
            return
        syscalls.umount2(".", c.MNT_DETACH)
        os.chdir("/")


class Chroot(Operation):
    """chroot(2) into the app's root."""

    def describe(self) -> str:
        return "chroot into the app's root"

    def execute(self, root: Root) -> None:
        os.fchdir(root.fd)
        os.chroot(".")
