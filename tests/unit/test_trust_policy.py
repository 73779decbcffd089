"""policy.json: what is read, what is refused and where, and which rule speaks of an image."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import FormatError
from rktpy.formats.oci.image_name import parse_image_name
from rktpy.formats.trust.policy import MAX_SIZE, Policy, parse_policy
from rktpy.formats.trust.requirements import (
    PKI,
    AcceptAnything,
    Fulcio,
    Identity,
    Keyless,
    KeySource,
    Notation,
    Reject,
    SignedBy,
    SigstoreBundle,
    SigstoreSigned,
    TextMatch,
    TrustedKeys,
    Unsupported,
)
from rktpy.formats.trust.scopes import docker_scopes
from rktpy.trust.policy import RKT_RULE, rule_for, scopes_of

REJECT = [{"type": "reject"}]
ANYTHING = [{"type": "insecureAcceptAnything"}]
DATA = base64.b64encode(b"a key").decode()
DIGEST = "sha256:" + "ab" * 32


def parse(document: Any) -> Policy:
    return parse_policy(document if isinstance(document, bytes) else json.dumps(document).encode(), "p")


def with_requirement(requirement: dict[str, Any], transport: str = "docker") -> Any:
    return {"default": REJECT, "transports": {transport: {"": [requirement]}}}


def requirement(document: dict[str, Any], transport: str = "docker") -> Any:
    return parse(with_requirement(document, transport)).transports[transport][""][0]


SIGNED = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}
COSIGN = {"type": "sigstoreSigned", "keyPath": "/k"}
BUNDLE = {"type": "rktpy:sigstoreBundle", "keyPath": "/k"}
KEYLESS = {"trustedRootPath": "/root.json", "issuer": "https://issuer.example", "subject": {"email": "a@example.com"}}
FULCIO = {"caPath": "/ca", "oidcIssuer": "https://issuer.example", "subjectEmail": "a@example.com"}
AT = 'transports.docker.""[0]'


@pytest.mark.parametrize(
    ("document", "record"),
    [
        ({"type": "insecureAcceptAnything"}, AcceptAnything(AT)),
        ({"type": "reject"}, Reject(AT)),
        (SIGNED, SignedBy(AT, (KeySource("/k"),))),
        (
            {"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["/a", "/b"], "signedIdentity": {"type": "matchExact"}},
            SignedBy(AT, (KeySource("/a"), KeySource("/b")), Identity("matchExact")),
        ),
        ({"type": "signedBy", "keyType": "GPGKeys", "keyData": DATA}, SignedBy(AT, (KeySource(data=b"a key"),))),
        ({"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}}, Unsupported(AT, "signedBaseLayer")),
        ({**SIGNED, "keyType": "signedByGPGKeys"}, Unsupported(AT, "keyType signedByGPGKeys")),
        (COSIGN, SigstoreSigned(AT, (KeySource("/k"),))),
        (
            {"type": "sigstoreSigned", "keyDatas": [DATA, DATA], "rekorPublicKeyPaths": ["/r"]},
            SigstoreSigned(AT, (KeySource(data=b"a key"),) * 2, rekor_keys=(KeySource("/r"),)),
        ),
        (
            {"type": "sigstoreSigned", "fulcio": FULCIO, "rekorPublicKeyData": DATA},
            SigstoreSigned(
                AT,
                fulcio=Fulcio(KeySource("/ca"), "https://issuer.example", "a@example.com"),
                rekor_keys=(KeySource(data=b"a key"),),
            ),
        ),
        (
            {"type": "sigstoreSigned", "pki": {"caRootsData": DATA, "caIntermediatesPath": "/i", "subjectHostname": "h.example"}},
            SigstoreSigned(AT, pki=PKI(KeySource(data=b"a key"), KeySource("/i"), "", "h.example")),
        ),
        (BUNDLE, SigstoreBundle(AT, (KeySource("/k"),))),
        (
            {**BUNDLE, "predicateType": "https://slsa.dev/provenance/v1", "log": "inclusion", "logKeyPath": "/log"},
            SigstoreBundle(
                AT,
                (KeySource("/k"),),
                predicate_type="https://slsa.dev/provenance/v1",
                log="inclusion",
                log_keys=(KeySource("/log"),),
            ),
        ),
        (
            {
                "type": "rktpy:sigstoreBundle",
                "keyless": {
                    "trustedRootData": DATA,
                    "issuer": {"prefix": "https://"},
                    "subject": {"uri": {"regexp": "https://.*"}},
                    "claims": {"1.9": "x", "sourceRepositoryURI": {"exact": "y"}},
                },
                "log": "any",
            },
            SigstoreBundle(
                AT,
                keyless=Keyless(
                    KeySource(data=b"a key"),
                    TextMatch("prefix", "https://"),
                    "uri",
                    TextMatch("regexp", "https://.*"),
                    (("1.9", TextMatch("exact", "x")), ("sourceRepositoryURI", TextMatch("exact", "y"))),
                ),
                log="any",
            ),
        ),
        (
            {"type": "rktpy:notation", "trustPolicyPath": "/p.json", "trustStorePath": "/store"},
            Notation(AT, "/p.json", "/store"),
        ),
    ],
)
def test_every_type_of_requirement(document: dict[str, Any], record: object) -> None:
    assert requirement(document) == record


@pytest.mark.parametrize(
    ("document", "identity"),
    [
        ({"type": "matchExact"}, Identity("matchExact")),
        ({"type": "matchRepoDigestOrExact"}, Identity("matchRepoDigestOrExact")),
        ({"type": "matchRepository"}, Identity("matchRepository")),
        (
            {"type": "exactReference", "dockerReference": "busybox:1"},
            Identity("exactReference", "docker.io/library/busybox:1"),
        ),
        (
            {"type": "exactRepository", "dockerRepository": "registry.example/a/b"},
            Identity("exactRepository", "registry.example/a/b"),
        ),
        (
            {"type": "remapIdentity", "prefix": "mirror.example:5000/v", "signedPrefix": "vendor.example"},
            Identity("remapIdentity", prefix="mirror.example:5000/v", signed_prefix="vendor.example"),
        ),
    ],
)
def test_every_form_of_identity(document: dict[str, Any], identity: Identity) -> None:
    assert requirement({**SIGNED, "signedIdentity": document}).identity == identity


def test_keys_of_acis() -> None:
    at = 'transports.aci.""[0]'
    assert requirement({"type": "rktpy:trustedKeys"}, "aci") == TrustedKeys(at)
    assert requirement({"type": "rktpy:trustedKeys", "prefix": "example.com/a"}, "aci") == TrustedKeys(at, "example.com/a")
    assert requirement({"type": "rktpy:trustedKeys", "keyPath": "/k"}, "aci") == TrustedKeys(at, "", (KeySource("/k"),))


IDENTITY = f"{AT}.signedIdentity"

REFUSED: list[tuple[Any, str]] = [
    (b"", "p: not JSON at character 0"),
    (b"[]", "p: must be an object"),
    ({}, "p: default: is missing"),
    ({"default": []}, "p: default: must not be empty: say insecureAcceptAnything or reject"),
    ({"default": None}, "p: default: must be a list of requirements"),
    ({"default": {"type": "reject"}}, "p: default: must be a list of requirements"),
    ({"default": REJECT, "other": 1}, "p: other: is unknown"),
    (b'{"default":[{"type":"reject"}],"default":[{"type":"reject"}]}', "p: duplicate member 'default'"),
    (b'{"default":[{"type":"reject","type":"insecureAcceptAnything"}]}', "p: default[0]: duplicate member 'type'"),
    ({"default": ["reject"]}, "p: default[0]: must be an object"),
    ({"default": [{}]}, "p: default[0].type: is missing"),
    ({"default": [{"type": "accept"}]}, "p: default[0].type: 'accept' is no type of requirement"),
    ({"default": [{"type": "reject", "why": 1}]}, "p: default[0].why: is unknown"),
    ({"default": [{"type": "rktpy:trustedKeys"}]}, "p: default[0].type: rktpy:trustedKeys speaks of ACIs"),
    ({"default": REJECT, "transports": None}, "p: transports: must be an object"),
    ({"default": REJECT, "transports": {"dokcer": {}}}, "p: transports.dokcer: is no transport"),
    ({"default": REJECT, "transports": {"docker": REJECT}}, "p: transports.docker: must be an object"),
    ({"default": REJECT, "transports": {"docker": {"": []}}}, 'p: transports.docker."": must not be empty'),
    (with_requirement(SIGNED, "aci"), 'p: transports.aci.""[0].type: signedBy says nothing about ACIs'),
    (with_requirement({"type": "signedBy"}), f"p: {AT}.keyType: is missing"),
    (with_requirement({**SIGNED, "keyType": "X509"}), f"p: {AT}.keyType: 'X509' is no type of keys"),
    (with_requirement({"type": "signedBy", "keyType": "GPGKeys"}), f"p: {AT}: needs exactly one of keyPath, keyPaths, keyData"),
    (with_requirement({"type": "signedBaseLayer"}), f"p: {AT}.baseLayerIdentity: is missing"),
    (with_requirement({**SIGNED, "keyData": DATA}), f"p: {AT}: keyPath and keyData exclude each other"),
    (with_requirement({**SIGNED, "keyDatas": [DATA], "keyPath": "/k"}), f"p: {AT}.keyDatas: is unknown"),
    (with_requirement({**SIGNED, "keyPath": "k"}), f"p: {AT}.keyPath: must be an absolute path"),
    (with_requirement({**SIGNED, "keyPath": ""}), f"p: {AT}.keyPath: must not be empty"),
    (with_requirement({**SIGNED, "keyPath": "/a\0b"}), f"p: {AT}.keyPath: must not contain a NUL"),
    (with_requirement({**SIGNED, "keyPath": 1}), f"p: {AT}.keyPath: must be a string"),
    (with_requirement({"type": "signedBy", "keyType": "GPGKeys", "keyPaths": []}), f"p: {AT}.keyPaths: must not be empty"),
    (with_requirement({"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["/a", 1]}), f"p: {AT}.keyPaths[1]: must be a str"),
    (with_requirement({"type": "signedBy", "keyType": "GPGKeys", "keyData": "a b"}), f"p: {AT}.keyData: is not base64"),
    (with_requirement({"type": "signedBy", "keyType": "GPGKeys", "keyData": DATA[:-1]}), f"p: {AT}.keyData: is not base64"),
    (with_requirement({**SIGNED, "signedIdentity": None}), f"p: {IDENTITY}: must be an object"),
    (with_requirement({**SIGNED, "signedIdentity": {"type": "any"}}), f"p: {IDENTITY}.type: 'any' is no way to compare"),
    (with_requirement({**SIGNED, "signedIdentity": {"type": "matchExact", "x": 1}}), f"p: {IDENTITY}.x: is unknown"),
    (
        with_requirement({**SIGNED, "signedIdentity": {"type": "exactReference", "dockerReference": "registry.example/a"}}),
        f"p: {IDENTITY}.dockerReference: must have a tag or digest",
    ),
    (
        with_requirement({**SIGNED, "signedIdentity": {"type": "exactRepository", "dockerRepository": "registry.example/a:1"}}),
        f"p: {IDENTITY}.dockerRepository: must not have a tag or digest",
    ),
    (
        with_requirement({**SIGNED, "signedIdentity": {"type": "remapIdentity", "prefix": "a", "signedPrefix": "b.example"}}),
        f"p: {IDENTITY}.prefix: must begin with a registry's host name",
    ),
    (
        with_requirement(
            {**SIGNED, "signedIdentity": {"type": "remapIdentity", "prefix": "a.example/x:1", "signedPrefix": "b.example"}}
        ),
        f"p: {IDENTITY}.prefix: must not have a tag or digest",
    ),
    (with_requirement({"type": "sigstoreSigned", "fulcio": FULCIO}), f"p: {AT}: fulcio needs one of rekorPublicKeyPath"),
    (with_requirement({**COSIGN, "fulcio": FULCIO}), f"p: {AT}: keyPath and fulcio exclude each other"),
    (
        with_requirement({**COSIGN, "rekorPublicKeyPath": "/a", "rekorPublicKeyDatas": [DATA]}),
        f"p: {AT}: rekorPublicKeyPath and rekorPublicKeyDatas exclude each other",
    ),
    (
        with_requirement({"type": "sigstoreSigned", "fulcio": {**FULCIO, "caData": DATA}, "rekorPublicKeyPath": "/r"}),
        f"p: {AT}.fulcio: caPath and caData exclude each other",
    ),
    (with_requirement({"type": "sigstoreSigned", "pki": {"caRootsPath": "/r"}}), f"p: {AT}.pki: needs subjectEmail or subjectH"),
    (
        with_requirement(
            {"type": "sigstoreSigned", "pki": {"caRootsPath": "/r", "subjectEmail": "e"}, "rekorPublicKeyPath": "/r"}
        ),
        f"p: {AT}: pki and rekorPublicKey",
    ),
    (with_requirement({**BUNDLE, "log": "all"}), f"p: {AT}.log: must be one of none, promise, inclusion, any"),
    (with_requirement({**BUNDLE, "log": "any"}), f"p: {AT}: log needs one of logKeyPath"),
    (with_requirement({**BUNDLE, "logKeyPath": "/l"}), f"p: {AT}.log: must say what the log has to show"),
    (with_requirement({**BUNDLE, "keyless": KEYLESS}), f"p: {AT}: keyPath and keyless exclude each other"),
    (
        with_requirement({"type": "rktpy:sigstoreBundle", "keyless": {**KEYLESS, "subject": {"dns": "x"}}}),
        f"p: {AT}.keyless.subject: needs exactly one of email, uri",
    ),
    (
        with_requirement({"type": "rktpy:sigstoreBundle", "keyless": {**KEYLESS, "issuer": {"like": "x"}}}),
        f"p: {AT}.keyless.issuer: needs exactly one of exact, prefix, regexp",
    ),
    (
        with_requirement({"type": "rktpy:sigstoreBundle", "keyless": {**KEYLESS, "claims": {}}}),
        f"p: {AT}.keyless.claims: must not be empty",
    ),
    (with_requirement({"type": "rktpy:notation", "trustPolicyPath": "/p"}), f"p: {AT}.trustStorePath: is missing"),
    (
        with_requirement({"type": "rktpy:trustedKeys", "prefix": "a/../b"}, "aci"),
        'p: transports.aci.""[0].prefix: is not an image name',
    ),
    (
        with_requirement({"type": "rktpy:trustedKeys", "prefix": "a", "keyPath": "/k"}, "aci"),
        'p: transports.aci.""[0]: prefix chooses keys of the keystore',
    ),
]


@pytest.mark.parametrize(("document", "message"), REFUSED, ids=[message for _document, message in REFUSED])
def test_what_is_refused_is_named_by_its_path(document: Any, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse(document)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_policy_has_a_limit_of_size() -> None:
    with pytest.raises(FormatError, match="larger than"):
        parse(b" " * (MAX_SIZE + 1))


@pytest.mark.parametrize(
    ("transport", "scope", "problem"),
    [
        ("docker", "registry.example/\x1b[2J", "control characters"),
        ("oci", "relative/path", "absolute"),
        ("oci", "/", 'must not be "/"'),
        ("dir", "/a/../b", "without empty parts"),
        ("oci-archive", "/a//b", "without empty parts"),
        ("oci", "/a/", "without empty parts"),
        ("docker-archive", "/a", "have no names"),
        ("tarball", "x", "have no names"),
        ("aci", "Example.com", "is not an image name"),
        ("aci", "a//b", "is not an image name"),
    ],
)
def test_scopes_that_are_refused(transport: str, scope: str, problem: str) -> None:
    with pytest.raises(FormatError, match="is no scope: ") as caught:
        parse({"default": REJECT, "transports": {transport: {scope: REJECT}}})
    assert problem in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("scope", "problem"),
    [
        ("busybox", "must begin with a registry's host name"),
        ("library/busybox", "must begin with a registry's host name"),
        ("Registry.example/a", "registry"),
        ("index.docker.io/library/a", "the registry is called docker.io"),
        ("registry.example/A", "lower case"),
        ("registry.example/a:1@" + DIGEST, "both a tag and a digest"),
        ("registry.example/a@sha256:1", "digest"),
        ("*.example.com/a", "wildcard"),
        ("a*.example.com", "wildcard"),
        ("*.example.com:5000", "wildcard"),
        ("*.*.example.com", "wildcard"),
        ("registry.example/", "repository name is missing"),
    ],
)
def test_scopes_of_registries_that_could_never_match_are_told(scope: str, problem: str) -> None:
    policy = parse({"default": REJECT, "transports": {"docker": {scope: ANYTHING, "registry.example": REJECT}}})
    (dead,) = policy.dead
    assert f'"{scope}" can never match: ' in dead or f"docker.{scope} can never match" in dead
    assert problem in dead


@pytest.mark.parametrize(
    ("transport", "scope"),
    [
        ("docker", "docker.io"),
        ("docker", "localhost"),
        ("docker", "localhost:5000/a"),
        ("docker", "registry.example:5000/a/b:v1"),
        ("docker", "registry.example/a@" + DIGEST),
        ("docker", "[::1]:5000/a"),
        ("docker", "*.example.com"),
        ("docker", "*.com"),
        ("oci", "/var/images"),
        ("aci", "example.com/app"),
        ("atomic", "anything/at:all"),
        ("containers-storage", "[overlay@/x]"),
    ],
)
def test_scopes_that_can(transport: str, scope: str) -> None:
    policy = parse({"default": REJECT, "transports": {transport: {scope: REJECT}}})
    assert scope in policy.transports[transport]
    assert policy.dead == ()


def test_the_order_of_scopes() -> None:
    name = parse_image_name("a.b.example:5000/team/app:v1")
    assert docker_scopes(name) == [
        "a.b.example:5000/team/app:v1",
        "a.b.example:5000/team/app",
        "a.b.example:5000/team",
        "a.b.example:5000",
        "*.b.example",
        "*.example",
    ]
    by_digest = parse_image_name(f"a.example/app:v1@{DIGEST}")
    assert docker_scopes(by_digest)[:2] == [f"a.example/app@{DIGEST}", "a.example/app"]
    assert docker_scopes(parse_image_name("[::1]:5000/a"))[-1] == "[::1]:5000"
    assert scopes_of("docker://docker.io/library/busybox:latest")[1][0] == "docker.io/library/busybox:latest"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("docker://registry.example/team/app:v1", 'transports.docker."registry.example/team/app:v1"'),
        ("docker://registry.example/team/app:v2", 'transports.docker."registry.example/team/app"'),
        ("docker://registry.example/team/apps:v1", 'transports.docker."registry.example/team"'),
        ("docker://registry.example/teams/app:v1", 'transports.docker."registry.example"'),
        ("docker://registry.example:5000/team/app:v1", 'transports.docker."*.example"'),
        ("docker://a.registry.example/team:v1", 'transports.docker."*.registry.example"'),
        ("docker://other.test/team:v1", 'transports.docker.""'),
        ("oci:/img/a/b:v1", 'transports.oci."/img/a"'),
        ("oci:/img/ab:v1", "default"),
        ("oci-archive:/img/a.tar", "default"),
        ("docker-archive:/img/a.tar:x:1", 'transports.docker-archive.""'),
    ],
)
def test_the_most_specific_scope_counts(name: str, place: str) -> None:
    docker = [
        "registry.example/team/app:v1",
        "registry.example/team/app",
        "registry.example/team",
        "registry.example",
        "*.registry.example",
        "*.example",
        "",
    ]
    policy = parse(
        {
            "default": REJECT,
            "transports": {
                "docker": dict.fromkeys(docker, REJECT),
                "oci": {"/img/a": REJECT},
                "docker-archive": {"": REJECT},
            },
        }
    )
    assert rule_for(policy, "oci", name).place == place


def test_a_link_does_not_choose_the_rule(tmp_path: Path) -> None:
    (tmp_path / "strict").mkdir()
    (tmp_path / "easy").symlink_to("strict")
    scopes = {str(tmp_path / "strict"): REJECT, str(tmp_path / "easy"): ANYTHING}
    policy = parse({"default": REJECT, "transports": {"oci": scopes}})
    assert rule_for(policy, "oci", f"oci:{tmp_path}/easy:v1").requirements[0] == Reject(f'transports.oci."{tmp_path}/strict"[0]')


def test_acis_are_left_to_rkt_s_rule() -> None:
    assert rule_for(parse({"default": ANYTHING}), "aci", "example.com/a") is RKT_RULE
    policy = parse({"default": ANYTHING, "transports": {"aci": {"example.com/a": REJECT}}})
    assert rule_for(policy, "aci", "example.com/a/b").place == 'transports.aci."example.com/a"'
    assert rule_for(policy, "aci", "example.com/ab") is RKT_RULE
    everything = parse({"default": REJECT, "transports": {"aci": {"": ANYTHING}}})
    assert rule_for(everything, "aci", "example.com/ab").place == 'transports.aci.""'


# --- any input


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["reject", "signedBy", "GPGKeys", "/k"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "keyType", "keyPath", "keyData", "default", "transports", "docker", "signedIdentity", ""])
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_document_is_read_or_refused_in_one_line(value: object) -> None:
    for document in (value, {"default": REJECT, "transports": {"docker": {"": [value]}}}, {"default": value}):
        try:
            policy = parse(document)
        except FormatError as error:
            assert "\n" not in str(error)
        else:
            assert policy.default


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_policy(data, "p")
