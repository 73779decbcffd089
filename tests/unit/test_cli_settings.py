"""The global flags, and how the flags of run become records."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy import log
from rktpy.cli.parse import parse
from rktpy.cli.pod_options import pod_options
from rktpy.cli.pull import fetch_options
from rktpy.cli.run_options import run_options
from rktpy.cli.settings import insecure_options, settings
from rktpy.errors import RktpyError, UsageError, innermost
from rktpy.formats.aci.types import NameValue
from rktpy.stage0.options import FetchOptions, Globals, InsecureOptions, PodOptions, RunOptions, Stage1Choice

FETCH = {"image": True, "tls": True, "http": True, "pubkey": True}
RUN = {"capabilities": True, "paths": True, "seccomp": True}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Parsing ``--debug`` takes effect at once."""
    yield
    log.set_debug(False)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("none", {}),
        ("", {}),
        ("ondisk", {}),
        ("image", {"image": True}),
        ("IMAGE,tls", {"image": True, "tls": True}),
        ("http", {"http": True}),
        ("pubkey,seccomp", {"pubkey": True, "seccomp": True}),
        ("all-fetch", FETCH),
        ("all-run", RUN),
        ("all-run,image", {**RUN, "image": True}),
        ("all", {**FETCH, **RUN}),
        ("none,paths", {"paths": True}),
    ],
)
def test_insecure_options(value: str, wanted: dict[str, bool]) -> None:
    assert insecure_options(value) == InsecureOptions(**wanted)


def places(directory: Path, *words: str) -> list[str]:
    return [f"--system-config={directory}/system", f"--local-config={directory}/local", *words]


def configure(directory: Path, data: str) -> None:
    (directory / "paths.d").mkdir(parents=True)
    document = {"rktKind": "paths", "rktVersion": "v1", "data": data, "stage1-images": "/s"}
    (directory / "paths.d/paths.json").write_text(json.dumps(document))


def test_defaults(tmp_path: Path) -> None:
    g = settings(parse(["list", *places(tmp_path)]))
    assert g == Globals(system_config=f"{tmp_path}/system", local_config=f"{tmp_path}/local")
    assert g.data_dir == "/var/lib/rktpy"


def test_the_data_directory_may_be_configured(tmp_path: Path) -> None:
    configure(tmp_path / "system", "/data/system")
    assert settings(parse(["list", *places(tmp_path)])).data_dir == "/data/system"
    configure(tmp_path / "local", "/data/local")
    assert settings(parse(["list", *places(tmp_path)])).data_dir == "/data/local"
    configure(tmp_path / "user", "/data/user")
    assert settings(parse(["list", *places(tmp_path, f"--user-config={tmp_path}/user")])).data_dir == "/data/user"
    # The flag counts most, also with the default's value.
    assert settings(parse(["list", *places(tmp_path, "--dir=/data/flag")])).data_dir == "/data/flag"
    assert settings(parse(["list", *places(tmp_path, "--dir=/var/lib/rktpy")])).data_dir == "/var/lib/rktpy"


def test_a_wrong_configuration_is_an_error(tmp_path: Path) -> None:
    configure(tmp_path / "local", "/x")
    (tmp_path / "local/paths.d/paths.json").write_text("{")
    with pytest.raises(RktpyError) as caught:
        settings(parse(["list", *places(tmp_path)]))
    assert innermost(caught.value).startswith("cannot get configuration: ")
    # It is not read when it is not needed.
    assert settings(parse(["list", *places(tmp_path, "--dir=/y")])).data_dir == "/y"


