"""registries.d and the storages that it names: where signatures lie, reading and writing them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import ConfigError, FetchError, FormatError, RktpyError, UsageError
from rktpy.fetch.http import Client, HTTPOptions
from rktpy.fetch.lookaside import read_signatures, write_signature
from rktpy.fetch.registries_d import load_registries_d
from rktpy.formats.oci.image_name import parse_image_name
from rktpy.formats.registries_d import parse_registries_d
from rktpy.formats.trust.evidence import MAX_COUNT, SIMPLE_SIGNING, Evidence
from rktpy.formats.trust.requirements import KeySource, SignedBy
from rktpy.formats.trust.simple_signing import Claims
from rktpy.trust import simple_signing_facts
from rktpy.trust.sign_openpgp import OpenPGPSigner, SigningKey
from rktpy.trust.sign_simple import sign
from tests.conftest import need_tool
from tests.support.gpg import Gpg
from tests.support.http_server import Answer, Server
from tests.support.sink import DirectorySink

DIGEST = "sha256:" + "ab" * 32
HEX = "sha256=" + "ab" * 32


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".config/containers/registries.d").mkdir(parents=True)
    return tmp_path


def configured(home: Path, text: str, name: str, *, write: bool = False, file: str = "a.yaml") -> str:
    (home / ".config/containers/registries.d" / file).write_text(text)
    return load_registries_d({"HOME": str(home)}).lookaside(parse_image_name(name), write=write)


CONFIG = """
default-docker:
  lookaside: file:///default
  use-sigstore-attachments: true
docker:
  registry.example:
    lookaside: https://signatures.example/base
    lookaside-staging: file:///staging
  registry.example/team:
    sigstore: file:///old
  registry.example/team/app:
    use-sigstore-attachments: true
  "*.wild.example":
    lookaside: file:///wild
