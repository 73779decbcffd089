"""The life of a container, property by property: runtime-spec 1.2 ``runtime.md``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from tests.support.oci_bundles import Bundle, Runtime

pytestmark = pytest.mark.root


def test_create_does_not_run_the_program(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("touch /tmp/ran"), "one")
    state = runtime.state("one")
    assert state["status"] == "created"
    assert state["pid"] > 0
    assert not (bundle.rootfs / "tmp/ran").exists()
    runtime("start", "one")
    runtime.wait_for("one", "stopped")
    assert (bundle.rootfs / "tmp/ran").exists()


def test_state_has_the_members_of_the_specification(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {"org.example.key": "value"}
    runtime.create(bundle("sleep 60"), "one")
    state = runtime.state("one")
    assert state["ociVersion"].startswith("1.")
    assert state["id"] == "one"
    assert state["bundle"] == str(bundle.path)
    assert state["annotations"] == {"org.example.key": "value"}
    assert os.path.exists(f"/proc/{state['pid']}")


def test_an_id_is_unique(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("sleep 60"), "one")
    done = runtime("create", "--bundle", str(bundle.path), "one", status=1)
    assert "container with given ID already exists" in done.stderr or "already exists" in done.stderr
    assert runtime.state("one")["status"] == "created"


@pytest.mark.parametrize("name", ["a/b", "..", "a b", "", "a\nb"])
def test_names_that_are_none_are_refused(runtime: Runtime, bundle: Bundle, name: str) -> None:
    done = runtime("run", "--bundle", str(bundle("true").path), name, status=1)
    assert "invalid container ID format" in done.stderr
    assert not runtime.root.exists() or not list(runtime.root.iterdir())


def test_changes_of_the_bundle_come_too_late(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("touch /tmp/first"), "one")
    bundle("touch /tmp/second")
    runtime("start", "one")
    runtime.wait_for("one", "stopped")
    assert (bundle.rootfs / "tmp/first").exists()
    assert not (bundle.rootfs / "tmp/second").exists()


def test_start_twice_is_an_error(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("sleep 60"), "one")
    runtime("start", "one")
    assert "cannot start an already running container" in runtime("start", "one", status=1).stderr


def test_start_of_a_stopped_container_is_an_error(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("true"), "one")
    runtime("start", "one")
    runtime.wait_for("one", "stopped")
    assert "cannot start a container that has stopped" in runtime("start", "one", status=1).stderr


def test_kill_sends_the_signal(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("trap 'touch /tmp/usr1; exit 3' USR1; touch /tmp/ready; while :; do sleep 0.05; done"), "one")
    runtime("start", "one")
    while not (bundle.rootfs / "tmp/ready").exists():
        time.sleep(0.01)
    runtime("kill", "one", "USR1")
    runtime.wait_for("one", "stopped")
    assert (bundle.rootfs / "tmp/usr1").exists()


@pytest.mark.parametrize("spelling", ["KILL", "SIGKILL", "9"])
def test_signals_by_name_and_number(runtime: Runtime, bundle: Bundle, spelling: str) -> None:
    runtime.create(bundle("sleep 60"), "one")
    runtime("kill", "one", spelling)
    runtime.wait_for("one", "stopped")


def test_kill_of_a_stopped_container_is_an_error(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("true"), "one")
    runtime("start", "one")
    runtime.wait_for("one", "stopped")
    assert "container not running" in runtime("kill", "one", "KILL", status=1).stderr


def test_delete_of_a_running_container_is_an_error(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("sleep 60"), "one")
    runtime("start", "one")
    assert "cannot delete container one that is not stopped: running" in runtime("delete", "one", status=1).stderr
    assert runtime.state("one")["status"] == "running"


def test_delete_takes_everything_away(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = "/oci-delete"
    runtime.create(bundle("true"), "one")
    runtime("start", "one")
    runtime.wait_for("one", "stopped")
    runtime("delete", "one")
    assert "does not exist" in runtime("state", "one", status=1).stderr
    found = subprocess.run(["find", "/sys/fs/cgroup", "-name", "oci-delete"], capture_output=True, text=True, check=False)
    assert found.stdout == ""
    assert not (runtime.root / "one").exists()
    runtime.create(bundle("true"), "one")


def test_delete_force(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("sleep 60"), "one")
    runtime("start", "one")
    pid = runtime.state("one")["pid"]
    runtime("delete", "--force", "one")
    assert not os.path.exists(f"/proc/{pid}") or _zombie(pid)
    runtime("delete", "--force", "one")


def _zombie(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"


def test_unknown_containers(runtime: Runtime) -> None:
    for command in ("state", "start", "kill", "delete", "pause", "resume", "ps"):
        assert "does not exist" in runtime(command, "nothing", status=1).stderr


def test_run_gives_the_status(runtime: Runtime, bundle: Bundle) -> None:
    runtime.run(bundle("exit 7"), status=7)
    assert not (runtime.root / "one").exists()


def test_run_gives_the_signal(runtime: Runtime, bundle: Bundle) -> None:
    runtime.run(bundle("kill -KILL $$; sleep 1"), status=None)
    bundle.namespace("pid", remove=True)
    runtime.run(bundle("kill -KILL $$"), status=128 + 9)


def test_run_passes_signals_on(runtime: Runtime, bundle: Bundle) -> None:
    bundle("trap 'exit 5' TERM; touch /tmp/ready; while :; do sleep 0.05; done")
    runtime.started.add("one")
    process = subprocess.Popen(runtime.argv("run", "--bundle", str(bundle.path), "one"), stdin=subprocess.DEVNULL)
    while not (bundle.rootfs / "tmp/ready").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 5


def test_run_detached(runtime: Runtime, bundle: Bundle) -> None:
    runtime.started.add("one")
    with open(os.devnull, "r+b") as null:
        subprocess.run(
            runtime.argv("run", "--detach", "--bundle", str(bundle("sleep 60").path), "one"), stdin=null, stdout=null, check=True
        )
    assert runtime.state("one")["status"] == "running"


def test_keep(runtime: Runtime, bundle: Bundle) -> None:
    if not runtime.ours:
        pytest.skip("runc has --keep since 1.1, crun calls it something else")
    runtime.started.add("one")
    runtime("run", "--keep", "--bundle", str(bundle("exit 2").path), "one", status=2)
    assert runtime.state("one")["status"] == "stopped"


def test_pid_file(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("sleep 60"), "one", "--pid-file", str(bundle.path / "pid"))
    assert int((bundle.path / "pid").read_text()) == runtime.state("one")["pid"]


def test_pause_and_resume(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = "/oci-pause"
    runtime.create(bundle("while :; do date +%s%N >/tmp/now 2>/dev/null || echo >>/tmp/now; sleep 0.01; done"), "one")
    runtime("start", "one")
    runtime("pause", "one")
    assert runtime.state("one")["status"] == "paused"
    before = (bundle.rootfs / "tmp/now").stat().st_mtime_ns
    time.sleep(0.1)
    assert (bundle.rootfs / "tmp/now").stat().st_mtime_ns == before
    assert "paused" in runtime("exec", "one", "/bin/true", status=None).stderr
    runtime("resume", "one")
    assert runtime.state("one")["status"] == "running"


def test_a_paused_container_can_be_killed(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("sleep 60"), "one")
    runtime("start", "one")
    runtime("pause", "one")
    runtime("kill", "one", "KILL")
    runtime.wait_for("one", "stopped")


def test_delete_force_of_a_paused_container(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("sleep 60"), "one")
    runtime("start", "one")
    runtime("pause", "one")
    runtime("delete", "--force", "one")
    assert "does not exist" in runtime("state", "one", status=1).stderr


def test_list(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("sleep 60"), "one")
    runtime.create(bundle("sleep 60"), "two")
    listed = json.loads(runtime("list", "--format", "json").stdout)
    assert [one["id"] for one in listed] == ["one", "two"]
    assert {one["status"] for one in listed} == {"created"}
    assert runtime("list", "--quiet").stdout.split() == ["one", "two"]
    assert runtime("list").stdout.split()[0] in ("ID", "NAME")


def test_ps(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("sleep 61 & wait"), "one")
    runtime("start", "one")
    deadline = time.monotonic() + 5
    while True:
        pids = json.loads(runtime("ps", "--format", "json", "one").stdout)
        if len(pids) == 2 or time.monotonic() > deadline:
            break
    assert runtime.state("one")["pid"] in pids
    assert len(pids) == 2
    assert "sleep 61" in runtime("ps", "one").stdout


def test_a_failed_create_leaves_nothing(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = "/oci-failed"
    bundle.mount("/mnt", "bind", "/no/such/file", "bind")
    done = runtime("create", "--bundle", str(bundle("true").path), "one", status=1)
    assert "/no/such/file" in done.stderr
    assert not (runtime.root / "one").exists()
    found = subprocess.run(["find", "/sys/fs/cgroup", "-name", "oci-failed"], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_a_process_id_that_another_process_got_is_not_killed(runtime: Runtime, bundle: Bundle) -> None:
    if not runtime.ours:
        pytest.skip("the state is written in our words")
    runtime.create(bundle("sleep 60"), "one")
    victim = subprocess.Popen(["sleep", "60"])
    try:
        path = runtime.root / "one/state.json"
        state = json.loads(path.read_text())
        os.kill(state["pid"], signal.SIGKILL)
        state["pid"] = victim.pid
        path.write_text(json.dumps(state))
        assert runtime.state("one")["status"] == "stopped"
        runtime("kill", "one", "KILL", status=1)
        runtime("delete", "--force", "one")
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()
