"""What stage0 hands to a stage1 that comes with rktpy when an app is added to a running pod: arguments, environment, root."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rktpy.errors import RktpyError, Stage1Error
from rktpy.formats import stage1 as contract
from rktpy.linux.constants import AT_FDCWD, CLONE_NEWNS, MOVE_MOUNT_F_EMPTY_PATH, MS_PRIVATE, MS_REC
from rktpy.linux.syscalls import mount, move_mount, unshare
from rktpy.stage0 import app_add, app_rm, app_start, pods, prepare, stage1_image
from rktpy.stage0.options import AppOptions, Globals, InsecureOptions, PodOptions
from rktpy.stage0.pods import Pod
from rktpy.stage0.stage1_image import Stage1
from rktpy.store.store import Store
from tests.contract import stub

pytestmark = pytest.mark.root

ENTRIES = ("run", "enter", "gc", "stop", "app/add", "app/rm", "app/start", "app/stop")


class Probe:
    """A bundled stage1 that writes down how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self.fail = ""
        self.root: dict[str, Any] = {}

    def module(self, _name: str, entry: str) -> ModuleType:
        module = ModuleType(entry)

        def main(arguments: list[str]) -> int:
            self.calls.append((entry, arguments))
            if entry == "app_add":
                self.look(Path.cwd())
            if self.fail == entry:
                raise Stage1Error("it does not want to", status=7)
            return 0

        module.main = main  # type: ignore[attr-defined]
        return module

    def look(self, pod: Path) -> None:
        """What app/add sees: the app's root goes where only the pod's namespace has it."""
        text = os.environ.get(contract.APP_ROOT_FD)
        found: dict[str, Any] = {"fd": text is not None}
        assert os.environ[contract.ENTER_PID] == (pod / "pid").read_text()
        name = os.environ[contract.ENTER_APP]
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            target = pod / contract.app_rootfs(name)
            if text is not None:
                assert os.get_inheritable(int(text))
                unshare(CLONE_NEWNS)
                mount(None, "/", None, MS_REC | MS_PRIVATE, None)
                move_mount(int(text), "", AT_FDCWD, str(target), MOVE_MOUNT_F_EMPTY_PATH)
            found["files"] = sorted(os.listdir(target))
            (target / "written").write_text("x")
            os.write(writer, json.dumps(found).encode())
            os._exit(0)
        os.close(writer)
        assert os.waitpid(child, 0)[1] == 0
        self.root = json.loads(os.read(reader, 65536))
        os.close(reader)


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probe:
    made = Probe()
    annotations = [{"name": f"coreos.com/rkt/stage1/{entry}", "value": f"/{entry}"} for entry in ENTRIES]
    annotations.append({"name": contract.INTERFACE_VERSION, "value": "7"})
    manifest = {"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/probe", "annotations": annotations}
    monkeypatch.setattr(stage1_image, "BUNDLED", ("probe",))
    monkeypatch.setattr(stage1_image, "bundled_manifest", lambda _name: json.dumps(manifest).encode())
    monkeypatch.setattr(stage1_image, "bundled_module", made.module)
    return made


class Sandbox:
    """A running mutable pod whose only process is this one."""

    def __init__(self, directory: Path, *, overlay: bool) -> None:
        self.g = Globals(data_dir=str(directory / "data"), local_config=str(directory), insecure=InsecureOptions(image=True))
        self.store = Store(self.g.data_dir)
        self.image = stub.add(self.store, directory, stub.app_aci(exec=["/bin/a", "b"]))
        options = PodOptions(mutable=True, no_overlay=not overlay)
        self.pod = prepare.create(self.g, self.store, options, Stage1("probe"), to_run=True)
        self.pod.to_run()
        self.path = Path(self.pod.path)
        (self.path / "pid").write_text(f"{os.getpid()}")
        (self.path / "stage1/rootfs/rkt").mkdir()
        os.symlink("ready", self.path / contract.STAGE1_ROOTFS / contract.READY_FILE)

    def add(self, name: str, **options: Any) -> str:
        return app_add.add(self.g, self.pod.uuid, AppOptions(self.image, name=name, **options))

    def names(self) -> list[str]:
        with pods.find_pod(self.g.data_dir, self.pod.uuid, "") as pod:
            return pod.app_names()

    def reopened(self) -> Pod:
        return pods.open_pod(self.g.data_dir, self.pod.uuid)


@pytest.fixture(params=[True, False], ids=["overlay", "copy"])
def sandbox(request: pytest.FixtureRequest, tmp_path: Path, probe: Probe) -> Iterator[Sandbox]:
    made = Sandbox(tmp_path, overlay=request.param)
    yield made
    made.pod.close()


def test_an_app_is_handed_over(sandbox: Sandbox, probe: Probe) -> None:
    g = sandbox.g.replace(insecure=InsecureOptions(image=True, seccomp=True, paths=True))
    assert app_add.add(g, sandbox.pod.uuid[:8], AppOptions(sandbox.image)) == "app"
    uuid = sandbox.pod.uuid
    flags = ["--disable-paths", "--disable-seccomp"]
    assert probe.calls == [("app_add", ["--debug=false", f"--uuid={uuid}", "--app=app", *flags])]
    assert probe.root == {"fd": sandbox.pod.uses_overlay, "files": ["etc", "gone", "hello"]}
    assert not {name for name in os.environ if name.startswith(("RKT_STAGE1_", "RKTPY_APP_"))}
    written = list(sandbox.path.glob("overlay/*/upper/app/written" if probe.root["fd"] else "stage1/**/app/rootfs/written"))
    assert len(written) == 1
    (link,) = sandbox.path.glob("overlay/*/upper/app/etc/m*" if probe.root["fd"] else "stage1/**/app/rootfs/etc/m*")
    assert os.readlink(link) == "../proc/self/mounts"
    assert (sandbox.path / "stage1/rootfs/opt/stage2/app/manifest").read_bytes() == (
        sandbox.path / "appsinfo/app/manifest"
    ).read_bytes()
    assert os.path.exists(sandbox.path / contract.created_file("app"))
    # Nothing of it is open here or mounted here.
    assert not [fd for fd in os.listdir("/proc/self/fd") if "overlay" in _target(fd)]
    assert str(sandbox.path) not in Path("/proc/self/mountinfo").read_text()


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""


