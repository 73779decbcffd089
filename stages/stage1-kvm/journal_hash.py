"""Bob Jenkins' lookup3 (``hashlittle2``) as the journal's file format uses it, to 64 bits. Hot-path module."""

from __future__ import annotations

from struct import unpack

_MASK = 0xFFFFFFFF


def hash64(data: bytes) -> int:
    """The hash of ``data``."""
    length = len(data)
    a = b = c = (0xDEADBEEF + length) & _MASK
    if not length:
        return c << 32 | b
    blocks = (length - 1) // 12
    words: tuple[int, ...] = unpack(f"<{blocks * 3 + 3}I", data + b"\0" * ((blocks + 1) * 12 - length))
    at = 0
    for _ in range(blocks):
        a = a + words[at] & _MASK
        b = b + words[at + 1] & _MASK
        c = c + words[at + 2] & _MASK
        at += 3
        a = a - c & _MASK ^ (c << 4 & _MASK | c >> 28)
        c = c + b & _MASK
        b = b - a & _MASK ^ (a << 6 & _MASK | a >> 26)
        a = a + c & _MASK
        c = c - b & _MASK ^ (b << 8 & _MASK | b >> 24)
        b = b + a & _MASK
        a = a - c & _MASK ^ (c << 16 & _MASK | c >> 16)
        c = c + b & _MASK
        b = b - a & _MASK ^ (a << 19 & _MASK | a >> 13)
        a = a + c & _MASK
        c = c - b & _MASK ^ (b << 4 & _MASK | b >> 28)
        b = b + a & _MASK
    a = a + words[at] & _MASK
    b = b + words[at + 1] & _MASK
    c = c + words[at + 2] & _MASK
    c = (c ^ b) - (b << 14 & _MASK | b >> 18) & _MASK
    a = (a ^ c) - (c << 11 & _MASK | c >> 21) & _MASK
    b = (b ^ a) - (a << 25 & _MASK | a >> 7) & _MASK
    c = (c ^ b) - (b << 16 & _MASK | b >> 16) & _MASK
    a = (a ^ c) - (c << 4 & _MASK | c >> 28) & _MASK
    b = (b ^ a) - (a << 14 & _MASK | a >> 18) & _MASK
    c = (c ^ b) - (b << 24 & _MASK | b >> 8) & _MASK
    return c << 32 | b
