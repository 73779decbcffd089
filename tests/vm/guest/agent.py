"""Runs commands for the machine around this one, one after the other; the standard library alone.

Both sides write frames to a port of the virtual serial console: a letter, the length as four bytes (big endian), the data.

- ``H``: from us, once, when the system has started: its state, as systemctl(1) calls it
- ``R``: to us, a request, a JSON object: ``argv``, ``env`` (added to ours), ``cwd``, ``time`` (seconds since the epoch)
- ``O``, ``E``: from us, what the command wrote to its standard output and error
- ``X``: from us, the command's exit status in decimal; 128 and the signal when one killed it
"""

import json
import os
import selectors
import struct
import subprocess
import time
from typing import Any

PORT = "/dev/virtio-ports/rktpy"
HEAD = struct.Struct(">cI")
#: What a login has too; the rest of the environment is that of a service.
INHERITED = ("PATH", "LANG")


def send(port: int, kind: bytes, data: bytes) -> None:
    data = HEAD.pack(kind, len(data)) + data
    while data:
        data = data[os.write(port, data) :]


def receive(port: int) -> tuple[bytes, bytes]:
    def exactly(size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = os.read(port, size - len(data))
            if not piece:
                time.sleep(0.01)  # nobody at the other end at the moment
            data += piece
        return data

    kind, size = HEAD.unpack(exactly(HEAD.size))
    return kind, exactly(size)


def run(port: int, request: dict[str, Any]) -> None:
    if "time" in request:
        # After a restored snapshot the clock is what it was then.
        time.clock_settime(time.CLOCK_REALTIME, request["time"])
    environment = {**{name: value for name, value in os.environ.items() if name in INHERITED}, **request.get("env", {})}
    try:
        child = subprocess.Popen(
            request["argv"],
            env=environment,
            cwd=request.get("cwd") or "/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        send(port, b"E", f"{request['argv'][0]}: {error}\n".encode())
        send(port, b"X", b"127")
        return
    assert child.stdout and child.stderr
    with selectors.DefaultSelector() as streams:
        streams.register(child.stdout, selectors.EVENT_READ, b"O")
        streams.register(child.stderr, selectors.EVENT_READ, b"E")
        grace = None
        while streams.get_map() and (grace is None or time.monotonic() < grace):
            for key, _events in streams.select(0.2):
                piece = os.read(key.fd, 65536)
                if piece:
                    send(port, key.data, piece)
                else:
                    streams.unregister(key.fileobj)
            if grace is None and child.poll() is not None:
                grace = time.monotonic() + 2  # what it left running may hold its streams for ever
    status = child.wait()
    send(port, b"X", b"%d" % (status if status >= 0 else 128 - status))


def main() -> None:
    while not os.path.exists(PORT):
        time.sleep(0.05)
    port = os.open(PORT, os.O_RDWR | os.O_CLOEXEC)
    started = subprocess.run(["systemctl", "is-system-running", "--wait"], capture_output=True, check=False)
    send(port, b"H", started.stdout.strip())
    while True:
        kind, data = receive(port)
        if kind == b"R":
            run(port, json.loads(data))


if __name__ == "__main__":
    main()
