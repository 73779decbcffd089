"""What apps get under rkt's flags, by table: users and groups, environment, volumes, mount points, arguments."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.aci import make_aci

pytestmark = [pytest.mark.root, pytest.mark.stage1("fly", "oci", "systemd")]

UNSIGNED = "--insecure-options=image"
PASSWD = b"root:x:0:0::/:/bin/sh\nuser1:x:1000:100::/:/bin/sh\n"
GROUP = b"root:x:0:\ngroup1:x:100:\n"


def image(directory: Path, script: str, name: str = "example.com/app", **app: Any) -> str:
    """The path of an ACI of busybox that runs a shell script."""
    tool = need_tool("busybox")
    files: dict[str, bytes | str | None] = {f"/bin/{applet}": tool for applet in ("busybox", "sh")}
    files |= {"/etc/passwd": PASSWD, "/etc/group": GROUP, "/dir1/file": b"of the image\n"}
    return str(make_aci(directory / f"{name.rpartition('/')[2]}.aci", name, files, exec=["/bin/sh", "-c", script], app=app))


def said(rktpy: Rktpy, done: subprocess.CompletedProcess[str]) -> str:
    """What the app wrote to its standard error: fly's is the caller's, the log of another pod takes both."""
    return done.stderr if rktpy.stage1 == "fly" else done.stdout


@pytest.mark.parametrize(
    ("app", "flags", "ids"),
    [
        ({}, "", "0 0"),
        ({}, "--user=200", "200 0"),
        ({}, "--group=300", "0 300"),
        ({}, "--user=user1 --group=300", "1000 300"),
        ({}, "--user=200 --group=group1", "200 100"),
        ({"user": "400", "group": "500"}, "", "400 500"),
        ({"user": "400", "group": "500"}, "--user=200", "200 500"),
        ({"user": "400", "group": "500"}, "--group=300", "400 300"),
        ({"user": "400", "group": "500"}, "--user=user1 --group=group1", "1000 100"),
        ({"user": "root", "group": "root"}, "", "0 0"),
        ({"user": "400", "group": "500"}, "--user=/bin/sh --group=/bin/sh", "0 0"),
    ],
)
def test_user_and_group(rktpy: Rktpy, tmp_path: Path, app: dict[str, Any], flags: str, ids: str) -> None:
    path = image(tmp_path, "echo $(busybox id -u) $(busybox id -g)", **app)
    assert rktpy(UNSIGNED, "run", path, *flags.split()).stdout == f"{ids}\n"


def test_supplementary_groups_and_capabilities_of_the_flags_win(rktpy: Rktpy, tmp_path: Path) -> None:
    path = image(tmp_path, "busybox id -G; busybox grep CapEff /proc/self/status", supplementaryGIDs=[400, 500])
    assert rktpy(UNSIGNED, "run", path).stdout.splitlines()[0] == "0 400 500"
    done = rktpy(UNSIGNED, "run", path, "--supplementary-gids=1200,7", "--cap-retain=CAP_CHOWN")
    assert done.stdout == "0 7 1200\nCapEff:\t0000000000000001\n"
    assert "Flag --cap-retain has been deprecated, use --caps-retain instead\n" in done.stderr


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("", "", "manifest -"),
        ("--set-env=OTHER=pod", "", "manifest pod"),
        ("--set-env=OF=pod", "", "pod -"),
        ("--inherit-env=true", "", "manifest host"),
        ("--inherit-env --set-env=OTHER=pod", "", "manifest pod"),
        ("--set-env-file=FILE", "", "manifest file"),
        ("--set-env=OTHER=pod --set-env-file=FILE", "", "manifest pod"),
        ("--inherit-env --set-env-file=FILE", "", "manifest file"),
        ("--set-env=OF=pod", "--environment=OF=app", "app -"),
    ],
)
def test_environment(rktpy: Rktpy, tmp_path: Path, before: str, after: str, shown: str) -> None:
    path = image(tmp_path, "echo $OF ${OTHER:--}; test -n $PATH", environment=[{"name": "OF", "value": "manifest"}])
    file = tmp_path / "file.env"
    file.write_text("OTHER=file\n")
    environment = {**os.environ, "OF": "host", "OTHER": "host"}
    flags = before.replace("FILE", str(file)).split()
    assert rktpy(UNSIGNED, "run", *flags, path, *after.split(), env=environment).stdout == f"{shown}\n"


def test_enter_has_the_apps_environment(rktpy: Rktpy, tmp_path: Path) -> None:
    path = image(tmp_path, "echo up; read line; echo got $line", environment=[{"name": "OF", "value": "manifest"}])
    argv = rktpy.argv(UNSIGNED, "run", "--interactive", "--set-env=OTHER=pod", f"--uuid-file-save={tmp_path}/u", path)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        uuid = (tmp_path / "u").read_text()
        done = rktpy("enter", uuid, "/bin/sh", "-c", "echo $OF $OTHER $AC_APP_NAME", env={**os.environ, "OTHER": "host"})
        assert done.stdout == "manifest pod app\n"
        rktpy("enter", uuid, "/bin/sh", "-c", "exit 9", status=9)
        # The app of another pod than fly's has a terminal in any case, which shows what is typed.
        echo = "" if rktpy.stage1 == "fly" else "Bye\n"
        assert process.communicate("Bye\n", timeout=20)[0] == f"{echo}got Bye\n"


def test_the_terminal_of_an_interactive_app(rktpy: Rktpy, tmp_path: Path) -> None:
    path = image(tmp_path, "busybox test -t 0 && echo terminal || echo none")
    assert rktpy(UNSIGNED, "run", path, stdin=subprocess.DEVNULL).stdout == "none\n"
    # In a pod of another stage1 it is one of the pod's, whatever the caller has.
    wanted = "none\n" if rktpy.stage1 == "fly" else "terminal\n"
    assert rktpy(UNSIGNED, "run", "--interactive", path, stdin=subprocess.DEVNULL).stdout == wanted
    master, slave = pty.openpty()
    try:
        assert rktpy(UNSIGNED, "run", "--interactive", path, stdin=slave).stdout == "terminal\n"
        uuid = rktpy(UNSIGNED, "prepare", path).stdout.strip()
        assert rktpy("run-prepared", "--interactive", "--mds-register=false", uuid, stdin=slave).stdout == "terminal\n"
    finally:
        os.close(master)
        os.close(slave)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A directory with a file, and a mount below that hides another."""
    volume = tmp_path / "volume"
    (volume / "sub").mkdir(parents=True)
    (volume / "file").write_text("host\n")
    (volume / "sub/file").write_text("outer\n")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(volume / "sub")], check=True)
    try:
        (volume / "sub/file").write_text("inner\n")
        yield volume
    finally:
        subprocess.run(["umount", str(volume / "sub")], check=True)


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize(
    ("options", "script", "shown", "status"),
    [
        # As in rkt, fly does not take what is mounted below and the others do.
        ("", "cat /mnt/sub/file", {"fly": "outer\n", "oci": "inner\n", "systemd": "inner\n"}, 0),
        (",recursive=false", "cat /mnt/sub/file", "outer\n", 0),
        (",recursive=true", "cat /mnt/sub/file", "inner\n", 0),
        (",recursive=true,readOnly=true", "echo x >/mnt/sub/file", "", 1),
        (",recursive=false,readOnly=true", "echo x >/mnt/new", "", 1),
        ("", "echo x >/mnt/new; cat /mnt/new", "x\n", 0),
    ],
)
def test_host_volumes(
    rktpy: Rktpy, tmp_path: Path, tree: Path, prepared: bool, options: str, script: str, shown: str | dict[str, str], status: int
) -> None:
    path = image(tmp_path, script.replace("cat", "busybox cat"))
    flags = [f"--volume=v,kind=host,source={tree}{options}", "--mount", "volume=v,target=/mnt", path]
    if prepared:
        uuid = rktpy(UNSIGNED, "prepare", *flags).stdout.strip()
        done = rktpy("run-prepared", uuid, status=status)
    else:
        done = rktpy(UNSIGNED, "run", *flags, status=status)
    if status:
        assert "Read-only file system" in said(rktpy, done)
    else:
        assert done.stdout == (shown if isinstance(shown, str) else shown[rktpy.stage1])
        assert "Read-only file system" not in done.stderr
    assert (tree / "file").read_text() == "host\n"


