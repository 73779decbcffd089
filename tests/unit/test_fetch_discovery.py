"""Discovery pages and templates (appc spec, discovery.md)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.fetch.discovery import ACIEndpoint, Tag, endpoints_of, keys_of, parse_page
from rktpy.formats.aci.types import NameValue

LABELS = (NameValue("version", "1.0"), NameValue("os", "linux"))


@pytest.mark.parametrize(
    "page",
    [
        '<meta name="ac-discovery" content="a.test https://b.test/{name}.{ext}">',
        '<META CONTENT="a.test https://b.test/{name}.{ext}" NAME="ac-discovery"/>',
        "<html><body><p><meta name=ac-discovery content='  a.test   https://b.test/{name}.{ext} '><p>",
        '<meta name="ac-discovery" content="a.test https://b.test/&#123;name}.{ext}">',
        '<!-- <meta name="ac-discovery" content="x y"> --><meta name="ac-discovery" content="a.test https://b.test/{name}.{ext}">',
        '<meta name="ac-discovery" name="other" content="a.test https://b.test/{name}.{ext}">',
    ],
)
def test_tags_are_found_in_real_html(page: str) -> None:
    assert parse_page(page.encode()) == [Tag("ac-discovery", "a.test", "https://b.test/{name}.{ext}")]


@pytest.mark.parametrize(
    "page",
    [
        "",
        '<meta name="ac-discovery" content="a.test">',
        '<meta name="ac-discovery">',
        '<meta name="ac-discovery-other" content="a.test https://b.test">',
        '<div name="ac-discovery" content="a.test https://b.test">',
        "<script>\"<meta name='ac-discovery' content='a.test https://b.test'>\"</script>",
    ],
)
def test_what_is_no_tag(page: str) -> None:
    assert parse_page(page.encode()) == []


@given(st.binary(max_size=300))
def test_any_page_is_read(data: bytes) -> None:
    parse_page(data)
    parse_page(b"<meta " + data + b"><![" + data)


@pytest.mark.parametrize(
    ("prefix", "name", "covered"),
    [
        ("a.test", "a.test", True),
        ("a.test", "a.test/x", True),
        ("a.test/", "a.test/x", True),
        ("a.test/foo", "a.test/foobar", False),
        ("a.test/foo", "a.test/foo/bar", True),
        ("a.test/foo", "a.test", False),
    ],
)
def test_a_prefix_covers_whole_components(prefix: str, name: str, covered: bool) -> None:
    assert Tag("ac-discovery", prefix, "x").covers(name) is covered


def render(template: str) -> tuple[ACIEndpoint, ...]:
    return endpoints_of([Tag("ac-discovery", "a.test", template)], "a.test/app", LABELS)


def test_templates() -> None:
    (found,) = render("https://b.test/{os}/{name}-{version}.{ext}")
    assert found.aci == "https://b.test/linux/a.test/app-1.0.aci"
    assert found.asc == "https://b.test/linux/a.test/app-1.0.aci.asc"


def test_a_template_with_an_unknown_variable_is_passed_over() -> None:
    assert render("https://b.test/{arch}/{name}.{ext}") == ()


def test_the_version_is_latest_unless_asked_for() -> None:
    tags = [Tag("ac-discovery", "a.test", "https://b.test/{name}-{version}.{ext}")]
    assert endpoints_of(tags, "a.test/app", ())[0].aci.endswith("-latest.aci")


def test_a_value_is_not_a_template() -> None:
    tags = [Tag("ac-discovery", "a.test", "https://b.test/{version}.{ext}")]
    assert endpoints_of(tags, "a.test/app", (NameValue("version", "{name}"),))[0].aci == "https://b.test/{name}.aci"


def test_keys_are_no_templates() -> None:
    tags = [Tag("ac-discovery-pubkeys", "a.test", "https://b.test/{x}"), Tag("ac-discovery-pubkeys", "c.test", "https://d.test")]
    assert keys_of(tags, "a.test/app") == ("https://b.test/{x}",)
