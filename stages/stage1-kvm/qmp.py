"""Speaking to QEMU itself (QMP, ``interop/qmp-spec`` of its documentation), to make a snapshot."""

from __future__ import annotations

import select
from _socket import SCM_RIGHTS, SOL_SOCKET
from struct import pack
from time import monotonic

from rktpy.errors import Stage1Error
from rktpy.formats import jsondoc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

_LARGEST_LINE = 1 << 20


class Monitor:
    """QEMU's monitor on a socket. QEMU is not believed either: nothing takes longer or more room than it may."""

    def __init__(self, connection: socket, timeout: float) -> None:
        """Greet it. Raises Stage1Error."""
        self._connection = connection
        self._buffer = b""
        self._deadline = monotonic() + timeout
        self._line()
        self.call("qmp_capabilities")

    def give(self, name: str, fd: int) -> None:
        """Hand QEMU a descriptor, to be called ``name``. Raises Stage1Error."""
        self.call("getfd", fd, fdname=name)

    def call(self, command: str, descriptor: int = -1, /, **arguments: Any) -> dict[str, Any]:
        """Execute a command, with which ``descriptor`` is sent; what it returns. Raises Stage1Error."""
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        ancillary = [(SOL_SOCKET, SCM_RIGHTS, pack("i", descriptor))] if descriptor >= 0 else []
        self._connection.sendmsg([jsondoc.dump(request) + b"\n"], ancillary)
        while True:
            answer = self._line()
            if "error" in answer:
                raise Stage1Error(f"qemu: {command}: {str(answer['error'].get('desc', ''))[:200]}")
            if "return" in answer:
                value: Any = answer["return"]
                return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]

    def _line(self) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            poll = select.poll()
            poll.register(self._connection, select.POLLIN)
            if not poll.poll(max(0, int((self._deadline - monotonic()) * 1000))):
                raise Stage1Error("qemu does not answer")
            data = self._connection.recv(65536)
            if not data or len(self._buffer) > _LARGEST_LINE:
                raise Stage1Error("qemu has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return jsondoc.parse_object(line, "answer of qemu")
