"""One member of a tar archive, as the reader gives it and the writer takes it.

Hot-path module: imports only our own ones.
"""

from __future__ import annotations

from rktpy.formats.tar_fields import printable


class TarEntry:
    """One member of an archive.

    ``type`` is one of file, dir, symlink, hardlink, char, block, fifo. ``name`` and ``link`` (target of a symlink or hard link)
    are raw bytes. ``mode`` holds permission bits only (0o7777). ``mtime_ns`` is in nanoseconds since the epoch. ``size`` is the
    size in bytes of the file once unpacked; with ``sparse`` given, the entry's data are only the (offset, length) regions
    listed there, one after the other, and the rest of the file is a hole. ``uname`` and ``gname`` are informative.
    """

    __slots__ = (
        "gid",
        "gname",
        "link",
        "major",
        "minor",
        "mode",
        "mtime_ns",
        "name",
        "size",
        "sparse",
        "type",
        "uid",
        "uname",
        "xattrs",
    )

    def __init__(
        self,
        name: bytes,
        type: str = "file",
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        size: int = 0,
        mtime_ns: int = 0,
        link: bytes = b"",
        major: int = 0,
        minor: int = 0,
        xattrs: dict[bytes, bytes] | None = None,
        sparse: list[tuple[int, int]] | None = None,
        uname: bytes = b"",
        gname: bytes = b"",
    ) -> None:
        self.name = name
        self.type = type
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.mtime_ns = mtime_ns
        self.link = link
        self.major = major
        self.minor = minor
        self.xattrs: dict[bytes, bytes] = {} if xattrs is None else xattrs
        self.sparse = sparse
        self.uname = uname
        self.gname = gname

    def __repr__(self) -> str:
        return f"TarEntry({self.type} {printable(self.name)!r}, mode={self.mode:o}, size={self.size})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TarEntry):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]
