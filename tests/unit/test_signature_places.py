"""What registries and layouts say of signatures, as properties: hostile answers end in errors of ours, or in nothing."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rktpy.errors import FormatError, RktpyError
from rktpy.fetch.http_url import parse_url
from rktpy.fetch.reference import LayoutReference
from rktpy.fetch.referrers import next_page
from rktpy.fetch.signatures import find_evidence_in_layout
from rktpy.formats.oci.artifacts import BUNDLE_TYPE, COSIGN_PAYLOAD, LONGEST_TAG, NOTATION_TYPE, cosign_tag, fallback_tag
from rktpy.formats.oci.index import ImageIndex
from rktpy.formats.oci.layout import REF_NAME, named_images
from rktpy.formats.oci.manifest import Manifest
from rktpy.formats.oci.media_types import OCI_INDEX, OCI_MANIFEST
from rktpy.formats.trust import attachments
from rktpy.trust.evidence import BUNDLE, COSIGN, MAX_COUNT, NOTATION, Evidence
from tests.support.scripted_registry import descriptor, digest_of
from tests.support.sink import DirectorySink

BASE = parse_url("https://registry.example/v2/team/app/referrers/x")
IMAGE = digest_of(b"image")
SUBJECT = {"mediaType": OCI_MANIFEST, "digest": IMAGE, "size": 5}

texts = st.text(st.characters(codec="utf-8"), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 10**20) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=80), max_size=3))
def test_links_lead_to_the_same_server_or_nowhere(fields: list[str]) -> None:
    try:
        following = next_page(BASE, fields)
    except RktpyError:
        return
    assert following is None or following.origin == BASE.origin


@given(st.sampled_from(["", "/v2/x?n=1&last=a", "?page=2", "https://registry.example:443/y"]), st.booleans())
def test_links_are_found_among_others(target: str, quoted: bool) -> None:
    relation = '"next"' if quoted else "next"
    following = next_page(BASE, [f'<https://elsewhere.example/>; rel="prev", <{target}>; rel={relation}'])
    assert following == BASE.join(target)
    assert next_page(BASE, ["<https://elsewhere.example/>; rel=next"]) is None


@given(st.text(st.characters(codec="ascii"), max_size=300))
def test_fallback_tags_are_tags(digest: str) -> None:
    tag = fallback_tag(digest)
    assert len(tag) <= 97 < LONGEST_TAG
    assert not tag.strip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def mutated() -> st.SearchStrategy[dict[str, Any]]:
    """Entries of an index, near to honest ones."""
    names = st.sampled_from([cosign_tag(IMAGE, "sig"), fallback_tag(IMAGE), "v1", ""]) | texts
    return st.fixed_dictionaries(
        {},
        optional={
            "mediaType": st.sampled_from([OCI_MANIFEST, OCI_INDEX, BUNDLE_TYPE]) | json_values,
            "digest": st.sampled_from([IMAGE, digest_of(b"{}"), digest_of(b"signature")]) | json_values,
            "size": st.sampled_from([2, 5, 9]) | json_values,
            "artifactType": st.sampled_from([BUNDLE_TYPE, NOTATION_TYPE]) | json_values,
            "annotations": st.builds(lambda name: {REF_NAME: name}, names) | json_values,
        },
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(mutated(), max_size=4), st.lists(mutated(), max_size=3), json_values)
def test_hostile_layouts_are_harmless(entries: list[dict[str, Any]], layers: list[dict[str, Any]], subject: Any) -> None:
    manifest = {
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(b"{}", "x"), "layers": layers, "subject": subject,
    }  # fmt: skip
    data = json.dumps(manifest).encode()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "blobs/sha256").mkdir(parents=True)
        (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        listed = [*entries, {**descriptor(data, OCI_MANIFEST), "annotations": {REF_NAME: cosign_tag(IMAGE, "sig")}}]
        (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": listed}))
        for blob in (b"{}", b"signature", data):
            (directory / "blobs/sha256" / digest_of(blob).removeprefix("sha256:")).write_bytes(blob)
        sink = DirectorySink(directory / "sink")
        try:
            found = find_evidence_in_layout(LayoutReference(name), IMAGE, sink)
        except RktpyError:
            return
        assert len(found) <= 4 * MAX_COUNT
        for one in found:
            for _role, digest in one.blobs:
                assert digest_of(sink.read_blob(digest)) == digest


@given(st.lists(mutated(), max_size=5))
def test_the_images_of_a_layout_are_entries_of_it(entries: list[dict[str, Any]]) -> None:
    try:
        index = ImageIndex.from_dict({"schemaVersion": 2, "manifests": entries})
    except FormatError:
        return
    images = named_images(index)
    assert {digest for _name, digest in images} <= {entry.digest for entry in index.manifests}
    assert not {cosign_tag(IMAGE, "sig"), fallback_tag(IMAGE)} & {name for name, _digest in images}


# Descriptors with a NUL in an annotation are not read.
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
annotations = st.dictionaries(words.filter(bool), words, max_size=3).map(lambda pairs: tuple(sorted(pairs.items())))


@given(annotations, st.sampled_from([(BUNDLE, "bundle", BUNDLE_TYPE), (NOTATION, "envelope", "application/jose+json")]))
def test_referrers_are_made_the_same_each_time(pairs: tuple[tuple[str, str], ...], kind: tuple[str, str, str]) -> None:
    one = Evidence(kind[0], "here", kind[2], ((kind[1], digest_of(b"x")),), pairs)
    made = attachments.referrer_of(one, SUBJECT, 1)
    assert made == attachments.referrer_of(one.replace(source="there"), SUBJECT, 1)
    manifest = Manifest.from_bytes(made.data)
    assert manifest.annotations == dict(pairs) and manifest.subject is not None and manifest.subject.digest == IMAGE
    once = attachments.fallback_index([made.entry])
    assert once is not None
    assert attachments.fallback_index([made.entry], ImageIndex.from_bytes(once)) is None


@given(st.lists(annotations, min_size=1, max_size=4))
def test_cosigns_manifest_grows_and_keeps(groups: list[tuple[tuple[str, str], ...]]) -> None:
    before: Manifest | None = None
    for pairs in groups:
        one = Evidence(COSIGN, "here", COSIGN_PAYLOAD, (("payload", digest_of(b"x")),), pairs)
        made = attachments.cosign_manifest([attachments.cosign_layer(one, 1)], before)
        if made is not None:
            before = Manifest.from_bytes(made[0])
    assert before is not None
    assert [layer.annotations for layer in before.layers] == [dict(pairs) for pairs in dict.fromkeys(groups)]
