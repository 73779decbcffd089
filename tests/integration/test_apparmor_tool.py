"""The tool under its own AppArmor profile: it does its work, and does not get at what the profile keeps from it.

Needs a kernel with AppArmor, which the test host of tests/vm has.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Rktpy, need_tool
from tests.support.pods import Running, states

ENABLED = Path("/sys/module/apparmor/parameters/enabled")
pytestmark = [
    pytest.mark.root,
    pytest.mark.stage1("fly", "systemd"),
    pytest.mark.skipif(not ENABLED.exists() or ENABLED.read_text() != "Y\n", reason="this kernel has no AppArmor"),
]


@pytest.fixture
def confined(stored: Rktpy, tmp_path: Path) -> Iterator[Rktpy]:
    """The command, with the profile attached to its launcher's path."""
    parser = need_tool("apparmor_parser")
    text = (ROOT / "init/apparmor.d/rktpy").read_text()
    profile = tmp_path / "profile"
    profile.write_text(text.replace("profile rktpy /usr/{,local/}bin/rktpy", f"profile rktpy {stored.launcher}"))
    subprocess.run([parser, "-r", "-K", str(profile)], check=True)
    yield stored
    subprocess.run([parser, "-R", str(profile)], check=True)


def label(pid: int | str) -> str:
    return Path(f"/proc/{pid}/attr/current").read_text().strip()


def test_pods_run_and_are_confined(confined: Rktpy, tmp_path: Path) -> None:
    with Running(confined, tmp_path, "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done") as pod:
        assert pod.line() == "up\n"
        assert label(pod.process.pid) == "rktpy (enforce)"
        if confined.stage1 == "systemd":
            children = Path(f"/proc/{pod.process.pid}/task/{pod.process.pid}/children").read_text().split()
            assert [label(child) for child in children] == ["rktpy//pod (enforce)"]
        assert confined("enter", pod.uuid, "/bin/echo", "entered").stdout == "entered\n"
        confined("stop", pod.uuid)
        assert pod.ended(60)[0] == 0
    confined("gc", "--grace-period=0s")
    assert states(confined) == {}


def test_the_hosts_secrets_are_kept(confined: Rktpy) -> None:
    done = confined("--insecure-options=image", "fetch", "/etc/shadow", status=254)
    assert "permission denied" in done.stderr
