"""Apps that are called as unit templates of the stage1's are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Rktpy
from tests.support.aci import make_aci
from tests.support.pods import BUSYBOX, UNSIGNED, prepare, wait_for

pytestmark = pytest.mark.root

SHELL = ["/bin/busybox", "sh", "-c"]


@pytest.mark.parametrize("name", ["handlers", "iomux"])
def test_removing_one_leaves_the_others_alone(stored: Rktpy, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RKT_EXPERIMENT_APP", "1")
    handlers = [{"name": "post-stop", "exec": [*SHELL, "echo ended >/v/ended"]}]
    prepare(
        stored,
        str(
            make_aci(
                tmp_path / "web.aci",
                "example.com/web",
                {"/bin/busybox": "/bin/busybox"},
                exec=[*SHELL, "echo running >/v/running; sleep 1000"],
                app={"eventHandlers": handlers},
            )
        ),
    )
    volume = tmp_path / "v"
    volume.mkdir()
    uuid_file = tmp_path / "uuid"
    sandbox = subprocess.Popen(stored.argv(UNSIGNED, "app", "sandbox", "--net=none", f"--uuid-file-save={uuid_file}"))
    try:
        wait_for("the pod", lambda: uuid_file.exists() and uuid_file.read_text())
        uuid = uuid_file.read_text().strip()
        stored("status", "--wait-ready=20s", uuid)
        mount = f"--mnt-volume=name=v,kind=host,source={volume},target=/v"
        stored(UNSIGNED, "app", "add", uuid, "example.com/web", "--name=web", mount)
        stored(UNSIGNED, "app", "add", uuid, BUSYBOX, f"--name={name}", "--exec=/bin/sleep", "--", "1000")
        for app in ("web", name):
            stored("app", "start", uuid, f"--app={app}")
        wait_for("web", (volume / "running").exists)
        stored("app", "rm", uuid, f"--app={name}")
        assert not (volume / "ended").exists()
        stored("app", "stop", uuid, "--app=web")
        wait_for("post-stop", (volume / "ended").exists)
        assert name not in stored("app", "list", uuid).stdout
    finally:
        if sandbox.poll() is None:
            sandbox.kill()
        sandbox.wait(10)