def test_the_mount_points_of_an_image(rktpy: Rktpy, tmp_path: Path, tree: Path) -> None:
    point = {"name": "dir1", "path": "/dir1", "readOnly": True}
    path = image(tmp_path, "busybox cat /dir1/file; echo x >/dir1/new", mountPoints=[point])
    done = rktpy(UNSIGNED, "run", f"--volume=dir1,kind=host,source={tree}", path, status=1)
    assert done.stdout.startswith("host\n")
    assert "Read-only file system" in said(rktpy, done)
    done = rktpy(UNSIGNED, "run", path, status=None)
    assert 'no volume specified for mount point "dir1", implicitly creating an "empty" volume' in done.stderr
    assert "No such file or directory" in said(rktpy, done)


@pytest.mark.parametrize("readonly", [False, True])
def test_empty_volumes_have_their_mode_and_owner(rktpy: Rktpy, tmp_path: Path, readonly: bool) -> None:
    path = image(tmp_path, "busybox stat -c '%a %u %g' /mnt; echo y >/mnt/f; busybox cat /mnt/f")
    volume = "--volume=v,kind=empty,mode=0123,uid=9991,gid=9992"
    flags = ["--mount=volume=v,target=/mnt", f"--readonly-rootfs={readonly}".lower()]
    assert rktpy(UNSIGNED, "run", volume, path, *flags).stdout == "123 9991 9992\ny\n"


