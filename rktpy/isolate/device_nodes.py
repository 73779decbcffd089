"""The device nodes of a container, many at a time. Hot-path module."""

from __future__ import annotations

import os
import stat
from errno import EEXIST, EPERM

from rktpy.errors import Stage1Error
from rktpy.isolate.mount_entries import BindTree
from rktpy.isolate.plan import Operation, shown
from rktpy.isolate.root import Root
from rktpy.record import Record

KINDS = {"c": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


class Node(Record):
    """A node: ``kind`` is ``c``, ``b`` or ``p``; owner and mode are the container's."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0

    def describe(self) -> str:
        """``/dev/null c 1:3``."""
        return f"{shown(self.path)} {self.kind} {self.major}:{self.minor}"


class MakeNodes(Operation):
    """Make device nodes. ``bind``: show the host's by mounts, since a user namespace may make none. Needs an umask of 0."""

    nodes: tuple[Node, ...]
    bind: bool = False

    def describe(self) -> str:
        return f"{'bind' if self.bind else 'make'} the devices {', '.join([one.path for one in self.nodes])}"

    def execute(self, root: Root) -> None:
        directory, parent = "", -1
        try:
            for node in self.nodes:
                above, _slash, name = node.path.rstrip("/").rpartition("/")
                if not name or name in (".", ".."):
                    raise Stage1Error(f"{shown(node.path)} is no path of a device")
                if self.bind and node.kind != "p":
                    BindTree(node.path, node.path).execute(root)
                    continue
                if parent < 0 or above != directory:
                    if parent >= 0:
                        os.close(parent)
                    parent, directory = root.target(above or "/", directory=True), above
                self._make(root, parent, name, node)
        finally:
            if parent >= 0:
                os.close(parent)

    def _make(self, root: Root, parent: int, name: str, node: Node) -> None:
        device = os.makedev(node.major, node.minor)
        try:
            os.mknod(name, KINDS[node.kind] | node.mode, device, dir_fd=parent)
        except OSError as error:
            if error.errno == EEXIST:
                return  # a mount brought it, and its owner knows why it is as it is
            if error.errno == EPERM and node.kind != "p":
                BindTree(node.path, node.path).execute(root)
                return
            raise OSError(error.errno, error.strerror, node.path) from None
        if node.uid or node.gid:
            os.chown(name, node.uid, node.gid, dir_fd=parent, follow_symlinks=False)


class MakeLinks(Operation):
    """Symbolic links in one directory, (name, what it leads to); what is there already stays."""

    directory: str
    links: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        return f"link {', '.join([name for name, _to in self.links])} in {shown(self.directory)}"

    def execute(self, root: Root) -> None:
        parent = root.target(self.directory, directory=True)
        try:
            for name, to in self.links:
                try:
                    os.symlink(to, name, dir_fd=parent)
                except FileExistsError:
                    pass
        finally:
            os.close(parent)
