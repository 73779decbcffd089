"""Content digests, ``<algorithm>:<encoded>`` (OCI image-spec 1.1, descriptor.md "Digests").

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha256, sha512
    from typing import Any
else:
    try:
        from _sha256 import sha256
        from _sha512 import sha512
    except ImportError:  # Python 3.12 put both into one module
        from _sha2 import sha256, sha512

HEX_LENGTHS = {"sha256": 64, "sha512": 128}
"""The algorithms that rktpy can check, and how many lower-case hex digits each takes."""

_HEX = frozenset("0123456789abcdef")
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ENCODED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789=_-")
_LONGEST = 512


def check_digest_syntax(text: Any, what: str, path: str) -> tuple[str, str]:
    """Check the grammar alone and return (algorithm, encoded); the algorithm may be one that rktpy cannot compute.

    The two known algorithms must be exact: the right number of lower-case hex digits. Raises :class:`FormatError`.
    """
    if not isinstance(text, str):
        raise FormatError(what, path, "must be a digest like sha256:<64 hex digits>")
    algorithm, colon, encoded = text.partition(":")
    length = HEX_LENGTHS.get(algorithm)
    if length is not None:
        if not colon or len(encoded) != length or not _HEX.issuperset(encoded):
            raise FormatError(what, path, f"must be {algorithm}: and {length} lower-case hex digits")
        return algorithm, encoded
    parts = algorithm.replace("+", ".").replace("_", ".").replace("-", ".").split(".")
    if (
        not colon
        or not encoded
        or len(text) > _LONGEST
        or not all(part and _LOWER.issuperset(part) for part in parts)
        or not _ENCODED.issuperset(encoded)
    ):
        raise FormatError(what, path, "must be a digest like sha256:<64 hex digits>")
    return algorithm, encoded


def parse_digest(text: Any, what: str, path: str) -> tuple[str, str]:
    """Check a digest that must be usable and return (algorithm, hex).

    ``what`` and ``path`` name the document and the JSON path in errors. Only sha256 and sha512 pass: the result is safe as a file
    name. Raises :class:`FormatError`.
    """
    algorithm, encoded = check_digest_syntax(text, what, path)
    if algorithm not in HEX_LENGTHS:
        raise FormatError(what, path, f"digest algorithm {algorithm!r} is not supported (sha256 and sha512 are)")
    return algorithm, encoded


def sha256_digest(data: bytes) -> str:
    """The sha256 digest of ``data``, with its prefix."""
    return "sha256:" + sha256(data).hexdigest()


def digest_of(data: bytes, algorithm: str) -> str:
    """The digest of ``data`` under ``algorithm`` (sha256 or sha512), with its prefix."""
    if algorithm == "sha512":
        return "sha512:" + sha512(data).hexdigest()
    return sha256_digest(data)
