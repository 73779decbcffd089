"""References to images as users of rkt and skopeo write them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import UsageError
from rktpy.fetch.reference import (
    AppReference,
    DockerArchiveReference,
    DockerReference,
    FileReference,
    ImageIDReference,
    LayoutReference,
    OCIArchiveReference,
    Reference,
    URLReference,
    parse_reference,
)
from rktpy.formats.aci.types import NameValue

ROOT = Path(__file__).resolve().parent.parent.parent
DIGEST = "sha256:a59906e33509d14c036c8678d687bd4eec81ed7c4b8ce907b888c607f6a1e0e6"
HUB = DockerReference("docker.io", "library/busybox", "latest")


def app(name: str, **labels: str) -> AppReference:
    return AppReference(name, tuple(NameValue(label, value) for label, value in labels.items()))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths are resolved here, where nothing is called like an image by accident."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # rkt's own table (rkt/image/common_test.go)
        ("example.com/app01", app("example.com/app01")),
        ("example.com/app01:v1.0.0", app("example.com/app01", version="v1.0.0")),
        ("example.com/app01:v1.0.0,label01=?&*/", app("example.com/app01", version="v1.0.0", label01="?&*/")),
        ("some-image-name", app("some-image-name")),
        ("some-image-name:v1.0.0", app("some-image-name", version="v1.0.0")),
        (
            "some-image-name:f6432b725a9a5f27eaecfa47a0cbab3c0ea00f22",
            app("some-image-name", version="f6432b725a9a5f27eaecfa47a0cbab3c0ea00f22"),
        ),
        ("file:///absolute/path/to/file.aci", FileReference("/absolute/path/to/file.aci")),
        ("/absolute/path/to/file.aci", FileReference("/absolute/path/to/file.aci")),
        ("https://example.com/app.aci", URLReference("https://example.com/app.aci")),
        ("docker:busybox", HUB),
        ("docker://busybox", HUB),
        ("docker:busybox:latest", HUB),
        ("docker:busybox:1.0", HUB.replace(tag="1.0")),
        (f"docker:busybox@{DIGEST}", HUB.replace(tag="", digest=DIGEST)),
        ("docker:myregistry.example.com:4000/busybox", DockerReference("myregistry.example.com:4000", "busybox", "latest")),
        # cimd (pkg/distribution)
        ("cimd:appc:v=0:example.com/app01", app("example.com/app01")),
        ("cimd:appc:v=0:example.com%2Fapp01?version=v1.0.0", app("example.com/app01", version="v1.0.0")),
        (
            "cimd:appc:v=0:example.com/app01?label01=%3F%26%2A%2F&version=v1.0.0",
            app("example.com/app01", version="v1.0.0", label01="?&*/"),
        ),
        ("cimd:aci-archive:v=0:file%3A%2F%2F%2Fabsolute%2Ffile.aci", FileReference("/absolute/file.aci")),
        ("cimd:aci-archive:v=0:file%3A%2F%2F%2Fabsolute%2Ffile", FileReference("/absolute/file")),
        ("cimd:aci-archive:v=0:https%3A%2F%2Ftest.com%2Ffiledef.aci%3Fz%3D1", URLReference("https://test.com/filedef.aci?z=1")),
        ("cimd:docker:v=0:busybox", HUB),
        ("cimd:docker:v=0:registry-1.docker.io/library/busybox:latest", HUB),
        ("cimd:docker:0:busybox", HUB),
        # labels
        ("example.com/a:v1,os=linux,arch=amd64", app("example.com/a", version="v1", os="linux", arch="amd64")),
        ("example.com/a,z=1,arch=amd64,os=linux,version=2", app("example.com/a", version="2", os="linux", arch="amd64", z="1")),
        # files
        ("./x.aci", FileReference("@/x.aci")),
        ("x.aci", FileReference("@/x.aci")),
        ("a/../x.aci", FileReference("@/x.aci")),
        ("//x/y.aci", FileReference("/x/y.aci")),
        ("file://localhost/a%20b%25.aci", FileReference("/a b%.aci")),
        ("FILE:/a.aci", FileReference("/a.aci")),
        ("x.aci:1", app("x.aci", version="1")),
        # URLs
        ("HTTP://Example.COM:8080/A b.aci?q=1#frag", URLReference("http://example.com:8080/A%20b.aci?q=1")),
        ("https://[::1]:8443/a.aci", URLReference("https://[::1]:8443/a.aci")),
        # registries
        (f"docker://localhost:5000/a/b:v1@{DIGEST}", DockerReference("localhost:5000", "a/b", "v1", DIGEST)),
        # layouts and archives
        ("oci:dir", LayoutReference("@/dir")),
        ("oci:/dir:", LayoutReference("/dir")),
        ("oci:/dir:v1", LayoutReference("/dir", "v1")),
        ("oci:/dir:@0", LayoutReference("/dir", "@0")),
        ("oci:/dir:a:b/c", LayoutReference("/dir", "a:b/c")),
        ("oci-archive:/x.tar:latest", OCIArchiveReference("/x.tar", "latest")),
        ("docker-archive:/x.tar", DockerArchiveReference("/x.tar")),
        ("docker-archive:/x.tar:busybox", DockerArchiveReference("/x.tar", "docker.io/library/busybox:latest")),
        ("docker-archive:/x.tar:@1", DockerArchiveReference("/x.tar", "@1")),
        # image IDs
        ("sha512-ab", ImageIDReference("sha512-ab")),
        ("sha512-" + "a" * 128, ImageIDReference("sha512-" + "a" * 128)),
        ("sha256-0123", ImageIDReference("sha256-0123")),
        (DIGEST, ImageIDReference(DIGEST.replace(":", "-"))),
        ("sha512-a", app("sha512-a")),
        ("sha256-" + "a" * 65, app("sha256-" + "a" * 65)),
        ("sha512-xyz", app("sha512-xyz")),
        ("sha256:abcd", app("sha256", version="abcd")),
        # apps whose names look like transports
        ("dir:v1", app("dir", version="v1")),
        ("ociapp:v1", app("ociapp", version="v1")),
    ],
)
def test_forms(text: str, expected: Reference) -> None:
    if isinstance(expected, (FileReference, LayoutReference)):
        expected = expected.replace(path=expected.path.replace("@", os.getcwd(), 1) if expected.path[0] == "@" else expected.path)
    parsed = parse_reference(text)
    assert parsed == expected
    assert parse_reference(str(parsed)) == parsed
    assert str(parsed) == parsed.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the image name is empty"),
        # rkt's own table
        ("/absolute/path/to/file", 'invalid image string "file:///absolute/path/to/file"'),
        ("/absolute/path/to/file.tar", 'invalid image string "file:///absolute/path/to/file.tar"'),
        ("https://example.com/app", "the path of an image URL ends in .aci"),
        # app strings
        ("a:b:c", "malformed app string - colon may appear at most once"),
        ("a,b=c:d", "malformed app string - colon may appear only right after the app name"),
        ("a,b", "has a label without a value"),
        ("a:", "has a label without a value"),
        ("a,b=", "has a label without a value"),
        ("a:1,version=2", "label version with multiple values"),
        ("a,b=1,b=2", "label b with multiple values"),
        ("a,name=b", "label name with multiple values"),
        ("a,B=c", "must contain only lower case"),
        ("A", "must contain only lower case"),
        ("Example.com/app:1", "must contain only lower case"),
        ("-a", "must start and end"),
        ("a b", "must contain only lower case"),
        # others
        ("s3://bucket/x.aci", "the scheme 's3' is not supported"),
        ("docker-daemon:busybox:latest", "the transport 'docker-daemon' is not supported"),
        ("dir:/tmp/x", "the transport 'dir' is not supported"),
        ("docker://", "the repository name is missing"),
        ("docker://Busybox", "must be in lower case"),
        ("docker://busybox@sha256:12", "digest must be sha256:"),
        ("oci:", "the path is missing"),
        ("oci::v1", "the path is missing"),
        ("docker-archive:/x.tar:Bad", "must be in lower case"),
        (f"docker-archive:/x.tar:busybox@{DIGEST}", "not searched by digest"),
        ("file://host/a.aci", "a file URL names no host"),
        ("file:a.aci", "a file URL needs an absolute path"),
        ("file:///a.aci?x", "no query or fragment"),
        ("file:///a%2.aci", "broken % escape"),
        ("file:///a%00.aci", "control characters"),
        ("file:///a%0a.aci", "control characters"),
        ("https:///x.aci", "the URL has no host"),
        ("https:x.aci", "needs // after its scheme"),
        ("https://u:p@example.com/x.aci", "put them into the auth configuration"),
        ("https://example.com:0/x.aci", "port of the URL"),
        ("https://exa mple.com/x.aci", "host of the URL"),
        ("https://[x]/x.aci", "host of the URL"),
        ("https://example.com/%zz.aci", "broken % escape"),
        ("cimd:", "malformed distribution uri"),
        ("cimd:appc:v=0", "malformed distribution uri"),
        ("cimd:appc:v=x:a", "malformed distribution version"),
        ("cimd:appc:v=1:a", "distribution version 1 is not supported"),
        ("cimd:foo:v=0:a", "unknown distribution type"),
        ("cimd:appc:v=0:A", "must contain only lower case"),
        ("cimd:appc:v=0:a?b=%2C", "must not be empty or have a colon or comma"),
        ("cimd:appc:v=0:a?b=%", "broken % escape"),
        ("cimd:aci-archive:v=0:ftp%3A%2F%2Fx", "needs a file, http or https URL"),
        ("a\nb", "it has control characters"),
        ("a\0b", "it has control characters"),
        ("\ud800", "it is not a valid argument"),
    ],
)
def test_bad_references(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_an_existing_file_is_taken_for_itself(tmp_path: Path) -> None:
    (tmp_path / "example.com").mkdir()
    image = tmp_path / "example.com" / "app:v1,os=linux.aci"
    image.touch()
    assert parse_reference("example.com/app:v1,os=linux.aci") == FileReference(str(image))
    (tmp_path / "busybox").touch()
    with pytest.raises(UsageError, match=r'"file://.*/busybox": the name of an image file ends in .aci'):
        parse_reference("busybox")
    (tmp_path / "app").mkdir()
    assert parse_reference("app") == app("app")


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"/\xff\xe9 %.aci")
    parsed = parse_reference(name)
    assert parsed == FileReference(name)
    assert parsed.text == "file:///%FF%E9%20%25.aci"
    assert parse_reference(parsed.text) == parsed


def test_a_directory_with_a_colon_cannot_be_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a:b").mkdir()
    monkeypatch.chdir(tmp_path / "a:b")
    with pytest.raises(UsageError, match="has a colon, which separates path and reference"):
        parse_reference("oci:layout")


def test_an_app_named_like_something_else_is_written_as_cimd() -> None:
    for name in ("docker", "sha512-abcd", "x.aci", "a./b", "dir", "sha256"):
        parsed = parse_reference(f"cimd:appc:v=0:{name}?version=1%202")
        assert parsed == app(name, version="1 2")
        assert parsed.text.startswith("cimd:appc:v=0:")
        assert parse_reference(parsed.text) == parsed


@pytest.mark.parametrize(
    ("text", "familiar", "api_host", "name"),
    [
        ("busybox", "busybox", "registry-1.docker.io", "docker.io/library/busybox"),
        ("busybox:1", "busybox:1", "registry-1.docker.io", "docker.io/library/busybox"),
        ("user/app", "user/app", "registry-1.docker.io", "docker.io/user/app"),
        ("docker.io/library/a/b", "library/a/b", "registry-1.docker.io", "docker.io/library/a/b"),
        (f"quay.io/a/b:latest@{DIGEST}", f"quay.io/a/b:latest@{DIGEST}", "quay.io", "quay.io/a/b"),
        ("quay.io/a/b", "quay.io/a/b", "quay.io", "quay.io/a/b"),
    ],
)
def test_docker_names(text: str, familiar: str, api_host: str, name: str) -> None:
    parsed = parse_reference("docker://" + text)
    assert isinstance(parsed, DockerReference)
    assert (parsed.familiar, parsed.api_host, parsed.name) == (familiar, api_host, name)
    assert parse_reference("docker://" + parsed.familiar) == parsed


def test_label_lookup() -> None:
    reference = app("a", version="1", os="linux")
    assert (reference.label("os"), reference.label("arch")) == ("linux", None)


_pieces = st.sampled_from(
    [
        "docker:",
        "//",
        "oci:",
        "oci-archive:",
        "docker-archive:",
        "file:",
        "http:",
        "https:",
        "cimd:",
        "appc:",
        "v=0:",
        "aci-archive:",
    ]
    + [
        "sha512-",
        "sha256:",
        ".aci",
        "example.com",
        "localhost:5000",
        "/",
        ":",
        ",",
        "=",
        "@",
        "%2F",
        "%3A",
        "%",
        "?",
        "#",
        "&",
        "a",
        "b0",
    ]
    + ["version=", "..", "./", "[::1]", DIGEST, "latest", " ", "é", "\udcff", "\ud800", "\n", "X", "-", "_"]
)


@given(st.lists(_pieces, max_size=9).map("".join) | st.text(max_size=30))
def test_any_text_is_a_reference_or_a_usage_error(text: str) -> None:
    try:
        parsed = parse_reference(text)
    except UsageError as error:
        assert str(error).isprintable() or "\\" in str(error)
        assert "\n" not in str(error)
    else:
        assert parse_reference(str(parsed)) == parsed


def test_it_is_cheap_to_import() -> None:
    """Hot commands parse references: nothing beyond free modules may be loaded."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); before = set(sys.modules)\n"
        "import rktpy.fetch.reference as r; r.parse_reference('docker://[::1]:5000/a'); r.parse_reference('a:b')\n"
        "print(' '.join(sorted(m for m in set(sys.modules) - before if not m.startswith('rktpy'))))"
    )
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True, timeout=30
    ).stdout
    free = {"__future__", "_collections_abc", "_json", "_sha2", "_sha256", "_sha512", "_socket", "_stat", "binascii"}
    assert set(loaded.split()) <= free | {"genericpath", "os", "os.path", "posixpath", "stat"}
