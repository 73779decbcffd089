"""Writing an initramfs: an archive in cpio's "newc" format (the kernel's ``driver-api/early-userspace/buffer-format``)."""

from __future__ import annotations

import stat

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"


def archive(directories: tuple[str, ...], files: dict[str, tuple[int, bytes]]) -> bytes:
    """The archive with ``directories`` (mode 755) and ``files`` (path: mode and content), all root's."""
    out: list[bytes] = []
    number = 0
    for name in directories:
        number += 1
        out.append(_entry(number, name, stat.S_IFDIR | 0o755, b""))
    for name, (mode, content) in files.items():
        number += 1
        out.append(_entry(number, name, stat.S_IFREG | mode, content))
    out.append(_entry(0, _TRAILER, 0, b""))
    return b"".join(out)


def _entry(number: int, name: str, mode: int, content: bytes) -> bytes:
    path = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    head = _MAGIC + b"".join([b"%08X" % field for field in fields]) + path
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
