"""Hands connections from sockets that a service manager opened to the gRPC server, which cannot listen on them itself.

gRPC's Python interface takes addresses, no sockets. So the server listens on a Unix socket in a directory that nobody else may
enter, and bytes are copied between the two.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

_CONNECTIONS = 128
_BUFFER = 1 << 16


class Relay:
    """Copies between each connection to one of the listening sockets and one to the Unix socket ``target``."""

    def __init__(self, listeners: list[socket.socket], target: str) -> None:
        self._listeners = listeners
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Relay in a thread of its own until :meth:`stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Close everything."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        loop = self._loop
        servers = [loop.run_until_complete(asyncio.start_server(self._accept, sock=one)) for one in self._listeners]
        loop.run_forever()
        for server in servers:
            server.close()
        left = list(self._connections)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= _CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            await self._connect(reader, writer)
        except OSError:
            pass  # one of the two went away
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        copies = [asyncio.ensure_future(_copy(reader, far_writer)), asyncio.ensure_future(_copy(far_reader, writer))]
        try:
            # HTTP/2 does not close one direction alone.
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
            far_writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_BUFFER):
        writer.write(data)
        await writer.drain()
    # What is still in the buffer shall arrive before the connection is closed.
    writer.write_eof()
    await writer.drain()
