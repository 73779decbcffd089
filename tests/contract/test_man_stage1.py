"""The stage1 that rktpy-stage1(7) writes as an example runs as the page says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Rktpy
from tests.unit.test_man_formats import TEXTS, plain

pytestmark = pytest.mark.root


def test_the_example_runs_and_stops(rktpy: Rktpy, busybox_images: Path, tmp_path: Path) -> None:
    blocks = [plain(part.partition("\n.fi")[0]) for part in TEXTS["rktpy-stage1"].split("\n.nf\n")[1:]]
    manifest, run, stop, commands = blocks
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "manifest").write_text(manifest)
    (tmp_path / "rootfs" / "run").write_text(f"{run}\n")
    (tmp_path / "rootfs" / "stop").write_text(f"{stop}\n")
    *packing, last = commands.splitlines()
    for command in packing:
        subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    words = last.split()
    assert words[0] == "rktpy" and words[-1] == "example.com/app"
    uuid_file = tmp_path / "uuid"
    argv = rktpy.argv(*words[1:-1], f"--uuid-file-save={uuid_file}", str(busybox_images / "busybox.aci"))
    with open(tmp_path / "out", "w+b") as out:
        pod = subprocess.Popen(argv, cwd=tmp_path, stdout=out)
        try:
            for _ in range(200):
                if uuid_file.exists() and uuid_file.read_text():
                    break
                with pytest.raises(subprocess.TimeoutExpired):
                    pod.wait(0.1)
            uuid = uuid_file.read_text()
            rktpy("status", "--wait-ready=20s", uuid)
            rktpy("stop", uuid)
            assert pod.wait(20) == 143
        finally:
            pod.kill()
            pod.wait()
        rktpy("status", "--wait=20s", uuid)
        status = rktpy("status", uuid).stdout.splitlines()
        assert {"state=exited", "app-busybox=143"} <= set(status)
        out.seek(0)
        assert out.read() == b"hello\n"
    assert "not implemented" in rktpy("rm", uuid).stderr
    assert not (rktpy.data / "pods" / "exited-garbage" / uuid).exists()
