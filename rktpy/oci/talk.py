"""What the runtime and the process that it cloned tell each other, one message a packet. Hot-path module.

From the process: ``H`` the container is there but for its root, run the hooks; ``L`` and a number: that descriptor of mine is the
listener of the filter; ``W`` and a text: a warning; ``C`` all is set up; ``E`` and a text: it failed, and I end. To it: ``g``,
go on. The end of the conversation is the execution of the container's program.
"""

from __future__ import annotations

from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.messages import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

MOST = 1 << 16


def pair() -> tuple[socket, socket]:
    """The two ends: ours, the process's. Raises OSError."""
    from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socketpair

    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)


def tell(sync: socket, kind: bytes, text: str = "") -> None:
    """Send a message; that nobody listens any more is no error of the process."""
    try:
        sync.send(kind + text.encode("utf-8", "backslashreplace")[: MOST - 1])
    except OSError:
        pass


def ask(sync: socket, kind: bytes) -> None:
    """Send a message and wait for the answer. Raises RuntimeFailure when the runtime has gone."""
    tell(sync, kind)
    wait(sync)


def wait(sync: socket) -> None:
    """Wait to be told to go on. Raises RuntimeFailure when the runtime has gone."""
    if sync.recv(1) != b"g":
        raise RuntimeFailure("the runtime has ended")


def answer(sync: socket) -> None:
    """Let the process go on."""
    tell(sync, b"g")


def next_message(sync: socket) -> tuple[bytes, str]:
    """The next message that is no warning; an empty kind at the end of the conversation. Raises RuntimeFailure for an error."""
    while True:
        try:
            message = sync.recv(MOST)
        except ConnectionResetError:
            message = sync.recv(MOST)  # it ended before it read all that we said; what it said comes after
        kind, text = message[:1], message[1:].decode("utf-8", "replace")
        if kind == b"W":
            warn(text)
        elif kind == b"E":
            raise RuntimeFailure(text)
        else:
            return kind, text
