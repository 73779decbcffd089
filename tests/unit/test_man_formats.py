"""The hand-written manual pages (sections 5 and 7) say what the code does, as far as that can be checked by machine.

Examples in the pages carry a comment ``.\\" json: KIND`` (or ``json-lines``, ``references``) before their ``.nf``; each kind is
read here by the parser that reads such documents in earnest.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rktpy.cli import flags
from rktpy.config import load_config
from rktpy.errors import ConfigError
from rktpy.fetch.progress_output import JSONProgress
from rktpy.fetch.reference import parse_reference
from rktpy.formats import config, stage1
from rktpy.formats.aci import isolators
from rktpy.formats.aci.manifest import ImageManifest
from rktpy.formats.trust.evidence import FAMILIES, Evidence
from rktpy.isolate.seccomp_names import EVERYTHING
from rktpy.isolate.seccomp_sets import SETS
from rktpy.stage0 import images, pod_states
from rktpy.store import tree_ready
from rktpy.store.image_record import ImageRecord
from rktpy.store.paths import Layout
from rktpy.store.remotes import read_remote, write_remote
from rktpy.trust.decision import Decision, Image, SignatureFact, Step, decide
from rktpy.trust.keystore import Keystore
from tests.conftest import ROOT as CHECKOUT
from tests.conftest import need_tool

MAN = CHECKOUT / "docs" / "man"
PAGES = sorted([*MAN.glob("man5/*.5"), *MAN.glob("man7/*.7")])
TEXTS = {page.stem: page.read_text("utf-8") for page in PAGES}
EXPECTED = {
    *[
        f"rktpy-{name}"
        for name in ("archive", "config", "keystore", "policy.json", "trust", "store", "pod", "progress", "net", "unit")
    ],
    *[f"rktpy-{name}" for name in ("references", "stage1", "stage1-oci", "fly", "kvm", "systemd")],
}


def plain(text: str) -> str:
    """Roff as text: no fonts, no escapes, words separated by single blanks."""
    text = re.sub(r"\\f[BIR]", "", text)
    for escape, character in ((r"\-", "-"), (r"\(aq", "'"), (r"\(ti", "~"), (r"\(ha", "^"), (r"\&", ""), (r"\e", "\\")):
        text = text.replace(escape, character)
    return text


WORDS = {name: " ".join(plain(text).split()) for name, text in TEXTS.items()}


def examples(kind: str) -> Iterator[tuple[str, str]]:
    """The examples of a kind: the page, and the text as a reader sees it."""
    for name, text in TEXTS.items():
        for found in re.finditer(rf'^\.\\" {kind}(?:: [^\n]*)?\n\.nf\n(.*?)\n\.fi$', text, re.MULTILINE | re.DOTALL):
            yield name, plain(found[1])


def one(kind: str) -> str:
    found = [text for _name, text in examples(kind)]
    assert len(found) == 1
    return found[0]


def constants(module: object) -> dict[str, str]:
    return {name: value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}


def mentions(page: str, word: str) -> bool:
    """Whether the page has ``word``, not as a part of a longer one."""
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", WORDS[page]) is not None


def test_every_page_is_there() -> None:
    assert set(TEXTS) == EXPECTED


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_renders_without_warnings(page: Path) -> None:
    groff = need_tool("groff")
    done = subprocess.run([groff, "-man", "-ww", "-Tutf8", str(page)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_form(page: Path) -> None:
    text = page.read_text("utf-8")
    section = page.suffix[1:]
    assert page.parent.name == f"man{section}"
    title = plain(re.search(r"^\.TH (.*)$", text, re.MULTILINE)[1])  # type: ignore[index]
    assert title.startswith(f'"{page.stem.upper()}" "{section}" ')
    headings = re.findall(r"^\.SH (.*)$", text, re.MULTILINE)
    assert headings[0] == "NAME" and headings[-1] == "SEE ALSO" and "DESCRIPTION" in headings
    name = plain(text.split(".SH NAME\n")[1].split("\n")[0])
    assert name.startswith(f"{page.stem} - ")
    assert text.isascii() and "\t" not in text
    bare = [line for line in text.split("\n") if not line.startswith('.\\"') and re.search(r"(?<!\\)-", line)]
    assert not bare, "a hyphen that is typed is written \\-"


def test_references_between_pages() -> None:
    """Every rktpy page that is mentioned exists, and every page is mentioned by another one."""
    sections = {page.stem: page.suffix[1:] for page in PAGES}
    mentioned: set[str] = set()
    for name, words in WORDS.items():
        for other, section in re.findall(r"\b(rktpy(?:-[a-z0-9.]+)*)\((\d)\)", words):
            if section in ("1", "8"):
                assert (MAN / f"man{section}" / f"{other}.{section}").exists(), f"{name}: {other}({section})"
            else:
                assert sections.get(other) == section, f"{name}: {other}({section})"
                if other != name:
                    mentioned.add(other)
    assert mentioned == EXPECTED


def test_mentioned_commands_exist() -> None:
    commands = {page.stem for page in MAN.glob("man1/*.1")}
    for name, text in TEXTS.items():
        for words in re.findall(r"\\fBrktpy ([a-z][a-z \\-]*)(?: \\-\\-[a-z\\-]+)?\\f", text):
            command = plain(words).split(" -")[0].strip().replace(" ", "-")
            assert f"rktpy-{command}" in commands, f"{name}: rktpy {plain(words)}"


# -- rktpy-config(5) ----------------------------------------------------------------------------------------------------


def test_config_kinds_and_members() -> None:
    kinds = {kind for kinds in config.SUB_DIRS.values() for kind in kinds}
    for sub_dir, there in config.SUB_DIRS.items():
        assert mentions("rktpy-config", sub_dir)
        assert set(there) <= kinds
    auth = (config.BasicAuth("u", "p"), config.OAuth("t"), config.AWSAuth("a", "s", "r"))
    documents = [
        *[config.auth_to_dict("h", credentials) for credentials in auth],
        config.docker_auth_to_dict("h", auth[0]),
        config.paths_to_dict(config.PathsDocument("/d", "/s")),
        config.stage1_to_dict(config.Stage1Document("n", "1", "/l")),
    ]
    assert {document["rktKind"] for document in documents} == kinds
    for document in documents:
        words = {*document, *document.get("credentials", ()), document["rktKind"], document.get("type", "auth")}
        for word in words:
            assert mentions("rktpy-config", word), word


def test_config_examples(tmp_path: Path) -> None:
    directory = tmp_path / "config"
    wanted: set[str] = set()
    for sub_dir, kinds in config.SUB_DIRS.items():
        (directory / sub_dir).mkdir(parents=True)
        for kind in kinds:
            for number, (page, text) in enumerate(examples(f"json: {kind}")):
                document = config.parse_config(text.encode(), page)
                assert config.kind_of(document) == kind
                (directory / sub_dir / f"{kind}{number}.json").write_text(text)
                wanted.add(kind)
    assert wanted == {kind for kinds in config.SUB_DIRS.values() for kind in kinds}
    merged = load_config(str(directory), "", "")
    types = {type(credentials).__name__ for credentials in merged.auth.values()}
    assert types == {"BasicAuth", "OAuth", "AWSAuth"}
    assert merged.paths.data == "/srv/rktpy" and merged.stage1.version == "1.2.0"


def test_config_defaults() -> None:
    for path in (flags.SYSTEM_CONFIG, flags.LOCAL_CONFIG, flags.DATA_DIR):
        assert mentions("rktpy-config", path)


def test_config_diagnostics(tmp_path: Path) -> None:
    auth = tmp_path / "auth.d"
    auth.mkdir()
    document: dict[str, Any] = {"rktKind": "auth", "rktVersion": "v1", "domains": ["example.com"], "type": "basic"}
    good = {**document, "credentials": {"user": "u", "password": "p"}}

    def problem(sub_dir: str) -> str:
        with pytest.raises(ConfigError) as caught:
            getattr(load_config("", str(tmp_path), ""), "auth" if sub_dir == "auth.d" else "paths")
        return str(caught.value).replace(str(tmp_path), "/etc/rktpy")

    (auth / "a.json").write_text(json.dumps({**document, "credentials": {"user": "u", "passwort": "p"}}))
    assert problem("auth.d") in WORDS["rktpy-config"]
    (auth / "a.json").write_text(json.dumps(good))
    (auth / "b.json").write_text(json.dumps(good))
    assert problem("auth.d") in WORDS["rktpy-config"]
    (tmp_path / "paths.d").write_text("")
    assert problem("paths.d") in WORDS["rktpy-config"]


# -- rktpy-keystore(5), rktpy-trust(5) ------------------------------------------------------------------------------------


def test_trust_document() -> None:
    page = "rktpy-trust"
    aci = Image("sha512-1b3f...", "aci", "example.com/web")
    decision = Decision(
        aci, "accepted", "signed by a trusted key", "x", (Step("rule", "accepts", "why"),), (SignatureFact("s", created=1),)
    )
    written = json.loads(images.trust_document({"web": [decision]}))
    shown = json.loads(one("json: trust"))

    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: shape(member) for name, member in value.items()}
        return [shape(member) for member in value] if isinstance(value, list) else type(value)

    assert shape(written) == shape(shown)
    for name in (*written, *written["apps"]["web"][0], *written["apps"]["web"][0]["steps"][0]):
        assert mentions(page, name), name
    for verdict in ("accepted", "rejected", "undecided"):
        assert mentions(page, verdict)
    insecure = decide(aci, (), (), states={}, insecure_image=True, now=0)
    assert insecure.allowed_by in WORDS[page]
    # The example that greps for such pods.
    assert f'"allowedBy":"{insecure.allowed_by}"' in images.trust_document({"web": [insecure]}).decode()
    assert f'"allowedBy":"{insecure.allowed_by}"' in WORDS[page]


def test_rules_of_the_trust_page() -> None:
    assert decide(Image("i", "oci", "n"), (), (), states={}, insecure_image=False, now=0).verdict == "rejected"
    assert decide(Image("i", "aci", "n"), (), (), states={}, insecure_image=False, now=0).verdict == "rejected"
    assert decide(Image("i", "oci", "n"), (), (), states={}, insecure_image=True, now=0).verdict == "accepted"


def test_keystore_precedence(tmp_path: Path) -> None:
    """What the page says about order, masking and which files count."""
    one_key, other = "1" * 40, "2" * 40
    store = Keystore(str(tmp_path / "system"), str(tmp_path / "local"))

    def put(place: str, key: str = one_key, text: str = "key") -> None:
        path = tmp_path / place / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def found(name: str) -> dict[str, str]:
        return {key.fingerprint: key.path.removeprefix(f"{tmp_path}/") for key in store.keys_for(name)}

    root, prefix = "system/trustedkeys/root.d", "trustedkeys/prefix.d/example.com/app"
    put(f"system/{prefix}")
    put(f"system/{prefix}", ".hidden")
    assert found("example.com/app") == found("example.com/app/web") == {one_key: f"system/{prefix}/{one_key}"}
    assert found("example.com/app2") == found("example.com") == {}
    put("local/trustedkeys/root.d", text="")
    assert found("example.com/app") == {one_key: f"system/{prefix}/{one_key}"}, "an empty root key does not mask a prefix key"
    put(f"local/{prefix}")
    assert found("example.com/app") == {one_key: f"local/{prefix}/{one_key}"}
    put(f"local/{prefix}", text="")
    assert found("example.com/app") == {}
    put(root, other)
    put(f"local/{prefix}", other, "")
    assert found("example.com/app") == {} and other in found("example.com/other"), "a root key is masked below the prefix"
    put("local/trustedkeys/prefix.d/example.com", "README")
    assert "README" in found("example.com")


# -- rktpy-store(5) -------------------------------------------------------------------------------------------------------


def test_store_layout() -> None:
    page = "rktpy-store"
    layout = Layout("/d")
    for path, _mode in layout.directories():
        name = path.removeprefix("/d").removeprefix("/cas").strip("/")
        assert name in WORDS[page], path
    for path in (layout.index, layout.records_lock, layout.blobs_lock, layout.key_state("FINGERPRINT")):
        assert path.removeprefix("/d/cas/") in WORDS[page]
    assert layout.facts("sha256-" + "0" * 64).removeprefix("/d/cas/").partition("-")[0] + "-IMAGE" in WORDS[page]
    assert mentions(page, "locks/prepareLock")
    assert tree_ready.SYNCED.decode().strip() in WORDS[page]
    assert "deps-sha512-" in WORDS[page]


def test_store_records(tmp_path: Path) -> None:
    page = "rktpy-store"
    shown = json.loads(one("json: record"))
    record = ImageRecord.from_dict(shown)
    assert record.to_dict() == shown
    evidence = Evidence("f", "s", "m", ())
    for name in (*shown, *shown["layers"][0], *SignatureFact("s").to_dict(), *evidence.to_dict(), *FAMILIES):
        assert mentions(page, name), name
    remote = json.loads(one("json: remote"))
    for name in remote:
        assert mentions(page, name)
    layout = Layout(str(tmp_path))
    for path in (layout.remotes, layout.temporary):
        os.makedirs(path)
    from rktpy.store.remotes import Remote

    known = Remote(
        remote["url"], remote["signatureURL"], remote["etag"], remote["imageID"], remote["maxAge"], remote["downloadTime"]
    )
    write_remote(layout, known)
    (file,) = os.scandir(layout.remotes)
    assert json.loads(Path(file.path).read_text()) == remote
    assert read_remote(layout, remote["url"]) == known


# -- rktpy-pod(5), rktpy-stage1(7) ----------------------------------------------------------------------------------------


def test_pod_states() -> None:
    for directory, states in pod_states.STATES.items():
        assert f"{directory}/UUID" in WORDS["rktpy-pod"]
        for state in states:
            assert mentions("rktpy-pod", state)


def test_pod_files() -> None:
    """Every name of the contract, every file in the drawing of the pod's directory, and those that only fly has."""
    named = constants(stage1)
    endings = ("_FILE", "_DIR", "_ROOTFS", "_MANIFEST")
    files = {value for name, value in named.items() if name.endswith(endings) and not value.startswith("coreos.com/")}
    files |= {stage1.RESOLV_CONF, stage1.HOSTS, stage1.HOSTS_FALLBACK}
    drawing = (pod_states.__doc__ or "").partition("in a pod's directory")[2].partition("\n\n")[0]
    drawn = set(
        re.findall(
            r"(?<![\w-])(?:pod(?:-created|\.lck)?|[a-z]+-[a-z-]+|net-info\.json|[a-zA-Z0-9]+TreeStoreID)(?![\w-])", drawing
        )
    )
    assert len(files) > 20 and len(drawn) > 6
    from rktpy.cgroup import recorded
    from rktpy.isolate import volumes
    from rktpy.stage0 import metadata, pod_files, prepare
    from rktpy.stage1.systemd import pod, pod_paths, pod_root, streams

    more = {
        recorded.CGROUPS_FILE,
        pod_paths.STATUS_SCRIPT,
        pod_paths.FIRST_FAILURE,
        pod.NAMES_FILE,
        pod_paths.OVER_FIFO,
        pod_paths.UNITS_DIR,
        pod_root.KERNEL_PROC[1:],
        pod_root.KERNEL_SYS[1:],
        streams.PROGRAMS_DIR,
        streams.KUBERNETES_LOGS,
        pod_files.TRUST_FILE,
        prepare.BUNDLED_FILE,
        prepare.STRICT_FILE,
        metadata.REGISTERED_FILE,
        volumes.SHARED_VOLUMES,
    }
    for name in files | drawn | more:
        assert mentions("rktpy-pod", name), name


