"""Asking a pod's systemd to start and stop units, over its private socket.

Enough of the D-Bus protocol for that: one connection, method calls with strings, their replies, and the signal that a job has
been removed. The socket takes connections only from processes that the pod's systemd can see (see
:mod:`rktpy.stage1.systemd.inside`). Source: D-Bus Specification ("Message Protocol", "Authentication Protocol"),
org.freedesktop.systemd1(5). Hot-path module.
"""

from __future__ import annotations

import _socket
from struct import pack, unpack_from

from rktpy.errors import Stage1Error

_SOCKET = "/run/systemd/private"
_PATH = "/org/freedesktop/systemd1"
_INTERFACE = "org.freedesktop.systemd1.Manager"
_CALL, _REPLY, _ERROR, _SIGNAL = 1, 2, 3, 4
_MEMBER, _ERROR_NAME, _REPLY_SERIAL, _SIGNATURE = 3, 4, 5, 8
_LARGEST = 1 << 20


class ManagerError(Stage1Error):
    """systemd refuses a call; ``name`` is that of the D-Bus error."""

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        super().__init__(message)


class Manager:
    """A connection to the pod's systemd. Raises OSError, Stage1Error when it does not answer as the protocol wants."""

    def __init__(self) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self._socket.connect(_SOCKET)
        self._buffer = b""
        self._serial = 0
        self._send(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n")  # as user 0, in hexadecimal of its decimal
        while b"\r\n" not in self._buffer:
            self._fill()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        if not line.startswith(b"OK "):
            raise Stage1Error("the pod's systemd does not let us in")

    def start(self, unit: str) -> str:
        """Start a unit and wait; ``done``, ``failed``, ``timeout`` ... (the result of the job)."""
        return self._job("StartUnit", unit)

    def stop(self, unit: str) -> str:
        """Stop a unit and wait; the result of the job."""
        return self._job("StopUnit", unit)

    def kill(self, unit: str, signal: int) -> None:
        """Send a signal to all processes of a unit."""
        self._call("KillUnit", "ssi", _body(_string(unit), _string("all"), pack("<i", signal)))

    def reset_failed(self, unit: str) -> None:
        """Let systemd forget that a unit has failed."""
        self._call("ResetFailedUnit", "s", _string(unit))

    def reload(self) -> None:
        """Let systemd read unit files again that it has read already."""
        self._call("Reload", "", b"")

    def _job(self, method: str, unit: str) -> str:
        job = _read_string(self._call(method, "ss", _body(_string(unit), _string("replace"))), 0)[0]
        while True:
            kind, fields, data = self._message()
            if kind == _SIGNAL and fields.get(_MEMBER) == "JobRemoved" and fields.get(_SIGNATURE) == "uoss":
                path, at = _read_string(data, 4)
                if path == job:
                    _unit, at = _read_string(data, at)
                    return _read_string(data, at)[0]

    def _call(self, method: str, signature: str, body: bytes) -> bytes:
        self._serial += 1
        fields = b"".join(
            [
                _field(1, "o", _PATH),
                _field(2, "s", _INTERFACE),
                _field(_MEMBER, "s", method),
                _signature_field(signature) if signature else b"",
            ]
        )
        head = pack("<cBBBII", b"l", _CALL, 0, 1, len(body), self._serial) + pack("<I", len(fields)) + fields
        self._send(head + b"\0" * (-len(head) % 8) + body)
        while True:
            kind, values, data = self._message()
            if kind in (_REPLY, _ERROR) and values.get(_REPLY_SERIAL) == self._serial:
                if kind == _REPLY:
                    return data
                text = _read_string(data, 0)[0] if str(values.get(_SIGNATURE, "")).startswith("s") else ""
                raise ManagerError(str(values.get(_ERROR_NAME, "")), text or f"{method} failed")

    def _send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def _fill(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise Stage1Error("the pod's systemd has closed the connection")
        self._buffer += data

    def _message(self) -> tuple[int, dict[int, str | int], bytes]:
        """The next message: its type, header fields by number, body."""
        while len(self._buffer) < 16:
            self._fill()
        order = "<" if self._buffer[:1] == b"l" else ">"
        kind = self._buffer[1]
        body_length = unpack_from(f"{order}I", self._buffer, 4)[0]
        fields_length = unpack_from(f"{order}I", self._buffer, 12)[0]
        start = 16 + fields_length + (-fields_length % 8)
        if start + body_length > _LARGEST or order != "<":
            raise Stage1Error("the pod's systemd sends what is no message")
        while len(self._buffer) < start + body_length:
            self._fill()
        fields = _read_fields(self._buffer[16 : 16 + fields_length])
        body = self._buffer[start : start + body_length]
        self._buffer = self._buffer[start + body_length :]
        return kind, fields, body


def _string(text: str) -> bytes:
    data = text.encode()
    return pack("<I", len(data)) + data + b"\0"


def _body(*values: bytes) -> bytes:
    """Values of an alignment of four bytes, one after the other."""
    body = b""
    for value in values:
        body += b"\0" * (-len(body) % 4) + value
    return body


def _field(number: int, kind: str, value: str) -> bytes:
    """A header field, padded so that another one can follow."""
    data = bytes((number, 1)) + kind.encode() + b"\0" + _string(value)
    return data + b"\0" * (-len(data) % 8)


def _signature_field(signature: str) -> bytes:
    return bytes((_SIGNATURE, 1)) + b"g\0" + bytes((len(signature),)) + signature.encode() + b"\0"


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    """A string (or object path) at or after ``at``, and where it ends."""
    at += -at % 4
    length = unpack_from("<I", data, at)[0]
    return data[at + 4 : at + 4 + length].decode("utf-8", "replace"), at + 5 + length


def _read_fields(data: bytes) -> dict[int, str | int]:
    fields: dict[int, str | int] = {}
    at = 0
    while at + 4 <= len(data):
        number, kind = data[at], data[at + 2 : at + 3]
        at += 4
        if kind == b"u":
            at += -at % 4
            fields[number] = unpack_from("<I", data, at)[0]
            at += 4
        elif kind == b"g":
            length = data[at]
            fields[number] = data[at + 1 : at + 1 + length].decode("ascii", "replace")
            at += length + 2
        else:
            fields[number], at = _read_string(data, at)
        at += -at % 8
    return fields
