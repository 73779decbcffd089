"""Hooks: runtime-spec 1.2 ``config.md`` (POSIX-platform Hooks), ``runtime.md`` (Lifecycle)."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci_bundles import Bundle, Runtime

pytestmark = pytest.mark.root
_KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def hook(script: str, *args: str, **more: Any) -> dict[str, Any]:
    """A hook that runs a shell script; it is found inside and outside of the container."""
    return {"path": "/bin/sh", "args": ["sh", "-c", script, "sh", *args], "env": ["PATH=/bin:/usr/bin"], **more}


def add(bundle: Bundle, kind: str, *hooks: dict[str, Any]) -> None:
    """Add hooks to the configuration."""
    bundle.config.setdefault("hooks", {}).setdefault(kind, []).extend(hooks)


@pytest.fixture
def log(bundle: Bundle, tmp_path: Path) -> Path:
    """A file that hooks write to, at the same path inside and outside."""
    path = tmp_path / "hooklog"
    path.mkdir()
    bundle.mount(str(path), "bind", str(path), "bind")
    return path / "log"


def test_all_hooks_run_in_order(runtime: Runtime, bundle: Bundle, log: Path) -> None:
    for kind in _KINDS:
        add(bundle, kind, hook(f"echo {kind} 1 >>{log}"), hook(f"echo {kind} 2 >>{log}"))
    runtime.create(bundle(f"echo program >>{log}; sleep 0.3"), "one")
    early = [f"{kind} {number}" for kind in ("prestart", "createRuntime", "createContainer") for number in (1, 2)]
    assert log.read_text().splitlines() == early
    runtime("start", "one")
    runtime.wait_for("one", "stopped")
    runtime("delete", "one")
    lines = log.read_text().splitlines()
    assert lines[6:8] == ["startContainer 1", "startContainer 2"]
    assert sorted(lines[8:11]) == ["poststart 1", "poststart 2", "program"]
    assert lines[11:] == ["poststop 1", "poststop 2"]


@pytest.mark.parametrize("kind", _KINDS)
def test_the_state_is_on_standard_input(runtime: Runtime, bundle: Bundle, log: Path, kind: str) -> None:
    bundle.config["annotations"] = {"key": "value"}
    add(bundle, kind, hook(f"cat >{log}"))
    runtime.create(bundle("sleep 0.1"), "one")
    pid = runtime.state("one")["pid"]
    runtime("start", "one")
    runtime.wait_for("one", "stopped")
    runtime("delete", "one")
    state = json.loads(log.read_text())
    assert state["id"] == "one"
    assert state["bundle"] == str(bundle.path)
    assert state["annotations"] == {"key": "value"}
    if runtime.ours:
        assert state["ociVersion"] == bundle.config["ociVersion"]
        wanted = {"poststart": "running", "poststop": "stopped"}.get(kind, "creating")
        assert state["status"] == wanted or (kind == "startContainer" and state["status"] in ("created", "creating"))
    if kind not in ("startContainer", "poststop"):
        assert state["pid"] == pid


@pytest.mark.parametrize(("kind", "inside"), [("createRuntime", False), ("createContainer", True), ("startContainer", True)])
def test_namespaces_of_hooks(runtime: Runtime, bundle: Bundle, log: Path, kind: str, inside: bool) -> None:
    add(bundle, kind, hook(f"readlink /proc/self/ns/uts >{log}"))
    runtime.run(bundle("true"))
    assert (log.read_text().strip() != os.readlink("/proc/self/ns/uts")) == inside


def test_root_of_create_and_start_container_hooks(runtime: Runtime, bundle: Bundle, log: Path) -> None:
    (bundle.rootfs / "marker").touch()
    add(bundle, "createContainer", hook(f"ls /marker >/dev/null 2>&1 && echo container >>{log} || echo host >>{log}"))
    add(bundle, "startContainer", hook(f"ls /marker >/dev/null 2>&1 && echo container >>{log} || echo host >>{log}"))
    runtime.run(bundle("true"))
    assert log.read_text().split() == ["host", "container"]


def test_arguments_and_environment(runtime: Runtime, bundle: Bundle, log: Path) -> None:
    os.environ["OCI_TEST_LEAK"] = "leaked"
    try:
        one = hook(f'echo "$1|$A|$OCI_TEST_LEAK" >{log}', "argument", env=["A=b", "PATH=/bin"])
        add(bundle, "createRuntime", one)
        runtime.run(bundle("true"))
    finally:
        del os.environ["OCI_TEST_LEAK"]
    assert log.read_text() == "argument|b|\n"


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_ends_the_creation(runtime: Runtime, bundle: Bundle, log: Path, kind: str) -> None:
    add(bundle, kind, hook("echo what is wrong >&2; exit 4"), hook(f"echo second >>{log}"))
    add(bundle, "poststop", hook(f"echo poststop >>{log}"))
    done = runtime("create", "--bundle", str(bundle("true").path), "one", status=1)
    assert "hook" in done.stderr and "exit status 4" in done.stderr
    assert "second" not in (log.read_text() if log.exists() else "")
    assert not (runtime.root / "one").exists()
    if runtime.ours and kind != "createContainer":
        assert log.read_text() == "poststop\n"


def test_a_poststop_hook_that_fails_stops_nothing(runtime: Runtime, bundle: Bundle, log: Path) -> None:
    add(bundle, "poststop", hook("exit 1"), hook(f"echo second >>{log}"))
    runtime.create(bundle("true"), "one")
    runtime("start", "one")
    runtime.wait_for("one", "stopped")
    runtime("delete", "one")
    assert log.read_text() == "second\n"


def test_timeout(runtime: Runtime, bundle: Bundle) -> None:
    add(bundle, "createRuntime", hook("sleep 30", timeout=1))
    before = time.monotonic()
    done = runtime("create", "--bundle", str(bundle("true").path), "one", status=1)
    assert "timeout" in done.stderr or "timed out" in done.stderr
    assert time.monotonic() - before < 20


def test_state_while_it_is_created(runtime: Runtime, bundle: Bundle, log: Path) -> None:
    if not runtime.ours:
        pytest.skip("runc's hooks see no state of it")
    add(bundle, "createRuntime", hook(f"{' '.join(runtime.argv('state', 'one'))} >{log}"))
    runtime.create(bundle("true"), "one")
    assert json.loads(log.read_text())["status"] == "creating"
    assert runtime.state("one")["status"] == "created"


def test_a_hook_that_is_not_there(runtime: Runtime, bundle: Bundle) -> None:
    add(bundle, "createRuntime", {"path": "/no/such/hook"})
    runtime("create", "--bundle", str(bundle("true").path), "one", status=1)
    add(bundle, "createRuntime", {"path": "relative"})
    runtime("create", "--bundle", str(bundle("true").path), "one", status=1)
