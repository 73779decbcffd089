"""Values that specifications and other implementations publish: ours must come out the same.

DSSE: secure-systems-lab/dsse ``protocol.md`` (Test Vectors). Merkle trees: the reference data of Certificate Transparency
(RFC 6962 section 2.1), as google/certificate-transparency tests with it. JSON: RFC 8785 section 3.2.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from rktpy.formats.trust.canonical_json import canonical
from rktpy.formats.trust.dsse import parse_envelope, pre_authentication_encoding
from rktpy.formats.trust.merkle import leaf_hash, node_hash, root_from_proof

DSSE_KEY = (
    46950820868899156662930047687818585632848591499744589407958293238635476079160,
    5640078356564379163099075877009565129882514886557779369047442380624545832820,
)
DSSE = (
    b'{"payload":"aGVsbG8gd29ybGQ=","payloadType":"http://example.com/HelloWorld","signatures":[{"sig":'
    b'"A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="}]}'
)

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def test_dsse() -> None:
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    envelope = parse_envelope(DSSE, "vector")
    assert envelope.payload == b"hello world"
    raw = envelope.signature
    key = ec.EllipticCurvePublicNumbers(*DSSE_KEY, ec.SECP256R1()).public_key()
    pair = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    key.verify(pair, encoded, ec.ECDSA(hashes.SHA256()))


def test_empty_leaf() -> None:
    assert leaf_hash(b"").hex() == ROOTS[1] == hashlib.sha256(b"\0").hexdigest()


def tree(leaves: list[bytes]) -> bytes:
    """The root by the definition of RFC 6962 section 2.1: split at the largest power of two below the size."""
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(tree(leaves[:split]), tree(leaves[split:]))


def proof(leaves: list[bytes], index: int) -> tuple[bytes, ...]:
    """The audit path of RFC 6962 section 2.1.1."""
    if len(leaves) == 1:
        return ()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return (*proof(leaves[:split], index), tree(leaves[split:]))
    return (*proof(leaves[split:], index - split), tree(leaves[:split]))


def test_merkle_trees() -> None:
    leaves = [bytes.fromhex(text) for text in LEAVES]
    for size, root in ROOTS.items():
        for index in range(size):
            path = proof(leaves[:size], index)
            assert root_from_proof(leaf_hash(leaves[index]), index, size, path) == bytes.fromhex(root), (size, index)


def test_canonical_json() -> None:
    assert canonical({"\u20ac": "Euro", "\r": "Return", "1": "One", "\u00f6": "o", "\U0001f600": "Smiley"}, "vector") == (
        '{"\\r":"Return","1":"One","ö":"o","€":"Euro","\U0001f600":"Smiley"}'.encode()
    )
