"""Trust policies and identities of the Notary Project, read strictly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import FormatError
from rktpy.formats.trust.notation.identity import PREFIX, mismatch, parse_identity, text_of
from rktpy.formats.trust.notation.policy import Statement, parse, select

STATEMENT: dict[str, Any] = {
    "name": "one",
    "registryScopes": ["registry.example/a"],
    "signatureVerification": {"level": "strict"},
    "trustStores": ["ca:x"],
    "trustedIdentities": ["*"],
}
LOCAL = "x509.subject: C=US, ST=WA, O=a"


def document(*changes: dict[str, Any], **top: Any) -> bytes:
    statements = [{**STATEMENT, **change} for change in changes or ({},)]
    for statement in statements:
        for name in [name for name, value in statement.items() if value is None]:
            del statement[name]
    return json.dumps({"version": "1.0", "trustPolicies": statements, **top}).encode()


def test_a_whole_policy() -> None:
    statements = parse(
        document(
            {
                "signatureVerification": {
                    "level": "permissive",
                    "override": {"revocation": "skip"},
                    "verifyTimestamp": "afterCertExpiry",
                }
            },
            {"name": "two", "registryScopes": ["*"], "trustStores": ["ca:x", "tsa:y"], "trustedIdentities": [LOCAL]},
            {
                "name": "three",
                "registryScopes": ["registry.example:5000/b/c"],
                "signatureVerification": {"level": "skip"},
                "trustStores": None,
                "trustedIdentities": None,
            },
        ),
        "policy",
    )
    assert statements[0].actions == ("enforce", "log", "log", "skip")
    assert statements[0].after_expiry and not statements[1].after_expiry
    assert statements[1].stores == (("ca", "x"), ("tsa", "y"))
    assert statements[1].identities == ({"C": "US", "ST": "WA", "O": "a"},)
    assert [select(statements, name) for name in ("registry.example/a", "registry.example:5000/b/c", "", "x/y")] == [
        statements[0],
        statements[2],
        statements[1],
        statements[1],
    ]
    for statement in statements:
        assert Statement.from_dict(json.loads(json.dumps(statement.to_dict()))) == statement


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "not JSON"),
        (b"[]", "must be an object"),
        (b'{"version":"1.0"}', "trustPolicies: is missing"),
        (b'{"version":"1.0","version":"1.0","trustPolicies":[]}', "duplicate member 'version'"),
        (document(version="1.1"), "version: is '1.1', and only 1.0 is known"),
        (document(version=1), "version: must be a string"),
        (document(extra=1), "extra: is unknown"),
        (document(trustPolicies=[]), "trustPolicies: must not be empty"),
        (document(trustPolicies=[1]), "trustPolicies[0]: must be an object"),
        (document({"name": None}), "trustPolicies[0].name: is missing"),
        (document({"name": ""}), "trustPolicies[0].name: must not be empty"),
        (document({}, {"registryScopes": ["r.example/b"]}), "trustPolicies[1].name: 'one' is the name of another one too"),
        (document({}, {"name": "two"}), "trustPolicies[1].registryScopes: 'registry.example/a' is in more than one"),
        (document({"globalPolicy": True}), "trustPolicies[0].globalPolicy: is unknown"),
        (document({"registryScopes": []}), "registryScopes: must not be empty"),
        (document({"registryScopes": ["*", "r.example/a"]}), "must not have * beside others"),
        (document({"registryScopes": ["r.example/a", "r.example/a"]}), "is there twice"),
        (document({"registryScopes": ["r.example/*"]}), "is not a whole repository name"),
        (document({"registryScopes": ["r.example"]}), "is not a whole repository name"),
        (document({"registryScopes": ["r.example/"]}), "is not a whole repository name"),
        (document({"registryScopes": ["r.example/a//b"]}), "is not a whole repository name"),
        (document({"registryScopes": ["r.example/a:1"]}), "is not a whole repository name"),
        (document({"registryScopes": ["r.example/a@sha256:00"]}), "is not a whole repository name"),
        (document({"registryScopes": ["docker://r.example/a"]}), "is not a whole repository name"),
        (document({"registryScopes": [1]}), "must be a repository or *"),
        (document({"signatureVerification": {}}), "signatureVerification.level: is missing"),
        (document({"signatureVerification": {"level": "loose"}}), "none of strict, permissive, audit and skip"),
        (document({"signatureVerification": {"level": "strict", "x": 1}}), "signatureVerification.x: is unknown"),
        (document({"signatureVerification": {"level": "strict", "override": {"integrity": "log"}}}), "is always enforced"),
        (document({"signatureVerification": {"level": "strict", "override": {"expiry": "skip"}}}), "expiry: cannot be skipped"),
        (document({"signatureVerification": {"level": "strict", "override": {"expiry": "no"}}}), "none of enforce, log and skip"),
        (document({"signatureVerification": {"level": "strict", "override": {"all": "log"}}}), "override.all: is unknown"),
        (document({"signatureVerification": {"level": "strict", "verifyTimestamp": "never"}}), "neither always nor"),
        (document({"signatureVerification": {"level": "skip"}}), "trustStores: has no meaning with the level skip"),
        (
            document(
                {"signatureVerification": {"level": "skip", "override": {}}, "trustStores": None, "trustedIdentities": None}
            ),
            "override: cannot be used with the level skip",
        ),
        (
            document(
                {
                    "registryScopes": ["*"],
                    "signatureVerification": {"level": "skip"},
                    "trustStores": None,
                    "trustedIdentities": None,
                }
            ),
            'cannot have the level skip for the scope "*"',
        ),
        (document({"trustStores": None}), "trustStores: is missing"),
        (document({"trustStores": []}), "trustStores: must not be empty"),
        (document({"trustStores": ["x"]}), "must be ca:NAME, signingAuthority:NAME or tsa:NAME"),
        (document({"trustStores": ["CA:x"]}), "must be ca:NAME"),
        (document({"trustStores": ["ca:../x"]}), "is not the name of a trust store"),
        (document({"trustStores": ["ca:.."]}), "is not the name of a trust store"),
        (document({"trustStores": ["ca:"]}), "is not the name of a trust store"),
        (document({"trustStores": ["ca:x", "ca:x"]}), "is there twice"),
        (document({"trustStores": ["tsa:x"]}), "needs a store of the type ca or signingAuthority"),
        (document({"trustedIdentities": []}), "trustedIdentities: must not be empty"),
        (document({"trustedIdentities": ["*", LOCAL]}), "must not have * beside others"),
        (document({"trustedIdentities": ["CN=x"]}), "must start with 'x509.subject:'"),
        (document({"trustedIdentities": [LOCAL, LOCAL + ", OU=b"]}), "overlaps with trustedIdentities[0]"),
        (document({"trustedIdentities": [LOCAL, LOCAL]}), "overlaps with trustedIdentities[0]"),
    ],
)
def test_a_wrong_policy_is_refused_with_its_place(text: bytes, problem: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse(text, "trust policy")
    assert problem in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must be attributes"),
        ("C=US", "lacks ST"),
        ("C=US, ST=WA", "lacks O"),
        ("C=US, ST=WA, O=", "has an empty O"),
        ("C=US, ST=WA, O=  ", "has an empty O"),
        ("C=US, S=WA, ST=WA, O=a", "has ST twice"),
        ("C=US, ST=WA, O=a, o=b", "has O twice"),
        ("C=US, ST=WA, O=a,", "must be attributes"),
        ("C=US; ST=WA, O=a", "has ';' without a backslash"),
        ("C=US+ST=WA, O=a", "has '+' without a backslash"),
        ("C=US, ST=WA, O=\\a", "has a backslash before something that needs none"),
        ("C=US, ST=WA, O=a\\", "has a backslash before something that needs none"),
        ("C=US, ST=WA, O= a, C D=x", "must be attributes"),
    ],
)
def test_a_wrong_identity(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_identity(PREFIX + text)
    assert problem in str(caught.value)


def test_escapes_in_identities() -> None:
    found = parse_identity(r"x509.subject: c=US,  ST = WA  ,O=\ a\,b\;c\\d\ ,CN=a=b")
    assert found == {"C": "US", "ST": "WA", "O": " a,b;c\\d ", "CN": "a=b"}
    subject = [["C", "US"], ["ST", "WA"], ["O", " a,b;c\\d "], ["CN", "a=b"], ["OU", "any"]]
    assert mismatch(found, subject) == ""
    assert mismatch(found, [*subject, ["CN", "x"]]) == "the subject has CN 2 times"


VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1, max_size=12)


@given(st.fixed_dictionaries({"C": VALUES, "ST": VALUES, "O": VALUES}, optional={"CN": VALUES, "OU": VALUES}))
def test_an_identity_survives_its_text(identity: dict[str, str]) -> None:
    assert parse_identity(text_of(identity)) == identity


@given(st.text(max_size=40))
def test_any_text_is_an_identity_or_a_refusal(text: str) -> None:
    try:
        found = parse_identity(PREFIX + text)
    except ValueError as error:
        assert str(error)
    else:
        assert {"C", "ST", "O"} <= set(found) and all(found.values())
