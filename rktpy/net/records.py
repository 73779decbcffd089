"""What is written down of a pod's networks, in the pod's directory::

    netns                     path of the network namespace
    net-info.json             the networks, for list and status
    net/<file>                the configuration of each network, as it is run
    net/results/<net>-<uuid>-<interface>
                              what DEL needs (cniCacheV1), before ADD without a result, after it with one
    net/lock                  flock: held while networks are set up or taken down

All of it is there before the first plugin is run, and an attachment's file goes when its DEL has succeeded. Files are replaced
whole. Nothing is synced: a failure of power takes the interfaces and the rules with it, and what is known of the addresses is not
synced by host-local either.

The lock goes to the plugins too. Were a command killed, a plugin that it started could still be adding what gc just removed;
so who wants the lock waits for the plugin's end. At the end of a command the lock is released for everybody who inherited it,
so that a daemon of a plugin does not hold it.

Hot-path module.
"""

from __future__ import annotations

import fcntl
import os
from time import monotonic, sleep

from rktpy.errors import FormatError, NetworkError
from rktpy.formats.cni.cache import RESULTS_DIR, Attachment, parse_attachment
from rktpy.formats.cni.net_info import NetInfo, write_net_info
from rktpy.formats.stage1 import NET_DIR, NET_INFO_FILE, NETNS_FILE
from rktpy.log import note

_LOCK = f"{NET_DIR}/lock"
_RESULTS = f"{NET_DIR}/{RESULTS_DIR}"
_LARGEST = 4 << 20  # bytes of one file
_STEP = 0.02  # seconds


def config_path(name: str) -> str:
    """Where the configuration from a file of this name is kept, in the pod's directory."""
    return f"{NET_DIR}/{name}"


class NetworkRecords:
    """The files of one pod. ``pod_fd`` is an open descriptor of its directory; it stays the caller's."""

    def __init__(self, pod_fd: int) -> None:
        self._pod = pod_fd
        self.lock_fd = -1

    def lock(self, timeout: float, *, create: bool) -> bool:
        """Take the lock, making the directories with ``create``. False when there is nothing to lock.

        Waits up to ``timeout`` seconds for a plugin of a command that was killed. Raises NetworkError.
        """
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        if create:
            for directory in (NET_DIR, _RESULTS):
                try:
                    os.mkdir(directory, 0o750, dir_fd=self._pod)
                except FileExistsError:
                    pass
            flags |= os.O_CREAT
        try:
            fd = os.open(_LOCK, flags, 0o640, dir_fd=self._pod)
        except FileNotFoundError:
            return False
        deadline = monotonic() + timeout
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() > deadline:
                    os.close(fd)
                    raise NetworkError("a plugin of an earlier command is still at work on the networks of the pod") from None
                sleep(_STEP)
        self.lock_fd = fd
        return True

    def unlock(self) -> None:
        """Release the lock, for plugins that inherited it too."""
        if self.lock_fd >= 0:
            fcntl.flock(self.lock_fd, fcntl.LOCK_UN)
            os.close(self.lock_fd)
            self.lock_fd = -1

    def attachments(self) -> tuple[Attachment, ...]:
        """What has to be undone, the latest first. A file that cannot be read is told and left out."""
        found: list[Attachment] = []
        for name in self._names():
            try:
                data = _read(f"{_RESULTS}/{name}", self._pod)
                found.append(parse_attachment(data, name))
            except (OSError, FormatError) as error:
                note("networking", f"cannot read what is remembered of a network: {error}")
        return tuple(sorted(found, key=lambda attachment: _number(attachment.if_name), reverse=True))

    def has_attachments(self) -> bool:
        """Whether there is something to undo."""
        return bool(self._names())

    def _names(self) -> list[str]:
        try:
            fd = os.open(_RESULTS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._pod)
        except (FileNotFoundError, NotADirectoryError):
            return []
        try:
            return sorted(name for name in os.listdir(fd) if not name.startswith("."))
        finally:
            os.close(fd)

    def write_config(self, name: str, data: bytes) -> None:
        """Keep the configuration that a file of this name holds."""
        self._replace(config_path(name), data)

    def write_attachment(self, attachment: Attachment) -> None:
        """Write an attachment down."""
        self._replace(f"{_RESULTS}/{attachment.file_name}", attachment.to_bytes())

    def forget(self, attachment: Attachment) -> None:
        """The attachment is undone."""
        self._remove(f"{_RESULTS}/{attachment.file_name}")

    def write_net_info(self, networks: tuple[NetInfo, ...]) -> None:
        """Write ``net-info.json``."""
        self._replace(NET_INFO_FILE, write_net_info(networks))

    def forget_net_info(self) -> None:
        """The pod was never in a network."""
        self._remove(NET_INFO_FILE)

    def write_netns(self, path: str) -> None:
        """Write down where the network namespace will be."""
        self._replace(NETNS_FILE, path.encode())

    def netns(self) -> str:
        """Where the network namespace is or was, empty when it is not written down."""
        try:
            return os.fsdecode(_read(NETNS_FILE, self._pod).strip())
        except FileNotFoundError:
            return ""

    def forget_netns(self) -> None:
        """The namespace is not held any more."""
        self._remove(NETNS_FILE)

    def _remove(self, path: str) -> None:
        try:
            os.unlink(path, dir_fd=self._pod)
        except FileNotFoundError:
            pass

    def _replace(self, path: str, data: bytes) -> None:
        head, slash, tail = path.rpartition("/")
        temporary = f"{head}{slash}.{tail}.new"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640, dir_fd=self._pod)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
        finally:
            os.close(fd)
        os.rename(temporary, path, src_dir_fd=self._pod, dst_dir_fd=self._pod)


def _read(path: str, dir_fd: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        data = os.read(fd, _LARGEST + 1)
    finally:
        os.close(fd)
    if len(data) > _LARGEST:
        raise NetworkError(f"{path}: larger than {_LARGEST} bytes")
    return data


def _number(interface: str) -> tuple[int, str]:
    digits = interface[len(interface.rstrip("0123456789")) :]
    return (int(digits) if digits else -1, interface)
