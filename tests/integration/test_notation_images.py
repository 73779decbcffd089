"""Notary Project signatures in a real registry: judged at the fetch, at every start, and for containerd."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Rktpy
from tests.support.certificates import YEAR, Issued, issue, new_key, tsa_chain
from tests.support.http_server import Answer, Request, Server
from tests.support.notation import COSE_TYPE, JWS_TYPE, code_chain, cose, jws, protected_headers
from tests.support.referrers import manifest, put_signature
from tests.support.registry import Registry, make_image
from tests.support.timestamps import openssl_reply, openssl_response
from tests.unit.test_notation_revocation import crl_answer, crl_pointer, ocsp_answer, ocsp_pointer

pytestmark = [pytest.mark.root]

HELLO = "hello from "
CHAIN = code_chain()
DESCRIPTOR = "application/vnd.oci.descriptor.v1+json"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


class Signed:
    """Images in a registry, a policy.json that asks for Notary Project signatures, and its trust store."""

    def __init__(self, rktpy: Rktpy, registry: Registry, directory: Path) -> None:
        self.rktpy = rktpy
        self.registry = registry
        self.directory = directory
        self.environ = {**os.environ, "HOME": str(directory), "CONTAINERS_REGISTRIES_CONF": "/dev/null"}
        requirement = {
            "type": "rktpy:notation",
            "trustPolicyPath": str(directory / "trustpolicy.oci.json"),
            "trustStorePath": str(directory / "trust-store"),
        }
        rktpy.config.mkdir(parents=True, exist_ok=True)
        document = {"default": [{"type": "reject"}], "transports": {"docker": {registry.host: [requirement]}}}
        (rktpy.config / "policy.json").write_text(json.dumps(document))
        self.store("ca", "example", CHAIN[-1])
        self.policy()

    def store(self, kind: str, name: str, *certificates: Issued) -> None:
        directory = self.directory / "trust-store/x509" / kind / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "certificates.pem").write_bytes(b"".join(held.pem for held in certificates))

    def policy(self, **changes: Any) -> None:
        statement: dict[str, Any] = {
            "name": "all",
            "registryScopes": ["*"],
            "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:example"],
            "trustedIdentities": ["x509.subject: C=US, ST=WA, O=Example, OU=Build"],
        }
        document = {"version": "1.0", "trustPolicies": [statement | changes]}
        (self.directory / "trustpolicy.oci.json").write_text(json.dumps(document))

    def push(self, source: str, name: str, *options: str) -> dict[str, Any]:
        """Push an image and give its descriptor."""
        self.registry.push(source, name, *options)
        repository, _, tag = name.partition(":")
        data, media_type = manifest(self.registry, repository, tag)
        return {"mediaType": media_type, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}

    def reference(self, name: str) -> str:
        return f"docker://{self.registry.host}/{name}"

    def fetch(self, name: str, *options: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        argv = ("--insecure-options=http", "fetch", "--full", *options, self.reference(name))
        return self.rktpy(*argv, status=status, env=self.environ)

    def verify(self, name: str, descriptor: dict[str, Any], *, status: int, text: str | None = None) -> str:
        """Call verify-image as containerd does; what it prints."""
        argv = ["-name", f"{self.registry.host}/{name}", "-digest", descriptor["digest"], "-stdin-media-type", DESCRIPTOR]
        stdin = json.dumps(descriptor) if text is None else text
        done = self.rktpy("--insecure-options=http", "verify-image", *argv, status=status, input=stdin, env=self.environ)
        return done.stdout


@pytest.fixture
def signed(rktpy: Rktpy, registry: Registry, tmp_path: Path) -> Signed:
    return Signed(rktpy, registry, tmp_path)


@pytest.fixture
def busybox(busybox_images: Path) -> str:
    return f"oci:{busybox_images}/busybox-oci:1"


@pytest.mark.parametrize("form", ["jws", "cose"])
def test_a_signed_image_runs_and_an_unsigned_one_does_not(signed: Signed, busybox: str, form: str) -> None:
    name = f"{form}/app:v1"
    descriptor = signed.push(busybox, name)
    assert "no signature of this kind is at hand" in signed.fetch(name, status=254).stderr
    envelope = jws(CHAIN, target=descriptor) if form == "jws" else cose(CHAIN, target=descriptor)
    put_signature(signed.registry, f"{form}/app", descriptor, envelope, JWS_TYPE if form == "jws" else COSE_TYPE)
    image = signed.fetch(name).stdout.strip()
    assert image == descriptor["digest"].replace(":", "-")
    assert HELLO in signed.rktpy("run", signed.reference(name)).stdout
    explained = signed.rktpy("trust", "explain", signed.reference(name)).stdout
    for text in ("authenticity", "the chain leads to the trust store ca:example", "the certificates are valid now"):
        assert text in explained
    # The policy is asked again at every start: the store, the statement, the clock of the certificates.
    signed.store("ca", "example", issue("C=US,ST=WA,O=Example,CN=Root", key=new_key("P-256", 60)))
    refused = signed.rktpy("run", signed.reference(name), status=254).stderr
    assert "no certificate of the chain is in the trust store ca:example" in refused
    signed.store("ca", "example", CHAIN[-1])
    signed.policy(trustedIdentities=["x509.subject: C=US, ST=WA, O=Other"])
    assert "is no trusted identity" in signed.rktpy("run", signed.reference(name), status=254).stderr
    signed.policy(registryScopes=[f"{signed.registry.host}/{form}/ap"])
    assert "no trust policy is for" in signed.rktpy("run", signed.reference(name), status=254).stderr
    signed.policy()
    assert HELLO in signed.rktpy("run", image).stdout


def test_a_start_needs_no_cryptography(signed: Signed, busybox: str) -> None:
    descriptor = signed.push(busybox, "hot/app:v1")
    put_signature(signed.registry, "hot/app", descriptor, jws(CHAIN, target=descriptor))
    signed.fetch("hot/app:v1")
    argv = signed.rktpy.argv(
        "--trust-policy", str(signed.rktpy.config / "policy.json"), "run", "--dry-run", signed.reference("hot/app:v1")
    )
    program = (
        "import sys; sys.path.insert(0, %r); from rktpy.__main__ import main; main(%r); "
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in ('cryptography', 'json', 're', 'rktpy')))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-c", program % (str(root), argv[1:])], capture_output=True, text=True, timeout=60
    )
    loaded = done.stdout.splitlines()[-1]
    assert "rktpy.trust.notation'" in loaded, done
    for name in ("cryptography", "'json'", "'re'", "rktpy.trust.notation_facts", "rktpy.formats.trust.notation.jws"):
        assert name not in loaded, name


def test_the_level_skip_lets_unsigned_images_in(signed: Signed, busybox: str) -> None:
    signed.push(busybox, "open/app:v1")
    statement = {
        "name": "open",
        "registryScopes": [f"{signed.registry.host}/open/app"],
        "signatureVerification": {"level": "skip"},
    }
    document = {"version": "1.0", "trustPolicies": [statement]}
    (signed.directory / "trustpolicy.oci.json").write_text(json.dumps(document))
    signed.fetch("open/app:v1")
    assert "skips verification" in signed.rktpy("trust", "explain", signed.reference("open/app:v1")).stdout
    assert HELLO in signed.rktpy("run", signed.reference("open/app:v1")).stdout


def test_a_broken_trust_policy_decides_nothing(signed: Signed, busybox: str) -> None:
    descriptor = signed.push(busybox, "broken/app:v1")
    put_signature(signed.registry, "broken/app", descriptor, jws(CHAIN, target=descriptor))
    path = signed.directory / "trustpolicy.oci.json"
    path.write_text(path.read_text().replace('"name"', '"nome"'))
    error = signed.fetch("broken/app:v1", status=254).stderr
    assert "cannot decide" in error and "trustPolicies[0].name: is missing" in error


def test_a_signature_of_another_image_or_of_the_index_is_refused(signed: Signed, busybox: str, tmp_path: Path) -> None:
    other = signed.push(make_image(tmp_path / "other", [{"/bin/app": b"x"}]), "swap/other:v1")
    descriptor = signed.push(busybox, "swap/app:v1")
    put_signature(signed.registry, "swap/app", descriptor, jws(CHAIN, target=other))
    error = signed.fetch("swap/app:v1", status=254).stderr
    assert f"the signature is about {other['digest']}, not about {descriptor['digest']}" in error
    # A good signature beside bad ones is enough.
    put_signature(signed.registry, "swap/app", descriptor, b"junk")
    put_signature(signed.registry, "swap/app", descriptor, jws(CHAIN, target=descriptor))
    signed.fetch("swap/app:v1")


def test_a_time_stamp_outlives_the_certificate(signed: Signed, busybox: str, tmp_path: Path) -> None:
    """A signature whose certificate has expired since: made and stamped in time, by ``openssl ts``."""
    descriptor = signed.push(busybox, "stamp/app:v1")
    now = int(time.time())
    root, middle, tsa = tsa_chain(start=now - YEAR, end=now + YEAR)
    chain = code_chain(start=now - YEAR, end=now + 4)

    def stamp(signature: bytes) -> bytes:
        from rktpy.formats.trust.timestamp_token import token_of_response

        return token_of_response(openssl_response(tmp_path / "ts", signature, tsa, [middle]))

    headers = protected_headers()
    put_signature(signed.registry, "stamp/app", descriptor, jws(chain, target=descriptor, headers=headers, timestamp=stamp))
    time.sleep(max(0.0, now + 5 - time.time()))
    error = signed.fetch("stamp/app:v1", status=254).stderr
    assert "expired at" in error and "no time stamp counts" in error
    signed.store("tsa", "clock", root)
    signed.policy(trustStores=["ca:example", "tsa:clock"])
    signed.fetch("stamp/app:v1")
    assert "were valid at" in signed.rktpy("trust", "explain", signed.reference("stamp/app:v1")).stdout


def test_revocation_is_asked_about_at_the_fetch_and_remembered(signed: Signed, busybox: str) -> None:
    now = int(time.time())
    with Server() as responder:
        chain = code_chain(extra=[ocsp_pointer(responder.url + "/ocsp"), crl_pointer(responder.url + "/list")])
        descriptor = signed.push(busybox, "revoke/app:v1")
        put_signature(signed.registry, "revoke/app", descriptor, jws(chain, target=descriptor))
        # The same signature twice: who does not answer is asked once.
        put_signature(signed.registry, "revoke/app", descriptor, jws(chain, target=descriptor, header={"again": "1"}))
        error = signed.fetch("revoke/app:v1", status=254).stderr
        assert "it is not known whether certificate" in error
        assert [request.path for request in responder.requests] == ["/ocsp", "/list"]
        asked: list[Request] = []

        def answer(request: Request) -> Answer:
            asked.append(request)
            return Answer(200, ocsp_answer(chain, at=now - 60, until=now + 3600))

        responder.routes["/ocsp"] = answer
        signed.fetch("revoke/app:v1")
        assert [request.method for request in asked] == ["POST"]
        # At a start nobody is asked.
        before = len(responder.requests)
        assert HELLO in signed.rktpy("run", signed.reference("revoke/app:v1")).stdout
        assert len(responder.requests) == before
        # A later fetch learns of the revocation, and what was remembered before does not help.
        del responder.routes["/ocsp"]
        responder.serve("/list", Answer(200, crl_answer(chain[1], chain[0], at=now - 60, until=now + 3600)))
        error = signed.fetch("revoke/app:v1", "--pull-policy=update", status=254).stderr
        assert "was revoked at" in error
        assert "was revoked at" in signed.rktpy("run", signed.reference("revoke/app:v1"), status=254).stderr


def test_slow_responders_are_given_up(signed: Signed, busybox: str) -> None:
    with Server() as responder:
        chain = code_chain(extra=[crl_pointer(responder.url + "/list")])
        descriptor = signed.push(busybox, "slow/app:v1")
        put_signature(signed.registry, "slow/app", descriptor, jws(chain, target=descriptor))

        def drip(request: Request) -> Answer:
            time.sleep(30)
            return Answer(200, b"late")

        responder.routes["/list"] = drip
        assert "it is not known whether" in signed.fetch("slow/app:v1", status=254).stderr
        signed.policy(signatureVerification={"level": "permissive"})
        signed.fetch("slow/app:v1")
        explained = signed.rktpy("trust", "explain", signed.reference("slow/app:v1")).stdout
        assert "only logged: it is not known whether" in explained


def test_the_verdict_for_containerd(signed: Signed, busybox: str) -> None:
    name = "verify/app:v1"
    descriptor = signed.push(busybox, name)
    assert signed.verify(name, descriptor, status=254).startswith("refused: image docker://")
    put_signature(signed.registry, "verify/app", descriptor, jws(CHAIN, target=descriptor))
    said = signed.verify(name, descriptor, status=0)
    assert said == "accepted: signed by 'CN=signer,OU=Build,O=Example,ST=WA,C=US', trust policy 'all' (strict)\n"
    for wrong, reason in (
        ({**descriptor, "digest": "sha256:" + "0" * 64}, "manifest unknown"),
        ({**descriptor, "size": 1}, "bytes, the descriptor says 1"),
        ({**descriptor, "mediaType": "application/vnd.oci.image.index.v1+json"}, "but it was announced as"),
    ):
        assert reason in signed.verify(name, wrong, status=254)
    assert "not JSON" in signed.verify(name, descriptor, status=254, text="{")
    other = {**descriptor, "digest": "sha256:" + "1" * 64}
    assert "the descriptor is about" in signed.verify(name, descriptor, status=254, text=json.dumps(other))
    by_digest = f"verify/app@sha256:{'2' * 64}"
    assert "is about another image than the digest" in signed.verify(by_digest, descriptor, status=254)


def test_wrong_calls_are_refusals_with_a_reason(signed: Signed) -> None:
    def said(*argv: str) -> str:
        return signed.rktpy("verify-image", *argv, status=254, input="{}", env=signed.environ).stdout

    digest = "sha256:" + "0" * 64
    assert said() == "refused: must be told --name and --digest\n"
    assert "takes no arguments" in said("-name", "x", "-digest", digest, "y")
    assert "cannot read 'text/plain'" in said("-name", "x", "-digest", digest, "-stdin-media-type", "text/plain")
    assert "--digest: digest algorithm" in said("-name", "x", "-digest", "md5:0")
    assert "refused: " in said("-name", "UPPER/x", "-digest", digest)
    # Whom the policy rejects by name is not even asked for.
    assert "default" in said("-name", "registry.example/x:1", "-digest", digest)
    assert said("-nam", "x").startswith("NAME:")


def test_an_index_is_signed_itself_or_in_all_its_parts(signed: Signed, busybox: str, tmp_path: Path) -> None:
    one = signed.push(busybox, "multi/app:one")
    two = signed.push(make_image(tmp_path / "two", [{"/bin/app": b"two"}]), "multi/app:two")
    kind = "application/vnd.oci.image.index.v1+json"
    entries = [
        {**one, "platform": {"os": "linux", "architecture": "amd64"}},
        {**two, "platform": {"os": "linux", "architecture": "arm64"}},
    ]
    document = {"schemaVersion": 2, "mediaType": kind, "manifests": entries}
    digest = signed.registry.put_manifest("multi/app", "v1", document, kind)
    index = {"mediaType": kind, "digest": digest, "size": len(json.dumps(document))}
    assert "no signature of this kind" in signed.verify("multi/app:v1", index, status=254)
    put_signature(signed.registry, "multi/app", one, jws(CHAIN, target=one))
    assert "no signature of this kind" in signed.verify("multi/app:v1", index, status=254)
    put_signature(signed.registry, "multi/app", two, jws(CHAIN, target=two))
    assert signed.verify("multi/app:v1", index, status=0).startswith("accepted: ")
    # The index alone is enough for who pulls it; a fetch runs one manifest, and wants that signed.
    whole = signed.push(busybox, "whole/app:one")
    document = {
        "schemaVersion": 2,
        "mediaType": kind,
        "manifests": [{**whole, "platform": {"os": "linux", "architecture": "amd64"}}],
    }
    digest = signed.registry.put_manifest("whole/app", "v1", document, kind)
    index = {"mediaType": kind, "digest": digest, "size": len(json.dumps(document))}
    put_signature(signed.registry, "whole/app", index, jws(CHAIN, target=index))
    assert signed.verify("whole/app:v1", index, status=0).startswith("accepted: ")
    put_signature(signed.registry, "whole/app", whole, jws(CHAIN, target=index))
    error = signed.fetch("whole/app:v1", status=254).stderr
    assert f"the signature is about the image index {digest}, not about the manifest {whole['digest']}" in error


def test_a_policy_that_accepts_anything_asks_no_registry(signed: Signed) -> None:
    anything = {"default": [{"type": "insecureAcceptAnything"}]}
    (signed.rktpy.config / "policy.json").write_text(json.dumps(anything))
    digest = "sha256:" + "0" * 64
    argv = ("verify-image", "-name", "registry.example/x:1", "-digest", digest)
    assert signed.rktpy(*argv, env=signed.environ).stdout == "accepted: the policy accepts any image here\n"


def test_from_nothing_to_a_refused_image_with_rktpy_alone(signed: Signed, busybox: str, launcher: Path, tmp_path: Path) -> None:
    """What docs/guides/sign-and-verify-notation.md says, with openssl for the keys: sign, push, fetch elsewhere, run, refuse."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True, timeout=60)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")
    authority = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl(
        "req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "3650",
        "-subj", "/C=US/ST=WA/O=Example/CN=Example signing CA", *authority,
    )  # fmt: skip
    openssl("req", "-new", *new, "-keyout", "build.key", "-out", "build.csr", "-subj", "/C=US/ST=WA/O=Example/OU=Build/CN=build")
    (tmp_path / "build.ext").write_text("keyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n")
    issued = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "365", "-sha256", "-extfile", "build.ext")
    openssl("x509", "-req", "-in", "build.csr", *issued, "-out", "build.pem")
    (tmp_path / "chain.pem").write_bytes((tmp_path / "build.pem").read_bytes() + (tmp_path / "ca.pem").read_bytes())
    store = tmp_path / "trust-store/x509/ca/example/ca.pem"
    (store.parent / "certificates.pem").unlink()

    signed.push(busybox, "guide/app:v1")
    reference = signed.reference("guide/app:v1")
    author = Rktpy(launcher, tmp_path / "author")
    author("--insecure-options=http,image", "fetch", reference, env=signed.environ)
    root, middle, tsa = tsa_chain()
    signed.store("tsa", "clock", root)
    signed.policy(trustStores=["ca:example", "tsa:clock"])
    signing = (
        "--insecure-options=http,image", "image", "sign", "--type=notation", f"--key={tmp_path}/build.key",
        f"--certificates={tmp_path}/chain.pem",
    )  # fmt: skip
    with Server() as clock:

        def stamp(request: Request) -> Answer:
            # Exact to the second: the certificate is hardly older than that.
            return Answer(200, openssl_reply(tmp_path / "tsa", request.body, tsa, [middle], accuracy=""))

        clock.routes["/tsa"] = stamp
        clock.serve("/other", Answer(200, openssl_response(tmp_path / "other", b"other", tsa, [middle])))
        other = author(*signing, f"--timestamp-url={clock.url}/other", reference, env=signed.environ, status=254)
        assert "the time stamp is about something else" in other.stderr
        author(*signing, "--expiry=24h", "--push", f"--timestamp-url={clock.url}/tsa", reference, env=signed.environ)
        assert clock.requests[-1].headers["content-type"] == "application/timestamp-query"
    assert "trust store ca:example" in signed.fetch("guide/app:v1", status=254).stderr
    store.write_bytes((tmp_path / "ca.pem").read_bytes())
    signed.fetch("guide/app:v1")
    assert HELLO in signed.rktpy("run", reference).stdout
    explained = signed.rktpy("trust", "explain", reference).stdout
    assert "CN=build" in explained and "the signature expires at" in explained
    assert "the certificates were valid at" in explained
    store.rename(tmp_path / "taken-away.pem")
    refused = signed.rktpy("run", reference, status=254).stderr
    assert "trust store ca:example holds no certificate" in refused