@pytest.mark.stage1()
def test_volumes_that_cannot_be(rktpy: Rktpy, tmp_path: Path) -> None:
    path = image(tmp_path, "true")
    twice = ["--volume=v,kind=host,source=/etc", "--volume=v,kind=empty", "--mount=volume=v,target=/mnt"]
    assert "duplicate volume name" in rktpy(UNSIGNED, "run", *twice, path, status=254).stderr
    assert 'volume "v" not found' in rktpy(UNSIGNED, "run", "--mount=volume=v,target=/mnt", path, status=254).stderr
    relative = "--volume=v,kind=host,source=etc"
    assert "source for host volume must be absolute path" in rktpy(UNSIGNED, "run", relative, path, status=254).stderr


def test_arguments_of_each_image(rktpy: Rktpy, tmp_path: Path) -> None:
    shutil.copy(image(tmp_path, "true"), tmp_path / "b.aci")
    path = str(tmp_path / "app.aci")
    run = ["--exec=/bin/busybox", "--", "echo", "a", "--debug", "", "--", "b", "---"]
    assert rktpy(UNSIGNED, "run", path, *run, "--net=host").stdout == "a --debug -- b\n"
    assert rktpy(UNSIGNED, "--net=host", "run", "---", path, *run).stdout == "a --debug -- b\n"
    done = rktpy(UNSIGNED, "prepare", path, "--name=a", *run, path, "--name=b", "--exec", "/bin/sh", "--", "-c", "c")
    manifest = rktpy("cat-manifest", "--pretty-print=false", done.stdout.strip()).stdout
    assert '"exec":["/bin/busybox","echo","a","--debug","--","b"]' in manifest
    assert '"exec":["/bin/sh","-c","c"]' in manifest
    only_one = "only one set of app arguments allowed per image"
    assert only_one in rktpy(UNSIGNED, "run", path, "--", "a", "---", "--", "b", status=254).stderr
    assert "an image is required before any app arguments" in rktpy("run", "--debug", "--", "--", "a", status=254).stderr


@pytest.mark.stage1()
@pytest.mark.parametrize("command", ["run", "prepare"])
@pytest.mark.parametrize(
    "flags",
    [
        "--inherit-env", "--no-store", "--store-only", "--port=foo:80", "--set-env=foo=bar",
        "--volume=foo,kind=host,source=/tmp", "--mount=volume=foo,target=/tmp --volume=foo,kind=host,source=/tmp",
        "image.aci --exec=/bin/sh", "image.aci --user=user_foo", "image.aci --group=group_foo",
    ],
)  # fmt: skip
def test_flags_that_a_pod_manifest_excludes(rktpy: Rktpy, command: str, flags: str) -> None:
    done = rktpy(command, "--pod-manifest=/dev/null", *flags.split(), status=254)
    assert done.stderr.endswith(f"{command}: conflicting flags set with --pod-manifest (see --help)\n")
