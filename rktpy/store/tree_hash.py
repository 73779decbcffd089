"""The content hash of a rendered tree: equal for two trees exactly when an app could not tell them apart.

Everything counts that rkt counts (store/treestore: name, mode, owner, size, type, link target, device number, extended
attributes, content, which names are hard links of one file); times do not, nor do sockets. Written ``sha512-<64 hex>`` as rkt's.
The encoding is our own: netstrings, so that no two trees have one encoding.
"""

from __future__ import annotations

import os
from hashlib import sha256, sha512
from stat import S_ISBLK, S_ISCHR, S_ISDIR, S_ISLNK, S_ISREG, S_ISSOCK
from typing import TYPE_CHECKING

from rktpy.errors import StoreError

if TYPE_CHECKING:
    from hashlib import _Hash

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


def tree_hash(rootfs: str) -> str:
    """The hash of everything in the directory ``rootfs``, itself included. Raises StoreError when something cannot be read."""
    total = sha512()
    try:
        fd = os.open(rootfs, _FLAGS | os.O_DIRECTORY)
        try:
            _entry(total, b".", os.fstat(fd), fd, b".", {})
            _directory(total, fd, b"", {})
        finally:
            os.close(fd)
    except (OSError, RecursionError) as error:
        raise StoreError(f"cannot read {rootfs}") from error
    return "sha512-" + total.hexdigest()[:64]


def _directory(total: _Hash, fd: int, path: bytes, links: dict[tuple[int, int], bytes]) -> None:
    # os.listdir on a descriptor gives text; its surrogate escapes are taken back for sorting by bytes.
    for name in sorted([os.fsencode(name) for name in os.listdir(fd)]):
        facts = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if S_ISSOCK(facts.st_mode):
            continue
        inner = path + name
        _entry(total, inner, facts, fd, name, links)
        if S_ISDIR(facts.st_mode):
            child = os.open(name, _FLAGS | os.O_DIRECTORY, dir_fd=fd)
            try:
                _directory(total, child, inner + b"/", links)
            finally:
                os.close(child)


def _entry(
    total: _Hash, path: bytes, facts: os.stat_result, parent: int, name: bytes, links: dict[tuple[int, int], bytes]
) -> None:
    mode = facts.st_mode
    content = b""
    size = 0
    if not S_ISDIR(mode) and facts.st_nlink > 1:
        first = links.setdefault((facts.st_dev, facts.st_ino), path)
        if first != path:
            _feed(total, path, b"link", first)
            return
    if S_ISREG(mode):
        content, size = _content(parent, name), facts.st_size
    elif S_ISLNK(mode):
        content = os.readlink(name, dir_fd=parent)
    elif S_ISCHR(mode) or S_ISBLK(mode):
        content = b"%d" % facts.st_rdev
    _feed(total, path, b"%o %d %d %d" % (mode, facts.st_uid, facts.st_gid, size), content)
    for attribute, value in _attributes(parent, name):
        _feed(total, attribute, value)
    total.update(b";")


def _feed(total: _Hash, *fields: bytes) -> None:
    for field in fields:
        total.update(b"%d:%s," % (len(field), field))


def _content(parent: int, name: bytes) -> bytes:
    digest = sha256()
    fd = os.open(name, _FLAGS, dir_fd=parent)
    try:
        while data := os.read(fd, _CHUNK):
            digest.update(data)
    finally:
        os.close(fd)
    return digest.digest()


def _attributes(parent: int, name: bytes) -> list[tuple[bytes, bytes]]:
    # The l*xattr calls take paths only, and a path through /proc names exactly this file whatever the tree holds.
    path = b"/proc/self/fd/%d/%s" % (parent, name)
    values: list[tuple[bytes, bytes]] = []
    for attribute in sorted(os.listxattr(path, follow_symlinks=False)):
        values.append((os.fsencode(attribute), os.getxattr(path, attribute, follow_symlinks=False)))
    return values
