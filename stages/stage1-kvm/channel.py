"""The host's end of the channel. Hot-path module."""

from __future__ import annotations

import os
import select
from errno import EAGAIN
from time import monotonic

from rktpy.errors import Stage1Error
from rktpy.log import debug
from rktpy.stage1.kvm.frames import PROTOCOL, Frame, ProtocolError, Reader, frame, strings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_CHUNK = 1 << 18
#: Messages of the guest that nobody asked for, over its whole life.
_MOST_WORDS = 1000
#: Requests have ids of their own, above those of processes.
_FIRST_REQUEST = 1 << 24


class Channel:
    """Frames to and from a guest on a socket, which is non-blocking. Nothing that the guest does can block the caller for longer
    than it says."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        os.set_blocking(fd, False)
        self._reader = Reader()
        self._out = bytearray()
        self._waiting: dict[int, Callable[[str | None], None]] = {}
        self._next = _FIRST_REQUEST
        self._words = 0
        #: Frames that came while an answer was waited for.
        self.pending: list[Frame] = []
        self.closed = False

    def send(self, kind: str, number: int, data: bytes = b"") -> None:
        """Put a frame on its way."""
        self._out += frame(kind, number, data)
        self.flush()

    @property
    def busy(self) -> bool:
        """Whether something waits for the guest to read."""
        return bool(self._out)

    def flush(self) -> None:
        """Write what can be written."""
        while self._out and not self.closed:
            try:
                done = os.write(self.fd, self._out)
            except BlockingIOError:
                return
            except OSError:
                self.closed = True
                return
            del self._out[:done]

    def request(self, kind: str, data: bytes, answer: Callable[[str | None], None], number: int = 0) -> None:
        """Send a frame that is answered; ``answer`` gets what went wrong, None for nothing. ``number`` 0 is a new one."""
        if not number:
            number = self._next
            self._next += 1
        self._waiting[number] = answer
        self.send(kind, number, data)

    def call(self, kind: str, data: bytes, timeout: float, number: int = 0) -> None:
        """Send a frame and wait for the answer, ``timeout`` seconds at most. Raises Stage1Error with what went wrong."""
        answers: list[str | None] = []
        self.request(kind, data, answers.append, number)
        deadline = monotonic() + timeout
        while not answers:
            self.wait(deadline)
            self.pending += self.receive()
        if answers[0] is not None:
            raise Stage1Error(f"in the virtual machine: {answers[0]}")

    def operate(self, operations: Iterable[tuple[str | bytes, ...]], timeout: float) -> None:
        """Have the guest carry out operations, one after the other. Raises Stage1Error."""
        data = strings([strings(words) for words in operations])
        if data:
            self.call("o", data, timeout)

    def wait(self, deadline: float) -> None:
        """Wait for something to read, and write meanwhile. Raises Stage1Error when it takes too long."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN | (select.POLLOUT if self._out else 0))
        if not poll.poll(max(0, int((deadline - monotonic()) * 1000))):
            raise Stage1Error("the virtual machine does not answer")
        self.flush()

    def receive(self) -> list[Frame]:
        """The frames that have come, without answers and the guest's own messages. Raises ProtocolError, and Stage1Error when the
        machine has ended."""
        try:
            data = os.read(self.fd, _CHUNK)
        except OSError as error:
            if error.errno == EAGAIN:
                return []
            data = b""
        if not data:
            self.closed = True
            raise Stage1Error("the virtual machine has ended")
        found: list[Frame] = []
        for one in self._reader.feed(data):
            if one.kind == "R":
                self._answered(one)
            elif one.kind == "L":
                self._said(one)
            else:
                found.append(one)
        return found

    def _answered(self, one: Frame) -> None:
        answer = self._waiting.pop(one.id, None)
        if answer is None or not one.data:
            self._count()
            return
        text = one.data[1:].decode("utf-8", "replace")
        answer((text or "it failed") if one.data[0] else None)

    def _said(self, one: Frame) -> None:
        self._count()
        debug("guest", one.data.decode("utf-8", "replace"))

    def _count(self) -> None:
        self._words += 1
        if self._words > _MOST_WORDS:
            raise ProtocolError("the virtual machine sends nothing but noise")

    def hello(self, timeout: float) -> Greeting:
        """Wait for the guest's first frame. Raises Stage1Error."""
        deadline = monotonic() + timeout
        while not self.pending:
            self.wait(deadline)
            self.pending += self.receive()
        one = self.pending.pop(0)
        words = one.data.decode("ascii", "replace").split()
        if one.kind != "H" or len(words) != 3 or words[0] != PROTOCOL or not words[1].isdigit():
            raise ProtocolError("the virtual machine does not speak this version of the protocol")
        return Greeting(int(words[1][:4]), words[2])


class Greeting:
    """What a guest says of itself: the version of its Landlock, and its kernel's release."""

    __slots__ = ("landlock", "release")

    def __init__(self, landlock: int, release: str) -> None:
        self.landlock = landlock
        self.release = release