def test_arguments_take_the_place_of_the_images(sandbox: Sandbox) -> None:
    sandbox.add("plain")
    sandbox.add("args", args=("x", "y"))
    sandbox.add("exec", exec="/bin/z", args=("x",))
    with sandbox.reopened() as pod:
        commands = {app.name: app.app.exec for app in pod.manifest().apps if app.app is not None}
    assert commands == {"plain": ("/bin/a", "b"), "args": ("/bin/a", "x", "y"), "exec": ("/bin/z", "x")}


def test_a_failure_is_undone(sandbox: Sandbox, probe: Probe) -> None:
    before = sorted(sandbox.path.rglob("*"))
    probe.fail = "app_add"
    with pytest.raises(RktpyError, match="error adding app to pod") as caught:
        sandbox.add("one")
    assert str(caught.value.__cause__) == "it does not want to"
    assert [entry for entry, _arguments in probe.calls] == ["app_add", "app_stop", "app_rm"]
    left = [path for path in sorted(sandbox.path.rglob("*")) if path not in before]
    assert [path for path in left if not path.is_dir() or path.name in ("one", "rootfs")] == []
    assert sandbox.names() == []
    probe.fail = ""
    sandbox.add("one")
    assert probe.root["files"] == ["etc", "gone", "hello"]


def die_after(module: ModuleType, step: str, act: Callable[[], object]) -> None:
    """Do ``act`` in a child that dies after it has called ``step``, which is ``NAME`` or ``OWNER.NAME`` in ``module``."""
    child = os.fork()
    if child == 0:
        owner, _dot, name = step.rpartition(".")
        holder = getattr(module, owner) if owner else module
        original = getattr(holder, name)

        def dying(*arguments: Any, **options: Any) -> None:
            original(*arguments, **options)
            os._exit(9)

        try:
            setattr(holder, name, dying)
            act()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9, step


def test_killed_at_any_moment_it_can_be_added_again(sandbox: Sandbox, probe: Probe) -> None:
    """A child dies at each step of an addition in turn."""
    steps = ("Writer.file", "replace_file", "app_files.make_app_directory", "app_files.mark_created", "call_app")
    for number, step in enumerate(steps):
        die_after(app_add, step, lambda: sandbox.add("one"))
        if sandbox.names() == [] and number % 2:
            sandbox.add("one")
        else:
            app_rm.remove(sandbox.g, sandbox.pod.uuid, "one")
            sandbox.add("one")
        assert probe.root["files"] == ["etc", "gone", "hello"]
        app_rm.remove(sandbox.g, sandbox.pod.uuid, "one")
        assert not list(sandbox.path.glob("appsinfo/*")) + list(sandbox.path.glob("overlay/*"))


def test_killed_at_any_moment_it_can_be_removed_again(sandbox: Sandbox, probe: Probe) -> None:
    steps = ("call_app", "remove_from_root", "remove_own", "mutable.write_trust", "mutable.replace_file")
    for step in steps:
        sandbox.add("one")
        die_after(app_rm, step, lambda: app_rm.remove(sandbox.g, sandbox.pod.uuid, "one"))
        if sandbox.names():
            app_rm.remove(sandbox.g, sandbox.pod.uuid, "one")
        assert sandbox.names() == []
        assert not list(sandbox.path.glob("appsinfo/*")) + list(sandbox.path.glob("overlay/*"))
        assert json.loads((sandbox.path / "trust").read_text())["apps"] == {}


def test_starting_and_removing(sandbox: Sandbox, probe: Probe) -> None:
    sandbox.add("one")
    probe.calls.clear()
    app_start.start(sandbox.g, sandbox.pod.uuid, "one")
    assert app_start.stop(sandbox.g, sandbox.pod.uuid, "one")
    probe.fail = "app_start"
    with pytest.raises(RktpyError, match="error starting app"):
        app_start.start(sandbox.g, sandbox.pod.uuid, "one")
    with sandbox.reopened() as pod:
        assert pod.app_started_ns("one") is None
    app_rm.remove(sandbox.g, sandbox.pod.uuid, "one")
    assert [entry for entry, _arguments in probe.calls] == ["app_start", "app_stop", "app_start", "app_stop", "app_rm"]
    assert {tuple(arguments) for _entry, arguments in probe.calls} == {("--debug=false", "--app=one")}


def test_links_that_a_pod_planted_are_not_followed(sandbox: Sandbox, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "one").mkdir()
    root = sandbox.path / "stage1/rootfs"
    for name in ("opt", "rkt/status", "rkt/env"):
        os.symlink(outside, root / name)
        with pytest.raises(RktpyError):
            sandbox.add("one")
        (root / name).unlink()
    assert sorted(os.listdir(outside)) == ["one"]
    sandbox.add("one")
    (root / "rkt/status/one-started").symlink_to(outside / "file")
    app_start.start(sandbox.g, sandbox.pod.uuid, "one")
    assert sorted(os.listdir(outside)) == ["one"]


def test_additions_wait_for_one_another(sandbox: Sandbox) -> None:
    children: list[int] = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            try:
                sandbox.add(f"a{number}")
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert sorted(sandbox.names()) == ["a0", "a1", "a2", "a3"]
