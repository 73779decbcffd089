"""Frames on the channel between host and guest, and lists of strings in them; ``guest/wire.c`` is the other side.

A frame is a byte of nothing, its type, two bytes of nothing, an id and a length (32 bits, little endian each), then so much data.
The guest is not believed: what is longer than it may be ends the machine (:class:`ProtocolError`). Hot-path module.
"""

from __future__ import annotations

from struct import Struct

from rktpy.errors import Stage1Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PROTOCOL = "1"
LARGEST_FROM_GUEST = 32768
LARGEST_TO_GUEST = 4 << 20
#: How much of a stream may be under way before the other side has said that it has room again.
CREDIT = 65536
_HEADER = Struct("<xB2xII")
_NUMBER = Struct("<I")


class ProtocolError(Stage1Error):
    """The guest does not keep to the protocol."""


class Frame:
    """One frame from the guest. ``kind`` is one letter."""

    __slots__ = ("data", "id", "kind")

    def __init__(self, kind: str, number: int, data: bytes) -> None:
        self.kind = kind
        self.id = number
        self.data = data


def frame(kind: str, number: int, data: bytes = b"") -> bytes:
    """The bytes of a frame to the guest. Raises Stage1Error when it is too large."""
    if len(data) > LARGEST_TO_GUEST:
        raise Stage1Error(f"a message of {len(data)} bytes for the virtual machine is too large")
    return _HEADER.pack(ord(kind), number, len(data)) + data


def strings(values: Iterable[str | bytes]) -> bytes:
    """A list of strings as data of a frame, or as one string of another list."""
    parts: list[bytes] = []
    for value in values:
        data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        parts.append(_NUMBER.pack(len(data)))
        parts.append(data)
    return b"".join(parts)


def read_strings(data: bytes) -> list[bytes]:
    """The strings of a list. Raises ProtocolError."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        length = read_number(data, at)
        found.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    if at != len(data):
        raise ProtocolError("a list of strings is cut off")
    return found


def number(value: int) -> bytes:
    """A number as data of a frame."""
    return _NUMBER.pack(value)


def read_number(data: bytes, at: int = 0) -> int:
    """The number in data of a frame. Raises ProtocolError."""
    if len(data) < at + 4:
        raise ProtocolError("the virtual machine sent a frame that is too short")
    value: int = _NUMBER.unpack_from(data, at)[0]
    return value


class Reader:
    """Frames in a stream of bytes, whose data has ``largest`` bytes at most."""

    __slots__ = ("_buffer", "_largest")

    def __init__(self, largest: int = LARGEST_FROM_GUEST) -> None:
        self._buffer = bytearray()
        self._largest = largest

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete with ``data``. Raises ProtocolError."""
        buffer = self._buffer
        buffer += data
        found: list[Frame] = []
        at = 0
        while len(buffer) - at >= _HEADER.size:
            kind, identity, length = _HEADER.unpack_from(buffer, at)
            if length > self._largest or not 65 <= kind <= 90:
                raise ProtocolError("the virtual machine sent something that is no frame")
            start = at + _HEADER.size
            if len(buffer) - start < length:
                break
            found.append(Frame(chr(kind), identity, bytes(buffer[start : start + length])))
            at = start + length
        del buffer[:at]
        return found
