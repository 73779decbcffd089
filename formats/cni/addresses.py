"""IP addresses and networks in text, without the cost of ``ipaddress``. Hot-path module."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton


def packed(address: str) -> bytes | None:
    """The 4 or 16 bytes of an address, None when it is none."""
    try:
        return inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    except (OSError, ValueError):
        return None


def split_network(text: str) -> tuple[str, int] | None:
    """The address and the prefix length of ``ADDRESS/LENGTH``, None when it is not of that form."""
    address, slash, length = text.partition("/")
    binary = packed(address)
    if binary is None or not slash or not length.isascii() or not length.isdigit() or len(length) > 3:
        return None
    bits = int(length)
    return (address, bits) if bits <= 8 * len(binary) else None


def network_mask(text: str) -> str:
    """The mask of ``ADDRESS/LENGTH`` written as an address: ``255.255.255.0``. ``text`` is a network."""
    found = split_network(text)
    assert found is not None
    wide = 128 if ":" in text else 32
    mask = (1 << wide) - (1 << wide - found[1])
    return inet_ntop(AF_INET6 if wide == 128 else AF_INET, mask.to_bytes(wide // 8, "big"))


def is_unspecified(address: str) -> bool:
    """Whether ``address`` stands for all addresses: ``0.0.0.0``, ``::``."""
    binary = packed(address)
    return binary is not None and not any(binary)
