"""Checkpoints of transparency logs: signed notes that state the size and the root of a tree.

C2SP ``signed-note.md`` and ``tlog-checkpoint.md``; Rekor's first version puts the number of its tree behind the origin.

Cold-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.trust import base64_strict
from rktpy.record import Record

MAX_SIZE = 16 << 10
MAX_SIGNATURES = 16
_SIGNATURE = "\u2014 "


class NoteSignature(Record):
    """A signature line: the name of the key, the four bytes that hint at it, the signature."""

    name: str
    hint: bytes
    signature: bytes


class Checkpoint(Record):
    """A checkpoint. ``text`` are the bytes that were signed, ``root`` the hash of a tree of ``size`` leaves."""

    text: bytes
    origin: str
    size: int
    root: bytes
    signatures: tuple[NoteSignature, ...]


def parse_checkpoint(envelope: str, what: str, path: str) -> Checkpoint:
    """Read a checkpoint; ``what`` and ``path`` name it in errors. Raises :class:`FormatError`."""
    if len(envelope) > MAX_SIZE:
        raise FormatError(what, path, f"is larger than {MAX_SIZE} characters")
    if any((character < " " and character != "\n") or "\ud800" <= character <= "\udfff" for character in envelope):
        raise FormatError(what, path, "is not a signed note: it has control characters")
    text, blank, lines = envelope.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise FormatError(what, path, "is not a signed note: text, an empty line, and lines of signatures")
    text += "\n"
    header = text.split("\n")
    if len(header) < 4 or not header[0] or "" in header[:-1]:
        raise FormatError(what, path, "is not a checkpoint: origin, size and root hash, a line each")
    size = header[1]
    if not (size.isascii() and size.isdigit()) or len(size) > 19 or (size[0] == "0" and size != "0"):
        raise FormatError(what, path, "has a tree size that is not a decimal number")
    root = base64_strict.decode(header[2], what, path, 64)
    if len(root) != 32:
        raise FormatError(what, path, "has a root hash that is not 32 bytes")
    rows = lines[:-1].split("\n")
    if len(rows) > MAX_SIGNATURES:
        raise FormatError(what, path, f"has more than {MAX_SIGNATURES} signatures")
    signatures = tuple(_signature(row, what, path) for row in rows)
    return Checkpoint(text.encode("utf-8"), header[0], int(size), root, signatures)


def _signature(row: str, what: str, path: str) -> NoteSignature:
    name, space, encoded = row.removeprefix(_SIGNATURE).rpartition(" ")
    if not row.startswith(_SIGNATURE) or not space or not name or " " in name or "+" in name:
        raise FormatError(what, path, "has a line that is not a signature")
    data = base64_strict.decode(encoded, what, path, 2048)
    if len(data) < 5:
        raise FormatError(what, path, "has a signature of fewer than 5 bytes")
    return NoteSignature(name, data[:4], data[4:])
