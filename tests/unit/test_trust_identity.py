"""Whose name a signature bears: the six ways to compare it with the name of an image."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.formats.trust.requirements import Identity
from rktpy.trust.identity import matches

DIGEST = "sha256:" + "ab" * 32
R = "docker://registry.example/team/app"

IDENTITIES = [
    # identity, image, name in the signature, whether it will do
    (Identity("matchExact"), f"{R}:v1", "registry.example/team/app:v1", True),
    (Identity("matchExact"), f"{R}:v1", "registry.example/team/app:v2", False),
    (Identity("matchExact"), f"{R}:v1", "registry.example/team/app", False),
    (Identity("matchExact"), f"{R}:latest", "registry.example/team/app", False),
    (Identity("matchExact"), f"{R}@{DIGEST}", "registry.example/team/app:v1", False),
    (Identity("matchExact"), f"{R}@{DIGEST}", f"registry.example/team/app@{DIGEST}", True),
    (Identity(), f"{R}:v1", "registry.example/team/app:v1", True),
    (Identity(), f"{R}:v1", "registry.example/team/app:v2", False),
    (Identity(), f"{R}:v1", "registry.example/team/application:v1", False),
    (Identity(), f"{R}@{DIGEST}", "registry.example/team/app:v2", True),
    (Identity(), f"{R}:v9@{DIGEST}", "registry.example/team/app:v2", True),
    (Identity(), f"{R}@{DIGEST}", "registry.example/team/app", False),
    (Identity(), f"{R}@{DIGEST}", "registry.example/team/other:v2", False),
    (Identity(), "docker://docker.io/library/busybox:1", "busybox:1", True),
    (Identity(), "oci:/img:v1", "registry.example/team/app:v1", False),
    (Identity("matchRepository"), f"{R}:v1", "registry.example/team/app:v2", True),
    (Identity("matchRepository"), f"{R}:v1", "registry.example/team/app", True),
    (Identity("matchRepository"), f"{R}:v1", "registry.example/team", False),
    (Identity("exactReference", "registry.example/a:1"), "oci:/img:v1", "registry.example/a:1", True),
    (Identity("exactReference", "registry.example/a:1"), f"{R}:v1", "registry.example/a:2", False),
    (Identity("exactReference", "registry.example/a:1"), f"{R}:v1", "registry.example/a", False),
    (Identity("exactRepository", "registry.example/a"), f"{R}:v1", "registry.example/a:2", True),
    (Identity("exactRepository", "registry.example/a"), f"{R}:v1", "registry.example/a/b:2", False),
    (Identity("remapIdentity", "", "registry.example/team", "vendor.example"), f"{R}:v1", "vendor.example/app:v1", True),
    (Identity("remapIdentity", "", "registry.example/tea", "vendor.example"), f"{R}:v1", "vendor.example/m/app:v1", False),
    (Identity("remapIdentity", "", "registry.example/tea", "v.example"), f"{R}:v1", "registry.example/team/app:v1", True),
    (Identity("remapIdentity", "", "registry.example", "v.example:5000/x"), f"{R}:v1", "v.example:5000/x/team/app:v1", True),
    (Identity("remapIdentity", "", "registry.example/team/app", "v.example/b"), f"{R}:v1", "v.example/b:v1", True),
    (Identity("remapIdentity", "", "registry.example", "v.example"), f"{R}@{DIGEST}", "v.example/team/app:v7", True),
    (Identity("matchRepository"), f"{R}:v1", "registry.example/team/../team/app:v1", False),
    (Identity("matchRepository"), f"{R}:v1", "\x1b[2J", False),
    (Identity("unheard"), f"{R}:v1", "registry.example/team/app:v1", False),
]


@pytest.mark.parametrize(("identity", "image", "signed", "good"), IDENTITIES)
def test_identities(identity: Identity, image: str, signed: str, good: bool) -> None:
    problem = matches(identity, image, signed)
    assert (problem == "") == good, problem
    assert problem.isprintable()


@given(st.text(max_size=40))
def test_any_signed_name_is_compared(text: str) -> None:
    for identity in (Identity(), Identity("matchRepository"), Identity("exactRepository", "registry.example/a")):
        assert matches(identity, f"{R}:v1", text).isprintable()
