"""Which entry of an index a host takes."""

from __future__ import annotations

import pytest

from rktpy.errors import FormatError, NotFoundError, UsageError
from rktpy.formats.oci.descriptor import Descriptor
from rktpy.formats.oci.index import ImageIndex, select_platform
from rktpy.formats.oci.media_types import OCI_MANIFEST
from rktpy.formats.oci.platform import Platform, parse_platform, platform_of_machine, wanted_variants


def entry(number: int, platform: str | None) -> Descriptor:
    digest = f"sha256:{number:064x}"
    if platform is None:
        return Descriptor(OCI_MANIFEST, digest, 1)
    os, architecture, variant = (*platform.split("/"), "")[:3]
    return Descriptor(OCI_MANIFEST, digest, 1, Platform(os, architecture, variant))


def chosen(platforms: list[str | None], wanted: str) -> int:
    index = ImageIndex(tuple(entry(number, platform) for number, platform in enumerate(platforms)))
    return int(select_platform(index, parse_platform(wanted)).digest[7:], 16)


@pytest.mark.parametrize(
    ("platforms", "wanted", "expected"),
    [
        (["linux/arm64", "linux/amd64"], "linux/amd64", 1),
        (["linux/amd64", "linux/amd64"], "linux/amd64", 0),
        (["windows/amd64", "linux/amd64"], "linux/amd64", 1),
        # the baseline is taken where the host's level is not known, and never more than it
        (["linux/amd64/v3", "linux/amd64/v1"], "linux/amd64", 1),
        (["linux/amd64/v1", "linux/amd64"], "linux/amd64", 1),
        (["linux/amd64/v4", "linux/amd64/v2", "linux/amd64/v1"], "linux/amd64/v3", 1),
        (["linux/amd64"], "linux/amd64/v3", 0),
        # arm hosts run their own variant and older ones
        (["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], "linux/arm/v7", 2),
        (["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", 1),
        (["linux/arm", "linux/arm/v5"], "linux/arm/v7", 1),
        (["linux/arm/v6", "linux/arm/v7"], "linux/arm", 1),
        (["linux/arm64/v8"], "linux/arm64", 0),
        (["linux/arm64"], "linux/arm64/v8", 0),
        (["linux/riscv64/x", "linux/riscv64"], "linux/riscv64/y", 1),
        # an entry without a platform is a last resort
        ([None, "linux/amd64"], "linux/amd64", 1),
        (["linux/arm64", None], "linux/amd64", 1),
        (["unknown/unknown", None], "linux/amd64", 1),
        (["linux/amd64"], "linux/x86_64", 0),
    ],
)
def test_selection(platforms: list[str | None], wanted: str, expected: int) -> None:
    assert chosen(platforms, wanted) == expected


@pytest.mark.parametrize(
    ("platforms", "wanted", "there"),
    [
        (["linux/s390x", "linux/arm64/v8", "unknown/unknown"], "linux/amd64", "linux/arm64/v8, linux/s390x"),
        (["linux/arm/v7"], "linux/arm/v6", "linux/arm/v7"),
        (["linux/amd64/v3"], "linux/amd64", "linux/amd64/v3"),
        ([], "linux/amd64", "none for any platform"),
        (["unknown/unknown"], "linux/amd64", "none for any platform"),
    ],
)
def test_a_missing_platform_lists_what_there_is(platforms: list[str | None], wanted: str, there: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        chosen(platforms, wanted)
    assert str(caught.value) == f"image index: no image for {wanted}; there is {there}"


def test_an_entry_that_cannot_be_checked_matters_only_when_it_is_chosen() -> None:
    document = {
        "schemaVersion": 2,
        "manifests": [
            {"mediaType": OCI_MANIFEST, "digest": "blake3:aa", "size": 1, "platform": {"os": "linux", "architecture": "arm64"}},
            {
                "mediaType": OCI_MANIFEST,
                "digest": "sha256:" + "0" * 64,
                "size": 1,
                "platform": {"os": "linux", "architecture": "amd64"},
            },
        ],
    }
    index = ImageIndex.from_dict(document)
    assert select_platform(index, Platform("linux", "amd64")).digest.startswith("sha256")
    with pytest.raises(FormatError, match=r"manifests\[0\].digest: digest algorithm 'blake3' is not supported"):
        select_platform(index, Platform("linux", "arm64"))


def test_os_version_is_compared_when_it_is_wanted() -> None:
    old = Descriptor(OCI_MANIFEST, "sha256:" + "0" * 64, 1, Platform("windows", "amd64", os_version="10.0.1"))
    new = Descriptor(OCI_MANIFEST, "sha256:" + "1" * 64, 1, Platform("windows", "amd64", os_version="10.0.2"))
    assert select_platform(ImageIndex((old, new)), Platform("windows", "amd64", os_version="10.0.2")) is new


@pytest.mark.parametrize(
    ("machine", "text"),
    [
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64/v8"),
        ("armv7l", "linux/arm/v7"),
        ("i686", "linux/386"),
        ("riscv64", "linux/riscv64"),
    ],
)
def test_machines(machine: str, text: str) -> None:
    assert platform_of_machine(machine).text == text


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/am d64", "linux/é", "linux//v7"])
def test_malformed_platforms(text: str) -> None:
    with pytest.raises(UsageError, match="is not of the form os/architecture"):
        parse_platform(text)


def test_spellings() -> None:
    assert parse_platform("Linux/AMD64") == Platform("linux", "amd64")
    assert parse_platform("linux/armhf") == Platform("linux", "arm", "v7")
    assert parse_platform("linux/armel/v5") == Platform("linux", "arm", "v5")
    assert str(parse_platform("linux/arm64/v8")) == "linux/arm64/v8"
    assert wanted_variants(Platform("linux", "arm64", "v9")) == ("v9", "v8", "")
