"""Decompression of streams, by their first bytes: gzip, bzip2, xz, zstd, or none.

Streams may consist of several members: gzip members (RFC 1952 section 2.2; eStargz layers are made of them), bzip2 streams, xz
streams with padding (xz format 1.1 section 2.2), zstd frames with skippable ones between (RFC 8878 section 3.1; zstd:chunked
layers end in them). Zero bytes after a gzip member are padding; anything else behind a stream is an error, as is its early end.

gzip uses Intel's igzip where the ``isal`` package is installed, which is three times as fast as zlib.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module

from rktpy.errors import ArchiveError
from rktpy.formats.zstd_frames import ZstdFrames, frames
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object

_INPUT = 1 << 19
_OUTPUT = 1 << 18
_PEEK = 8


class StreamLimits(Record):
    """How much one stream may ask for; exceeding a limit is an :class:`~rktpy.errors.ArchiveError`.

    The ratio of decompressed to compressed bytes may be over ``max_ratio`` only within the first ``ratio_floor_bytes``.
    ``max_window_bytes`` is the memory that the stream may ask for as its window or dictionary.
    """

    max_unpacked_bytes: int = 64 << 30
    max_ratio: int = 250
    ratio_floor_bytes: int = 1 << 30
    max_window_bytes: int = 128 << 20


_DEFAULT_LIMITS = StreamLimits()


class Limits(Protocol):
    """What has the members of :class:`StreamLimits`."""

    @property
    def max_unpacked_bytes(self) -> int: ...
    @property
    def max_ratio(self) -> int: ...
    @property
    def ratio_floor_bytes(self) -> int: ...
    @property
    def max_window_bytes(self) -> int: ...


class _Engine(Protocol):
    """What the decompressors of bz2, lzma and igzip have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gunzip:
    """zlib's gzip decompressor in the shape of :class:`_Engine`."""

    def __init__(self) -> None:
        self._object = zlib.decompressobj(31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._object.eof

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        tail = self._object.unconsumed_tail
        out = self._object.decompress(tail + data if tail else data, max(max_length, 0))
        # zlib may hold back output without leaving input; it does so only when the output was filled.
        self.needs_input = not self._object.unconsumed_tail and len(out) < max_length
        return out


def compression_of(start: bytes) -> str:
    """What the first bytes (6 or more) of a stream say: none, gzip, bzip2, xz or zstd."""
    if start[:2] == b"\x1f\x8b":
        return "gzip"
    if start[:3] == b"BZh":
        return "bzip2"
    if start[:6] == b"\xfd7zXZ\0":
        return "xz"
    if start[:4] == b"\x28\xb5\x2f\xfd" or (len(start) >= 4 and 0x50 <= start[0] <= 0x5F and start[1:4] == b"\x2a\x4d\x18"):
        return "zstd"
    return "none"


class Decompressor:
    """The plain bytes of a stream. ``compression`` is what it was; ``taken`` and ``given`` count bytes read and handed out."""

    def __init__(self, read: Callable[[int], bytes], what: str, limits: Limits) -> None:
        self._source = read
        self._what = what
        self._limits = limits
        self.taken = 0
        self.given = 0
        start = b""
        while len(start) < _PEEK and (data := self._take(_INPUT)):
            start += data
        self.compression = compression_of(start)
        self._input = start
        self._make, self._broken = _engines(self.compression, limits)
        self._engine: _Engine | None = self._make() if self._make and start else None
        self._between = False  # behind a member that has ended

    def read(self, n: int = _OUTPUT) -> bytes:
        """1 to ``n`` bytes, or ``b""`` at the end. Raises :class:`ArchiveError`, and whatever the source raises."""
        if self._engine is None:
            data = self._plain(n)
        else:
            data = self._inflate(n)
        self.given += len(data)
        limits = self._limits
        if self.given > limits.max_unpacked_bytes:
            raise ArchiveError(f"{self._what}: larger than {limits.max_unpacked_bytes} bytes when decompressed")
        if self.given > limits.ratio_floor_bytes and self.given > limits.max_ratio * self.taken:
            raise ArchiveError(f"{self._what}: decompresses to more than {limits.max_ratio} times its size")
        return data

    def _take(self, n: int) -> bytes:
        data = self._source(n)
        self.taken += len(data)
        return data

    def _plain(self, n: int) -> bytes:
        if not self._input:
            return self._take(n)
        data, self._input = self._input[:n], self._input[n:]
        return data

    def _inflate(self, n: int) -> bytes:
        engine = self._engine
        assert engine is not None
        while True:
            if engine.eof:
                following = self._next_member(engine.unused_data)
                if following is None:
                    return b""
                self._engine = engine = following
            if engine.needs_input and not self._input:
                self._input = self._take(_INPUT)
                if not self._input:
                    if isinstance(engine, ZstdFrames) and engine.at_frame_edge:
                        return b""
                    raise ArchiveError(f"{self._what}: truncated {self.compression} data")
            data, self._input = self._input, b""
            try:
                out = engine.decompress(data, n)
            except MemoryError:
                raise ArchiveError(f"{self._what}: asks for too much memory to be decompressed") from None
            except self._broken as error:
                raise ArchiveError(f"{self._what}: malformed {self.compression} data ({error})") from None
            if out:
                return out

    def _next_member(self, rest: bytes) -> _Engine | None:
        """The decompressor of what follows a member, None at the end of the stream."""
        zeros = 0
        while True:
            stripped = rest.lstrip(b"\0") if self.compression in ("gzip", "xz") else rest
            zeros += len(rest) - len(stripped)
            if stripped:
                break
            rest = self._take(_INPUT)
            if not rest:
                if self.compression == "xz" and zeros % 4:
                    break
                return None
        while len(stripped) < 6 and (more := self._take(_INPUT)):
            stripped += more
        # Zeros between gzip members are no padding, only those at the end are; between xz streams they come by fours.
        if compression_of(stripped) != self.compression or zeros % 4 or (zeros and self.compression == "gzip"):
            raise ArchiveError(f"{self._what}: garbage after the {self.compression} data")
        self._input = stripped
        assert self._make is not None
        return self._make()


def open_stream(read: Callable[[int], bytes], what: str = "archive", limits: Limits = _DEFAULT_LIMITS) -> Decompressor:
    """Begin to decompress what ``read(n)`` gives (1 to n bytes, ``b""`` at the end). ``what`` names the stream in errors.

    Raises :class:`ArchiveError`, and whatever ``read`` raises.
    """
    return Decompressor(read, what, limits)


def _engines(compression: str, limits: Limits) -> tuple[Callable[[], _Engine] | None, tuple[type[Exception], ...]]:
    """What makes a decompressor, and what it raises for malformed data.

    The libraries are imported here: each takes milliseconds to load, and a stream needs one of them.
    """
    broken = (OSError, EOFError, ValueError)
    if compression == "gzip":
        try:
            igzip: Any = import_module("isal.igzip_lib")
        except ImportError:
            return _Gunzip, (*broken, zlib.error)
        return lambda: igzip.IgzipDecompressor(igzip.DECOMP_GZIP), (*broken, igzip.error)
    if compression == "bzip2":
        import bz2

        return bz2.BZ2Decompressor, broken
    if compression == "xz":
        import lzma

        return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, limits.max_window_bytes), (*broken, lzma.LZMAError)
    if compression == "zstd":
        # The window is a power of two, 1 KiB at least; frames that want a larger one are refused.
        window_log = min(31, max(10, limits.max_window_bytes.bit_length() - 1))
        make, error = frames(window_log)
        return make, (*broken, error)
    return None, ()
