"""A full disk and a read-only one under the data directory: a line that says so, nothing lost, all well again afterwards."""

from __future__ import annotations

import os
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.aci import make_aci
from tests.support.pods import UNSIGNED, mounts_of, prepare, report, shell, states
from tests.support.registry import Registry, make_image

pytestmark = [pytest.mark.root, pytest.mark.stage1("fly", "oci", "systemd")]

FULL = "no space left on device"
READ_ONLY = "read-only file system"
GREETING = "hello from busybox, an ACI\n"
FETCH = "--insecure-options=image,http"
MIB = 1 << 20


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(request: pytest.FixtureRequest, rktpy: Rktpy, tmp_path: Path) -> Iterator[Path]:
    """The data directory is a file system of its own, of 40 MiB."""
    kind: str = request.param
    rktpy.data.mkdir()
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m,mode=755", "disk", str(rktpy.data)], check=True)
    else:
        image = tmp_path / "disk.img"
        with image.open("wb") as file:
            file.truncate(40 * MIB)
        # Without the blocks kept for root, and without a journal: they would let root write on.
        subprocess.run([need_tool("mkfs.ext4"), "-q", "-m", "0", "-O", "^has_journal", str(image)], check=True)
        done = subprocess.run(["mount", "-o", "loop", str(image), str(rktpy.data)], check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no loop devices here: {done.stderr}")
    yield rktpy.data
    subprocess.run(["umount", "-l", str(rktpy.data)], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Take all space, or all but ``leave`` bytes; the file to remove to give it back."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        step = MIB
        while step >= 512:
            try:
                if file.write(bytes(step)) < step:
                    step //= 2
            except OSError:
                step //= 2
        file.truncate(max(0, file.tell() - leave))
    return ballast


def one_line(rktpy: Rktpy, what: str, *args: str) -> str:
    """The line with which a command fails, besides the reminder that signatures are not checked."""
    done = rktpy(*args, status=254)
    lines = [line for line in done.stderr.splitlines() if "verification has been disabled" not in line]
    assert len(lines) == 1, done.stderr
    assert what in lines[0]
    assert "internal error" not in lines[0]
    return lines[0]


def big_aci(path: Path, size: int) -> Path:
    noise = random.Random(size).randbytes(size)
    files: dict[str, bytes | str | None] = {"/bin/busybox": need_tool("busybox"), "/noise": noise}
    return make_aci(path, "example.com/big", files, exec=["/bin/busybox", "echo", "big"])


def sound(rktpy: Rktpy) -> None:
    assert rktpy("image", "check").stdout == ""


def test_full_while_a_file_is_fetched(rktpy: Rktpy, disk: Path, busybox_images: Path, tmp_path: Path) -> None:
    rktpy(UNSIGNED, "run", str(busybox_images / "busybox.aci"))
    aci = big_aci(tmp_path / "big.aci", 12 * MIB)
    ballast = fill(disk, leave=6 * MIB)
    one_line(rktpy, FULL, UNSIGNED, "fetch", str(aci))
    assert list((disk / "cas/tmp").iterdir()) == []
    sound(rktpy)
    assert len(rktpy("image", "list", "--no-legend").stdout.splitlines()) == 1
    assert rktpy(UNSIGNED, "run", "example.com/busybox").stdout == GREETING, "there is room enough for a small pod"
    ballast.unlink()
    rktpy("gc", "--grace-period=0s")
    rktpy(UNSIGNED, "fetch", str(aci))
    assert len(rktpy("image", "list", "--no-legend").stdout.splitlines()) == 2


@pytest.mark.stage1()
def test_full_while_a_registry_is_read(rktpy: Rktpy, disk: Path, tmp_path: Path) -> None:
    noise = random.Random(5)
    with Registry(tmp_path / "registry") as registry:
        layers = [{f"/data/{n}": noise.randbytes(2 * MIB)} for n in range(3)]
        registry.push(make_image(tmp_path, layers), "team/data:v1")
        reference = f"docker://{registry.host}/team/data:v1"
        ballast = fill(disk, leave=5 * MIB)
        line = one_line(rktpy, FULL, FETCH, "fetch", reference)
        assert line.startswith("fetch: ")
        assert rktpy("image", "list", "--no-legend").stdout == ""
        ballast.unlink()
        rktpy(FETCH, "fetch", reference)
        sound(rktpy)
        rktpy("image", "gc", "--grace-period=0s")
        assert list((disk / "cas/tmp").iterdir()) == []


def test_full_while_rendering(rktpy: Rktpy, disk: Path, tmp_path: Path) -> None:
    aci = big_aci(tmp_path / "big.aci", 10 * MIB)
    image = rktpy(UNSIGNED, "fetch", "--full", str(aci)).stdout.strip()
    sound(rktpy)
    tree = list((disk / "cas/tree").iterdir())
    ballast = fill(disk, leave=6 * MIB)
    if not tree:
        one_line(rktpy, FULL, UNSIGNED, "prepare", image)
        assert list((disk / "cas/tree").iterdir()) == []
    one_line(rktpy, FULL, UNSIGNED, "prepare", "--no-overlay", image)
    one_line(rktpy, FULL, "image", "render", image, str(disk / "rendered"))
    one_line(rktpy, FULL, "image", "extract", image, str(disk / "extracted"))
    one_line(rktpy, FULL, "image", "export", image, str(disk / "exported.aci"))
    assert sorted(path.name for path in disk.iterdir() if path.name not in ("lost+found", "cas", "pods", "locks")) == ["ballast"]
    assert set(states(rktpy).values()) <= {"aborted prepare"}
    rktpy("gc", "--grace-period=0s")
    assert states(rktpy) == {}
    ballast.unlink()
    assert rktpy(UNSIGNED, "run", image).stdout == "big\n"
    sound(rktpy)


def test_full_while_pods_are_made(rktpy: Rktpy, disk: Path, busybox_images: Path) -> None:
    aci = str(busybox_images / "busybox.aci")
    rktpy(UNSIGNED, "run", aci)
    kept = prepare(rktpy)
    ballast = fill(disk)
    for command in ("prepare", "run"):
        line = one_line(rktpy, FULL, UNSIGNED, command, "example.com/busybox")
        assert line.startswith(f"{command}: ")
    # What only reads or makes room works on a full disk.
    assert "exited" in states(rktpy).values()
    assert "state=prepared" in rktpy("status", kept).stdout
    rktpy("gc", "--grace-period=0s")
    assert states(rktpy) == {kept: "prepared"}
    rktpy("image", "list")
    ballast.unlink()
    assert rktpy("run-prepared", kept).stdout == GREETING
    assert rktpy(UNSIGNED, "run", "example.com/busybox").stdout == GREETING
    sound(rktpy)


def test_full_when_a_prepared_pod_starts(rktpy: Rktpy, disk: Path, busybox_images: Path) -> None:
    uuid = prepare(rktpy, str(busybox_images / "busybox.aci"))
    ballast = fill(disk)
    done = rktpy("run-prepared", uuid, status=None)
    if done.returncode:
        assert done.returncode == 254
        assert (done.stdout, len(done.stderr.splitlines())) == ("", 1), done.stderr
        assert FULL in done.stderr
    else:
        assert done.stdout == GREETING
    ballast.unlink()
    assert rktpy("status", "--wait", uuid).returncode == 0
    rktpy("gc", "--grace-period=0s", "--expire-prepared=0s")
    assert states(rktpy) == {}
    assert mounts_of(disk) == []


def test_the_app_meets_a_full_disk_itself(rktpy: Rktpy, disk: Path, busybox_images: Path) -> None:
    rktpy(UNSIGNED, "fetch", str(busybox_images / "busybox.aci"))
    done = shell(rktpy, "dd if=/dev/zero of=/big bs=1M; rm /big; echo still here")
    # The log of stage1-oci is on the same disk.
    assert rktpy.stage1 == "oci" or "No space left on device" in done.stdout + done.stderr
    assert done.stdout.endswith("still here\n")
    # How it ends is told even though there is no room to note it; conmon has nobody but that note to tell.
    done = shell(rktpy, "cat /dev/zero >/big; exit 7", status=None)
    assert done.returncode == 7 or (rktpy.stage1 == "oci" and done.returncode == 254)


@pytest.mark.stage1()
def test_full_disk_elsewhere(rktpy: Rktpy, disk: Path, busybox_images: Path, tmp_path: Path) -> None:
    """The data directory has room; the place of an exported file has none."""
    target = tmp_path / "target"
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "target", str(target)], check=True)
    try:
        rktpy(UNSIGNED, "run", str(busybox_images / "busybox.aci"))
        (uuid,) = states(rktpy)
        one_line(rktpy, FULL, "export", uuid, str(target / "out.aci"))
        assert list(target.iterdir()) == []
        rktpy("export", uuid, str(tmp_path / "out.aci"))
        with tarfile.open(tmp_path / "out.aci") as archive:
            assert "manifest" in archive.getnames()
    finally:
        subprocess.run(["umount", "-l", str(target)], check=True)


