"""registries.conf: prefixes, mirrors, rewriting, and refusal of what is not understood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import ConfigError
from rktpy.formats.registries_conf import Endpoint, RegistriesConf, merge_registries_conf, parse_registries_conf


def read(text: str) -> RegistriesConf:
    return parse_registries_conf(text.encode(), "r.conf")


def places(conf: RegistriesConf, name: str, *, by_digest: bool = False) -> list[str]:
    host, _, repository = name.partition("/")
    found = conf.endpoints(host, repository, by_digest=by_digest)
    return [
        f"{'mirror ' if place.mirror else ''}{place.host}/{place.repository}{' insecure' if place.insecure else ''}"
        for place in found
    ]


def test_without_a_rule_the_registry_itself_is_asked() -> None:
    assert RegistriesConf().endpoints("quay.io", "a/b", by_digest=False) == (Endpoint("quay.io", "a/b"),)


def test_the_longest_prefix_wins_by_whole_components() -> None:
    conf = read("""
        [[registry]]
        location = "example.com"
        insecure = true
        [[registry]]
        prefix = "example.com/foo"
        location = "inner.example:5000/copy/foo"
        [[registry]]
        prefix = "example.com/foo/bar"
        location = "third.example"
    """)
    assert places(conf, "example.com/foobar") == ["example.com/foobar insecure"]
    assert places(conf, "example.com/foo") == ["inner.example:5000/copy/foo"]
    assert places(conf, "example.com/foo/x") == ["inner.example:5000/copy/foo/x"]
    assert places(conf, "example.com/foo/bar/x") == ["third.example/x"]
    assert places(conf, "example.com:5000/foo") == ["example.com:5000/foo"]
    assert places(conf, "an.example.com/foo") == ["an.example.com/foo"]


def test_wildcards_match_below_a_domain_and_lose_to_exact_prefixes() -> None:
    conf = read("""
        [[registry]]
        prefix = "*.example.com"
        insecure = true
        [[registry]]
        prefix = "*.very.long.example.com"
        location = "other.example/base"
        [[registry]]
        location = "a.example.com"
    """)
    assert places(conf, "b.example.com/x") == ["b.example.com/x insecure"]
    assert places(conf, "b.example.com:5000/x") == ["b.example.com:5000/x insecure"]
    assert places(conf, "example.com/x") == ["example.com/x"]
    assert places(conf, "badexample.com/x") == ["badexample.com/x"]
    assert places(conf, "a.very.long.example.com/x") == ["other.example/base/x"]
    assert places(conf, "a.example.com/x") == ["a.example.com/x"]


def test_mirrors_come_first_and_serve_what_they_may() -> None:
    conf = read("""
        [[registry]]
        location = "docker.io"
        [[registry.mirror]]
        location = "m1.example/hub"
        [[registry.mirror]]
        location = "m2.example"
        insecure = true
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "m3.example"
        pull-from-mirror = "tag-only"
    """)
    assert places(conf, "docker.io/library/busybox") == [
        "mirror m1.example/hub/library/busybox",
        "mirror m3.example/library/busybox",
        "docker.io/library/busybox",
    ]
    assert places(conf, "docker.io/library/busybox", by_digest=True) == [
        "mirror m1.example/hub/library/busybox",
        "mirror m2.example/library/busybox insecure",
        "docker.io/library/busybox",
    ]


def test_mirror_by_digest_only_holds_for_all_mirrors() -> None:
    conf = read("""
        [[registry]]
        location = "a.example"
        mirror-by-digest-only = true
        mirror = [{location = "m.example"}]
    """)
    assert places(conf, "a.example/x") == ["a.example/x"]
    assert places(conf, "a.example/x", by_digest=True) == ["mirror m.example/x", "a.example/x"]


def test_a_blocked_registry_is_an_error() -> None:
    conf = read("""
        [[registry]]
        prefix = "a.example/team"
        location = "a.example/team"
        blocked = true
    """)
    assert places(conf, "a.example/other") == ["a.example/other"]
    with pytest.raises(ConfigError, match=r"registry a.example/team is blocked by registries.conf: cannot pull a.example/team/x"):
        places(conf, "a.example/team/x")


def test_other_settings_and_drop_ins() -> None:
    main = read("""
        unqualified-search-registries = ["docker.io", "quay.io"]
        short-name-mode = "enforcing"
        credential-helpers = ["containers-auth.json"]
        [aliases]
        a = "docker.io/library/a"
        [[registry]]
        location = "a.example"
        [[registry]]
        location = "b.example"
    """)
    drop_in = read("""
        short-name-mode = "disabled"
        [aliases]
        b = "quay.io/b"
        [[registry]]
        location = "A.example"
        blocked = true
    """)
    merged = merge_registries_conf((main, drop_in))
    assert merged.unqualified_search == ("docker.io", "quay.io")
    assert (merged.short_name_mode, merged.credential_helpers) == ("disabled", ("containers-auth.json",))
    assert merged.aliases == (("a", "docker.io/library/a"), ("b", "quay.io/b"))
    assert [(rule.prefix, rule.blocked) for rule in merged.rules] == [("a.example", True), ("b.example", False)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = ", "r.conf: not TOML"),
        ("blcoked = true", "r.conf: blcoked: is not a known setting"),
        ('[registries.search]\nregistries = ["a"]', "r.conf: version 1 of the format"),
        ("[[registry]]", "r.conf: registry[0]: needs a prefix or a location"),
        ('[[registry]]\nprefix = "a.example"', "r.conf: registry[0].location: is missing"),
        ('[[registry]]\nlocation = "a.example"\nblcoked = true', "r.conf: registry[0].blcoked: is not a known setting"),
        ('[[registry]]\nlocation = "a.example"\nblocked = "yes"', "r.conf: registry[0].blocked: must be true or false"),
        (
            '[[registry]]\nlocation = "https://a.example"',
            "r.conf: registry[0].location: must be host[:port][/path], without a scheme",
        ),
        ('[[registry]]\nlocation = "a.example/x:tag"', "r.conf: registry[0].location: must not name a tag, a digest or a user"),
        (
            '[[registry]]\nlocation = "a.example/x@sha256"',
            "r.conf: registry[0].location: must not name a tag, a digest or a user",
        ),
        ('[[registry]]\nlocation = "a.example:x"', "r.conf: registry[0].location: the registry's port"),
        ('[[registry]]\nlocation = "a..example"', "r.conf: registry[0].location: the registry's host name is malformed"),
        ('[[registry]]\nlocation = "a.example//x"', "r.conf: registry[0].location: the path is malformed"),
        ('[[registry]]\nprefix = "*.a.example/x"', "r.conf: registry[0].prefix: a wildcard stands for a host name"),
        ('[[registry]]\nprefix = "*"\nlocation = "a"', "r.conf: registry[0].prefix: the registry's host name is malformed"),
        ("registry = 1", "r.conf: registry: must be [[registry]] tables"),
        ('[[registry]]\nlocation = "a"\n[[registry]]\nlocation = "A"', "r.conf: registry[1].prefix: a has a table already"),
        ('[[registry]]\nlocation = "a"\nmirror = [1]', "r.conf: registry[0].mirror: must be [[mirror]] tables"),
        ('[[registry]]\nlocation = "a"\nmirror = [{}]', "r.conf: registry[0].mirror[0].location: is missing"),
        (
            '[[registry]]\nlocation = "a"\nmirror = [{location = "b", pull-from-mirror = "some"}]',
            "r.conf: registry[0].mirror[0].pull-from-mirror: must be all, digest-only or tag-only",
        ),
        (
            '[[registry]]\nlocation = "a"\nmirror-by-digest-only = true\nmirror = [{location = "b", pull-from-mirror = "all"}]',
            "r.conf: registry[0].mirror[0].pull-from-mirror: cannot be set together with mirror-by-digest-only",
        ),
        ("unqualified-search-registries = 1", "r.conf: unqualified-search-registries: must be a list of strings"),
        ('unqualified-search-registries = ["a b"]', "r.conf: unqualified-search-registries[0]: the registry's host name"),
        ('short-name-mode = "x"', "r.conf: short-name-mode: must be enforcing, permissive or disabled"),
        ("[aliases]\na = 1", "r.conf: aliases: must be a table of strings"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith(message)


_lines = st.sampled_from(
    ["[[registry]]", "[[registry.mirror]]", 'location = "a.example"', 'prefix = "*.b.example"', "blocked = true", "insecure = 1"]
    + ['pull-from-mirror = "all"', "mirror-by-digest-only = true", "[aliases]", 'x = "y"', "registry = []", "\0", "[["]
)


@given(st.lists(_lines, max_size=8).map("\n".join) | st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        conf = parse_registries_conf(text.encode("utf-8", "surrogatepass"), "r.conf")
    except ConfigError:
        return
    for rule in conf.rules:
        assert rule.prefix == rule.prefix.lower()
