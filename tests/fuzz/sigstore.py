"""What must hold for any bytes that are taken for a cosign signature, a sigstore bundle, a trusted root or a key.

``python -m tests.fuzz.sigstore [SECONDS [SEED]]`` goes on for longer than the test does.
"""

from __future__ import annotations

import base64
import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from rktpy.errors import ConfigError, FormatError
from rktpy.formats.trust import pem
from rktpy.formats.trust.checkpoint import parse_checkpoint
from rktpy.formats.trust.cosign_annotations import parse_rekor_bundle, parse_timestamp
from rktpy.formats.trust.cosign_payload import parse_cosign_payload
from rktpy.formats.trust.dsse import parse_envelope
from rktpy.formats.trust.intoto import parse_statement
from rktpy.formats.trust.rekor_entry import parse_body
from rktpy.formats.trust.sigstore_bundle import parse_bundle
from rktpy.formats.trust.trusted_root import parse_trusted_root
from rktpy.trust.cosign_private_key import load_private_key
from rktpy.trust.log_proofs import Unproven
from rktpy.trust.public_keys import from_pem
from rktpy.trust.signing_certificates import Leaf, chain_of_pem, leaf_of_pem
from tests.fuzz.notation import Mutator
from tests.support.certificates import new_key
from tests.support.sigstore import (
    Deployment,
    b64,
    bundle,
    dsse_entry,
    envelope,
    hashedrekord,
    hashedrekord_2,
    intoto_entry,
    pae,
    payload,
    sign,
    statement,
)
from tests.support.sigstore import (
    canonical as written,
)
from tests.support.sigstore_policy import DIGEST, KEY, PEM, bundle_by_keys, bundled, by_keys, cosign, fact_of, keyless

ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    "",
    "0",
    "\u0000",
    "\ud800",
    "A" * 70_000,
    [],
    {},
    [[]],
    {"": 1},
    "=",
    "AA==",
)


class JsonMutator:
    """Changes values inside of JSON documents, also of those that stand in base64 inside of others."""

    def __init__(self, seed: int, corpus: list[bytes]) -> None:
        self._random = random.Random(seed)
        self._corpus = [json.loads(data) for data in corpus if data[:1] == b"{"]

    def next(self) -> bytes:
        """Another input."""
        document = json.loads(json.dumps(self._random.choice(self._corpus)))
        for _ in range(self._random.choice((1, 1, 2))):
            self._change(document)
        return json.dumps(document).encode("utf-8", "surrogatepass")

    def _change(self, document: Any) -> None:
        holder = document
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                return
            key = self._random.choice(keys)
            if isinstance(holder[key], dict | list) and holder[key] and self._random.random() < 0.85:
                holder = holder[key]
                continue
            break
        kind = self._random.randrange(6)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[self._random.choice(("more", "\n", "mediaType", "x" * 300))] = 1
        elif kind == 2 and isinstance(holder, list):
            holder += [holder[key]] * self._random.choice((1, 40, 2000))
        elif kind <= 4 and isinstance(holder[key], str) and holder[key]:
            holder[key] = self._text(holder[key])
        else:
            holder[key] = self._random.choice(ODD)

    def _text(self, text: str) -> str:
        try:
            inner = base64.b64decode(text, validate=True)
        except ValueError:
            inner = b""
        if inner[:1] == b"{" and self._random.random() < 0.7:
            try:
                document = json.loads(inner)
            except ValueError:
                return text
            if document:
                self._change(document)
            return b64(json.dumps(document).encode("utf-8", "surrogatepass"))
        if inner and self._random.random() < 0.7:
            data = bytearray(inner)
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
            return b64(bytes(data))
        at = self._random.randrange(len(text))
        return text[:at] + self._random.choice(("A", "=", "\n", "", "-", "\u00e9", "9" * 20)) + text[at + 1 :]


