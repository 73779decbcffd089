"""What must hold for any bytes that are taken for a policy, a signed message, its claims, a key file or what a pod has kept.

``python -m tests.fuzz.trust [SECONDS [SEED]]`` goes on for longer than the test does.
"""

from __future__ import annotations

import bz2
import json
import random
import sys
import time
import zlib
from typing import Any

from rktpy.errors import ConfigError, FormatError
from rktpy.formats import jsondoc, openpgp
from rktpy.formats.openpgp_message import MAX_SIZE, check_signed_message
from rktpy.formats.registries_d import parse_registries_d
from rktpy.formats.trust.policy import Policy, parse_policy
from rktpy.formats.trust.requirements import AcceptAnything
from rktpy.formats.trust.simple_signing import Claims, parse_claims
from rktpy.stage0.kept_evidence import read_kept
from rktpy.trust.policy import rule_for
from rktpy.trust.simple_signing_facts import public_keys

DIGEST = "sha256:" + "ab" * 32
CLAIMS = Claims(DIGEST, "registry.example/team/app:v1", "fuzz", 1700000000).to_bytes()
POLICY = json.dumps(
    {
        "default": [{"type": "reject"}],
        "transports": {
            "docker": {
                "registry.example/team": [
                    {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k", "signedIdentity": {"type": "matchRepository"}}
                ],
                "*.example": [{"type": "sigstoreSigned", "keyData": "AAAA", "rekorPublicKeyPath": "/r"}],
                "": [{"type": "rktpy:sigstoreBundle", "keyPaths": ["/a", "/b"], "log": "any", "logKeyPath": "/l"}],
            },
            "oci": {"/images": [{"type": "rktpy:notation", "trustPolicyPath": "/p", "trustStorePath": "/s"}]},
            "aci": {"example.com": [{"type": "rktpy:trustedKeys", "prefix": "example.com/app"}]},
        },
    }
).encode()
LITERAL = b"b\0\0\0\0\0" + CLAIMS
MESSAGE = (
    b"\x90\x0d\x03\x00\x16\x08" + b"\x11" * 8 + b"\x01"
    b"\xcb\xff" + len(LITERAL).to_bytes(4, "big") + LITERAL + b"\x88\x05\x04\x00\x16\x08\x00"
)
KEPT = json.dumps(
    [
        {
            "evidence": {
                "family": "simple-signing",
                "source": "file:///s",
                "mediaType": "",
                "blobs": {"signature": DIGEST},
                "annotations": {},
            },
            "data": {DIGEST: "AAAA"},
            "key": "k",
            "fact": {"problem": ""},
        }
    ]
).encode()
REGISTRIES = b'{"docker": {"registry.example": {"lookaside": "file:///look", "lookaside-staging": "file:///new"}}}'
CORPUS = [
    CLAIMS,
    POLICY,
    MESSAGE,
    b"\xa3\x01" + zlib.compress(MESSAGE)[2:-4],
    b"\xa3\x02" + zlib.compress(MESSAGE),
    b"\xa3\x03" + bz2.compress(MESSAGE),
    KEPT,
    REGISTRIES,
    b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQAA\n-----END PGP PUBLIC KEY BLOCK-----\n",
]
TOKENS = (
    b'"type":"reject",',
    b'"insecureAcceptAnything"',
    b"null",
    b"[]",
    b"{}",
    b'""',
    b"1e999",
    b"\\ud800",
    b"\xff",
    b"\xcb\xe1",
    b"\x88",
    b"\xc8\xff\xff\xff\xff\xff",
    b"\0",
)


class Mutator:
    """Changes bytes at random: bits, lengths, pieces of other seeds, and members of JSON."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def next(self) -> bytes:
        """Another input."""
        data = bytearray(self._random.choice(CORPUS))
        for _ in range(self._random.choice((1, 1, 2, 4, 8))):
            at = self._random.randrange(len(data) + 1)
            kind = self._random.randrange(5)
            if kind == 0 and at < len(data):
                data[at] ^= 1 << self._random.randrange(8)
            elif kind == 1:
                del data[at : at + self._random.choice((1, 2, 7, 64))]
            elif kind == 2:
                data[at:at] = self._random.choice(TOKENS)
            elif kind == 3:
                other = self._random.choice(CORPUS)
                start = self._random.randrange(len(other))
                data[at:at] = other[start : start + self._random.choice((4, 32, 256))]
            else:
                data[at:at] = data[at : at + self._random.choice((8, 64))]
        return bytes(data)


def target(data: bytes) -> set[str]:
    """Read ``data`` as each of the documents; the names of those that took it."""
    took: set[str] = set()
    for name, function in READERS.items():
        try:
            function(data)
        except (FormatError, ConfigError) as error:
            assert "\n" not in str(error)
            continue
        took.add(name)
    return took


def _policy(data: bytes) -> None:
    policy = parse_policy(data, "p")
    assert isinstance(policy, Policy)
    assert policy.default
    for name in ("docker://registry.example/team/app:v1", "oci:/images/a:v1", "docker-archive:/a:b:1", ""):
        rule = rule_for(policy, "oci", name)
        assert rule.requirements
        if any(isinstance(one, AcceptAnything) for one in rule.requirements):
            # Nothing is accepted unless somebody has written so.
            assert b"insecureAcceptAnything" in data or b"\\u" in data


def _claims(data: bytes) -> None:
    claims = parse_claims(data, "c")
    assert parse_claims(claims.to_bytes(), "c") == claims


def _message(data: bytes) -> None:
    assert len(check_signed_message(data, "m")) <= MAX_SIZE


def _json(read: Any) -> Any:
    return lambda data: read(jsondoc.parse(data, "j"))


READERS: dict[str, Any] = {
    "policy": _policy,
    "claims": _claims,
    "message": _message,
    "kept": _json(read_kept),
    "registries.d": _json(lambda value: parse_registries_d(value, "r")),
    "keys": lambda data: public_keys(data, "k"),
    "detached": lambda data: openpgp.check_detached(data, "s"),
}


def run(seconds: float, seed: int) -> tuple[int, bytes, BaseException | None]:
    """Fuzz for some time: how many inputs, and the one that broke a promise."""
    mutator = Mutator(seed)
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        data = mutator.next()
        count += 1
        try:
            target(data)
        except Exception as error:
            return count, data, error
    return count, b"", None


def main(argv: list[str]) -> int:
    """The command line."""
    number, data, error = run(float(argv[0]) if argv else 600, int(argv[1]) if len(argv) > 1 else 1)
    sys.stdout.write(f"{number} inputs\n")
    if error is not None:
        sys.stdout.write(f"{error!r} for {data!r}\n")
    return 0 if error is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
