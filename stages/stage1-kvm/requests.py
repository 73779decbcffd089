"""Asking a pod's monitor for something: the other end of ``control.py``. Hot-path module."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket

from rktpy.errors import StateError
from rktpy.formats import stage1 as names
from rktpy.isolate.holder import open_holder, read_pid
from rktpy.stage1.kvm.control import CONTROL_SOCKET
from rktpy.stage1.kvm.frames import Frame, Reader, frame, strings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Connection:
    """A connection with the monitor of the pod in the working directory."""

    def __init__(self) -> None:
        """Connect. Raises StateError when the pod does not run, OSError."""
        self.socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        self._reader = Reader()
        self._frames: list[Frame] = []
        holder = open_holder(read_pid(names.PID_FILE))
        if holder is None:
            raise StateError("no process of the pod is running")
        holder.close()
        try:
            self.socket.connect(CONTROL_SOCKET)
        except (FileNotFoundError, ConnectionRefusedError):
            raise StateError("no process of the pod is running") from None

    def ask(self, words: Iterable[str | bytes]) -> str:
        """Make a request: what went wrong, empty for nothing. Raises StateError when the pod ends meanwhile."""
        self.send("Q", 0, strings(words))
        answer = self.receive()
        while answer is not None and answer.kind != "R":
            answer = self.receive()
        if answer is None:
            raise StateError("the pod has ended")
        return answer.data.decode("utf-8", "surrogateescape")

    def send(self, kind: str, identity: int, data: bytes = b"") -> None:
        """Send a frame; nothing happens when the other end is gone."""
        try:
            self.socket.sendall(frame(kind, identity, data))
        except OSError:
            pass

    def receive(self) -> Frame | None:
        """The next frame, None when there is none any more."""
        while not self._frames:
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self._frames += self._reader.feed(data)
        return self._frames.pop(0)

    def waiting(self) -> bool:
        """Whether :meth:`receive` has something already."""
        return bool(self._frames)

    def fileno(self) -> int:
        """For poll(2)."""
        return self.socket.fileno()

    def close(self) -> None:
        """Close it."""
        self.socket.close()


def require_pod_process(text: str) -> None:
    """Refuse a process that is not the pod's: stage0 names the monitor. Raises UsageError, StateError."""
    from rktpy.errors import UsageError
    from rktpy.isolate.plan import shown

    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise UsageError(f"--pid {shown(text)} is not a process ID")
    if int(text) != read_pid(names.PID_FILE):
        raise StateError(f"process {text} is not the pod's")


def standard_streams(streams: str) -> str:
    """The modes for a new process: a terminal where ours is one, else pipes."""
    return "ttt" if streams == "t" or (not streams and os.isatty(0) and os.isatty(1)) else "ppp"