class Target:
    """Feeds inputs to every parser, and to the verifiers; raises AssertionError when a promise is broken."""

    def __init__(self) -> None:
        deployment = Deployment()
        log = deployment.rekor
        content = statement(DIGEST)
        signature = sign(KEY, pae(content))
        leaf = deployment.leaf(new_key("P-256", 50))
        leaf_signature = sign(leaf.key, pae(content))
        stamp = {"rfc3161Timestamps": [{"signedTimestamp": b64(deployment.stamp(leaf_signature))}]}
        entry = log.entry(dsse_entry(signature, PEM, content))
        self.keyed = json.dumps(
            bundle({"publicKey": {"hint": ""}, "tlogEntries": [entry]}, dsseEnvelope=envelope(content, signature))
        ).encode()
        certified = {
            "certificate": {"rawBytes": b64(leaf.der)},
            "tlogEntries": [log.entry(dsse_entry(leaf_signature, leaf.pem, content))],
            "timestampVerificationData": stamp,
        }
        self.keyless = json.dumps(bundle(certified, dsseEnvelope=envelope(content, leaf_signature))).encode()
        self.root = json.dumps(deployment.trusted_root()).encode()
        self._log_pem = base64.b64decode(b64(pem_of(log.key)))
        self._wanted = {
            "keys": bundle_by_keys(PEM, log="any", logs=(self._log_pem,)),
            "keyless": keyless(deployment.trusted_root(), log="any"),
        }
        self._good = {"keys": fact_of(self._wanted["keys"], bundled(self.keyed))}
        self._good["keyless"] = fact_of(self._wanted["keyless"], bundled(self.keyless))
        assert not any("problem" in fact for fact in self._good.values()), self._good
        self.payload = payload(DIGEST)
        old = sign(KEY, self.payload)
        self._old = {"dev.cosignproject.cosign/signature": b64(old)}
        self.annotation = log.annotation(hashedrekord(old, PEM, self.payload)).encode()
        self._old_wanted = by_keys(PEM, logs=(self._log_pem,))
        self._parts = [
            written(dsse_entry(signature, PEM, content)),
            written(intoto_entry(signature, PEM, content)),
            written(hashedrekord_2(signature, content, key=b"k")),
            json.dumps(envelope(content, signature)).encode(),
            content,
            entry["inclusionProof"]["checkpoint"]["envelope"].encode(),
            PEM,
            leaf.pem,
            leaf.key_pem,
            leaf.der,
        ]
        self._deployment = deployment
        self.accepted = 0

    def corpus(self) -> list[bytes]:
        """Inputs to begin with."""
        return [self.keyed, self.keyless, self.root, self.payload, self.annotation, *self._parts]

    def __call__(self, data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        readers: tuple[Callable[[], Any], ...] = (
            lambda: parse_bundle(data, "input"),
            lambda: parse_cosign_payload(data, "input"),
            lambda: parse_envelope(data, "input"),
            lambda: parse_statement(data, "input"),
            lambda: parse_body(data, "input"),
            lambda: parse_rekor_bundle(text, "input"),
            lambda: parse_timestamp(text, "input"),
            lambda: parse_checkpoint(text, "input", ""),
            lambda: parse_trusted_root(data, "input"),
            lambda: pem.blocks(data, "input"),
            lambda: from_pem(data, "input"),
            lambda: load_private_key(data, b""),
            lambda: Leaf(data),
            lambda: leaf_of_pem(text),
            lambda: chain_of_pem(text),
        )
        for reader in readers:
            try:
                reader()
            except (FormatError, ConfigError, Unproven) as error:
                assert str(error).isprintable(), str(error)
                assert len(str(error)) < 2000
            else:
                self.accepted += 1
        for kind, wanted in self._wanted.items():
            fact = fact_of(wanted, bundled(data))
            if "problem" in fact:
                assert fact["problem"].isprintable(), fact
                continue
            # Nothing that is signed may change; what is not signed may only be left out.
            for name in ("subjects", "predicateType", "key"):
                assert fact[name] == self._good[kind][name], (name, fact)
        for found in (cosign(data, {**self._old, "dev.sigstore.cosign/bundle": text}), cosign(data, self._old)):
            fact = fact_of(self._old_wanted, found)
            assert "problem" in fact or data == self.payload, fact
        fact = fact_of(self._old_wanted, cosign(self.payload, {**self._old, "dev.sigstore.cosign/bundle": text}))
        assert "problem" in fact or fact["digest"] == DIGEST
        try:
            fact = fact_of(keyless(as_object(data)), bundled(self.keyless))
        except ConfigError as error:
            assert str(error).isprintable()
        else:
            assert "problem" in fact or fact["key"] == self._good["keyless"]["key"]


def pem_of(key: Any) -> bytes:
    from tests.support.sigstore import spki_pem

    return spki_pem(key)


def as_object(data: bytes) -> dict[str, Any]:
    """The JSON object that ``data`` is, or an empty one."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def run(seconds: float, seed: int) -> tuple[int, bytes | None, BaseException | None]:
    """Feed mutations to a :class:`Target`; how many there were, and the first that broke a promise."""
    target = Target()
    corpus = target.corpus()
    mutators = (Mutator(seed, corpus), JsonMutator(seed, corpus), JsonMutator(seed + 1, corpus))
    end = time.monotonic() + seconds
    count = 0
    for data in corpus:
        target(data)
    while time.monotonic() < end:
        data = mutators[count % len(mutators)].next()
        count += 1
        try:
            target(data)
        except Exception as error:
            return count, data, error
    return count, None, None


def main(arguments: list[str]) -> int:
    seconds = float(arguments[0]) if arguments else 60.0
    seed = int(arguments[1]) if len(arguments) > 1 else random.randrange(1 << 32)
    count, data, error = run(seconds, seed)
    sys.stdout.write(f"{count} inputs, seed {seed}: {error!r} {data!r}\n")
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
