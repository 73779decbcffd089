"""Whiteouts of OCI layers: entries that remove what lower layers have.

Source: OCI image-spec 1.1, ``layer.md`` (Whiteouts, Opaque Whiteout). ``.wh.<name>`` hides ``<name>``, ``.wh..wh..opq`` hides all
siblings; both concern lower layers only, wherever in the layer they stand. Other names that begin with ``.wh..wh.`` are
leftovers of aufs and are passed over, with what is below them.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from rktpy.errors import ArchiveError
from rktpy.formats.tar_fields import printable
from rktpy.store.directories import Directories

_OPAQUE = b".wh..wh..opq"


def is_reserved(path: bytes) -> bool:
    """Whether ``path`` is aufs metadata or lies in such. Raises :class:`ArchiveError` for anything else below a whiteout."""
    names = path.split(b"/")
    last = len(names) - 1
    for position, name in enumerate(names):
        if name.startswith(b".wh."):
            if name.startswith(b".wh..wh.") and name != _OPAQUE:
                return True
            if position < last:
                raise ArchiveError(f"a name inside the whiteout {printable(name)}")
    return False


def hidden_name(name: bytes) -> bytes | None:
    """What the last component of a path hides: a name, all siblings (empty), or None if it is no whiteout."""
    if not name.startswith(b".wh."):
        return None
    if name == _OPAQUE:
        return b""
    hidden = name[4:]
    if hidden in (b"", b".", b".."):
        raise ArchiveError("a whiteout of no file")
    return hidden


def hide(directories: Directories, above: bytes, name: bytes, made_here: Callable[[bytes], bool]) -> None:
    """Remove ``name`` in the directory ``above`` (everything in it, when empty) as far as this layer did not make it.

    What is not there, or is reached through a symbolic link only, needs no hiding. Raises OSError.
    """
    pending = [(above, name)]
    while pending:
        above, name = pending.pop()
        directory = directories.existing(above)
        if directory is None:
            continue
        if not name:
            pending.extend((above, os.fsencode(child)) for child in os.listdir(directory.fd))
            continue
        path = above + b"/" + name if above else name
        if not made_here(path):
            try:
                directories.remove(directory, path, name)
            except FileNotFoundError:
                pass
        elif directories.existing(path) is not None:
            # The layer's own directory, perhaps merged with a lower one: only the lower part goes.
            pending.append((path, b""))
