"""A forward proxy on a loopback port that leads chosen host names to chosen local servers, and nowhere else.

It also lets tests reach "example.test:443" without a name server or a privileged port.
"""

from __future__ import annotations

import base64
import socket
import threading
from types import TracebackType
from typing import Self


class Proxy:
    """``routes`` maps ``host:port`` to a local port. ``login`` demands ``user:password`` from the client."""

    def __init__(self, routes: dict[str, int], login: str = "") -> None:
        self.routes = routes
        self.seen: list[str] = []
        self._login = "Basic " + base64.b64encode(login.encode()).decode() if login else ""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        user = f"{login}@" if login else ""
        url = f"http://{user}127.0.0.1:{self.port}"
        self.environ = {"HTTP_PROXY": url, "HTTPS_PROXY": url}
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for sock in [self._socket, *self._open]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                data = client.recv(65536)
                if not data:
                    return
                head += data
            line, _, rest = head.partition(b"\r\n")
            method, target, _version = line.decode("latin-1").split()
            self.seen.append(f"{method} {target}")
            if self._login and f"proxy-authorization: {self._login}".lower().encode() not in rest.lower():
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            place, forward = target, b""
            if method != "CONNECT":
                place, _, path = target.removeprefix("http://").partition("/")
                place = place if ":" in place else place + ":80"
                forward = f"{method} /{path} HTTP/1.1\r\nConnection: close\r\n".encode("latin-1") + rest
            if place not in self.routes:
                client.sendall(b"HTTP/1.1 502 No Route\r\nContent-Length: 0\r\n\r\n")
                return
            server = socket.create_connection(("127.0.0.1", self.routes[place]), 5)
            self._open.append(server)
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                server.sendall(forward)
            threading.Thread(target=_pump, args=(client, server), daemon=True).start()
            _pump(server, client)
        except OSError:
            pass
        finally:
            client.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
