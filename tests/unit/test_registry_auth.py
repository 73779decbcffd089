"""Credential files of podman and docker, and what is tried in which order."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import ConfigError
from rktpy.formats.registry_auth import (
    HUB_SERVER,
    AuthFile,
    CredentialChoice,
    Login,
    credential_choices,
    parse_auth_file,
    parse_dockercfg,
)


def auth(user: str, password: str = "secret") -> dict[str, str]:
    return {"auth": b64encode(f"{user}:{password}".encode()).decode()}


def read(source: str = "auth.json", **members: Any) -> AuthFile:
    return parse_auth_file(json.dumps(members).encode(), source)


def user(files: tuple[AuthFile, ...], host: str, repository: str = "a/b") -> str | None:
    choices = credential_choices(files, host, repository)
    return choices[0].login.username if choices and choices[0].login else None


def test_the_longest_path_wins() -> None:
    file = read(
        auths={"quay.io": auth("host"), "quay.io/a": auth("a"), "quay.io/a/b/c": auth("abc"), "quay.io:443": auth("port")}
    )
    assert user((file,), "quay.io", "a/b/c") == "abc"
    assert user((file,), "quay.io", "a/b/c/d") == "abc"
    assert user((file,), "quay.io", "a/b/cd") == "a"
    assert user((file,), "quay.io", "ab") == "host"
    assert user((file,), "quay.io:443", "a") == "port"
    assert user((file,), "QUAY.io", "x") == "host"
    assert user((file,), "evil.quay.io", "a") is None
    assert credential_choices((file,), "example.com", "a") == ()


@pytest.mark.parametrize(
    "key", ["docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io", "index.docker.io/v1"]
)
@pytest.mark.parametrize("host", ["docker.io", "registry-1.docker.io", "index.docker.io"])
def test_docker_hub_has_many_names(key: str, host: str) -> None:
    assert user((read(auths={key: auth("me")}),), host, "library/busybox") == "me"


def test_old_keys_are_urls() -> None:
    file = read(auths={"https://quay.io/v2/": auth("me"), "http://r.example:5000": auth("plain")})
    assert (user((file,), "quay.io"), user((file,), "r.example:5000")) == ("me", "plain")


def test_the_kinds_of_login() -> None:
    file = read(
        auths={
            "a": {"username": "u", "password": "p"},
            "b": {"identitytoken": "it"},
            "c": {"registrytoken": "rt"},
            "d": {"auth": b64encode(b"u:p:q\0\0").decode(), "email": "ignored@example.com", "identitytoken": ""},
        }
    )
    assert file.logins == (
        Login("a", "u", "p"),
        Login("b", identity_token="it"),
        Login("c", registry_token="rt"),
        Login("d", "u", "p:q"),
    )


def test_secrets_are_not_shown() -> None:
    text = repr(credential_choices((read(auths={"a": auth("me", "hunter2")}, credsStore="x"),), "a", "b"))
    assert "me" in text and "hunter2" not in text


def test_files_count_in_order() -> None:
    first = read("first", auths={"quay.io": auth("one")})
    second = read("second", auths={"quay.io/a": auth("two"), "other.io": auth("three")})
    choices = credential_choices((first, second), "quay.io", "a/b")
    assert [(choice.source, choice.login and choice.login.username) for choice in choices] == [
        ("first", "one"),
        ("second", "two"),
    ]
    assert user((first, second), "other.io") == "three"


def test_helpers() -> None:
    file = read(
        "f", auths={"a.io": auth("file"), "b.io": {}, "c.io": auth("file")}, credHelpers={"a.io": "gcr"}, credsStore="pass"
    )
    assert credential_choices((file,), "a.io", "x") == (CredentialChoice("f", helper="gcr", servers=("a.io", "https://a.io")),)
    assert credential_choices((file,), "b.io", "x") == (CredentialChoice("f", helper="pass", servers=("b.io", "https://b.io")),)
    assert user((file,), "c.io") == "file"
    hub = credential_choices((file,), "registry-1.docker.io", "library/busybox")
    assert hub == (CredentialChoice("f", helper="pass", servers=(HUB_SERVER, "docker.io")),)


def test_an_empty_login_is_no_login() -> None:
    file = read(auths={"a.io": auth("host"), "a.io/x": {}})
    assert user((file,), "a.io", "x") == "host"


def test_other_members_are_ignored() -> None:
    assert read(auths={}, psFormat="x", HttpHeaders={"a": "b"}, credsStore="") == AuthFile("auth.json")
    assert read() == AuthFile("auth.json")


def test_dockercfg() -> None:
    file = parse_dockercfg(json.dumps({"https://index.docker.io/v1/": auth("me")}).encode(), ".dockercfg")
    assert user((file,), "docker.io") == "me"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("[]", "f: must be an object"),
        ("{", "f: not JSON"),
        ('{"auths": []}', "f: auths: must be an object"),
        ('{"auths": {"a": 1}}', "f: auths.a: must be an object"),
        ('{"auths": {"a": {"auth": "?secret?"}}}', "f: auths.a.auth: must be base64 of user:password"),
        ('{"auths": {"a": {"auth": "c2VjcmV0"}}}', "f: auths.a.auth: must be base64 of user:password"),
        ('{"auths": {"a": {"auth": "OnNlY3JldA=="}}}', "f: auths.a.auth: must be base64 of user:password"),
        ('{"auths": {"a": {"auth": "/////w=="}}}', "f: auths.a.auth: must be base64 of user:password"),
        ('{"auths": {"a": {"identitytoken": 1}}}', "f: auths.a.identitytoken: must be a string"),
        ('{"auths": {}, "auths": {}}', "f: duplicate member 'auths'"),
        ('{"credHelpers": {"a": "../x"}}', "f: credHelpers.a: must be the name of a credential helper"),
        ('{"credHelpers": {"a": ""}}', "f: credHelpers.a: must be the name of a credential helper"),
        ('{"credsStore": "a b"}', "f: credsStore: must be the name of a credential helper"),
        ('{"credsStore": {}}', "f: credsStore: must be the name of a credential helper"),
    ],
)
def test_errors_name_the_place_and_no_secret(data: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_auth_file(data.encode(), "f")
    assert str(caught.value).startswith(message)
    assert "secret" not in str(caught.value)


_values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=6)
    | st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=2)
)


@given(
    st.dictionaries(
        st.sampled_from(["auths", "credHelpers", "credsStore", "x"]), st.dictionaries(st.text(max_size=6), _values) | _values
    )
)
def test_any_document_is_read_or_refused(doc: dict[str, Any]) -> None:
    for parse in (parse_auth_file, parse_dockercfg):
        try:
            file = parse(json.dumps(doc).encode(), "f")
        except ConfigError as error:
            assert "\n" not in str(error)
        else:
            credential_choices((file,), "a", "b")
