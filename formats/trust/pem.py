"""PEM blocks, strictly (RFC 7468): labelled base64 between its two lines, with nothing but empty lines around the blocks.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.trust import base64_strict

#: Largest block and most blocks of one file: a chain of certificates is a few KiB.
MAX_BLOCK = 1 << 18
MAX_BLOCKS = 64

_BEGIN = "-----BEGIN "
_END = "-----END "
_DASHES = "-----"


def blocks(data: bytes | str, what: str) -> list[tuple[str, bytes]]:
    """The blocks of ``data`` as (label, bytes), in order; at least one. ``what`` names it. Raises :class:`FormatError`."""
    if isinstance(data, bytes):
        try:
            data = data.decode("ascii")
        except UnicodeDecodeError:
            raise FormatError(what, "", "is not PEM: it has bytes outside of ASCII") from None
    found: list[tuple[str, bytes]] = []
    label = ""
    body: list[str] = []
    for line in data.split("\n"):
        line = line.strip(" \t\r")
        if not label:
            if not line:
                continue
            if not (line.startswith(_BEGIN) and line.endswith(_DASHES) and len(line) > len(_BEGIN) + len(_DASHES)):
                raise FormatError(what, "", "is not PEM: text outside of a block")
            label = line[len(_BEGIN) : -len(_DASHES)]
            body = []
        elif line.startswith(_DASHES):
            if line != f"{_END}{label}{_DASHES}":
                raise FormatError(what, "", f"is not PEM: the block {label[:40]!r} has no end")
            if len(found) == MAX_BLOCKS:
                raise FormatError(what, "", f"has more than {MAX_BLOCKS} PEM blocks")
            found.append((label, base64_strict.decode("".join(body), what, "", MAX_BLOCK)))
            label = ""
        elif ":" in line:
            raise FormatError(what, "", f"is not supported: the PEM block {label[:40]!r} has headers")
        else:
            body.append(line)
    if label:
        raise FormatError(what, "", f"is not PEM: the block {label[:40]!r} has no end")
    if not found:
        raise FormatError(what, "", "is not PEM: it is empty")
    return found


def one_block(data: bytes | str, labels: tuple[str, ...], what: str) -> bytes:
    """The bytes of the only block, whose label is one of ``labels``. Raises :class:`FormatError`."""
    found = blocks(data, what)
    if len(found) != 1:
        raise FormatError(what, "", f"must hold one PEM block, not {len(found)}")
    label, body = found[0]
    if label not in labels:
        raise FormatError(what, "", f"is a PEM block {label[:40]!r}, {' or '.join(labels)} is wanted")
    return body


def written(label: str, data: bytes) -> str:
    """One block, in lines of 64 characters."""
    text = base64_strict.encode(data)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"{_BEGIN}{label}{_DASHES}", *lines, f"{_END}{label}{_DASHES}", ""])
