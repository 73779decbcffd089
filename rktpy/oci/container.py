"""A container on disk: its directory, its state. Hot-path module.

Status is never written down: it follows from the process, the fifo that the first process waits at, and the freezer.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, flock

from rktpy.errors import FormatError
from rktpy.formats.jsondoc import dump, parse_object
from rktpy.oci.failure import NoSuchContainer, RuntimeFailure
from rktpy.oci.identity import is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.cgroup.subtree import Subtree
    from rktpy.formats.oci.runtime.config import RuntimeConfig

STATE_FILE = "state.json"
CONFIG_FILE = "config.json"
FIFO = "exec.fifo"
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


def check_id(container_id: str) -> None:
    """Refuse what is no ID of a container (and no name of a directory). Raises RuntimeFailure."""
    if not container_id or not _ALLOWED.issuperset(container_id) or container_id in (".", "..") or len(container_id) > 1024:
        raise RuntimeFailure("invalid container ID format")


class Container:
    """One container. ``state`` is the document in its directory, as :func:`new_state` makes it."""

    __slots__ = ("directory", "id", "root", "state")

    def __init__(self, root: str, container_id: str, state: dict[str, Any] | None = None) -> None:
        self.root = root
        self.id = container_id
        self.directory = f"{root}/{container_id}"
        self.state: dict[str, Any] = state or {}

    @classmethod
    def load(cls, root: str, container_id: str) -> Container:
        """Read the state. Raises NoSuchContainer, RuntimeFailure, FormatError."""
        check_id(container_id)
        container = cls(root, container_id)
        try:
            container.state = parse_object(_read(f"{container.directory}/{STATE_FILE}"), STATE_FILE)
        except FileNotFoundError:
            raise NoSuchContainer from None
        return container

    def make(self) -> int:
        """Make the directory and lock it; gives the descriptor of the lock.

        Raises RuntimeFailure when the ID is taken, OSError.
        """
        try:
            os.mkdir(self.directory, 0o711)
        except FileNotFoundError:
            os.makedirs(self.root, 0o711, exist_ok=True)
            return self.make()
        except FileExistsError:
            raise RuntimeFailure("container with given ID already exists") from None
        return self.lock()

    def lock(self) -> int:
        """Wait until nobody else changes the container. Raises NoSuchContainer when it is removed."""
        try:
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NoSuchContainer from None
        flock(fd, LOCK_EX)
        return fd

    def save(self) -> None:
        """Write the state. Raises OSError."""
        path = f"{self.directory}/{STATE_FILE}"
        write_file(f"{path}.new", dump(self.state))
        os.rename(f"{path}.new", path)

    def save_config(self, data: bytes) -> None:
        """Keep the configuration. Raises OSError."""
        write_file(f"{self.directory}/{CONFIG_FILE}", data)

    def config(self) -> RuntimeConfig:
        """The configuration that the container was made with. Raises FormatError, OSError."""
        from rktpy.formats.oci.runtime.config import RuntimeConfig

        return RuntimeConfig.parse(_read(f"{self.directory}/{CONFIG_FILE}"))

    def remove(self) -> None:
        """Remove the directory. Raises OSError."""
        try:
            for name in os.listdir(self.directory):
                os.unlink(f"{self.directory}/{name}")
            os.rmdir(self.directory)
        except FileNotFoundError:
            pass
        except OSError:
            from rktpy.linux.remove_tree import remove_tree

            remove_tree(self.directory)

    @property
    def pid(self) -> int:
        """The first process's ID, as it was when the container was made."""
        pid = self.state.get("pid")
        return pid if isinstance(pid, int) else 0

    @property
    def began(self) -> int:
        """When the first process began."""
        began = self.state.get("started")
        return began if isinstance(began, int) else -1

    @property
    def groups(self) -> Subtree:
        """The control groups that were made for it. Raises FormatError."""
        from rktpy.cgroup.subtree import Subtree

        try:
            return Subtree.from_text(str(self.state.get("groups", "")))
        except ValueError as error:
            raise FormatError(STATE_FILE, "groups", str(error)) from None

    def alive(self) -> bool:
        """Whether the first process has not ended."""
        return is_alive(self.pid, self.began)

    def status(self) -> str:
        """creating, created, running, paused or stopped."""
        if not self.alive():
            return "stopped"
        if self.state.get("creating"):
            return "creating"
        groups = self.groups
        if is_frozen(groups):
            return "paused"
        return "created" if os.path.exists(f"{self.directory}/{FIFO}") else "running"

    def document(self, status: str = "") -> dict[str, Any]:
        """The state as the runtime specification has it, with the members that runc adds for ``state`` and ``list``."""
        status = status or self.status()
        state = self.state
        shown: dict[str, Any] = {
            "ociVersion": state.get("ociVersion", ""),
            "id": self.id,
            "pid": 0 if status == "stopped" else self.pid,
            "status": status,
            "bundle": state.get("bundle", ""),
            "rootfs": state.get("rootfs", ""),
            "created": state.get("created", ""),
        }
        if state.get("annotations"):
            shown["annotations"] = state["annotations"]
        shown["owner"] = state.get("owner", "")
        return shown

    def hook_document(self, status: str) -> bytes:
        """The state that hooks and seccomp agents are given."""
        state = self.state
        shown: dict[str, Any] = {"ociVersion": state.get("ociVersion", ""), "id": self.id, "status": status}
        if status != "stopped":
            shown["pid"] = self.pid
        shown["bundle"] = state.get("bundle", "")
        if state.get("annotations"):
            shown["annotations"] = state["annotations"]
        return dump(shown)


def is_frozen(groups: Subtree) -> bool:
    """Whether the processes in the groups are frozen."""
    for group in groups.groups:
        if group.version == 1 and "freezer" not in group.controllers:
            continue
        name = "freezer.state" if group.version == 1 else "cgroup.freeze"
        try:
            text = _read(f"{group.directory}/{name}").strip()
        except OSError:
            continue
        if text in (b"FROZEN", b"FREEZING", b"1"):
            return True
    return False


def write_file(path: str, data: bytes) -> None:
    """A new file, readable by its owner only. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, 1 << 16)
        if len(data) == 1 << 16:
            while piece := os.read(fd, 1 << 20):
                data += piece
        return data
    finally:
        os.close(fd)
