"""The same vectors asked of sigstore-python and of securesystemslib: what these accept is accepted, what they refuse is refused.

Both are on PyPI and installed for tests only. What sigstore-python's package brings along of the public deployment is read too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rktpy.formats.trust.trusted_root import parse_trusted_root
from rktpy.trust.log_proofs import logs_of_root
from rktpy.trust.sign_cosign import attest_bundle, load_key, sign_bundle
from tests.support.certificates import issue, new_key
from tests.support.sigstore import (
    EMAIL,
    ISSUER,
    SIGNED,
    Deployment,
    b64,
    bundle,
    dsse_entry,
    envelope,
    hashedrekord,
    hashedrekord_2,
    message,
    pae,
    sign,
    statement,
)
from tests.support.sigstore_policy import DIGEST, MANIFEST, bundled, keyless, why

KEY = new_key("P-256", 50)


@pytest.fixture(scope="module")
def sigstore() -> Deployment:
    return Deployment()


def oracle(root: dict[str, Any], document: dict[str, Any], tmp_path: Path) -> str:
    """What sigstore-python says: empty, or why not."""
    from sigstore.models import Bundle, TrustedRoot
    from sigstore.verify import Verifier
    from sigstore.verify.policy import Identity

    (tmp_path / "root.json").write_text(json.dumps(root))
    try:
        verifier = Verifier(trusted_root=TrustedRoot.from_file(str(tmp_path / "root.json")))
        found = Bundle.from_json(json.dumps(document))
        policy = Identity(identity=EMAIL, issuer=ISSUER)
        if "dsseEnvelope" in document:
            verifier.verify_dsse(found, policy)
        else:
            verifier.verify_artifact(MANIFEST, found, policy)
    except Exception as error:  # some of what it refuses, it refuses by an error of cryptography
        return str(error) or type(error).__name__
    return ""


def leaf_of(sigstore: Deployment, **changes: Any) -> Any:
    """A certificate that names the issuer in both ways: sigstore-python looks at the older one."""
    issuer = changes.pop("issuer", ISSUER)
    return sigstore.leaf(KEY, issuer=issuer, old_issuer=issuer, **changes)


def material(leaf: Any, entry: dict[str, Any], *stamps: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"certificate": {"rawBytes": b64(leaf.der)}, "tlogEntries": [entry]}
    if stamps:
        found["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": b64(one)} for one in stamps]}
    return found


def documents(sigstore: Deployment, leaf: Any, when: int = SIGNED) -> list[dict[str, Any]]:
    """A message, an envelope, and both under Rekor 2 with a time stamp."""
    log = sigstore.rekor
    content = statement(DIGEST)
    first, second = sign(KEY, MANIFEST), sign(KEY, pae(content))
    return [
        bundle(
            material(leaf, log.entry(hashedrekord(first, leaf.pem, MANIFEST), when=when)),
            messageSignature=message(MANIFEST, first),
        ),
        bundle(
            material(leaf, log.entry(dsse_entry(second, leaf.pem, content), when=when)), dsseEnvelope=envelope(content, second)
        ),
        bundle(
            material(
                leaf, log.entry(hashedrekord_2(first, MANIFEST, certificate=leaf.der), promise=False), sigstore.stamp(first, when)
            ),
            messageSignature=message(MANIFEST, first),
        ),
        bundle(
            material(
                leaf,
                log.entry(hashedrekord_2(second, pae(content), certificate=leaf.der), promise=False),
                sigstore.stamp(second, when),
            ),
            dsseEnvelope=envelope(content, second),
        ),
    ]


def both(sigstore: Deployment, document: dict[str, Any], tmp_path: Path) -> tuple[bool, bool]:
    root = sigstore.trusted_root()
    return why(keyless(root, log="any"), bundled(document)) == "", oracle(root, document, tmp_path) == ""


def test_good_bundles(sigstore: Deployment, tmp_path: Path) -> None:
    for document in documents(sigstore, leaf_of(sigstore)):
        assert oracle(sigstore.trusted_root(), document, tmp_path) == ""
        assert both(sigstore, document, tmp_path) == (True, True)


def test_bad_certificates(sigstore: Deployment, tmp_path: Path) -> None:
    stranger = issue("O=sigstore,CN=intermediate", key=new_key("P-256", 77))
    leaves = [
        leaf_of(sigstore, logged="no"),
        leaf_of(sigstore, logged="other"),
        leaf_of(sigstore, log_key=new_key("P-256", 72)),
        leaf_of(sigstore, by=stranger),
        leaf_of(sigstore, purposes=[]),
        leaf_of(sigstore, email="bob@example.com"),
        leaf_of(sigstore, issuer="https://other.example"),
        leaf_of(sigstore, start=SIGNED + 1),
        leaf_of(sigstore, end=SIGNED - 1),
    ]
    for number, leaf in enumerate(leaves):
        for document in documents(sigstore, leaf):
            assert both(sigstore, document, tmp_path) == (False, False), number


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each text in a document."""
    if isinstance(value, dict):
        return [found for name, member in value.items() for found in places(member, (*way, name))]
    if isinstance(value, list):
        return [found for number, member in enumerate(value) for found in places(member, (*way, number))]
    return [way] if isinstance(value, str) else []


