"""rkt's configuration files (formats/config.py) and how directories are merged (rktpy/config.py)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from rktpy.config import Config, load_config
from rktpy.errors import ConfigError, FormatError
from rktpy.formats.config import (
    AuthDocument,
    AWSAuth,
    BasicAuth,
    DockerAuthDocument,
    OAuth,
    PathsDocument,
    Stage1Document,
    aws_region_of,
    parse_config,
)
from tests.unit.test_formats_aci import JSON


def document(kind: str, **members: Any) -> dict[str, Any]:
    return {"rktKind": kind, "rktVersion": "v1", **{name.replace("_", "-"): value for name, value in members.items()}}


BASIC = {"user": "joe", "password": "secret"}


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        (
            document("auth", domains=["a", "b:80"], type="basic", credentials=BASIC),
            AuthDocument(("a", "b:80"), BasicAuth("joe", "secret")),
        ),
        (document("auth", domains=["a"], type="oauth", credentials={"token": "t"}), AuthDocument(("a",), OAuth("t"))),
        (
            document("auth", domains=["a"], type="aws", credentials={"accessKeyID": "i", "secretAccessKey": "s"}),
            AuthDocument(("a",), AWSAuth("i", "s", "")),
        ),
        (
            document(
                "auth", domains=["a"], type="aws", credentials={"accessKeyID": "i", "secretAccessKey": "s", "awsRegion": "r"}
            ),
            AuthDocument(("a",), AWSAuth("i", "s", "r")),
        ),
        (
            document("dockerAuth", registries=["quay.example"], credentials=BASIC),
            DockerAuthDocument(("quay.example",), BasicAuth("joe", "secret")),
        ),
        (document("paths", data="/d", stage1_images="/s"), PathsDocument("/d", "/s")),
        (document("paths"), PathsDocument()),
        (document("stage1", name="a/b", version="1", location="/x"), Stage1Document("a/b", "1", "/x")),
        (document("stage1", location="docker://a/b:c"), Stage1Document("", "", "docker://a/b:c")),
        (document("stage1", location="https://a/b"), Stage1Document("", "", "https://a/b")),
    ],
)
def test_documents(text: dict[str, Any], parsed: object) -> None:
    assert parse_config(json.dumps(text).encode(), "x.json") == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ([], "x.json: must be an object"),
        ({}, "x.json: no rktKind specified"),
        ({"rktKind": "auth"}, "x.json: no rktVersion specified"),
        ({"rktKind": "net", "rktVersion": "v1"}, "no parser available for configuration of kind 'net'"),
        ({"rktKind": "auth", "rktVersion": "v2"}, "kind 'auth' and version 'v2'"),
        (document("auth", type="basic", credentials=BASIC), "domains: no domains specified"),
        (document("auth", domains=["a"], credentials=BASIC), "type: no auth type specified"),
        (document("auth", domains=["a"], type="magic", credentials=BASIC), "type: unknown auth type: 'magic'"),
        (document("auth", domains=[""], type="basic", credentials=BASIC), r"domains\[0\]: cannot be empty"),
        (document("auth", domains="a", type="basic", credentials=BASIC), "domains: must be an array"),
        (document("auth", domains=["a"], type="basic", credentials={"password": "x"}), "credentials.user: user not specified"),
        (
            document("auth", domains=["a"], type="basic", credentials={"user": "x"}),
            "credentials.password: password not specified",
        ),
        (document("auth", domains=["a"], type="basic"), "credentials.user: user not specified"),
        (document("auth", domains=["a"], type="oauth", credentials={}), "no oauth bearer token specified"),
        (document("auth", domains=["a"], type="oauth", credentials={"token": "a\nX: y"}), "contains a line break"),
        (document("auth", domains=["a"], type="aws", credentials={"secretAccessKey": "x"}), "no AWS Access Key ID specified"),
        (document("auth", domains=["a"], type="aws", credentials={"accessKeyID": "x"}), "no AWS Secret Access Key specified"),
        (document("auth", domains=["a"], type="basic", credentials={**BASIC, "usr": "x"}), "credentials.usr: unknown member"),
        (document("auth", domain=["a"], type="basic", credentials=BASIC), "domain: unknown member"),
        (document("dockerAuth", credentials=BASIC), "registries: no registries specified"),
        (document("dockerAuth", registries=["a"]), "credentials.user: user not specified"),
        (document("paths", data="d"), "data: data directory must be an absolute path"),
        (document("paths", stage1_images="d"), "stage1-images: stage1 images directory must be an absolute path"),
        (document("stage1", name="a"), "name: default stage1 image name specified, but version is missing"),
        (document("stage1", version="a"), "version: default stage1 image version specified, but name is missing"),
        (document("stage1", location="a/b"), "location: .*relative path or a URL without scheme"),
        (
            document("stage1", location="ftp://a"),
            "location: .*invalid scheme 'ftp', allowed schemes are docker, file, http, https",
        ),
    ],
)
def test_bad_documents(text: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        parse_config(json.dumps(text).encode(), "x.json")


@settings(deadline=None)
@given(JSON)
def test_any_json_is_read_or_an_error(value: Any) -> None:
    for base in (document("auth", domains=["a"], type="basic", credentials=value), document("stage1", location=value), value):
        try:
            parse_config(json.dumps(base).encode(), "x.json")
        except FormatError:
            pass


def test_secrets_are_not_shown() -> None:
    shown = repr((BasicAuth("joe", "hush"), OAuth("hush"), AWSAuth("id", "hush"), AuthDocument(("a",), OAuth("hush"))))
    assert "hush" not in shown


def test_regions() -> None:
    assert aws_region_of("bucket.s3-eu-west-1.amazonaws.com:443") == "eu-west-1"
    assert aws_region_of("s3-eu-west-1.amazonaws.com") == "eu-west-1"
    assert aws_region_of("bucket.s3.eu-central-1.amazonaws.com") == "eu-central-1"
    for host in ("bucket.s3.amazonaws.com", "s3-external-1.amazonaws.com", "example.org", "amazonaws.com", ""):
        assert aws_region_of(host) == "us-east-1"


class Directories:
    """Three configuration directories to write documents into."""

    def __init__(self, root: Path) -> None:
        self.system, self.local, self.user = root / "system", root / "local", root / "user"

    def write(self, directory: Path, name: str, content: object) -> Path:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    def load(self) -> Config:
        return load_config(str(self.system), str(self.local), str(self.user))


@pytest.fixture
def dirs(tmp_path: Path) -> Directories:
    return Directories(tmp_path)


def basic(user: str, *domains: str) -> dict[str, Any]:
    return document("auth", domains=list(domains), type="basic", credentials={"user": user, "password": "p"})


def docker(user: str, *registries: str) -> dict[str, Any]:
    return document("dockerAuth", registries=list(registries), credentials={"user": user, "password": "p"})


def test_nothing_configured(dirs: Directories) -> None:
    config = dirs.load()
    assert config.paths == PathsDocument()
    assert config.stage1 == Stage1Document()
    assert config.auth.get("a") is None
    assert config.docker_credentials("a") is None


def test_later_directories_override(dirs: Directories) -> None:
    dirs.write(dirs.system, "auth.d/a.json", basic("system", "a", "b", "c"))
    dirs.write(dirs.local, "auth.d/a.json", basic("local", "b", "c"))
    dirs.write(dirs.user, "auth.d/a.json", basic("user", "c", "c:8080"))
    dirs.write(dirs.system, "auth.d/d.json", docker("system", "quay.example", "index.docker.io"))
    dirs.write(dirs.user, "auth.d/d.json", docker("user", "quay.example"))
    dirs.write(dirs.system, "paths.d/p.json", document("paths", data="/system", stage1_images="/system/s"))
    dirs.write(dirs.local, "paths.d/p.json", document("paths", data="/local"))
    dirs.write(dirs.system, "stage1.d/s.json", document("stage1", name="system/s", version="1", location="/system/s.aci"))
    dirs.write(dirs.local, "stage1.d/s.json", document("stage1", name="local/s", version="2"))
    dirs.write(dirs.user, "stage1.d/s.json", document("stage1", location="https://user/s.aci"))
    config = dirs.load()
    assert config.auth.get("a") == BasicAuth("system", "p")
    assert config.auth.get("b") == BasicAuth("local", "p")
    assert config.auth.get("c") == BasicAuth("user", "p")
    assert config.auth.get("c:8080") == BasicAuth("user", "p")
    assert config.auth.get("a:8080") is None
    assert config.docker_credentials("quay.example") == BasicAuth("user", "p")
    assert config.docker_credentials("docker.io") == BasicAuth("system", "p")
    assert config.paths == PathsDocument("/local", "/system/s")
    assert config.stage1 == Stage1Document("local/s", "2", "https://user/s.aci")


def test_several_files_of_one_directory_add_up(dirs: Directories) -> None:
    dirs.write(dirs.local, "paths.d/1.json", document("paths", data="/d"))
    dirs.write(dirs.local, "paths.d/2.json", document("paths", stage1_images="/s"))
    dirs.write(dirs.local, "stage1.d/1.json", document("stage1", name="n", version="v"))
    dirs.write(dirs.local, "stage1.d/2.json", document("stage1", location="/l"))
    config = dirs.load()
    assert config.paths == PathsDocument("/d", "/s")
    assert config.stage1 == Stage1Document("n", "v", "/l")


@pytest.mark.parametrize(
    ("sub_dir", "first", "second", "message"),
    [
        ("auth.d", basic("x", "a"), basic("y", "b", "a"), "auth for domain 'a' is already specified"),
        ("auth.d", docker("x", "a"), docker("x", "a"), "credentials for docker registry 'a' are already specified"),
        ("paths.d", document("paths", data="/a"), document("paths", data="/a"), "data directory is already specified"),
        (
            "paths.d",
            document("paths", stage1_images="/a"),
            document("paths", stage1_images="/b"),
            "stage1 images directory is already",
        ),
        (
            "stage1.d",
            document("stage1", name="a", version="1"),
            document("stage1", name="a", version="1"),
            "name and version of a default stage1 image are already specified",
        ),
        (
            "stage1.d",
            document("stage1", location="/a"),
            document("stage1", location="/a"),
            "location of a default stage1 image is already",
        ),
    ],
)
def test_twice_in_one_directory(dirs: Directories, sub_dir: str, first: object, second: object, message: str) -> None:
    dirs.write(dirs.local, f"{sub_dir}/1.json", first)
    path = dirs.write(dirs.local, f"{sub_dir}/2.json", second)
    with pytest.raises(ConfigError, match=message) as caught:
        dirs.load().to_dict()
    assert str(path) in str(caught.value)


def test_the_same_domain_for_both_kinds_is_fine(dirs: Directories) -> None:
    dirs.write(dirs.local, "auth.d/1.json", basic("x", "a"))
    dirs.write(dirs.local, "auth.d/2.json", docker("y", "a"))
    config = dirs.load()
    assert config.auth.get("a") == BasicAuth("x", "p")
    assert config.docker_credentials("a") == BasicAuth("y", "p")


def test_only_json_files_count(dirs: Directories) -> None:
    dirs.write(dirs.local, "auth.d/notes.txt", b"not json")
    dirs.write(dirs.local, "auth.d/sub/a.json", b"not json")
    (dirs.local / "auth.d" / "dir.json").mkdir()
    os.mkfifo(dirs.local / "auth.d" / "pipe.json")
    outside = dirs.write(dirs.system, "elsewhere", basic("linked", "a"))
    (dirs.local / "auth.d" / "link.json").symlink_to(outside)
    assert dirs.load().auth.get("a") == BasicAuth("linked", "p")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b'{"rktKind":"auth","rktKind":"auth"}', "duplicate member 'rktKind'"),
        (json.dumps(document("paths")).encode(), "kind 'paths' does not belong in"),
        (b" " * ((1 << 20) + 1), "larger than 1048576 bytes"),
    ],
)
def test_errors_name_the_file(dirs: Directories, content: bytes, message: str) -> None:
    path = dirs.write(dirs.local, "auth.d/bad.json", content)
    with pytest.raises(ConfigError, match=message) as caught:
        dirs.load().auth.get("a")
    assert str(path) in str(caught.value)


def test_bad_credentials_do_not_disturb_who_does_not_ask(dirs: Directories) -> None:
    dirs.write(dirs.local, "auth.d/bad.json", b"{")
    assert dirs.load().paths == PathsDocument()


def test_strange_directories(dirs: Directories) -> None:
    dirs.write(dirs.local, "auth.d", b"a file")
    with pytest.raises(ConfigError, match="to be a directory"):
        dirs.load().auth.get("a")
    (dirs.user / "paths.d").mkdir(parents=True)
    (dirs.user / "paths.d" / "gone.json").symlink_to("/nonexistent")
    with pytest.raises(ConfigError, match="cannot read the configuration file"):
        dirs.load().paths  # noqa: B018


def test_the_printed_form(dirs: Directories) -> None:
    dirs.write(dirs.local, "auth.d/b.json", basic("joe", "z", "a"))
    dirs.write(dirs.local, "auth.d/o.json", document("auth", domains=["m"], type="oauth", credentials={"token": "t"}))
    dirs.write(
        dirs.local,
        "auth.d/s.json",
        document("auth", domains=["s3"], type="aws", credentials={"accessKeyID": "i", "secretAccessKey": "k"}),
    )
    dirs.write(dirs.local, "auth.d/d.json", docker("ann", "quay.example"))
    dirs.write(dirs.local, "paths.d/p.json", document("paths", data="/d"))
    printed = dirs.load().to_dict()
    joe = {"user": "joe", "password": "p"}
    assert printed == {
        "stage0": [
            {"rktVersion": "v1", "rktKind": "auth", "domains": ["a"], "type": "basic", "credentials": joe},
            {"rktVersion": "v1", "rktKind": "auth", "domains": ["m"], "type": "oauth", "credentials": {"token": "t"}},
            {
                "rktVersion": "v1",
                "rktKind": "auth",
                "domains": ["s3"],
                "type": "aws",
                "credentials": {"accessKeyID": "i", "secretAccessKey": "k", "awsRegion": ""},
            },
            {"rktVersion": "v1", "rktKind": "auth", "domains": ["z"], "type": "basic", "credentials": joe},
            {
                "rktVersion": "v1",
                "rktKind": "dockerAuth",
                "registries": ["quay.example"],
                "credentials": {"user": "ann", "password": "p"},
            },
            {"rktVersion": "v1", "rktKind": "paths", "data": "/d", "stage1-images": ""},
            {"rktVersion": "v1", "rktKind": "stage1", "name": "", "version": "", "location": ""},
        ]
    }
    # What is printed can be read back.
    for entry in printed["stage0"]:
        parse_config(json.dumps(entry).encode(), "printed")
