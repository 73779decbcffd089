"""Read a file that is compressed as a whole, as one stream."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import BinaryIO, cast

from rktpy.errors import ArchiveError


@contextmanager
def opened(fd: int, compression: str, what: str) -> Generator[Callable[[int], bytes]]:
    """A function that reads the uncompressed bytes of the file ``fd``, which stays open.

    ``compression`` is none, gzip, bzip2, xz or zstd. The function raises :class:`ArchiveError` naming ``what`` for damaged data.
    """
    with open(os.dup(fd), "rb", buffering=0 if compression == "none" else 1 << 18) as raw:
        stream = _stream(raw, compression)

        def read(n: int) -> bytes:
            try:
                return stream.read(n)
            except OSError as error:
                if error.errno is not None:
                    raise
                raise ArchiveError(f"{what}: damaged {compression} data") from error
            except Exception as error:  # zlib.error, LZMAError, EOFError, ZstdError: each library has its own
                raise ArchiveError(f"{what}: damaged {compression} data") from error

        yield read


def _stream(raw: BinaryIO, compression: str) -> BinaryIO:
    if compression == "gzip":
        import gzip

        return cast("BinaryIO", gzip.GzipFile(fileobj=raw))
    if compression == "bzip2":
        import bz2

        return cast("BinaryIO", bz2.BZ2File(raw))
    if compression == "xz":
        import lzma

        return cast("BinaryIO", lzma.LZMAFile(raw))
    if compression == "zstd":
        import pyzstd

        return cast("BinaryIO", pyzstd.ZstdFile(raw))
    return raw
