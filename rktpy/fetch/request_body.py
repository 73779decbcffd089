"""A file, or a part of one, as the body of a request."""

from __future__ import annotations

import os

from rktpy.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket

_CHUNK = 256 << 10


class FileBody:
    """``size`` bytes of the file ``path`` from ``offset`` on. It can be sent any number of times.

    ``sent`` is told how many bytes of it are on their way.
    """

    def __init__(self, path: str, offset: int, size: int, sent: Callable[[int], None] | None = None) -> None:
        self._path = path
        self._offset = offset
        self._size = size
        self._sent = sent

    def __len__(self) -> int:
        return self._size

    def send(self, sock: socket) -> None:
        """Write the bytes to a socket. Raises OSError of the socket, and :class:`StoreError` when the file cannot be read."""
        done = 0
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError("cannot read what is to be uploaded") from error
        try:
            while done < self._size:
                try:
                    data = os.pread(fd, min(_CHUNK, self._size - done), self._offset + done)
                except OSError as error:
                    raise StoreError("cannot read what is to be uploaded") from error
                if not data:
                    raise StoreError(f"{self._path}: is shorter than it was")
                sock.sendall(data)
                done += len(data)
                if self._sent is not None:
                    self._sent(done)
        finally:
            os.close(fd)