"""


@pytest.mark.parametrize(
    ("name", "reading", "writing"),
    [
        ("registry.example/other:v1", "https://signatures.example/base", "file:///staging"),
        ("registry.example/team/x:v1", "file:///old", "file:///old"),
        ("registry.example/team/app:v1", "file:///old", "file:///old"),
        ("a.wild.example/x", "file:///wild", "file:///wild"),
        ("busybox", "file:///default", "file:///default"),
    ],
)
def test_the_most_specific_scope_that_says_something(home: Path, name: str, reading: str, writing: str) -> None:
    assert configured(home, CONFIG, name) == reading
    assert configured(home, CONFIG, name, write=True) == writing


def test_without_configuration_there_is_a_place_of_its_own(home: Path) -> None:
    assert configured(home, "", "busybox").endswith("containers/sigstore")
    assert configured(home, "docker: {}\n", "busybox").startswith("file:///")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("docker: [", "is not YAML"),
        ("- a", "must be a mapping"),
        ("docker: 1", "docker: must be a mapping"),
        ("docker: {1: {}}", "must be a mapping of names"),
        ("docker: {a.example: 1}", 'docker."a.example": must be a mapping'),
        ("docker: {a.example: {lookaside: ftp://x}}", 'docker."a.example"."lookaside": must be a file, http or https URL'),
        ("docker: {a.example: {lookaside: file://relative}}", "must be a file, http or https URL"),
        ("docker: {a.example: {lookaside: 1}}", "must be a file, http or https URL"),
        ("docker: {a.example: {}, a.example: {}}", "duplicate key"),
        ("default-docker: {}\ndefault-docker: {}", "duplicate key"),
        ("docker: !!python/object/apply:os.system ['true']", "is not YAML"),
        ("docker: &a [*a]", "must be a mapping"),
    ],
)
def test_wrong_configuration_is_refused(home: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(home, text, "busybox")
    assert problem.replace('."lookaside"', ".lookaside") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_files_may_not_say_the_same(home: Path) -> None:
    configured(home, CONFIG, "busybox")
    with pytest.raises(ConfigError, match=r"docker scope registry\.example is said in .*a\.yaml already"):
        configured(home, "docker: {registry.example: {}}", "busybox", file="b.yaml")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_any_mapping_is_read_or_refused(value: object) -> None:
    for document in (value, {"docker": value}, {"default-docker": value}, {"docker": {"a": value}}):
        try:
            parse_registries_d(document, "r")
        except FormatError as error:
            assert "\n" not in str(error)


def read(base: str, sink: DirectorySink, repository: str = "team/app") -> tuple[Evidence, ...]:
    with Client(HTTPOptions(allow_http=True, attempts=1)) as client:
        return read_signatures(client, base, repository, DIGEST, sink)


def test_signatures_are_read_up_to_the_first_that_is_missing(tmp_path: Path) -> None:
    sink = DirectorySink(tmp_path / "sink")
    base = f"file://{tmp_path}/with%20space/"
    directory = tmp_path / "with space/team" / f"app@{HEX}"
    directory.mkdir(parents=True)
    assert read(base, sink) == ()
    for number in (1, 2, 4):
        (directory / f"signature-{number}").write_bytes(b"signature %d" % number)
    found = read(base, sink)
    assert [sink.read_blob(one.blob("signature")) for one in found] == [b"signature 1", b"signature 2"]
    assert found[0].family == SIMPLE_SIGNING
    assert found[0].source == f"file://{tmp_path}/with%20space/team/app@{HEX}/signature-1"


def test_signatures_over_http(tmp_path: Path) -> None:
    seen: list[str] = []

    def answer(path: str) -> Answer:
        seen.append(path)
        return Answer(200, b"one") if path.endswith("signature-1") else Answer(404 if "team" in path else 403)

    with Server(lambda request: answer(request.path)) as server:
        assert len(read(f"http://{server.host}/base", DirectorySink(tmp_path / "sink"))) == 1
        assert seen == [f"/base/team/app@{HEX}/signature-{number}" for number in (1, 2)]
        # Refused is not missing: the signature that counts may be behind it.
        with pytest.raises(FetchError, match="cannot look for signatures"):
            read(f"http://{server.host}/base", DirectorySink(tmp_path / "sink"), "other/app")


def test_there_is_an_end_to_signatures(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / f"app@{HEX}"
    directory.mkdir()
    for number in range(1, 200):
        (directory / f"signature-{number}").write_bytes(b"x%d" % number)
    assert len(read(f"file://{tmp_path}", DirectorySink(tmp_path / "sink"), "app")) == MAX_COUNT
    assert f"has more than {MAX_COUNT} signatures" in capfd.readouterr().err


def test_writing(tmp_path: Path) -> None:
    base = f"file://{tmp_path}/look"
    paths = [write_signature(base, "team/app", DIGEST, b"signature %d" % number) for number in (1, 2)]
    assert [Path(path).name for path in paths] == ["signature-1", "signature-2"]
    assert Path(paths[1]).read_bytes() == b"signature 2"
    assert sorted(path.name for path in Path(paths[0]).parent.iterdir()) == ["signature-1", "signature-2"]
    with pytest.raises(UsageError, match="only to a file URL"):
        write_signature("https://signatures.example", "team/app", DIGEST, b"")
    (tmp_path / "file").touch()
    (tmp_path / f"a@{HEX}").touch()
    for base, repository in ((f"file://{tmp_path}/file", "team/app"), (f"file://{tmp_path}", "a")):
        with pytest.raises(FetchError, match="cannot write a signature"):
            write_signature(base, repository, DIGEST, b"")
    with pytest.raises(FetchError, match="there are 64 already"):
        for _ in range(MAX_COUNT):
            write_signature(f"file://{tmp_path}/look", "team/app", DIGEST, b"x")
    assert len(list((tmp_path / "look/team").glob("*/*"))) == MAX_COUNT


def test_skopeo_takes_what_we_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed here, verified there: standalone-verify checks key, digest and name."""
    keys = Gpg(tmp_path / "home")
    try:
        fingerprint = keys.key("alice")
        manifest = tmp_path / "manifest.json"
        manifest.write_text('{"schemaVersion":2}')
        argv = [need_tool("skopeo"), "manifest-digest", str(manifest)]
        digest = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
        monkeypatch.setenv("GNUPGHOME", str(keys.home))
        with OpenPGPSigner(SigningKey(fingerprint)) as signer:
            signature = sign(Claims(digest, "registry.example/a:v1", "rktpy", 1700000000), signer)
        (tmp_path / "signature").write_bytes(signature)
        argv = ["standalone-verify", str(manifest), "registry.example/a:v1", fingerprint.upper(), str(tmp_path / "signature")]
        environ = {"GNUPGHOME": str(keys.home), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(["skopeo", *argv], capture_output=True, text=True, env=environ, check=False)
        assert done.returncode == 0, done.stderr
        requirement = SignedBy("r", (KeySource(data=keys.export("alice")),))
        evidence = Evidence(SIMPLE_SIGNING, "here", "", (("signature", DIGEST),))
        fact = simple_signing_facts.examine(requirement, evidence, lambda _digest: signature, lambda source: source.data)
        assert (fact["problem"], fact["creator"], fact["timestamp"]) == ("", "rktpy", 1700000000)
        with OpenPGPSigner(SigningKey("nobody")) as signer, pytest.raises(RktpyError, match="cannot sign with gpg"):
            sign(Claims(digest, "registry.example/a:v1"), signer)
        (keys.home / "gpg.conf").write_text(f"local-user {keys.key('bob')}\n")
        with OpenPGPSigner(SigningKey(fingerprint)) as signer, pytest.raises(RktpyError, match="cannot sign with gpg"):
            sign(Claims(digest, "registry.example/a:v1"), signer)
    finally:
        keys.close()
    assert json.loads(Claims(DIGEST, "a").to_bytes())["optional"] == {}