def test_read_only(rktpy: Rktpy, disk: Path, busybox_images: Path, tmp_path: Path) -> None:
    aci = str(busybox_images / "busybox.aci")
    uuid_file = tmp_path / "uuid"
    rktpy(UNSIGNED, "run", f"--uuid-file-save={uuid_file}", aci, "--cpu-shares=300")
    exited = uuid_file.read_text().strip()
    prepared = prepare(rktpy)
    image = rktpy(UNSIGNED, "fetch", "--full", aci).stdout.strip()
    assert report(rktpy, exited) == {"os/linux/cpu-shares": "enforced"}
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        assert states(rktpy) == {exited: "exited", prepared: "prepared"}
        assert len(rktpy("list", "--full", "--no-legend").stdout.splitlines()) == 2
        assert "state=exited" in rktpy("status", exited).stdout
        assert "example.com/busybox" in rktpy("cat-manifest", prepared).stdout
        assert rktpy("image", "list", "--no-legend").stdout.startswith("sha512-")
        assert "ImageManifest" in rktpy("image", "cat-manifest", image).stdout
        assert "broken" not in rktpy("image", "check").stdout
        rktpy("image", "export", image, str(tmp_path / "exported.aci"))
        assert os.path.getsize(tmp_path / "exported.aci")
        rktpy("image", "render", image, str(tmp_path / "rendered"))
        rktpy("export", exited, str(tmp_path / "pod.aci"), status=None)
        for command in (
            ("fetch", aci),
            ("run", "example.com/busybox"),
            ("prepare", "example.com/busybox"),
            ("run-prepared", prepared),
            ("rm", exited),
            ("gc", "--grace-period=0s"),
            ("image", "gc"),
            ("image", "rm", image),
        ):
            done = rktpy(UNSIGNED, *command, status=254)
            lines = [line for line in done.stderr.splitlines() if "verification has been disabled" not in line]
            # gc and the two rm tell of each thing, and then how many there were.
            assert READ_ONLY in done.stderr, (command, done.stderr)
            assert len(lines) == 1 or command[0] in ("gc", "rm", "image"), (command, done.stderr)
            assert len(lines) <= 3 and "internal error" not in done.stderr, (command, done.stderr)
            assert done.stdout == "", command
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert states(rktpy) == {exited: "exited", prepared: "prepared"}
    assert rktpy("run-prepared", prepared).stdout == GREETING
    rktpy("rm", exited)


@pytest.mark.stage1()
def test_no_store_at_all(rktpy: Rktpy) -> None:
    """Commands that only read make nothing, not even a data directory."""
    assert rktpy("image", "list", "--no-legend").stdout == ""
    assert rktpy("list", "--no-legend").stdout == ""
    rktpy.data.write_text("a file")
    for command in (("fetch", "/no/file"), ("list",), ("image", "list"), ("gc",)):
        done = rktpy(UNSIGNED, *command, status=None)
        assert "internal error" not in done.stderr, (command, done.stderr)
