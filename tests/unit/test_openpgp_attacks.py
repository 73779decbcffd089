"""A table of attacks on the detached signature of an ACI, made with the real gpg: each is refused with a reason of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.formats import openpgp
from rktpy.trust.decision import ACCEPTED, REJECTED, Decision, Image, decide
from rktpy.trust.keystore import Keystore
from rktpy.trust.openpgp import check_file, examine
from tests.conftest import need_tool
from tests.support.gpg import Gpg

NAME = "example.com/foo/app"
PAYLOAD = b"the bytes that are signed"


class World:
    """Keys, a keystore that trusts alice and what is too old or revoked for example.com/foo, and an image."""

    def __init__(self, directory: Path) -> None:
        self.gpg = Gpg(directory / "gpg")
        self.gpg.key("alice")
        self.gpg.key("bob")
        old = ("--faked-system-time", "20200101T000000")
        self.gpg(*old, "--quick-generate-key", "old <old@example.com>", "ed25519", "sign", "1y")
        fingerprint = self.gpg.key("revoked")
        self.image = directory / "image.aci"
        self.image.write_bytes(PAYLOAD)
        self.by_old = self.gpg.sign(self.image, "old", options=old)
        self.gpg(*old, "--quick-generate-key", "long <long@example.com>", "ed25519", "sign", "never")
        self.short_lived = self.gpg.sign(self.image, "long", options=(*old, "--default-sig-expire", "1d"))
        self.by_revoked = self.gpg.sign(self.image, "revoked")
        revocation = (self.gpg.home / "openpgp-revocs.d" / f"{fingerprint.upper()}.rev").read_text()
        self.gpg("--import", stdin=revocation[revocation.index(":-----BEGIN") + 1 :].encode())
        self.keystore = Keystore(str(directory / "system"), str(directory / "local"))
        for name in ("alice", "old", "long", "revoked"):
            self.keystore.add(self.gpg.export(name), "example.com/foo")

    def decide(self, signature: bytes, name: str = NAME, payload: bytes = PAYLOAD) -> Decision:
        self.image.write_bytes(payload)
        keys = self.keystore.keys_for(name)
        facts = check_file(str(self.image), signature, self.keystore, keys)
        states = {key.fingerprint: examine(self.keystore.read(key)) for key in keys}
        now = 1900000000
        return decide(Image("sha512-00", "aci", name), facts, keys, states=states, insecure_image=False, now=now)

    def sign(self, *names: str, data: bytes = PAYLOAD, how: str = "--detach-sign") -> bytes:
        users = [word for name in names for word in ("--local-user", f"{name}@example.com")]
        return self.gpg(*users, "--output", "-", how, stdin=data)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    need_tool("gpg")
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.gpg.close()


def test_what_is_right_is_accepted(world: World) -> None:
    for signature in (world.sign("alice"), world.sign("bob", "alice"), world.sign("bob") + world.sign("alice")):
        assert world.decide(signature).verdict == ACCEPTED


def test_each_attack_has_its_reason(world: World) -> None:
    good = world.sign("alice")
    table: dict[str, Decision] = {
        "openpgp: signature made by unknown entity": world.decide(world.sign("bob")),
        "signature made by unknown entity": world.decide(good, "example.com/foobar"),
        "by unknown entity": world.decide(good, "example.com"),
        "openpgp: invalid signature: hash mismatch": world.decide(good, payload=PAYLOAD + b"."),
        "hash mismatch": world.decide(world.sign("alice", data=b"another image")),
        "the signing key has expired": world.decide(world.by_old),
        "the signature has expired": world.decide(world.short_lived),
        "the signing key was revoked": world.decide(world.by_revoked),
        "a signed message where a detached signature": world.decide(world.sign("alice", how="--clear-sign")),
        "packet of indeterminate length": world.decide(world.sign("alice", how="--sign")),
        "not a detached signature (OpenPGP packet 6)": world.decide(world.gpg.export("alice")),
        "not a signature over binary data (OpenPGP signature type 1)": world.decide(
            world.gpg("--textmode", "--local-user", "alice@example.com", "--output", "-", "--detach-sign", stdin=PAYLOAD)
        ),
        "at most 64 signatures are looked at": world.decide(world.sign("bob") * 300 + good),
        f"is larger than {openpgp.MAX_SIZE} bytes": world.decide(b"\0" * (openpgp.MAX_SIZE + 1)),
        "no valid signatures found in signature file": world.decide(b""),
        "truncated packet": world.decide(good[:-1]),
        "not an OpenPGP packet at byte 0": world.decide(b"no signature"),
        "packet with a partial length": world.decide(b"\xc2\xe1\0\0\0"),
    }
    for reason, decision in table.items():
        assert decision.verdict == REJECTED, reason
        assert reason in decision.reason
        assert decision.reason.isprintable()
        assert decision.allowed_by == ""
