"""What must hold for any bytes that are taken for a Notary Project signature, a time-stamp token or a trust policy.

``python -m tests.fuzz.notation [SECONDS [SEED]]`` goes on for longer than the test does.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rktpy.errors import FormatError
from rktpy.formats import cbor, der
from rktpy.formats.trust import timestamp_token
from rktpy.formats.trust.notation import cose, jws, policy
from rktpy.trust.timestamp import Authority, verify_token
from tests.support.certificates import tsa_chain
from tests.support.notation import COSE_TYPE, JWS_TYPE, NOW, World, code_chain, world
from tests.support.notation import cose as make_cose
from tests.support.notation import jws as make_jws
from tests.support.timestamps import make_token

MESSAGE = b"message"
TOKENS = (
    b"\x30\x80",
    b"\x30\x84\xff\xff\xff\xff",
    b"\xa0\x00",
    b"\x06\x01\x80",
    b"\x9f\x1f",
    b"\xbf",
    b"\xd8\x12",
    b"\x5f",
    b"null",
)


class Mutator:
    """Changes bytes at random: bits, pieces of itself and of other seeds, lengths, and members of JSON."""

    def __init__(self, seed: int, corpus: list[bytes]) -> None:
        self._random = random.Random(seed)
        self._corpus = corpus

    def next(self) -> bytes:
        """Another input."""
        data = bytearray(self._random.choice(self._corpus))
        for _ in range(self._random.choice((1, 1, 1, 2, 4, 8))):
            at = self._random.randrange(len(data) + 1)
            kind = self._random.randrange(6)
            if kind == 0 and at < len(data):
                data[at] ^= 1 << self._random.randrange(8)
            elif kind == 1:
                del data[at : at + self._random.choice((1, 2, 7, 64))]
            elif kind == 2:
                data[at:at] = self._random.choice(TOKENS)
            elif kind == 3:
                other = self._random.choice(self._corpus)
                start = self._random.randrange(len(other))
                data[at : at + self._random.choice((0, 8))] = other[start : start + self._random.choice((1, 8, 200))]
            elif kind == 4 and at < len(data):
                data[at] = self._random.choice((0, 0x7F, 0x80, 0xFF, 0x30, 0x22, 0x7B))
            else:
                data += data[at:]
        return bytes(data)


class Target:
    """Feeds inputs to every parser, and to the judge; raises AssertionError when a promise is broken."""

    def __init__(self, directory: Path) -> None:
        chain = code_chain()
        root, middle, signer = tsa_chain()
        self._authority = Authority((root.der,))
        self.token = make_token(MESSAGE, signer, [signer, middle], when=NOW)
        self._world: World = world(directory, chain)
        self._world.store("tsa", "clock", root)
        self._world.policy(trustStores=["ca:example", "tsa:clock"])
        self.policy = (directory / "trustpolicy.oci.json").read_bytes()

        def stamp(signature: bytes) -> bytes:
            return make_token(signature, signer, [signer, middle], when=NOW)

        self.jws, self.cose = make_jws(chain, timestamp=stamp), make_cose(chain, timestamp=stamp)
        self._good = {kind: self._world.fact(data, kind) for kind, data in ((JWS_TYPE, self.jws), (COSE_TYPE, self.cose))}
        self._token = verify_token(self.token, MESSAGE, [self._authority])
        assert "time" in self._token
        self.accepted = 0

    def corpus(self) -> list[bytes]:
        """Inputs to begin with."""
        inside = json.loads(self.jws)
        parts = [jws.decode_url(inside[name], "", "") for name in ("payload", "protected")]
        return [self.jws, self.cose, self.token, self.policy, *parts]

    def __call__(self, data: bytes) -> None:
        parsers: tuple[Callable[[bytes, str], Any], ...] = (
            jws.parse,
            cose.parse,
            cbor.parse,
            der.parse,
            timestamp_token.parse,
            timestamp_token.token_of_response,
            policy.parse,
        )
        for parser in parsers:
            try:
                value = parser(data, "input")
            except FormatError as error:
                assert str(error).isprintable(), str(error)
            else:
                self.accepted += 1
                if parser is cbor.parse:
                    # One spelling for each value, but for the order of maps.
                    assert len(cbor.encode(value)) == len(data)
        fact = verify_token(data, MESSAGE, [self._authority])
        assert fact == self._token or (list(fact) == ["problem"] and fact["problem"].isprintable()), fact
        for kind, good in self._good.items():
            found = self._world.fact(data, kind)
            if "problem" in found:
                assert found["problem"].isprintable(), found
            else:
                # Nothing that is signed may change; a time stamp may become worthless.
                for name in ("scheme", "signedAt", "expiry", "target", "subject", "certificates"):
                    assert found[name] == good[name], (name, found[name])
                for stamp in found["timestamps"].values():
                    assert "problem" in stamp or stamp == good["timestamps"]["tsa:clock"]


def run(directory: Path, seconds: float, seed: int) -> tuple[int, bytes | None, BaseException | None]:
    """Feed mutations to a :class:`Target`; how many there were, and the first that broke a promise."""
    target = Target(directory)
    corpus = target.corpus()
    mutator = Mutator(seed, corpus)
    end = time.monotonic() + seconds
    count = 0
    for data in corpus:
        target(data)
    while time.monotonic() < end:
        data = mutator.next()
        count += 1
        try:
            target(data)
        except Exception as error:
            return count, data, error
    return count, None, None


def main(arguments: list[str]) -> int:
    seconds = float(arguments[0]) if arguments else 60.0
    seed = int(arguments[1]) if len(arguments) > 1 else random.randrange(1 << 32)
    with tempfile.TemporaryDirectory() as directory:
        count, data, error = run(Path(directory), seconds, seed)
    sys.stdout.write(f"{count} inputs, seed {seed}: {error!r} {data!r}\n")
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
