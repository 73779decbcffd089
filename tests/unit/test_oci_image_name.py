"""Names of images in registries."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import UsageError
from rktpy.formats.oci.image_name import parse_host, parse_image_name

DIGEST = "sha256:" + "a" * 64
REPOSITORY = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")  # distribution-spec 1.1


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}"),
        (f"busybox:1@{DIGEST}", f"docker.io/library/busybox:1@{DIGEST}"),
        ("user/app", "docker.io/user/app:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
        ("registry-1.docker.io/library/busybox", "docker.io/library/busybox:latest"),
        ("quay.io/a/b/c:v1", "quay.io/a/b/c:v1"),
        ("quay.io/app", "quay.io/app:latest"),
        ("Quay.IO/app", "quay.io/app:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("host:5000/app", "host:5000/app:latest"),
        ("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("[fe80::1]/app", "[fe80::1]/app:latest"),
        ("a-.b/app", None),
        ("a__b/c--d.e_f", "docker.io/a__b/c--d.e_f:latest"),
    ],
)
def test_expansion(text: str, full: str | None) -> None:
    if full is None:
        with pytest.raises(UsageError):
            parse_image_name(text)
        return
    name = parse_image_name(text)
    assert name.text == full
    assert parse_image_name(full) == name


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "repository name is missing"),
        ("quay.io/", "repository name is missing"),
        ("App", "lower case"),
        ("quay.io/App", "lower case"),
        ("a..b", "repository name must be"),
        ("a___b", "repository name must be"),
        ("a.-b", "repository name must be"),
        ("-a", "repository name must be"),
        ("a/", "repository name must be"),
        ("/a", "repository name must be"),
        ("quay.io//a", "repository name must be"),
        ("a:", "tag"),
        ("a:.x", "tag"),
        ("a:" + "x" * 129, "tag"),
        ("a:b c", "tag"),
        ("a@", "digest"),
        ("a@sha256:xyz", "digest must be sha256"),
        ("a@md5:abc", "'md5' is not supported"),
        (f"a@{DIGEST}@{DIGEST}", "digest"),
        ("host:0/a", "port"),
        ("host:65536/a", "port"),
        ("host:x/a", "port"),
        ("host:/a", "port"),
        ("[::1/a", "IPv6"),
        ("[x]/a", "IPv6"),
        ("[::1]x/a", "IPv6"),
        ("exa_mple.com/a", "host name is malformed"),
        ("é.com/a", "host name is malformed"),
        ("a" * 64 + ".com/a", "host name is malformed"),
        ("a" * 250 + "/b", "longer than 255"),
        ("a" * 64, "64 hex digits are an image ID"),
    ],
)
def test_malformed_names(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse_image_name(text)


@given(st.text(alphabet="ab0._-/", max_size=12))
def test_the_repository_grammar_is_the_specification_s(text: str) -> None:
    try:
        name = parse_image_name("example.com/" + text)
    except UsageError:
        assert not REPOSITORY.fullmatch(text)
    else:
        assert REPOSITORY.fullmatch(text)
        assert name.repository == text


@given(st.text(alphabet="aA0.:-[]/@_", max_size=16))
def test_any_text_is_expanded_to_itself_or_refused(text: str) -> None:
    try:
        name = parse_image_name(text)
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert parse_image_name(name.text) == name
        assert parse_host(name.host) == name.host