def test_each_text_of_a_bundle_counts(sigstore: Deployment, tmp_path: Path) -> None:
    """A text with one character exchanged is refused, unless sigstore-python too has no use for it."""
    tried = 0
    for document in documents(sigstore, leaf_of(sigstore)):
        for way in places(document):
            copy = json.loads(json.dumps(document))
            at = copy
            for name in way[:-1]:
                at = at[name]
            text = at[way[-1]]
            middle = len(text) // 2
            at[way[-1]] = text[:middle] + ("B" if text[middle] == "A" else "A") + text[middle + 1 :]
            ours, theirs = both(sigstore, copy, tmp_path)
            tried += 1
            if ours:
                # The place of an entry in its log is bound by a promise only; certificates beside a token are not signed.
                assert theirs and way[-1] in ("logIndex", "integratedTime", "signedTimestamp"), way
    assert tried > 50


def test_envelopes_are_those_of_securesystemslib(tmp_path: Path) -> None:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    key = new_key("P-256", 40)
    from tests.support.certificates import Issued
    from tests.support.sigstore import spki_pem

    signer = load_key(Issued(None, key).key_pem)  # type: ignore[arg-type]
    for data, _annotations in (sign_bundle(signer, DIGEST), attest_bundle(signer, DIGEST, "https://example.com/p", {"a": 1})):
        document = json.loads(data)["dsseEnvelope"]
        found = Envelope.from_dict(json.loads(json.dumps(document)))
        public = SSlibKey(signer.hint, "ecdsa", "ecdsa-sha2-nistp256", {"public": spki_pem(key).decode()})
        assert set(found.verify([public], 1)) == {signer.hint}
        document["payload"] = b64(statement("sha256:" + "0" * 64))
        from securesystemslib.exceptions import VerificationError

        with pytest.raises(VerificationError):
            Envelope.from_dict(json.loads(json.dumps(document))).verify([public], 1)


def test_an_envelope_of_securesystemslib_is_accepted() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner

    from tests.support.sigstore import IN_TOTO, spki_pem
    from tests.support.sigstore_policy import bundle_by_keys

    key = ec.generate_private_key(ec.SECP256R1())
    made = Envelope(statement(DIGEST), IN_TOTO, {})
    made.sign(CryptoSigner(key))
    found = bundled(bundle({"publicKey": {}}, dsseEnvelope=made.to_dict()))
    assert why(bundle_by_keys(spki_pem(key)), found) == ""


def test_the_trusted_roots_of_the_public_deployment_are_read() -> None:
    import sigstore as package

    store = Path(package.__file__).parent / "_store"
    files = sorted(store.rglob("trusted_root.json"))
    assert len(files) >= 2
    for path in files:
        root = parse_trusted_root(path.read_bytes(), str(path))
        assert root.authorities and root.time_authorities is not None
        assert logs_of_root(root.logs, str(path)) and logs_of_root(root.certificate_logs, str(path))
