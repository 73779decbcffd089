"""OpenPGP framing, the keystore, GnuPG's answers and the decision."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import ConfigError, FormatError, TrustRejected, TrustUndecided, UsageError
from rktpy.formats import openpgp
from rktpy.trust.decision import ACCEPTED, REJECTED, UNDECIDED, Decision, Image, KeyState, SignatureFact, decide
from rktpy.trust.gpg_status import read_key_listing, read_status
from rktpy.trust.keystore import Keystore, TrustedKey
from rktpy.trust.openpgp import check_file, examine, verify_detached
from tests.conftest import need_tool
from tests.support.gpg import Gpg

NAME = "example.com/foo/app"


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    need_tool("gpg")
    keys = Gpg(tmp_path_factory.mktemp("gpg") / "home")
    keys.key("alice")
    keys.key("bob", algorithm="rsa2048")
    yield keys
    keys.close()


@pytest.fixture
def keystore(tmp_path: Path) -> Keystore:
    return Keystore(str(tmp_path / "system"), str(tmp_path / "local"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.aci"
    path.write_bytes(b"the bytes that are signed")
    return path


def check(image: Path, signature: bytes, keystore: Keystore, name: str = NAME) -> tuple[SignatureFact, ...]:
    return verify_detached(str(image), signature, keystore, keystore.keys_for(name))


def judged(facts: tuple[SignatureFact, ...], keystore: Keystore, name: str = NAME) -> Decision:
    subject = Image("sha512-00", "aci", name)
    keys = keystore.keys_for(name)
    states = {key.fingerprint: examine(keystore.read(key)) for key in keys}
    return decide(subject, facts, keys, states=states, insecure_image=False, now=int(time.time()))


def verdict(facts: tuple[SignatureFact, ...], keystore: Keystore, name: str = NAME) -> str:
    return judged(facts, keystore, name).verdict


# --- framing


@pytest.mark.parametrize("armor", [True, False])
def test_public_key_is_read_like_gpg_reads_it(gpg: Gpg, armor: bool) -> None:
    key = openpgp.parse_public_key(gpg.export("alice", armor), "key")
    assert key.fingerprint == gpg.fingerprint("alice")
    assert key.identities == ("alice <alice@example.com>",)


def test_detached_signatures_and_nothing_else(gpg: Gpg, image: Path) -> None:
    armored = gpg.sign(image, "alice")
    assert openpgp.check_detached(armored, "sig") == openpgp.dearmor(armored, "sig")
    assert openpgp.check_detached(gpg.sign(image, "alice", armor=False), "sig")
    clear = gpg("--local-user", "alice@example.com", "--output", "-", "--clear-sign", str(image))
    inline = gpg("--local-user", "alice@example.com", "--output", "-", "--sign", str(image))
    for wrong in (clear, inline, gpg.export("alice"), b"", b"no packet"):
        with pytest.raises(FormatError):
            openpgp.check_detached(wrong, "sig")


def test_broken_armor(gpg: Gpg, image: Path) -> None:
    good = gpg.sign(image, "alice")
    lines = good.splitlines(keepends=True)
    damaged = {
        "no end": b"".join(lines[:-1]),
        "checksum": good.replace(lines[-2], b"=AAAA\n"),
        "not base64": good.replace(lines[2][:4], b"!!!!"),
        "text before": b"trust me\n" + good,
        "text between": good + b"trust me\n" + good,
    }
    for what, data in damaged.items():
        with pytest.raises(FormatError):
            openpgp.check_detached(data, what)
    assert len(openpgp.packets(openpgp.check_detached(good + good, "two"), "two")) == 2


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    for function in (openpgp.check_detached, openpgp.parse_public_keys):
        for prefix in (b"", b"-----BEGIN PGP SIGNATURE-----\n", b"\x99\x00\x04\x04"):
            try:
                function(prefix + data, "x")
            except FormatError:
                pass


def test_secret_keys_are_refused(gpg: Gpg) -> None:
    secret = gpg("--armor", "--export-secret-keys", "alice@example.com")
    with pytest.raises(FormatError):
        openpgp.parse_public_key(secret, "key")


# --- keystore


def test_prefixes_are_whole_path_components(keystore: Keystore, gpg: Gpg) -> None:
    keystore.add(gpg.export("alice"), "example.com/foo")
    assert [k.prefix for k in keystore.keys_for("example.com/foo/app")] == ["example.com/foo"]
    assert keystore.keys_for("example.com/foo")
    assert not keystore.keys_for("example.com/foobar")
    assert not keystore.keys_for("example.com")
    assert keystore.has_prefix_keys("example.com/foo/app")
    keystore.add(gpg.export("bob"), "")
    assert [k.prefix for k in keystore.keys_for("example.com/foobar")] == [""]
    assert not keystore.has_prefix_keys("example.com/foobar")


def test_an_empty_local_file_masks_a_system_key(tmp_path: Path, gpg: Gpg) -> None:
    Keystore("/nonexistent", str(tmp_path / "system")).add(gpg.export("alice"), "")
    keystore = Keystore(str(tmp_path / "system"), str(tmp_path / "local"))
    assert len(keystore.keys_for(NAME)) == 1
    mask = tmp_path / "local/trustedkeys/root.d" / gpg.fingerprint("alice")
    mask.parent.mkdir(parents=True)
    mask.write_bytes(b"")
    assert not keystore.keys_for(NAME)
    Keystore("/nonexistent", str(tmp_path / "system")).add(gpg.export("alice"), "example.com")
    assert [k.prefix for k in keystore.keys_for(NAME)] == ["example.com"], "a system prefix key comes after the local root mask"


def test_a_key_under_a_wrong_name_is_an_error(keystore: Keystore, tmp_path: Path, gpg: Gpg) -> None:
    path = Path(keystore.add(gpg.export("alice"), ""))
    path.rename(path.with_name(gpg.fingerprint("bob")))
    with pytest.raises(ConfigError, match="fingerprint mismatch"):
        keystore.read(keystore.keys_for(NAME)[0])


@pytest.mark.parametrize("prefix", ["../escape", "/abs", "a//b", "a/../b", "a/./b", "Example.com", "https://example.com", "a/.."])
def test_bad_prefixes(keystore: Keystore, gpg: Gpg, prefix: str) -> None:
    with pytest.raises(UsageError):
        keystore.add(gpg.export("alice"), prefix)


# --- checking and deciding


@pytest.mark.parametrize("armor", [True, False])
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_good_signature(keystore: Keystore, gpg: Gpg, image: Path, who: str, armor: bool) -> None:
    keystore.add(gpg.export(who), "example.com/foo")
    facts = check(image, gpg.sign(image, who, armor=armor), keystore)
    assert [(f.signer, f.problem) for f in facts] == [(gpg.fingerprint(who), "")]
    assert facts[0].identity == f"{who} <{who}@example.com>"
    assert verdict(facts, keystore) == ACCEPTED
    assert SignatureFact.from_dict(facts[0].to_dict()) == facts[0]


def test_changed_image(keystore: Keystore, gpg: Gpg, image: Path) -> None:
    keystore.add(gpg.export("alice"), "")
    signature = gpg.sign(image, "alice")
    image.write_bytes(b"other bytes")
    facts = check(image, signature, keystore)
    assert "hash mismatch" in facts[0].problem
    assert verdict(facts, keystore) == REJECTED


def test_unknown_key(keystore: Keystore, gpg: Gpg, image: Path) -> None:
    facts = check(image, gpg.sign(image, "alice"), keystore)
    assert facts[0].problem == "openpgp: signature made by unknown entity"
    assert verdict(facts, keystore) == REJECTED


def test_key_of_another_prefix(keystore: Keystore, gpg: Gpg, image: Path) -> None:
    keystore.add(gpg.export("alice"), "example.com/foo")
    facts = check(image, gpg.sign(image, "alice"), keystore, "example.com/foobar")
    assert verdict(facts, keystore, "example.com/foobar") == REJECTED


def test_one_of_several_signatures_is_enough(keystore: Keystore, gpg: Gpg, image: Path) -> None:
    keystore.add(gpg.export("bob"), "")
    facts = check(image, gpg.sign(image, "alice", "bob"), keystore)
    assert len(facts) == 2
    assert sorted(bool(f.problem) for f in facts) == [False, True]
    assert verdict(facts, keystore) == ACCEPTED


def test_trust_that_was_taken_back(keystore: Keystore, gpg: Gpg, image: Path) -> None:
    """The start asks again: stored evidence counts only while the key is still trusted."""
    path = Path(keystore.add(gpg.export("alice"), ""))
    facts = check(image, gpg.sign(image, "alice"), keystore)
    assert verdict(facts, keystore) == ACCEPTED
    path.unlink()
    assert verdict(facts, keystore) == REJECTED


def test_expired_signature(keystore: Keystore, gpg: Gpg, image: Path) -> None:
    keystore.add(gpg.export("alice"), "")
    # The shortest life that gpg gives a signature is a second.
    signature = gpg.sign(image, "alice", options=("--default-sig-expire", "seconds=1"))
    time.sleep(2.1)
    facts = check(image, signature, keystore)
    assert facts[0].problem == "the signature has expired"
    assert verdict(facts, keystore) == REJECTED


def test_revoked_and_expired_keys(keystore: Keystore, image: Path, tmp_path: Path) -> None:
    own = Gpg(tmp_path / "own")
    try:
        fingerprint = own.key("carol")
        own.key("dave", expire="seconds=4")
        signed = {who: own.sign(image, who) for who in ("carol", "dave")}
        revocation = (own.home / "openpgp-revocs.d" / f"{fingerprint.upper()}.rev").read_text()
        own("--import", stdin=revocation[revocation.index(":-----BEGIN") + 1 :].encode())
        time.sleep(5)
        for who in signed:
            keystore.add(own.export(who), "")
        carol = check(image, signed["carol"], keystore)
        dave = check(image, signed["dave"], keystore)
    finally:
        own.close()
    assert carol[0].problem == "the signing key was revoked"
    assert dave[0].problem == "the signing key has expired"
    assert verdict(carol, keystore) == verdict(dave, keystore) == REJECTED


def test_keys_that_change_after_the_signature_was_checked(keystore: Keystore, image: Path, tmp_path: Path) -> None:
    """The evidence says that all was well; the keystore says what has become of the key since."""
    own = Gpg(tmp_path / "own")
    try:
        fingerprint = own.key("carol")
        own.key("dave", expire="seconds=60")
        facts: dict[str, tuple[SignatureFact, ...]] = {}
        for who in ("carol", "dave"):
            keystore.add(own.export(who), "")
            facts[who] = check(image, own.sign(image, who), keystore)
            assert judged(facts[who], keystore).verdict == ACCEPTED
        revocation = (own.home / "openpgp-revocs.d" / f"{fingerprint.upper()}.rev").read_text()
        own("--import", stdin=revocation[revocation.index(":-----BEGIN") + 1 :].encode())
        keystore.add(own.export("carol"), "")
        decision = judged(facts["carol"], keystore)
        assert (decision.verdict, decision.reason) == (REJECTED, "the signing key was revoked")
        dave = own.fingerprint("dave")
        state = examine(own.export("dave"))
        ((expires, revoked),) = [state.keys[dave]]
        assert not revoked and 0 < expires - time.time() <= 60
        assert (state.problem(dave, expires - 1), state.problem(dave, expires)) == ("", "the signing key has expired")
        # A life that is made longer again.
        own("--quick-set-expire", dave, "seconds=100000")
        assert examine(own.export("dave")).problem(dave, expires) == ""
    finally:
        own.close()


def test_a_revoked_subkey(keystore: Keystore, image: Path, tmp_path: Path) -> None:
    own = Gpg(tmp_path / "own")
    try:
        primary = own.key("erin")
        own("--quick-add-key", primary, "ed25519", "sign", "never")
        keystore.add(own.export("erin"), "example.com")
        facts = check(image, own.sign(image, "erin"), keystore)
        assert verdict(facts, keystore) == ACCEPTED
        own("--command-fd", "0", "--edit-key", primary, stdin=b"key 1\nrevkey\ny\n0\n\ny\nsave\n")
        keystore.add(own.export("erin"), "example.com")
    finally:
        own.close()
    state = examine(keystore.read(keystore.keys_for(NAME)[0]))
    assert (state.keys[primary][1], state.keys[facts[0].key][1]) == (False, True)
    assert judged(facts, keystore).reason == "the signing key was revoked"


def test_key_listings() -> None:
    assert read_key_listing("") == KeyState({})
    listing = "tru::1:1:0:3:1:5\npub:{}:255:22:AA:1::::::{}::::::23::0:\nfpr:::::::::AB:\nuid:u::::1::::::::::0:\n"
    for validity, capabilities, revoked in (
        ("u", "scSC", False),
        ("e", "sc", False),
        ("r", "sc", True),
        ("i", "sc", True),
        ("u", "scD", True),
    ):
        assert read_key_listing(listing.format(validity, capabilities)) == KeyState({"ab": (0, revoked)})
    with pytest.raises(ValueError, match="invalid literal"):
        read_key_listing("pub:u:255:22:AA:1:soon:\nfpr:::::::::AB:\n")
    # What is no key has none.
    assert examine(b"garbage") == KeyState({})


@given(st.dictionaries(st.text(max_size=8), st.tuples(st.integers(), st.booleans()), max_size=3))
def test_the_state_of_a_key_is_read_as_it_was_written(keys: dict[str, tuple[int, bool]]) -> None:
    assert KeyState.from_dict(KeyState(keys).to_dict()) == KeyState(keys)


@pytest.mark.parametrize("doc", [None, [], {"a": 1}, {"a": {}}, {"a": {"expires": True, "revoked": True}}, {"a": {"expires": 1}}])
def test_a_damaged_state_of_a_key(doc: object) -> None:
    with pytest.raises(FormatError):
        KeyState.from_dict(doc)


def test_signing_subkey(keystore: Keystore, image: Path, tmp_path: Path) -> None:
    own = Gpg(tmp_path / "own")
    try:
        primary = own.key("erin")
        own("--quick-add-key", primary, "ed25519", "sign", "never")
        keystore.add(own.export("erin"), "example.com")
        facts = check(image, own.sign(image, "erin"), keystore)
    finally:
        own.close()
    assert facts[0].signer == primary
    assert facts[0].key != primary
    assert verdict(facts, keystore) == ACCEPTED


def test_malformed_signature_is_a_looked_at_failure(keystore: Keystore, image: Path) -> None:
    facts = check_file(str(image), b"garbage", keystore, ())
    assert facts[0].problem
    assert verdict(facts, keystore) == REJECTED


def test_goodsig_alone_is_not_good() -> None:
    assert read_status("[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG ABCD me\n")[0].problem
    assert read_status("GOODSIG ABCD me\n") == ()


def test_decisions() -> None:
    key = TrustedKey("aa" * 20, "example.com", "/keys/aa")
    good = SignatureFact(key.fingerprint, key.fingerprint, 1)
    aci = Image("sha512-1", "aci", NAME)
    oci = Image("sha256-1", "oci", "docker://example.com/app:1")

    sound = KeyState({key.fingerprint: (0, False)})

    def ask(image: Image, *facts: SignatureFact, insecure: bool = False, now: int = 100, state: KeyState | None = sound) -> str:
        states = {key.fingerprint: state} if state else {}
        return decide(image, facts, (key,), states=states, insecure_image=insecure, now=now).verdict

    assert ask(aci, good) == ACCEPTED
    assert ask(aci) == REJECTED
    assert ask(aci, good.replace(problem="bad")) == REJECTED
    assert ask(aci, good.replace(signer="bb" * 20)) == REJECTED
    assert ask(aci, good.replace(expires=100)) == REJECTED
    assert ask(aci, good.replace(expires=101)) == ACCEPTED
    assert ask(aci, good, state=KeyState({key.fingerprint: (100, False)})) == REJECTED
    assert ask(aci, good, state=KeyState({key.fingerprint: (101, False)})) == ACCEPTED
    assert ask(aci, good, state=KeyState({key.fingerprint: (0, True)})) == REJECTED
    assert ask(aci, good, state=KeyState({})) == REJECTED
    assert ask(aci, good, state=None) == UNDECIDED
    subkey = "cc" * 20
    for state, wanted in (((0, False), ACCEPTED), ((0, True), REJECTED), ((100, False), REJECTED)):
        states = KeyState({key.fingerprint: (0, False), subkey: state})
        assert ask(aci, good.replace(key=subkey), state=states) == wanted
    assert ask(aci, good.replace(key=subkey)) == REJECTED
    assert ask(oci, good) == REJECTED
    assert ask(oci, insecure=True) == ACCEPTED
    assert ask(Image("x", "odd", NAME), good) == UNDECIDED
    with pytest.raises(TrustRejected, match="no trust policy says which docker images may run"):
        decide(oci, (), (), states={}, insecure_image=False, now=1).require()
    with pytest.raises(TrustUndecided):
        decide(Image("x", "odd", NAME), (), (), states={}, insecure_image=False, now=1).require()
    allowed = decide(oci, (), (), states={}, insecure_image=True, now=1).to_dict()
    assert allowed["allowedBy"] == "--insecure-options=image"
