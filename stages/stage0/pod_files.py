"""What is written in a pod's directory, read through its descriptor. The layout is drawn in ``pod_states``. Hot-path module."""

from __future__ import annotations

import os

from rktpy.errors import StateError
from rktpy.formats import jsondoc
from rktpy.stage0.pod_states import (
    ABORTED_PREPARE,
    AFTER_RUN,
    DELETING,
    EMBRYO,
    EXITED,
    EXITED_DELETING,
    EXITED_GARBAGE,
    GONE,
    PREPARING,
    RUNNING,
    quoted,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.pod import PodManifest
    from rktpy.formats.stage1 import Enforcement

_FILE_LIMIT = 16 << 20
#: The trust decision of each app's image.
TRUST_FILE = "trust"
#: formats.stage1.MUTABLE, which commands that only look at pods have no other need to load.
MUTABLE = "coreos.com/rkt/stage1/mutable"
_TRUE = ("1", "t", "T", "true", "TRUE", "True")


class PodFiles:
    """The files of a pod: an open directory, the state directory it is in, and its state, as last seen."""

    __slots__ = ("_directory", "_fd", "_raw", "_rootfs", "state")

    def __init__(self, directory: str, fd: int, state: str) -> None:
        self.state = state
        self._directory = directory
        self._fd = fd
        self._raw: dict[str, Any] | None = None
        self._rootfs = ""

    def read(self, name: str) -> bytes:
        """A file below the pod's directory. Raises OSError; StateError when it is absurdly large."""
        return read_file_at(self._fd, name)

    def read_optional(self, name: str) -> bytes | None:
        """As :meth:`read`, None when the file is not there."""
        try:
            return read_file_at(self._fd, name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name below the pod's directory."""
        return self._mtime(name) is not None

    def _mtime(self, name: str) -> int | None:
        try:
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _read_int(self, name: str) -> int | None:
        data = self.read_optional(name)
        if data is None:
            return None
        word = data.split()[:1]
        digits = word[0] if word else b""
        return int(digits) if digits.removeprefix(b"-").isdigit() and len(digits) < 20 else None

    @property
    def has_manifest(self) -> bool:
        """Whether the manifest can be expected to be there in this state."""
        return self.state not in (EMBRYO, PREPARING, ABORTED_PREPARE, DELETING, GONE)

    @property
    def is_after_run(self) -> bool:
        """Whether the pod ran and ended, or will never run."""
        return self.state in AFTER_RUN

    @property
    def is_finished(self) -> bool:
        """Whether the state is a last one, where waiting for the end ends."""
        return self.state in AFTER_RUN or self.state in (ABORTED_PREPARE, GONE)

    @property
    def created_ns(self) -> int | None:
        """When the pod was prepared, in ns since the epoch; None while it is not."""
        if self.state in (EMBRYO, PREPARING, ABORTED_PREPARE):
            return None
        created = self._mtime("pod-created")
        return self._mtime("pod") if created is None else created

    @property
    def started_ns(self) -> int | None:
        """When stage1 wrote ``pid`` or ``ppid``, in ns since the epoch; None when it never did."""
        if self.state != RUNNING and self.state not in AFTER_RUN:
            return None
        started = self._mtime("pid")
        return self._mtime("ppid") if started is None else started

    @property
    def gc_marked_ns(self) -> int | None:
        """When the pod became garbage (the ctime of its directory), in ns since the epoch."""
        if self._directory not in ("exited-garbage", "garbage"):
            return None
        return os.fstat(self._fd).st_ctime_ns

    def manifest_bytes(self) -> bytes:
        """The pod manifest as it is on disk."""
        return self.read("pod")

    def manifest_document(self) -> dict[str, Any]:
        """The pod manifest as a JSON object, not validated: it was when the pod was prepared. Read once."""
        if self._raw is None:
            self._raw = jsondoc.parse_object(self.read("pod"), "pod manifest")
        return self._raw

    def manifest(self) -> PodManifest:
        """The pod manifest."""
        from rktpy.formats.pod import PodManifest

        return PodManifest.from_bytes(self.read("pod"))

    def app_names(self) -> list[str]:
        """Names of the apps in the manifest."""
        return [app["name"] for app in self.app_documents()]

    def app_documents(self) -> list[dict[str, Any]]:
        """The apps of the manifest, as JSON objects that have a name."""
        return [app for app in objects_in(self.manifest_document().get("apps")) if isinstance(app.get("name"), str)]

    def image_manifest(self, app: str) -> dict[str, Any]:
        """The image manifest of an app as a JSON object."""
        return jsondoc.parse_object(self.read(f"appsinfo/{app}/manifest"), f"image manifest of app {app}")

    def tree_id(self, app: str) -> str | None:
        """ID of the tree that is the lower layer of the app's root; None when the root is a copy."""
        data = self.read_optional(f"appsinfo/{app}/treeStoreID")
        return data.decode().strip() if data else None

    def recorded_pid(self) -> int | None:
        """The process ID in ``pid``: the pod's first process."""
        return self._read_int("pid")

    def recorded_parent_pid(self) -> int | None:
        """The process ID in ``ppid``: the pod's first process is its only child."""
        return self._read_int("ppid")

    def pid(self) -> int | None:
        """The process ID in ``pid``, else in ``ppid``."""
        pid = self.recorded_pid()
        return self.recorded_parent_pid() if pid is None else pid

    def network_document(self) -> list[dict[str, Any]]:
        """The networks that stage1 wrote to net-info.json; empty when it made none."""
        data = self.read_optional("net-info.json")
        if data is None:
            return []
        return objects_in(jsondoc.parse(data, "net-info.json"))

    def networks(self) -> list[dict[str, Any]]:
        """The networks of a running or exited pod, with the members that rkt shows."""
        if self.state != RUNNING and self.state not in (EXITED, EXITED_GARBAGE, EXITED_DELETING):
            return []
        return self.network_document()

    @property
    def uses_overlay(self) -> bool:
        """Whether the roots are overlays."""
        return self._mtime("overlay-prepared") is not None

    @property
    def bundled_stage1(self) -> str | None:
        """Name of the bundled stage1 (``fly`` ...), None for a foreign one."""
        data = self.read_optional("stage1-bundled")
        return data.decode().strip() if data else None

    @property
    def stage1_tree_id(self) -> str | None:
        """ID of a foreign stage1's tree."""
        data = self.read_optional("stage1TreeStoreID")
        return data.decode().strip() if data else None

    @property
    def stage1_name(self) -> str:
        """Name of the stage1 image."""
        data = self.read_optional("stage1/manifest")
        if data is None:
            return ""
        return str(jsondoc.parse_object(data, "stage1 manifest").get("name", ""))

    def stage1_rootfs(self) -> str:
        """Where the files that stage1 writes are seen from outside, relative to the pod's directory.

        For a foreign stage1 on an overlay that is the upper layer: the overlay itself is mounted for stage1 alone.
        """
        if not self._rootfs:
            tree = self.stage1_tree_id
            self._rootfs = f"overlay/{tree}/upper" if tree and self.uses_overlay else "stage1/rootfs"
        return self._rootfs

    @property
    def is_mutable(self) -> bool:
        """Whether apps can be added to the pod and removed from it while it runs."""
        return any(
            pair.get("name") == MUTABLE and pair.get("value") in _TRUE
            for pair in objects_in(self.manifest_document().get("annotations"))
        )

    def app_created_ns(self, app: str) -> int | None:
        """When an app was added to a mutable pod, in ns since the epoch; None when it was not, or not completely."""
        return self._mtime(f"{self.stage1_rootfs()}/rkt/status/{app}-created")

    def app_started_ns(self, app: str) -> int | None:
        """When an app of a mutable pod was last started, in ns since the epoch; None when it never was."""
        return self._mtime(f"{self.stage1_rootfs()}/rkt/status/{app}-started")

    def app_status(self, app: str) -> int | None:
        """Exit status of an app, None while it has none."""
        return self._read_int(f"{self.stage1_rootfs()}/rkt/status/{app}")

    def app_finished_ns(self, app: str) -> int | None:
        """When stage1 wrote the app's exit status, in ns since the epoch."""
        return self._mtime(f"{self.stage1_rootfs()}/rkt/status/{app}")

    def app_statuses(self) -> dict[str, int]:
        """Exit statuses of the apps that have ended."""
        statuses = {name: self.app_status(name) for name in self.app_names()}
        return {name: status for name, status in statuses.items() if status is not None}

    @property
    def is_ready(self) -> bool:
        """Whether stage1 has said that the pod's supervisor is ready."""
        try:
            return os.readlink(f"{self.stage1_rootfs()}/rkt/supervisor-status", dir_fd=self._fd) == "ready"
        except OSError:
            return False

    def report(self) -> tuple[Enforcement, ...]:
        """What stage1 says became of the isolators and options; empty when it says nothing. Raises FormatError."""
        data = self.read_optional("enforcement")
        if not data:
            return ()
        from rktpy.formats.stage1 import read_report

        return read_report(data)


def objects_in(value: Any) -> list[dict[str, Any]]:
    """The objects in a list of a JSON document; none when it is no list."""
    entries: list[Any] = value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]
    return [entry for entry in entries if isinstance(entry, dict)]


def read_file_at(dir_fd: int, name: str) -> bytes:
    """The whole of a regular file named relative to a directory. Raises OSError, StateError when it exceeds 16 MiB."""
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        data = os.read(fd, 65536)
        if len(data) < 65536:
            return data
        parts = [data]
        total = len(data)
        while data:
            data = os.read(fd, 1 << 20)
            parts.append(data)
            total += len(data)
            if total > _FILE_LIMIT:
                raise StateError(f"file {quoted(name)} of the pod is larger than {_FILE_LIMIT} bytes")
        return b"".join(parts)
    finally:
        os.close(fd)
