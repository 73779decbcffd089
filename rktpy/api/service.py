"""The API service as a process: its sockets, its threads, its end. Source: rkt 1.30 ``rkt/api_service.go``."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from rktpy.api.relay import Relay
from rktpy.errors import RktpyError, StateError, UsageError
from rktpy.linux.service_manager import listen_fds, notify
from rktpy.log import note

if TYPE_CHECKING:
    from rktpy.stage0.options import Globals

_ENDS = frozenset((signal.SIGINT, signal.SIGTERM))
_GRACE_S = 2.0
# Of the threads, those that read logs may be kept busy by slow clients.
_THREADS = 32
_STREAMS = 16
_CALLS = 128
_OPTIONS = [
    # Two services on one port would share the clients by chance.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 1 << 20),
    ("grpc.max_concurrent_streams", 64),
    # A client whose machine is gone does not hold a thread for ever.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]


def serve(g: Globals, listen: str, *, chosen: bool, insecure_flags: str) -> int:
    """Serve until SIGTERM or SIGINT; the exit status.

    ``listen``: HOST:PORT, ``chosen``: whether the user named it. Raises RktpyError, OSError.
    """
    # Blocked in every thread, so that the one that waits for them gets them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    note("api-service", "API service starting...")
    passed = [socket.socket(fileno=descriptor) for descriptor in listen_fds()]
    if passed and chosen:
        raise UsageError("started under systemd.socket(5), but --listen passed! Quitting.")
    for one in passed:
        if one.type != socket.SOCK_STREAM or not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise StateError(f"descriptor {one.fileno()} from the service manager is not a listening stream socket")
    # gRPC's own messages on standard error are of no use to a user.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        import grpc

        from rktpy.api.public_api import PublicAPI
    except ImportError as error:
        raise RktpyError("grpcio and protobuf are needed (pip install 'rktpy[api]')") from error

    api = PublicAPI(g, insecure_flags, _STREAMS)
    with ThreadPoolExecutor(_THREADS) as threads:
        server: Any = grpc.server(threads, options=_OPTIONS, maximum_concurrent_rpcs=_CALLS)
        server.add_generic_rpc_handlers((api.handler(),))
        directory = tempfile.mkdtemp(prefix="rktpy-api-") if passed else ""
        try:
            if passed:
                note("api-service", f"Listening on {len(passed)} systemd-provided socket(s)")
                relay = Relay(passed, f"{directory}/socket")
                _bind(server, f"unix:{directory}/socket")
                server.start()
                relay.start()
            else:
                relay = None
                host, port = _address(listen)
                note("api-service", f"Listening on {host}:{_bind(server, f'{host}:{port}')}")
                server.start()
            notify("READY=1")
            note("api-service", "API service running")
            signal.sigwait(_ENDS)
            notify("STOPPING=1")
            note("api-service", "API service exiting...")
            api.close()
            server.stop(_GRACE_S).wait()
            if relay is not None:
                relay.stop()
        finally:
            if directory:
                shutil.rmtree(directory, ignore_errors=True)
    return 0


def _address(listen: str) -> tuple[str, int]:
    """The numeric address and the port of HOST:PORT: of several addresses the first, IPv4 before IPv6, as in Go."""
    host, colon, port = listen.rpartition(":")
    if not colon or (host.count(":") and not (host[0] == "[" and host[-1] == "]")):
        raise UsageError(f"address {listen}: missing port in address")
    if not (port.isascii() and port.isdigit()) or int(port[:6]) > 65535:
        raise UsageError(f"address {listen}: invalid port")
    if not host:
        return "[::]" if socket.has_dualstack_ipv6() else "0.0.0.0", int(port)
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise RktpyError(f"could not open tcp socket: cannot find the address of {host}") from error
    family, _type, _protocol, _name, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return f"[{address[0]}]" if family == socket.AF_INET6 else str(address[0]), int(port)


def _bind(server: Any, address: str) -> int:
    try:
        port: int = server.add_insecure_port(address)
    except RuntimeError:
        raise RktpyError(f"could not open tcp socket: cannot listen on {address}") from None
    return port
