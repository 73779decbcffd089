"""Decompression of any number of zstd frames, one after the other (RFC 8878 section 3.1).

Made of pyzstd's decompressor of one frame. Its decompressor of many takes quadratic time for many small ones.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# What is handed to the decompressor at once: the rest behind a frame's end comes back as a copy, so with large pieces many small
# frames would take quadratic time.
_FIRST = 4 << 10
_MOST = 1 << 20


class ZstdFrames:
    """Decompresses frames, skippable ones among them; the end of the data is wherever a frame has ended.

    ``make()`` gives a decompressor of one frame.
    """

    eof = False
    unused_data = b""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._frame: Any = make()
        self._begun = False
        self._input = b""
        self._position = 0
        self._piece = _MOST

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes out without more input."""
        return self._position == len(self._input) and bool(self._frame.needs_input)

    @property
    def at_frame_edge(self) -> bool:
        """Whether all that came in so far were whole frames."""
        return self._position == len(self._input) and not self._begun

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Take ``data`` and give 1 to ``max_length`` bytes (-1: any number), or none if there are none yet.

        Raises the module's ZstdError.
        """
        if data:
            self._input = self._input[self._position :] + data if self._position < len(self._input) else data
            self._position = 0
        while True:
            piece = b""
            if self._frame.needs_input:
                piece = self._input[self._position : self._position + self._piece]
                if not piece:
                    return b""
                self._position += len(piece)
                self._begun = True
            out: bytes = self._frame.decompress(piece, max_length)
            if self._frame.eof:
                self._position -= len(self._frame.unused_data)
                self._frame = self._make()
                self._begun = False
                self._piece = _FIRST
            else:
                self._piece = min(4 * self._piece, _MOST)
            if out:
                return out


def frames(max_window_log: int) -> tuple[Callable[[], ZstdFrames], type[Exception]]:
    """What makes a :class:`ZstdFrames`, and what that raises.

    Frames that ask for a window of more than 2 to the ``max_window_log`` bytes are refused.
    """
    from functools import partial
    from importlib import import_module

    pyzstd: Any = import_module("pyzstd")
    options = {int(pyzstd.DParameter.windowLogMax): max_window_log}
    return partial(ZstdFrames, partial(pyzstd.ZstdDecompressor, None, options)), pyzstd.ZstdError
