"""Flags of ``run``: each has an effect that the app sees, or is told as not enforced."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.aci import make_aci
from tests.support.app_lines import app_lines
from tests.support.pods import BUSYBOX, UNSIGNED, Running, control_files, document, report, shell, states, store_with

pytestmark = [pytest.mark.root, pytest.mark.stage1("fly", "oci", "systemd")]

IMAGE = "example.com/flags"
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:Web:/srv/web:/bin/ash\n"
GROUP = b"root:x:0:\nwww:x:1001:\nlogs:x:2002:web\n"


@pytest.fixture(scope="module")
def template(launcher: Path, busybox_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with busybox and an image that has users, variables and a mount point, both rendered."""
    directory = tmp_path_factory.mktemp("template")
    app = {
        "environment": [{"name": "ONE", "value": "image"}, {"name": "TWO", "value": "image"}],
        "mountPoints": [{"name": "data", "path": "/data"}],
        "workingDirectory": "/etc",
    }
    files: dict[str, bytes | str | None] = {
        "/bin/busybox": need_tool("busybox"),
        "/bin/sh": need_tool("busybox"),
        "/etc/passwd": PASSWD,
        "/etc/group": GROUP,
    }
    aci = make_aci(directory / "flags.aci", IMAGE, files, exec=["/bin/sh", "-c", "echo default"], app=app)
    return store_with(Rktpy(launcher, directory), busybox_images / "busybox.aci", aci)


@pytest.fixture
def stored(rktpy: Rktpy, template: Path) -> Rktpy:
    """The command, with a copy of that directory."""
    subprocess.run(["cp", "-a", str(template), str(rktpy.data)], check=True)
    return rktpy


def run(rktpy: Rktpy, script: str, *flags: str, pod: tuple[str, ...] = (), status: int | None = 0) -> str:
    """Run a script in the flags image, whose mount point has an empty volume."""
    volume = () if any(v.startswith("--volume=data,") for v in pod) else ("--volume=data,kind=empty",)
    arguments = ("run", *volume, *pod, IMAGE, *flags, "--exec", "/bin/busybox", "--", "sh", "-c", script)
    return rktpy(UNSIGNED, *arguments, status=status).stdout


def refused(rktpy: Rktpy, *arguments: str, status: int = 254) -> str:
    """The one line with which a command refuses."""
    done = rktpy(UNSIGNED, *arguments, status=status)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


# --- volumes


def test_host_volume(stored: Rktpy, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "seen").write_text("from the host\n")
    volume = f"--volume=data,kind=host,source={source}"
    assert run(stored, "cat /data/seen; echo back >/data/written", pod=(volume,)) == "from the host\n"
    assert (source / "written").read_text() == "back\n"
    (source / "written").unlink()
    out = run(stored, "cat /data/seen; echo x 2>/dev/null >/data/written || echo refused", pod=(volume + ",readOnly=true",))
    assert out == "from the host\nrefused\n"
    assert not (source / "written").exists()
    stored("gc", "--grace-period=0s")
    run(stored, "true", pod=(volume + ",readOnly=true", "--mount=volume=data,target=/data"))
    (uuid,) = states(stored)
    mounts = document(stored, uuid)["apps"][0]["mounts"]
    assert mounts == [{"name": "data", "container_path": "/data", "host_path": str(source), "read_only": True}]


def test_host_volume_recursion(stored: Rktpy, tmp_path: Path) -> None:
    source = tmp_path / "source"
    inner = source / "inner"
    inner.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "inner", str(inner)], check=True)
    try:
        (inner / "deep").write_text("deep\n")
        look = "ls /data/inner; touch /data/inner/new 2>/dev/null && echo written || echo refused"
        volume = f"--volume=data,kind=host,source={source}"
        assert run(stored, look, pod=(volume + ",recursive=true",)) == "deep\nwritten\n"
        assert run(stored, look, pod=(volume + ",recursive=true,readOnly=true",)) == "deep\nnew\nrefused\n"
        assert run(stored, "ls /data/inner", pod=(volume + ",recursive=false",)) == ""
    finally:
        subprocess.run(["umount", str(inner)], check=True)


