"""Inclusion proofs of Merkle trees (RFC 6962 sections 2.1 and 2.1.1; the verification of RFC 9162 section 2.1.3.2).

Hot-path module.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha256
else:
    from rktpy.formats.oci.digest import sha256


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\1" + left + right).digest()


def root_from_proof(leaf: bytes, index: int, size: int, proof: tuple[bytes, ...]) -> bytes | None:
    """The root of the tree of ``size`` leaves in which ``leaf`` (its hash) has the number ``index``, as ``proof`` has it.

    None when the proof does not have the length that it must have.
    """
    if not 0 <= index < size:
        return None
    node, last = index, size - 1
    result = leaf
    for sibling in proof:
        if last == 0:
            return None
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while node and not node & 1:
                node >>= 1
                last >>= 1
        else:
            result = node_hash(result, sibling)
        node >>= 1
        last >>= 1
    return result if last == 0 else None
