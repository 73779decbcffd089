"""The life of a pod, seen through the commands: states, waiting, entering, stopping, exporting, removing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.aci import make_aci
from tests.support.pods import (
    BUSYBOX,
    UNSIGNED,
    Running,
    cgroups_of_pods,
    document,
    mounts_of,
    prepare,
    processes_with,
    shell,
    states,
    wait_for,
)

pytestmark = [pytest.mark.root, pytest.mark.stage1("fly", "oci", "systemd")]

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,3})? [+-]\d{4} \w+"


#: What the process is that status names.
COMMANDS = {"fly": "sleep\n", "oci": "pause\n", "systemd": "monitor\n"}


def fields(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_from_prepared_to_nothing(stored: Rktpy) -> None:
    uuid = prepare(stored, BUSYBOX, "--exec", "/bin/sh", "--", "-c", "exit 7")
    told = fields(stored("status", uuid).stdout)
    assert told.keys() == {"state", "created"}
    assert told["state"] == "prepared"
    assert re.fullmatch(TIME, told["created"])
    assert document(stored, uuid)["apps"][0]["state"] == "created"

    stored("run-prepared", uuid, status=7)
    told = fields(stored("status", uuid).stdout)
    assert told["state"] == "exited"
    assert told["exited"] == "true"
    assert told["networks"] == ""
    assert told["pid"].isdigit()
    assert re.fullmatch(TIME, told["started"])
    assert stored("run-prepared", uuid, status=254).stderr == f'run-prepared: pod "{uuid}" is not prepared\n'

    done = stored("gc")
    assert f'gc: moving pod "{uuid}" to garbage\n' in done.stderr
    assert states(stored) == {uuid: "exited garbage"}
    assert fields(stored("status", uuid).stdout)["state"] == "exited garbage"
    stored("gc", "--grace-period=1h")
    assert states(stored) == {uuid: "exited garbage"}, "not removed before its time"
    done = stored("gc", "--grace-period=0s")
    assert done.stdout == f'Garbage collecting pod "{uuid}"\n'
    assert states(stored) == {}
    assert stored("status", uuid, status=254).stderr == f'status: problem retrieving pod: no matches found for "{uuid}"\n'


@pytest.mark.stage1()
def test_gc_of_prepared_pods_and_mark_only(stored: Rktpy) -> None:
    uuid = prepare(stored)
    stored("gc", "--grace-period=0s")
    assert states(stored) == {uuid: "prepared"}, "prepared pods are kept for a day"
    shell(stored, "true")
    stored("gc", "--grace-period=0s", "--mark-only")
    assert sorted(states(stored).values()) == ["exited garbage", "prepared"]
    stored("gc", "--grace-period=0s", "--expire-prepared=0s")
    assert states(stored) == {}
    assert [p for p in (stored.data / "pods").rglob("*") if p.parent.parent.name == "pods"] == []


def test_list_of_a_running_pod(stored: Rktpy, tmp_path: Path) -> None:
    with Running(stored, tmp_path, "echo up; exec sleep 100", "--name=first") as pod:
        assert pod.line() == "up\n"
        table = stored("list").stdout.splitlines()
        columns = ["UUID", "APP", "IMAGE NAME", "STATE", "CREATED", "STARTED", "NETWORKS"]
        assert [cell for cell in table[0].split("	") if cell] == columns
        cells = [cell for cell in table[1].split("\t") if cell]
        assert cells[:4] == [pod.uuid[:8], "first", f"{BUSYBOX}:1", "running"]
        assert "ago" in cells[4] or cells[4] == "now"
        full = stored("list", "--full", "--no-legend").stdout
        cells = [cell for cell in full.rstrip("\n").split("\t") if cell]
        assert cells[0] == pod.uuid
        assert re.fullmatch(r"sha512-[0-9a-f]{12}", cells[3])
        assert re.fullmatch(TIME, cells[5]), cells
        # Any unique prefix, in any case.
        told = fields(stored("status", pod.uuid[:4].upper()).stdout)
        assert (told["state"], told["exited"]) == ("running", "false")
        # What "run" has become, as in rkt.
        assert Path(f"/proc/{told['pid']}/comm").read_text() == COMMANDS[stored.stage1]
        shown = document(stored, pod.uuid)
        image = json.loads(stored("image", "list", "--format=json").stdout)[0]["id"]
        assert shown["state"] == "running"
        assert shown["app_names"] == ["first"]
        assert shown["apps"][0]["image_id"].startswith(image) or image.startswith(shown["apps"][0]["image_id"])
        now = time.time_ns()
        assert now - 60 * 10**9 < shown["created_at"] <= shown["started_at"] <= now
        manifest = json.loads(stored("cat-manifest", pod.uuid).stdout)
        assert manifest["acKind"] == "PodManifest"
        assert manifest["apps"][0]["name"] == "first"


def test_running_pods_are_left_alone(stored: Rktpy, tmp_path: Path) -> None:
    with Running(stored, tmp_path, "exec sleep 100") as pod:
        done = stored("rm", pod.uuid, status=254)
        assert f'rm: pod "{pod.uuid}" is currently running\n' in done.stderr
        stored("gc", "--grace-period=0s", "--expire-prepared=0s")
        assert states(stored) == {pod.uuid: "running"}
        done = stored("export", pod.uuid, str(tmp_path / "out.aci"), status=254)
        assert done.stderr == "export: pod is not exited. Only exited pods can be exported\n"
        assert not (tmp_path / "out.aci").exists()
        image = json.loads(stored("image", "list", "--format=json").stdout)[0]["id"]
        stored("image", "gc", "--grace-period=0s")
        assert len(stored("image", "list", "--no-legend").stdout.splitlines()) == 1
        stored("image", "rm", image)
        stored("image", "gc", "--grace-period=0s")
        assert stored("enter", pod.uuid, "/bin/echo", "there").stdout == "there\n", "what it runs of stays"


def test_stop_asks_and_force_kills(stored: Rktpy, tmp_path: Path) -> None:
    polite = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done"
    with Running(stored, tmp_path, polite) as pod:
        assert pod.line() == "up\n"
        assert stored("stop", pod.uuid).stdout == f'"{pod.uuid}"\n'
        status, out, _ = pod.ended()
        # A systemd pod that was stopped has not failed, as in rkt; fly's status is the app's.
        assert (status, out) == (3 if stored.stage1 == "fly" else 0, "bye\n")
        assert stored.stage1 == "fly" or "app-busybox=3\n" in stored("status", pod.uuid).stdout
        assert stored("stop", pod.uuid).stdout == f'pod "{pod.uuid}" is already stopped\n'
    stubborn = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    with Running(stored, tmp_path, stubborn, "--memory=64M") as pod:
        assert pod.line() == "up\n"
        stored("stop", pod.uuid)
        time.sleep(0.2)
        assert states(stored)[pod.uuid] == "running"
        assert stored("stop", "--force", f"--uuid-file={pod.uuid_file}").stdout == f'"{pod.uuid}"\n'
        assert pod.ended()[0] == (-9 if stored.stage1 == "fly" else 0), "the first stop has decided"
        stored("status", "--wait=10s", pod.uuid)
        stored("rm", pod.uuid)
        assert cgroups_of_pods(pod.uuid) == []


def test_sigterm_to_run_reaches_the_app(stored: Rktpy, tmp_path: Path) -> None:
    with Running(stored, tmp_path, "trap 'echo ended; exit 0' TERM; echo up; while :; do sleep 0.05; done") as pod:
        pod.line()
        pod.process.terminate()
        assert pod.ended()[:2] == (0, "ended\n")
        assert fields(stored("status", "--wait", pod.uuid).stdout)["state"] == "exited"


def test_waiting(stored: Rktpy, tmp_path: Path) -> None:
    with Running(stored, tmp_path, "sleep 2") as pod:
        began = time.monotonic()
        done = stored("status", "--wait=50ms", pod.uuid, status=254)
        assert time.monotonic() - began < 5
        assert done.stderr == "status: error waiting for pod to finish: time is up\n"
        assert "state=exited" in stored("status", "--wait=20s", pod.uuid).stdout
    done = stored("status", "--wait-ready", pod.uuid, status=None)
    assert done.returncode == 0, "it was ready once"
    uuid = prepare(stored)
    done = stored("status", "--wait-ready=50ms", uuid, status=254)
    assert done.stderr == "status: error waiting for pod readiness: time is up\n"
    waiting = subprocess.Popen(stored.argv("status", "--wait", uuid), stdout=subprocess.PIPE, text=True)
    try:
        stored("run-prepared", uuid)
        assert "state=exited" in waiting.communicate(timeout=10)[0]
    finally:
        waiting.kill()
        waiting.wait()


def test_enter_has_what_the_app_has(stored: Rktpy, tmp_path: Path) -> None:
    flags: tuple[str, ...] = (
        "--user=1234",
        "--group=4321",
        "--supplementary-gids=77,78",
        "--environment=COLOUR=blue",
        "--working-dir=/etc",
    )
    flags += ("--caps-retain=CAP_KILL", "--memory=100M")
    restricted = {"CapBnd", "CapEff", "Seccomp", "NoNewPrivs", "Uid", "Gid", "Groups"}
    with Running(stored, tmp_path, "grep . /proc/self/status /proc/self/cgroup; echo up; exec sleep 100", *flags) as pod:
        its = {}
        while (line := pod.line()) != "up\n":
            name, _, value = line.partition(":")[2].partition(":")
            its[name] = value.strip()
        inside = stored("enter", pod.uuid[:8], "/bin/sh", "-c", "id -u; id -g; id -G; pwd; echo $COLOUR $AC_APP_NAME; ls /")
        lines = inside.stdout.splitlines()
        assert lines[0] == "1234"
        assert lines[1] == "4321"
        assert {"4321", "77", "78"} == set(lines[2].split())
        assert lines[4] == "blue busybox"
        assert {"bin", "etc", "proc"} <= set(lines[5:])
        caps = stored("enter", pod.uuid, "grep", "CapBnd", "/proc/self/status").stdout
        assert int(caps.split()[1], 16) == 1 << 5
        entered = dict(line.split(":", 1) for line in stored("enter", pod.uuid, "cat", "/proc/self/status").stdout.splitlines())
        assert {name: entered[name].strip() for name in restricted} == {name: its[name] for name in restricted}
        groups = stored("enter", pod.uuid, "cat", "/proc/self/cgroup").stdout.splitlines()
        assert sorted(groups) == sorted(f"{number}:{its[number]}" for number in its if number.isdigit())
        # The container of an OCI runtime sees its own groups as the roots.
        wanted = {"fly": f"rktpy-{pod.uuid}", "oci": "memory:/", "systemd": "busybox.service"}[stored.stage1]
        assert any(wanted in line for line in groups)
        assert stored("enter", "--app=busybox", pod.uuid, "sh", "-c", "exit 9", status=9)
        assert "is not present in pod" in stored("enter", "--app=other", pod.uuid, "true", status=254).stderr
        done = stored("enter", pod.uuid, "no-such-program", status=None)
        assert done.returncode != 0
        assert len(done.stderr.splitlines()) == 1
        assert "no-such-program" in done.stderr
    done = stored("enter", pod.uuid, "true", status=254)
    assert done.stderr == f'enter: pod "{pod.uuid}" isn\'t currently running\n'


@pytest.mark.parametrize("flags", [(), ("--no-overlay",)])
def test_exported_pod_runs_again(stored: Rktpy, tmp_path: Path, flags: tuple[str, ...]) -> None:
    shell(stored, "echo kept >/kept; chmod 4711 /kept; ln /kept /etc/again; rm /bin/vi; ln -s kept /link", pod=flags)
    (uuid,) = states(stored)
    target = tmp_path / "out.aci"
    stored("export", uuid, str(target))
    before = target.read_bytes()
    assert "--overwrite" in stored("export", uuid, str(target), status=254).stderr
    assert target.read_bytes() == before
    stored("export", "--overwrite", "--app=busybox", uuid, str(target))
    assert mounts_of(stored.data) == []
    other = Rktpy(stored.launcher, tmp_path / "other", stored.stage1)
    other(UNSIGNED, "fetch", str(target))
    script = "cat /link; stat -c '%a %h' /kept; test -e /bin/vi || echo gone; cat /etc/again"
    assert shell(other, script).stdout.splitlines() == ["kept", "4711 2", "gone", "kept"]
    stored("gc", "--grace-period=1h")
    stored("export", "--overwrite", uuid, str(target))


@pytest.mark.stage1()
def test_uuid_files(stored: Rktpy, tmp_path: Path) -> None:
    path = tmp_path / "uuid"
    shell(stored, "true", pod=(f"--uuid-file-save={path}",))
    (uuid,) = states(stored)
    assert path.read_text().strip() == uuid
    assert "state=exited" in stored("status", f"--uuid-file={path}").stdout
    assert json.loads(stored("cat-manifest", f"--uuid-file={path}").stdout)["apps"]
    assert stored("rm", f"--uuid-file={path}").stdout == f'"{uuid}"\n'
    done = stored("status", f"--uuid-file={tmp_path}/none", status=1)
    assert done.stderr == f"status: unable to resolve UUID from file: {tmp_path}/none: no such file or directory\n"


@pytest.mark.stage1()
def test_uuids_that_do_not_fit(stored: Rktpy) -> None:
    made = [prepare(stored) for _ in range(17)]
    common = next(digit for digit in "0123456789abcdef" if sum(uuid.startswith(digit) for uuid in made) > 1)
    count = sum(uuid.startswith(common) for uuid in made)
    assert f"ambiguous uuid, {count} matches" in stored("status", common, status=254).stderr
    assert "UUID cannot be empty" in stored("status", "", status=254).stderr
    assert 'no matches found for "zz"' in stored("rm", "zz", status=254).stderr
    assert "no matches found" in stored("status", "../run", status=254).stderr
    done = stored("rm", made[0], "zz", made[1], status=254)
    assert done.stdout.splitlines() == [f'"{made[0]}"', f'"{made[1]}"'], "the others are removed all the same"


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 1", 1), ("exit 42", 42), ("kill -KILL $$", -9), ("kill -TERM $$", -15)]
)
def test_exit_status_of_the_app(stored: Rktpy, script: str, status: int) -> None:
    wanted = stored.killed(-status) if status < 0 else status
    shell(stored, script, status=wanted)
    ((uuid, state),) = states(stored).items()
    assert state == "exited"
    # fly has become the app, and nobody is there to note it.
    noted = fields(stored("status", uuid).stdout).get("app-busybox")
    assert noted == (None if stored.stage1 == "fly" else str(wanted))


def test_program_that_is_not_there(stored: Rktpy) -> None:
    # EXIT_EXEC of systemd.exec(5), as of rkt's pods.
    status = 203 if stored.stage1 == "systemd" else 254
    for program in ("/bin/nothing", "/etc/group"):
        done = stored(UNSIGNED, "run", BUSYBOX, "--exec", program, status=status)
        told = (done.stdout if stored.stage1 == "systemd" else done.stderr).splitlines()
        assert program in told[-1] and len(told) <= 2
    assert set(states(stored).values()) == {"exited"}
    stored("gc", "--grace-period=0s")
    assert states(stored) == {}


def test_event_handlers(stored: Rktpy, tmp_path: Path) -> None:
    files: dict[str, bytes | str | None] = {"/bin/sh": need_tool("busybox")}

    def image(name: str, before: str, after: str = "true") -> str:
        handlers = [
            {"name": "pre-start", "exec": ["/bin/sh", "-c", before]},
            {"name": "post-stop", "exec": ["/bin/sh", "-c", after]},
        ]
        main = ["/bin/sh", "-c", "read a </order; echo $a, then me; exit 3"]
        return str(make_aci(tmp_path / f"{name}.aci", f"example.com/{name}", files, exec=main, app={"eventHandlers": handlers}))

    done = stored(UNSIGNED, "run", image("works", "echo first >/order", "echo last; exit 9"), status=3)
    # fly has become the app, and cannot do anything after it.
    assert done.stdout.splitlines() == ["first, then me", *([] if stored.stage1 == "fly" else ["last"])]
    if stored.stage1 == "fly":
        done = stored(UNSIGNED, "run", image("fails", "exit 5"), status=254)
        assert done.stdout == ""
        assert "pre-start event handler" in done.stderr
    else:
        for before, status in (("exit 5", 5), ("kill -9 $$", stored.killed(9))):
            done = stored(UNSIGNED, "run", image("fails", before), status=status)
            told = "handlers@fails.service" in done.stdout if stored.stage1 == "systemd" else "event handler" in done.stderr
            assert told and "then me" not in done.stdout
            (uuid,) = (uuid for uuid in states(stored) if f"app-fails={status}\n" in stored("status", uuid).stdout)
            stored("rm", uuid)


def test_after_a_reboot(stored: Rktpy, tmp_path: Path) -> None:
    """The machine went down while a pod ran: its processes, mounts and locks are gone, its directory is as it was."""
    with Running(stored, tmp_path, "echo left >/left; exec sleep 100", "--memory=50M") as pod:
        wait_for("the app's file", lambda: list(stored.data.glob("pods/run/*/overlay/*/upper/*/left")))
        prepared = prepare(stored)
        subprocess.run(["cp", "-a", str(stored.data), str(tmp_path / "disk")], check=True)
    (tmp_path / "later").mkdir()
    after = Rktpy(stored.launcher, tmp_path / "later", stored.stage1)
    # What was on disk when the power failed, in a mount namespace in which nothing of it was ever mounted.
    os.rename(tmp_path / "disk", after.data)
    command = ["unshare", "-m", "--propagation", "private"]
    listed = subprocess.run(
        [*command, *after.argv("list", "--format=json")], check=True, capture_output=True, text=True, timeout=20
    )
    assert {p["name"]: p["state"] for p in json.loads(listed.stdout)} == {pod.uuid: "exited", prepared: "prepared"}
    after("export", pod.uuid, str(tmp_path / "left.aci"))
    other = Rktpy(after.launcher, tmp_path / "other", stored.stage1)
    assert other(UNSIGNED, "run", str(tmp_path / "left.aci"), "--exec", "/bin/cat", "--", "/left").stdout == "left\n"
    assert after("run-prepared", prepared).stdout == "hello from busybox, an ACI\n"
    stored("status", "--wait=10s", pod.uuid)
    after("gc", "--grace-period=0s", "--expire-prepared=0s")
    assert states(after) == {}
    assert mounts_of(tmp_path) == []
    assert processes_with(str(tmp_path)) == {}


def test_pods_are_apart(stored: Rktpy) -> None:
    for flags in (("--no-overlay",), ("--no-overlay",), (), ()):
        assert shell(stored, "if test -e /mine; then echo seen; fi; echo x >/mine", pod=flags).stdout == ""
    stored("gc", "--grace-period=0s")
    image = json.loads(stored("image", "list", "--format=json").stdout)[0]["id"]
    assert "successfully verified" in stored("image", "verify", image).stdout