def test_file_as_volume(stored: Rktpy, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_text("a file\n")
    pod = (f"--volume=one,kind=host,source={source}", "--mount=volume=one,target=/etc/one")
    assert run(stored, "cat /etc/one", pod=pod) == "a file\n"


def test_empty_volume(stored: Rktpy) -> None:
    script = "stat -c '%a %u %g' /data; touch /data/x && echo ok"
    assert run(stored, script) == "755 0 0\nok\n"
    assert run(stored, script, pod=("--volume=data,kind=empty,mode=1770,uid=12,gid=34",)) == "1770 12 34\nok\n"


def test_mounts_of_one_app_and_of_all(stored: Rktpy, tmp_path: Path) -> None:
    volume = f"--volume=v,kind=host,source={tmp_path}"
    (tmp_path / "here").write_text("yes\n")
    for before, after in ((("--mount=volume=v,target=/mnt/all",), ()), ((), ("--mount=volume=v,target=/mnt/all",))):
        assert run(stored, "cat /mnt/all/here", *after, pod=(volume, *before)) == "yes\n"


def test_volumes_that_do_not_fit(stored: Rktpy, tmp_path: Path) -> None:
    missing = ("run", "--volume=data,kind=host,source=/no/such/place", IMAGE)
    assert "/no/such/place" in refused(stored, *missing, status=254 if stored.stage1 == "fly" else 1)
    assert list(stored.data.glob("pods/run/*/cgroups")) == [], "nothing has been made by then"
    assert "nowhere" in refused(stored, "run", "--volume=data,kind=empty", IMAGE, "--mount=volume=nowhere,target=/x")
    assert "strange" in stored(UNSIGNED, "run", "--volume=data,kind=strange", IMAGE, status=254).stderr
    outside = tmp_path / "target"
    outside.mkdir()
    climbing = "--mount=volume=v,target=/../../../up"
    run(stored, "touch /up/there", pod=(f"--volume=v,kind=host,source={outside}", climbing), status=None)
    assert not Path("/up").exists()


# --- who the app is


@pytest.mark.parametrize(
    ("flags", "uid", "gid", "groups"),
    [
        ((), "0", "0", {"0"}),
        (("--user=web",), "1000", "0", {"0"}),
        (("--user=web", "--group=www"), "1000", "1001", {"1001"}),
        (("--user=77", "--group=88"), "77", "88", {"88"}),
        (("--user=/etc/passwd", "--group=/etc/passwd"), "0", "0", {"0"}),
        (("--user=web", "--group=www", "--supplementary-gids=2002,2003"), "1000", "1001", {"1001", "2002", "2003"}),
    ],
)
def test_user_and_groups(stored: Rktpy, flags: tuple[str, ...], uid: str, gid: str, groups: set[str]) -> None:
    out = run(stored, "busybox id -u; busybox id -g; busybox id -G", *flags).splitlines()
    assert out[:2] == [uid, gid]
    assert set(out[2].split()) == groups


def test_users_that_are_not_there(stored: Rktpy) -> None:
    assert "nobody-here" in refused(stored, "run", BUSYBOX, "--user=nobody-here")
    assert "no-group" in refused(stored, "run", BUSYBOX, "--group=no-group")
    assert "/no/file" in refused(stored, "run", BUSYBOX, "--user=/no/file")


def test_environment_by_precedence(stored: Rktpy, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\n\nTWO=file\nTHREE=file\nFOUR=file\nFIVE=file=with=equals\n")
    os.environ["SIX"] = "caller"
    os.environ["ONE"] = "caller"
    script = 'echo "$ONE $TWO $THREE $FOUR $FIVE [$SIX]"'
    try:
        pod = (f"--set-env-file={file}", "--set-env=THREE=pod", "--set-env=FOUR=pod")
        assert run(stored, script, "--environment=FOUR=app", pod=pod) == "image file pod app file=with=equals []\n"
        assert run(stored, script, pod=("--inherit-env",)) == "image image    [caller]\n"
    finally:
        del os.environ["SIX"], os.environ["ONE"]
    assert str(file) in refused(stored, "run", f"--set-env-file={file}-none", BUSYBOX)


def test_what_is_always_in_the_environment(stored: Rktpy) -> None:
    out = run(stored, "echo $AC_APP_NAME; echo $PATH; echo $HOME; echo $USER", "--user=web", "--name=other")
    assert out.splitlines() == ["other", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "/srv/web", "web"]


def test_working_directory(stored: Rktpy) -> None:
    assert run(stored, "pwd") == "/etc\n"
    assert run(stored, "pwd", "--working-dir=/bin") == "/bin\n"
    for directory in ("/not/here", "/bin/sh"):
        arguments = ("run", BUSYBOX, f"--working-dir={directory}")
        if stored.stage1 == "systemd":
            # EXIT_CHDIR of systemd.exec(5), as of rkt's pods.
            assert "Failed at step CHDIR" in stored(UNSIGNED, *arguments, status=200).stdout
        else:
            assert directory in refused(stored, *arguments, status=200 if stored.stage1 == "oci" else 254)


def test_working_directory_that_the_app_removes(stored: Rktpy, tmp_path: Path) -> None:
    """Where it was does not matter for what is told of the app's end."""
    (tmp_path / "host/work").mkdir(parents=True)
    pod = (f"--volume=data,kind=host,source={tmp_path}/host",)
    run(stored, "busybox rmdir /data/work && exit 7", "--working-dir=/data/work", pod=pod, status=7)
    (tmp_path / "host/link").symlink_to("/data")
    assert run(stored, "/bin/busybox pwd -P; exit 8", "--working-dir=/data/link", pod=pod, status=8) == "/data\n"


def test_program_and_arguments(stored: Rktpy) -> None:
    empty = ("run", "--volume=data,kind=empty", IMAGE)
    assert stored(UNSIGNED, *empty).stdout == "default\n"
    newline = "" if stored.stage1 == "fly" else "\n"  # a log knows lines only
    assert stored(UNSIGNED, *empty, "--exec=/bin/busybox", "--", "echo", "-n", "a b").stdout == f"a b{newline}"
    assert stored(UNSIGNED, *empty, "--exec", "busybox", "--", "echo", "found in PATH").stdout == "found in PATH\n"
    # Without --exec, arguments are added to those of the image: further ones of sh -c.
    assert stored(UNSIGNED, *empty, "--", "ignored").stdout == "default\n"


# --- files that stage0 makes


def test_dns(stored: Rktpy) -> None:
    others = ("--dns-search=example.com", "--dns-opt=ndots:3", "--dns-domain=example.org")
    lines = run(stored, "cat /etc/resolv.conf", pod=("--dns=192.0.2.1", "--dns=192.0.2.2", *others)).splitlines()
    assert {"nameserver 192.0.2.1", "nameserver 192.0.2.2"} <= set(lines)
    assert {"search example.com", "options ndots:3", "domain example.org"} <= set(lines)
    assert run(stored, "cat /etc/resolv.conf", pod=("--dns=host",)) == Path("/etc/resolv.conf").read_text()
    assert run(stored, "test -e /etc/resolv.conf || echo none", pod=("--dns=none",)) == "none\n"
    assert "error with dns flags" in refused(stored, "run", "--dns=not-an-address", BUSYBOX)


def test_hosts(stored: Rktpy) -> None:
    pod = ("--hosts-entry=192.0.2.7=alpha", "--hosts-entry=192.0.2.7=beta,192.0.2.8=gamma")
    lines = run(stored, "cat /etc/hosts", pod=pod).splitlines()
    assert "192.0.2.7 alpha beta" in lines
    assert "192.0.2.8 gamma" in lines
    assert run(stored, "cat /etc/hosts", pod=("--hosts-entry=host",)) == Path("/etc/hosts").read_text()


# --- confinement


def test_readonly_root(stored: Rktpy) -> None:
    script = "touch /x 2>/dev/null && echo root; touch /data/x && echo data; touch /tmp/x 2>/dev/null && echo tmp; exit 0"
    # fly gives the app a /tmp of its own; in rkt's other pods it belongs to the root.
    assert run(stored, script, "--readonly-rootfs=true") == ("data\ntmp\n" if stored.stage1 == "fly" else "data\n")
    assert run(stored, script, "--readonly-rootfs=false") == "root\ndata\ntmp\n"


#: AUDIT_WRITE CHOWN DAC_OVERRIDE FSETID FOWNER KILL MKNOD NET_RAW NET_BIND_SERVICE SETUID SETGID SETPCAP SETFCAP SYS_CHROOT
RKTS_DEFAULT = sum(1 << number for number in (29, 0, 1, 4, 3, 5, 27, 13, 10, 7, 6, 8, 31, 18))
BOUNDING = int(Path("/proc/self/status").read_text().partition("CapBnd:")[2].split()[0], 16)


def capabilities(rktpy: Rktpy, *flags: str, name: str = "CapBnd", pod: tuple[str, ...] = ()) -> int:
    return int(shell(rktpy, f"grep {name} /proc/self/status", *flags, pod=pod).stdout.split()[1], 16)


def test_capabilities(stored: Rktpy) -> None:
    kill, mknod = 1 << 5, 1 << 27
    everything = capabilities(stored)
    assert everything & kill and everything & mknod
    if stored.stage1 != "fly":
        assert everything == RKTS_DEFAULT
        assert capabilities(stored, pod=("--insecure-options=image,capabilities",)) == BOUNDING
    else:
        assert everything == BOUNDING
    for name in ("CapBnd", "CapEff", "CapPrm"):
        assert capabilities(stored, "--caps-retain=CAP_KILL", name=name) == kill
    without = capabilities(stored, "--caps-remove=CAP_MKNOD,CAP_KILL")
    assert not without & (kill | mknod)
    assert shell(stored, "mknod /n c 1 3 2>/dev/null || echo refused", "--caps-remove=CAP_MKNOD").stdout == "refused\n"
    done = shell(stored, "true", "--caps-retain=CAP_NONSENSE,CAP_KILL")
    assert "os/linux/capabilities-retain-set is changed: unknown capabilities CAP_NONSENSE" in done.stderr
    shell(stored, "true", "--caps-retain=CAP_NONSENSE,CAP_KILL", pod=("--strict",), status=254)


def test_system_calls(stored: Rktpy) -> None:
    script = "mkdir /d 2>/dev/null || echo refused"
    assert shell(stored, script, "--seccomp=mode=remove,errno=EPERM,mkdir,mkdirat").stdout == "refused\n"
    assert shell(stored, script).stdout == ""
    done = shell(stored, "exec mkdir /d", "--seccomp=mode=remove,mkdir,mkdirat", status=None)
    assert done.returncode == stored.killed(31), "SIGSYS"
    done = shell(stored, "true", "--seccomp=mode=remove,nonsense,mkdir")
    assert "os/linux/seccomp-remove-set is changed: unknown system calls nonsense" in done.stderr
    shell(stored, "true", "--seccomp=mode=remove,nonsense,mkdir", pod=("--strict",), status=254)


def test_system_calls_that_are_not_for_apps(stored: Rktpy) -> None:
    """Without an isolator: rkt's whitelist, but everything in a fly pod."""
    script = "mount -t tmpfs x /etc 2>/dev/null && echo mounted; grep Seccomp: /proc/self/status"
    everything = "--caps-retain=" + ",".join(f"CAP_{name}" for name in ("SYS_ADMIN", "DAC_OVERRIDE"))
    confined = stored.stage1 != "fly"
    if confined:
        shell(stored, "exec mount -t tmpfs x /etc", everything, status=stored.killed(31))
        assert shell(stored, script, everything, pod=("--insecure-options=image,seccomp",)).stdout == "mounted\nSeccomp:\t0\n"
    else:
        assert shell(stored, script, everything).stdout == "mounted\nSeccomp:\t0\n"


def test_no_new_privileges(stored: Rktpy, tmp_path: Path) -> None:
    files: dict[str, bytes | str | None] = {"/bin/busybox": need_tool("busybox")}
    app = {"isolators": [{"name": "os/linux/no-new-privileges", "value": True}]}
    main = ["/bin/busybox", "grep", "NoNewPrivs", "/proc/self/status"]
    aci = make_aci(tmp_path / "n.aci", "example.com/nnp", files, exec=main, app=app)
    assert stored(UNSIGNED, "run", str(aci)).stdout.split() == ["NoNewPrivs:", "1"]
    assert shell(stored, "grep NoNewPrivs /proc/self/status").stdout.split()[1] == "0"
    # On for other users than root where there is a filter of system calls.
    wanted = "0" if stored.stage1 == "fly" else "1"
    assert shell(stored, "grep NoNewPrivs /proc/self/status", "--user=7").stdout.split()[1] == wanted


# --- resources


def test_memory_limit_kills(stored: Rktpy) -> None:
    hog = "x=a; while :; do x=$x$x; done"
    done = shell(stored, hog, "--memory=20M", status=None)
    assert done.returncode == stored.killed(9) or "memory" in done.stderr
    (uuid,) = states(stored)
    assert report(stored, uuid) == {"resource/memory": "enforced"}


def test_limits_in_the_control_groups(stored: Rktpy, tmp_path: Path) -> None:
    flags = ("--memory=50Mi", "--cpu=500m", "--cpu-shares=300")
    with Running(stored, tmp_path, "exec sleep 100", *flags) as pod:
        told = report(stored, pod.uuid)
        assert told == {"resource/memory": "enforced", "resource/cpu": "enforced", "os/linux/cpu-shares": "enforced"}
        values = {}
        # fly's app is in the pod's group; the others make one for each app below.
        below = {"fly": "", "oci": "**/busybox/", "systemd": "**/busybox.service/"}[stored.stage1]
        for name in ("memory.limit_in_bytes", "memory.max", "cpu.cfs_quota_us", "cpu.max", "cpu.shares"):
            for path in control_files(f"{below}{name}", pod.uuid):
                values[name] = path.read_text().strip()
        assert str(50 << 20) in values.values()
        assert values.get("cpu.cfs_quota_us", values.get("cpu.max", "").split()[:1]) in ("50000", ["50000"])


def test_oom_score(stored: Rktpy) -> None:
    assert shell(stored, "cat /proc/self/oom_score_adj", "--oom-score-adj=500").stdout == "500\n"
    assert "oom" in refused(stored, "run", BUSYBOX, "--oom-score-adj=5000")


@pytest.mark.stage1("fly")
def test_what_fly_cannot_do_is_told(stored: Rktpy) -> None:
    pod = ("--hostname=other", "--net=none", "--ipc=private")
    done = shell(stored, "hostname", pod=pod)
    assert done.stdout.strip() == socket.gethostname()
    for flag in ("--hostname", "--net", "--ipc"):
        assert f"stage1: {flag} is not enforced" in done.stderr
    (uuid,) = states(stored)
    assert report(stored, uuid) == {"--hostname": "ignored", "--net": "ignored", "--ipc": "ignored"}


@pytest.mark.stage1("fly")
@pytest.mark.parametrize("flag", ["--hostname=other", "--net=none", "--ipc=private"])
def test_strict_refuses(stored: Rktpy, flag: str) -> None:
    done = shell(stored, "echo ran", pod=("--strict", flag), status=254)
    assert done.stdout == ""
    assert f"run: refusing to run the pod: {flag.partition('=')[0]} is not enforced" in done.stderr
    assert shell(stored, "echo ran", pod=("--strict",)).stdout == "ran\n"


def test_dry_run_starts_nothing(stored: Rktpy) -> None:
    text = shell(stored, "echo ran", pod=("--dry-run",)).stdout
    lines = text.splitlines()
    if stored.stage1 == "systemd":
        assert 'ExecStart=:"/bin/sh" "-c" "echo ran"' in lines
    elif stored.stage1 == "oci":
        bundle = json.loads(text.partition("app busybox:\n")[2])
        assert bundle["process"]["args"] == ["/bin/sh", "-c", "echo ran"]
    else:
        assert lines[-1] == 'execute "/bin/sh" "-c" "echo ran"'
    assert states(stored) == {}


@pytest.mark.stage1("systemd")
def test_what_systemd_pods_have_of_their_own(stored: Rktpy, tmp_path: Path) -> None:
    script = "hostname; for n in net ipc uts pid mnt cgroup; do readlink /proc/self/ns/$n; done"
    hostname, *spaces = shell(stored, script, pod=("--strict", "--hostname=other", "--net=none")).stdout.splitlines()
    assert hostname == "other"
    assert not {os.readlink(f"/proc/self/ns/{name}") for name in ("net", "ipc", "uts", "pid", "mnt", "cgroup")} & set(spaces)
    with Running(
        stored, tmp_path, "hostname; readlink /proc/self/ns/net; exec sleep 60", pod=("--net=host", "--ipc=parent")
    ) as pod:
        assert pod.line() == f"rkt-{pod.uuid}\n"
        assert pod.line() == os.readlink("/proc/self/ns/net") + "\n"
        assert stored("enter", pod.uuid, "readlink", "/proc/self/ns/ipc").stdout == os.readlink("/proc/self/ns/ipc") + "\n"


@pytest.mark.stage1("systemd")
def test_many_apps(stored: Rktpy) -> None:
    """The status of the pod is that of the app that fails first; the others are stopped then."""
    waits = "trap 'echo stopped; exit 4' TERM; echo up; while :; do sleep 0.05; done"
    one = (BUSYBOX, "--name=one", "--exec=/bin/sh", "--", "-c", "sleep 0.3; exit 5", "---")
    argv = stored.argv(UNSIGNED, "run", *one, BUSYBOX, "--name=two", "--exec=/bin/sh", "--", "-c", waits)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert app_lines(done.stdout) == [("two", "up"), ("two", "stopped")]
    assert done.returncode == 5
    (uuid,) = states(stored)
    assert {"app-one=5", "app-two=4"} <= set(stored("status", uuid).stdout.splitlines())


# --- words about the pod


def test_annotations_and_labels(stored: Rktpy) -> None:
    flags = ("--user-annotation=a=1", "--user-label=b=2", "--annotation=example.com/note=3", "--name=app")
    shell(stored, "true", *flags)
    (uuid,) = states(stored)
    app = document(stored, uuid)["apps"][0]
    assert app["user_annotations"] == {"a": "1"}
    assert app["user_labels"] == {"b": "2"}
    assert app["name"] == "app"
    assert '"example.com/note"' in stored("cat-manifest", uuid).stdout


@pytest.mark.stage1("fly")
def test_one_app_only(stored: Rktpy) -> None:
    assert "fly" in refused(stored, "run", BUSYBOX, "--name=one", "---", BUSYBOX, "--name=two")


def test_pod_manifest(stored: Rktpy, tmp_path: Path) -> None:
    shell(stored, "echo from the manifest", "--name=app")
    (uuid,) = states(stored)
    file = tmp_path / "pod.json"
    file.write_text(stored("cat-manifest", uuid).stdout)
    assert stored(UNSIGNED, "run", f"--pod-manifest={file}").stdout == "from the manifest\n"
    assert "conflicting flags set with --pod-manifest" in refused(stored, "run", f"--pod-manifest={file}", BUSYBOX)
    file.write_text("{")
    assert "pod" in refused(stored, "run", f"--pod-manifest={file}")
