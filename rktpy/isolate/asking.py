"""Doing something in a child, because nobody comes back from where it goes, and getting its answer. Hot-path module."""

from __future__ import annotations

import os

from rktpy.errors import Stage1Error, innermost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FAILED = b"!"


def ask_child(enter: Callable[[], None], action: Callable[[], bytes]) -> bytes:
    """What ``action`` returns in a child that has called ``enter`` first. The answer does not begin with an exclamation mark.

    Raises what these raise, as Stage1Error with the same words; OSError.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            enter()
            _write(writer, action())
        except Exception as error:
            _write(writer, _FAILED + innermost(error).encode("utf-8", "surrogateescape"))
        finally:
            os._exit(0)
    os.close(writer)
    answer = b""
    while chunk := os.read(reader, 65536):
        answer += chunk
    os.close(reader)
    os.waitpid(pid, 0)
    if answer.startswith(_FAILED):
        raise Stage1Error(answer[1:].decode("utf-8", "surrogateescape"))
    return answer


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