def test_enforcement_example() -> None:
    report = stage1.read_report(one("json: enforcement").encode())
    assert {entry.outcome for entry in report} == {"enforced", "ignored"}
    for name in ("isolators", *report[0].to_dict(), "enforced", "changed", "ignored"):
        assert mentions("rktpy-pod", name)


def test_stage1_names() -> None:
    page = "rktpy-stage1"
    named = constants(stage1)
    assert len(named) > 40
    for name, value in named.items():
        if value.startswith(("coreos.com/", "appc.io/", "RKT_", "AC_", ":", "/usr/local")):
            assert value in WORDS[page], name


def test_stage1_arguments() -> None:
    """What stage0 sends, since the version that the page says."""
    from rktpy.stage0.run import run_arguments

    text = plain(TEXTS["rktpy-stage1"]).replace("\n", " ")
    since = {
        "--hostname": stage1.HOSTNAME_SINCE,
        "--disable-seccomp": stage1.INSECURE_SINCE,
        "--dns-conf-mode": stage1.DNS_CONF_MODE_SINCE,
        "--mutable": stage1.MUTABLE_SINCE,
        "--ipc": stage1.IPC_SINCE,
        "--strict": stage1.REPORT_SINCE,
        "--dry-run": stage1.REPORT_SINCE,
    }
    for name, version in since.items():
        assert re.search(rf"\.TP (?:--[a-z-]+(?:=[^.]*)?, )*{name}\b[^.]*? Since version {version}[.:]", text), name
    assert f"--local-config is given since version {stage1.GC_LOCAL_CONFIG_SINCE}" in WORDS["rktpy-stage1"]
    assert stage1.CURRENT_VERSION == 7
    from rktpy.stage0.dns import DNSMode
    from rktpy.stage0.options import Globals, InsecureOptions, RunOptions

    g = Globals(
        data_dir="/d", local_config="/l", debug=True, insecure=InsecureOptions(capabilities=True, paths=True, seccomp=True)
    )
    options = RunOptions(interactive=True, hostname="h", ipc="private", dry_run=True)
    sent = run_arguments(
        g, options, "uuid", 7, private_users="0:1", mode=DNSMode("host", "host"), token="t", strict=True, mutable=True
    )
    assert sent[-1] == "uuid"
    for argument in sent[:-1]:
        assert mentions("rktpy-stage1", argument.partition("=")[0]), argument


