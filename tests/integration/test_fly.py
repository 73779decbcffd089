"""stage1-fly's entry points, executed as a foreign stage0 executes them, on the real kernel."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from rktpy.linux.syscalls import mount, umount2
from tests.support.fly_pods import entry_point, make_pod, run, shell, start

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _tools() -> None:
    import shutil

    if shutil.which("busybox") is None:
        pytest.skip("busybox is not installed")


def rootfs(pod: Path) -> Path:
    return pod / "stage1/rootfs/opt/stage2/app/rootfs"


def wait_for(path: Path, timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not appear"
        time.sleep(0.01)


def output(pod: Path, *args: str) -> str:
    status, out, err = run(pod, *args)
    assert (status, err) == (0, ""), err
    return out


def test_exit_status_is_the_apps(tmp_path: Path) -> None:
    assert run(make_pod(tmp_path / "p", shell("exit 7")))[0] == 7
    assert run(make_pod(tmp_path / "q", shell("kill -TERM $$")))[0] == -signal.SIGTERM


def test_environment_is_the_apps_alone(tmp_path: Path) -> None:
    app = {**shell("env"), "environment": [{"name": "MY", "value": "own value"}, {"name": "HOME", "value": "/work"}]}
    lines = output(make_pod(tmp_path / "p", app)).splitlines()
    variables = dict(line.split("=", 1) for line in lines)
    assert variables["MY"] == "own value"
    assert variables["HOME"] == "/work"
    assert variables["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert variables["AC_APP_NAME"] == "app"
    assert variables["USER"] == variables["LOGNAME"] == "root"
    assert not {"SECRET", "RKT_LOCK_FD"} & set(variables)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"user": "web", "group": "www"}, "uid=1000(web) gid=1001(www) groups=1001(www)"),
        ({"user": "web", "group": ":user"}, "uid=1000(web) gid=1001(www) groups=1001(www),2002(logs)"),
        ({"user": "12", "group": "2002", "supplementaryGIDs": [7, 8]}, "uid=12 gid=2002(logs) groups=2002(logs),7,8"),
        ({"user": "/owned", "group": "/owned"}, "uid=33 gid=44 groups=44"),
        ({"user": "root", "group": "root"}, "uid=0(root) gid=0(root) groups=0(root)"),
    ],
)
def test_user_and_groups(tmp_path: Path, settings: dict[str, object], expected: str) -> None:
    pod = make_pod(tmp_path / "p", {"exec": ["/bin/id"], **settings})
    owned = rootfs(pod) / "owned"
    owned.touch()
    os.chown(owned, 33, 44)
    ids, _, groups = output(pod).strip().rpartition("=")
    wanted, _, wanted_groups = expected.rpartition("=")
    assert (ids, set(groups.split(","))) == (wanted, set(wanted_groups.split(",")))


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ({"user": "nobody-here"}, 'run: user "nobody-here" not found in the image\n'),
        ({"group": "nobody-here"}, 'run: group "nobody-here" not found in the image\n'),
        ({"user": "/missing"}, 'run: file "/missing", whose owner the app should run as, is not in the image\n'),
        ({"exec": ["missing"]}, 'run: unable to find "missing" in "/:/bin:/usr/bin"\n'),
        ({"exec": ["/missing"]}, 'run: can\'t execute "/missing": no such file or directory\n'),
        ({"exec": []}, 'run: image "example.test/app" has an empty "exec" (try --exec=BINARY)\n'),
        ({"workingDirectory": "/missing"}, 'run: can\'t change to working directory "/missing": no such file or directory\n'),
        ({"mountPoints": [{"name": "top", "path": "/"}]}, 'run: can\'t mount volume "top" over the root of the app\n'),
    ],
)
def test_failure_is_one_line_and_254(tmp_path: Path, app: dict[str, object], message: str) -> None:
    status, out, err = run(make_pod(tmp_path / "p", app))
    assert (status, out, err) == (254, "", message)


def test_working_directory_and_search_path(tmp_path: Path) -> None:
    app = {"exec": ["tool"], "workingDirectory": "/work", "environment": [{"name": "PATH", "value": "/nowhere:/out/opt:opt"}]}
    pod = make_pod(tmp_path / "p", app)
    (rootfs(pod) / "work/opt").mkdir()
    tool = rootfs(pod) / "work/opt/tool"
    tool.write_text("#!/bin/sh\npwd\necho $0\n")
    tool.chmod(0o755)
    assert output(pod).splitlines() == ["/work", "/work/opt/tool"]


def test_only_one_app(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p")
    document = json.loads((pod / "pod").read_text())
    document["apps"].append({**document["apps"][0], "name": "second"})
    (pod / "pod").write_text(json.dumps(document))
    assert run(pod) == (254, "", "run: fly only supports 1 application per Pod for now\n")


def test_mounts_and_descriptors(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p", shell("cut -d' ' -f5 /proc/self/mountinfo; ls /proc/self/fd; cat /etc/hosts; ls -ld /tmp"))
    (rootfs(pod) / "bin/cut").symlink_to("busybox")
    before = Path("/proc/self/mountinfo").read_text()
    out = output(pod)
    lines = out.splitlines()
    for path in ("/", "/dev", "/proc", "/sys", "/tmp"):
        assert path in lines
    assert str(tmp_path) not in out, "mounts of the host must not be seen"
    fds = [line for line in lines if line.isdigit()]
    assert len(fds) == 5, "0, 1, 2, the lock and the directory that ls has open"
    assert "127.0.0.1 localhost localdomain" in lines
    assert lines[-1].startswith("drwxrwxrwt")
    assert Path("/proc/self/mountinfo").read_text() == before


def test_no_way_out_of_the_root(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p", shell("ls /out/ /out/../../bin/busybox /proc/self/root/../.."))
    assert str(tmp_path).split("/")[1] not in set(output(pod).split()) - {"tmp"}
    assert "work" in output(make_pod(tmp_path / "q", shell("ls /out/../../..")))


def test_contract_files(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p", shell("sleep 60"))
    process = start(pod)
    try:
        wait_for(pod / "pid")
        assert int((pod / "pid").read_text()) == process.pid
        assert int((pod / "pgid").read_text()) == os.getpgid(process.pid)
        ready = pod / "stage1/rootfs/rkt/supervisor-status"
        wait_for(pod / "stage1/rootfs/rkt", 5)
        deadline = time.monotonic() + 5
        while not ready.is_symlink() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert os.readlink(ready) == "ready"
        environment = (pod / "stage1/rootfs/rkt/env/app").read_text()
        assert "AC_APP_NAME=app\n" in environment
        assert json.loads((pod / "enforcement").read_text()) == {"isolators": []}
    finally:
        process.kill()
        process.communicate()


def volume(name: str, source: object, **more: object) -> dict[str, object]:
    return {"name": name, "kind": "host", "source": str(source), **more}


def test_host_volumes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_text("content\n")
    app = {
        **shell("cat /data/file /deep/er/file /one; echo new > /data/new; echo no > /deep/er/no; echo x >> /one; ls -l /node"),
        "mountPoints": [{"name": "data", "path": "/data"}, {"name": "ro", "path": "/deep/er", "readOnly": True}],
    }
    volumes = [
        volume("data", data),
        volume("ro", data),
        volume("one", data / "file", readOnly=True),
        volume("node", "/dev/null"),
    ]
    mounts = [{"volume": "one", "path": "/one"}, {"volume": "node", "path": "/node"}]
    status, out, err = run(make_pod(tmp_path / "p", app, runtime={"mounts": mounts}, pod={"volumes": volumes}))
    assert out.splitlines()[:3] == ["content"] * 3
    assert out.splitlines()[3].startswith("crw-rw-rw-")
    assert status == 0
    assert err.count("Read-only file system") == 2
    assert (data / "new").read_text() == "new\n"
    assert not (data / "no").exists()


def test_volume_says_read_write_over_the_images_read_only(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    app = {**shell("echo x > /data/x"), "mountPoints": [{"name": "data", "path": "/data", "readOnly": True}]}
    assert run(make_pod(tmp_path / "p", app, pod={"volumes": [volume("data", data, readOnly=False)]}))[0] == 0
    assert run(make_pod(tmp_path / "q", app, pod={"volumes": [volume("data", data)]}))[0] == 1


@pytest.mark.parametrize("recursive", [True, False])
def test_recursive_read_only_volume(tmp_path: Path, recursive: bool) -> None:
    data = Path("/run") / f"data-{tmp_path.name}"
    (data / "inner").mkdir(parents=True)
    mount("inner", data / "inner", "tmpfs", 0, None)
    (data / "inner/file").write_text("inner\n")
    try:
        app = shell("cat /data/inner/file; echo x > /data/inner/y")
        volumes = [volume("data", data, readOnly=True, recursive=recursive)]
        pod = make_pod(tmp_path / "p", app, runtime={"mounts": [{"volume": "data", "path": "/data"}]}, pod={"volumes": volumes})
        status, out, err = run(pod)
        assert status != 0
        assert "Read-only file system" in err
        assert out == ("inner\n" if recursive else "")
    finally:
        umount2(data / "inner", 0)


def test_mount_target_stays_inside(tmp_path: Path) -> None:
    """A target below a symlink that points out of the root is made inside it."""
    data = tmp_path / "data"
    data.mkdir()
    outside = Path(f"/run/escaped-{tmp_path.name}")
    mounts = [{"volume": "data", "path": f"/out/../..{outside}/x"}]
    pod = make_pod(
        tmp_path / "p", shell(f"ls -d {outside}/x"), runtime={"mounts": mounts}, pod={"volumes": [volume("data", data)]}
    )
    assert output(pod) == f"{outside}/x\n"
    assert not outside.exists()
    assert (rootfs(pod) / str(outside)[1:] / "x").is_dir()


def test_missing_source_and_wrong_kind(tmp_path: Path) -> None:
    mounts = {"mounts": [{"volume": "data", "path": "/data"}]}
    pod = make_pod(tmp_path / "p", runtime=mounts, pod={"volumes": [volume("data", tmp_path / "missing")]})
    status, _out, err = run(pod)
    assert (status, err) == (254, f'run: can\'t bind "{tmp_path}/missing" at "/data": no such file or directory\n')
    mounts = {"mounts": [{"volume": "data", "path": "/etc/passwd"}]}
    pod = make_pod(tmp_path / "q", runtime=mounts, pod={"volumes": [volume("data", tmp_path)]})
    assert run(pod)[2] == f'run: can\'t mount because "{tmp_path}" is a directory while "/etc/passwd" is not\n'
    mounts = {"mounts": [{"volume": "data", "path": "/data"}]}
    assert run(make_pod(tmp_path / "r", runtime=mounts))[2] == 'run: could not find volume "data"\n'


def test_empty_volumes(tmp_path: Path) -> None:
    empty = {"name": "scratch", "kind": "empty", "mode": "0701", "uid": 5, "gid": 6}
    app = {**shell("stat -c '%a %u %g' /a /b; touch /a/x; ls /b"), "mountPoints": [{"name": "scratch", "path": "/a"}]}
    pod = make_pod(
        tmp_path / "p",
        app,
        runtime={"mounts": [{"volume": "scratch", "path": "/b"}, {"volume": "scratch", "path": "/a"}]},
        pod={"volumes": [empty]},
    )
    assert output(pod).splitlines() == ["701 5 6", "701 5 6", "x"]
    assert (pod / "sharedVolumes/scratch/x").exists()


@pytest.mark.parametrize("docker", [True, False])
def test_implicit_volume_takes_over_a_docker_images_content(tmp_path: Path, docker: bool) -> None:
    app = {**shell("stat -c '%a %u' /srv; ls /srv; cat /srv/link"), "mountPoints": [{"name": "srv", "path": "/srv"}]}
    annotations = {"appc.io/docker/repository": "library/x"} if docker else {}
    pod = make_pod(tmp_path / "p", app, image_annotations=annotations)
    served = rootfs(pod) / "srv"
    served.mkdir()
    (served / "file").write_text("text\n")
    os.link(served / "file", served / "hard")
    (served / "link").symlink_to("file")
    (served / "escape").symlink_to("/etc/shadow")
    (served / "sub").mkdir(mode=0o711)
    os.setxattr(served / "file", "user.note", b"kept")
    served.chmod(0o750)
    os.chown(served, 42, 43)
    status, out, err = run(pod)
    assert err.startswith('stage1: warning: no volume specified for mount point "srv", implicitly creating an "empty" volume')
    copied = pod / "sharedVolumes/app-srv"
    if docker:
        assert (status, out.split()) == (0, ["750", "42", "escape", "file", "hard", "link", "sub", "text"])
        assert (copied / "file").stat().st_ino == (copied / "hard").stat().st_ino
        assert os.readlink(copied / "escape") == "/etc/shadow"
        assert os.getxattr(copied / "file", "user.note") == b"kept"
        assert stat.S_IMODE((copied / "sub").stat().st_mode) == 0o711
    else:
        assert out.split() == ["755", "0"]
        assert list(copied.iterdir()) == []


def test_read_only_root(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p", shell("touch /x; touch /tmp/y && echo tmp"), runtime={"readOnlyRootFS": True})
    status, out, err = run(pod)
    assert (status, out) == (0, "tmp\n")
    assert "Read-only file system" in err


def test_name_files(tmp_path: Path) -> None:
    show = shell("cat /etc/resolv.conf; cat /etc/hosts; echo x > /etc/hosts && echo written")
    pod = make_pod(tmp_path / "p", show)
    etc = pod / "stage1/rootfs/etc"
    etc.mkdir()
    (etc / "rkt-resolv.conf").write_text("nameserver 192.0.2.1\n")
    (etc / "rkt-hosts").write_text("192.0.2.2 name\n")
    out = output(pod, "--dns-conf-mode=resolv=stage0,hosts=stage0")
    assert out == "nameserver 192.0.2.1\n192.0.2.2 name\nwritten\n"
    pod = make_pod(tmp_path / "q", show)
    status, out, err = run(pod, "--dns-conf-mode", "resolv=host,hosts=host")
    assert out == Path("/etc/resolv.conf").read_text() + Path("/etc/hosts").read_text()
    assert status == 1 and "Read-only" in err
    status, out, err = run(make_pod(tmp_path / "r", show), "--dns-conf-mode=resolv=none,hosts=default")
    assert out == "127.0.0.1 localhost localdomain\nwritten\n" and "resolv.conf" in err
    assert run(make_pod(tmp_path / "s"), "--dns-conf-mode=resolv=maybe")[0] == 254


def test_event_handlers(tmp_path: Path) -> None:
    handlers = [
        {
            "name": "pre-start",
            "exec": ["/bin/sh", "-c", "id -u > /started; sleep 0.2; echo done >> /started; ls /proc/self/fd > /fds"],
        },
        {"name": "post-stop", "exec": ["/bin/true"]},
    ]
    pod = make_pod(tmp_path / "p", {**shell("id -u; cat /started"), "user": "web", "eventHandlers": handlers})
    status, out, err = run(pod)
    assert (status, out.split()) == (0, ["1000", "0", "done"])
    assert err == "stage1: app app: post-stop is not enforced: nothing of stage1-fly is left when the app ends\n"
    assert len((rootfs(pod) / "fds").read_text().split()) == 4, "0, 1, 2 and the directory that ls has open"
    failing = [{"name": "pre-start", "exec": ["false"]}]
    status, out, err = run(make_pod(tmp_path / "q", {**shell("echo ran"), "eventHandlers": failing}))
    assert (status, out, err) == (254, "", 'run: pre-start event handler "/bin/false" failed with status 1\n')


def test_signals_that_python_ignores_are_not_ignored_by_the_app(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p", shell("grep -E 'SigIgn|SigBlk' /proc/self/status"))
    (rootfs(pod) / "bin/grep").symlink_to("busybox")
    blocked, ignored = [int(line.split()[1], 16) for line in output(pod).splitlines()]
    assert blocked == 0
    assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)


def test_dry_run_changes_nothing(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p", {"exec": ["/bin/id"], "user": "web"})
    before = sorted(os.walk(pod))
    out = output(pod, "--dry-run")
    assert 'bind recursively "/proc" at "/proc"' in out
    assert "become user 1000" in out
    assert out.endswith('execute "/bin/id"\n')
    assert sorted(os.walk(pod)) == before


def test_arguments_are_refused_not_ignored(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p")
    for argument in ("--frobnicate", "--mutable", "--private-users=65536:65536", "--strict=perhaps"):
        assert run(pod, argument)[0] == 254
    status, _out, err = run(pod, "--net=mynet,host", "--hostname=h", "--ipc=private", "--interactive", "--local-config=/etc/x")
    assert status == 0
    assert [line.split(" is ")[0] for line in err.splitlines()] == ["stage1: --net", "stage1: --hostname", "stage1: --ipc"]
    assert run(make_pod(tmp_path / "q"), "--net=default")[2] == ""


def test_lock_descriptor_is_needed(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p")
    assert entry_point(pod, "run", "6f6a2bd6-31f4-4ad0-b9ab-6a2a4c1b8f13") == (
        254,
        "",
        'run: can\'t get rkt lock fd: RKT_LOCK_FD is ""\n',
    )
    assert not (pod / "pid").exists()


def test_enter_is_inside(tmp_path: Path) -> None:
    app = {**shell("echo here > /tmp/mark; echo up; sleep 60"), "user": "web", "group": ":user"}
    pod = make_pod(tmp_path / "p", {**app, "environment": [{"name": "MY", "value": "two\nlines"}]})
    process = start(pod)
    try:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        pid = f"--pid={process.pid}"
        script = "id; cat /tmp/mark; echo $MY; pwd; ls /proc/self/fd; exit 5"
        status, out, err = entry_point(pod, "enter", pid, "--appname=app", "--", "sh", "-c", script)
        assert (status, err) == (5, "")
        assert out.splitlines()[:4] == ["uid=1000(web) gid=1001(www) groups=1001(www),2002(logs)", "here", "two lines", "/"]
        assert out.split()[-4:] == ["0", "1", "2", "3"]
        assert entry_point(pod, "enter", pid, "--appname=other", "--", "sh")[2] == 'enter: app "other" is not in the pod\n'
        status, _out, err = entry_point(pod, "enter", f"--pid={os.getpid()}", "--appname=app", "--", "/bin/id")
        assert (status, err) == (254, f"enter: process {os.getpid()} is not the pod's\n")
        assert (
            entry_point(pod, "enter", pid, "--", "/missing")[2] == 'enter: can\'t execute "/missing": no such file or directory\n'
        )
    finally:
        process.kill()
        process.communicate()
    assert entry_point(pod, "enter", pid, "--appname=app", "--", "/bin/id")[0] == 254


def test_stop(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p", shell("trap 'echo asked; exit 3' TERM; echo up; while :; do sleep 0.1; done"))
    for arguments, expected in (((), 3), (("--force",), -signal.SIGKILL)):
        process = start(pod)
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        assert entry_point(pod, "stop", *arguments, "uuid") == (0, "", "")
        process.communicate(timeout=10)
        assert process.returncode == expected
    assert entry_point(pod, "stop") == (254, "", "stop: no process of the pod is running\n")


def test_stop_leaves_a_process_alone_that_has_the_number_of_the_pods(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p")
    assert run(pod)[0] == 0
    (pod / "pid").write_text(str(os.getpid()))
    (pod / "pgid").write_text(str(os.getpgrp()))
    assert entry_point(pod, "stop", "--force") == (254, "", "stop: no process of the pod is running\n")


def test_stop_reaches_what_the_app_left_behind(tmp_path: Path) -> None:
    """The app ends and leaves a child in its process group, which holds the lock."""
    pod = make_pod(tmp_path / "p", shell("sleep 60 >/dev/null 2>&1 & echo $!"))
    process = start(pod, start_new_session=True)
    out, _err = process.communicate(timeout=10)
    child = int(out)
    assert Path(f"/proc/{child}").exists()
    assert entry_point(pod, "stop") == (0, "", "")
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_gc_without_cgroups(tmp_path: Path) -> None:
    assert entry_point(make_pod(tmp_path / "p"), "gc", "--debug", "--local-config", "/etc/x", "uuid") == (0, "", "")