def test_links_to_the_data_directory_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real/data").mkdir(parents=True)
    os.symlink("real", tmp_path / "relative")
    os.symlink(tmp_path / "relative/data", tmp_path / "absolute")
    os.symlink("loop", tmp_path / "loop")
    for name in ("relative/data", "absolute", "relative/../real/./data//"):
        assert settings(parse([f"--dir={tmp_path}/{name}", "list"])).data_dir == os.path.realpath(f"{tmp_path}/real/data")
    # What is not there yet stays as it is named.
    assert settings(parse([f"--dir={tmp_path}/absolute/a/b", "list"])).data_dir == f"{tmp_path}/real/data/a/b"
    with pytest.raises(RktpyError, match="too many symbolic links"):
        settings(parse([f"--dir={tmp_path}/loop", "list"]))
    monkeypatch.chdir(tmp_path / "real")
    assert settings(parse(["--dir=data", "list"])).data_dir == f"{tmp_path}/real/data"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("fetch", FetchOptions("update")),
        ("fetch --pull-policy=never", FetchOptions("never")),
        ("fetch --store-only", FetchOptions("never")),
        ("run --no-store", FetchOptions("update")),
        ("run", FetchOptions("new")),
        ("run --store-only=false", FetchOptions("new")),
        ("prepare --progress=json --platform=linux/arm64", FetchOptions("new", "json", "linux/arm64")),
    ],
)
def test_pull_policies(line: str, wanted: FetchOptions) -> None:
    assert fetch_options(parse(line.split())) == wanted


def test_pull_policies_that_contradict() -> None:
    with pytest.raises(UsageError, match=r"^both --store-only and --no-store specified$"):
        fetch_options(parse(["run", "--store-only", "--no-store"]))


def test_every_flag_of_the_pod_reaches_the_record() -> None:
    line = (
        "prepare --inherit-env --no-overlay --pod-manifest=/m --port=p:80 --private-users --set-env=A=1 --set-env=B=x=y"
        " --set-env-file=f --set-env-file=g --volume=v,kind=empty --mount=volume=v,target=/m --stage1-hash=sha512-ab --strict"
        " --quiet img"
    )
    arguments = parse(line.split())
    assert arguments.images is not None
    assert pod_options(arguments) == PodOptions(
        apps=arguments.images.apps(),
        volumes=tuple(arguments.volumes),
        mounts=(("v", "/m"),),
        ports=tuple(arguments.ports),
        inherit_env=True,
        environment=(NameValue("A", "1"), NameValue("B", "x=y")),
        env_files=("f", "g"),
        no_overlay=True,
        private_users=True,
        pod_manifest="/m",
        stage1=Stage1Choice(hash="sha512-ab"),
        fetch=FetchOptions("new"),
        strict=True,
    )


@pytest.mark.parametrize(
    ("flag", "wanted"),
    [
        ("stage1=fly", Stage1Choice(bundled="fly")),
        ("stage1-path=./p", Stage1Choice(path="./p")),
        ("stage1-url=u", Stage1Choice(url="u")),
        ("stage1-name=n", Stage1Choice(name="n")),
        ("stage1-from-dir=f", Stage1Choice(from_dir="f")),
    ],
)
def test_choices_of_the_stage1(flag: str, wanted: Stage1Choice) -> None:
    assert pod_options(parse(["run", f"--{flag}", "img"])).stage1 == wanted


def test_every_flag_of_running_reaches_the_record() -> None:
    line = (
        "run --net=a,b:X=1 --net=c --dns=1.1.1.1,::1 --dns=8.8.8.8 --dns-domain=d --dns-opt=o --dns-opt=p --dns-search=s"
        " --hosts-entry=1.2.3.4=h,1.2.3.5=i --hosts-entry=host --hostname=n --interactive --ipc=private --mds-register"
        " --uuid-file-save=/u --strict --dry-run img"
    )
    assert run_options(parse(line.split())) == RunOptions(
        net=("a", "b:X=1", "c"),
        dns=("1.1.1.1", "::1", "8.8.8.8"),
        dns_search=("s",),
        dns_options=("o", "p"),
        dns_domain="d",
        hosts_entries=(("1.2.3.4", "h"), ("1.2.3.5", "i"), ("host", "")),
        hostname="n",
        ipc="private",
        interactive=True,
        mds_register=True,
        uuid_file_save="/u",
        strict=True,
        dry_run=True,
    )
    assert run_options(parse(["run-prepared", "u"])) == RunOptions()


@pytest.mark.parametrize(
    ("flag", "problem"),
    [
        ("--ipc=host", 'invalid value for --ipc: "host" (must be auto, private or parent)'),
        ("--hosts-entry=h", "error with dns flags: Did not understand --hosts-entry h"),
        ("--hosts-entry=host=x", "error with dns flags: Did not understand --hosts-entry host=x"),
    ],
)
def test_what_running_refuses(flag: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        run_options(parse(["run", flag, "img"]))
    assert str(caught.value) == problem