def test_stage1_example() -> None:
    manifest = ImageManifest.from_bytes(one("json: stage1-manifest").encode())
    points = stage1.EntryPoints.from_manifest(manifest)
    assert (points.run, points.stop, points.enter, points.interface_version) == ("run", "stop", "", 6)


# -- rktpy-fly(7) ---------------------------------------------------------------------------------------------------------


def test_fly_isolators() -> None:
    names = {value for name, value in constants(isolators).items() if name.endswith("_NAME")}
    assert len(names) == 16
    for name in names:
        assert mentions("rktpy-fly", name), name
    for name in (*SETS, EVERYTHING):
        assert name in WORDS["rktpy-fly"], name


def test_fly_options() -> None:
    """Every flag of a pod or an app is dealt with."""
    table = (*flags.APP, *flags.ISOLATORS, *flags.STREAMS, *flags.POD, *flags.NETWORK, *flags.STRICT)
    for flag in table:
        if flag[0] not in flags.DEPRECATED:
            assert mentions("rktpy-fly", f"--{flag[0]}"), flag[0]
    for word in ("capabilities", "paths", "seccomp"):
        assert mentions("rktpy-fly", word)


# -- rktpy-references(7), rktpy-progress(5) -------------------------------------------------------------------------------


def test_reference_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = one("references").splitlines()
    kinds: set[str] = set()
    for line in lines:
        text, kind = line.split()
        assert type(parse_reference(text)).__name__ == kind, line
        kinds.add(kind)
    assert len(kinds) == 8


def test_pull_policies() -> None:
    defaults = {table[-1][2] for table in (flags.PULL_NEW, flags.PULL_UPDATE)}
    assert defaults == {"new", "update"}
    for policy in (*defaults, "never"):
        assert mentions("rktpy-references", policy)


def test_progress_example(tmp_path: Path) -> None:
    page = "rktpy-progress"
    with open(tmp_path / "out", "wb+", buffering=0) as file:
        progress = JSONProgress(file.fileno())
        progress.begin("a", "label", 3, 0)
        progress.advance("a", 3, 3)
        progress.end("a", "done")
        file.seek(0)
        written = [json.loads(line) for line in file.read().splitlines()]
    members = {line["event"]: set(line) for line in written}
    shown = [json.loads(line) for line in one("json-lines: progress").splitlines()]
    assert {line["event"] for line in shown} == set(members)
    for line in shown:
        assert set(line) == members[line["event"]]
    for word in (*members, *set().union(*members.values()), "done", "exists", "failed"):
        assert mentions(page, word)
    assert {line["outcome"] for line in shown if line["event"] == "end"} <= {"done", "exists", "failed"}
