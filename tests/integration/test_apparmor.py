"""AppArmor profiles of apps, on a kernel that has AppArmor: in force in the app and in what enters it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.pod_manifests import app, isolators, pod_of
from tests.support.pods import UNSIGNED, report, states, wait_for

pytestmark = [pytest.mark.root, pytest.mark.stage1("fly", "systemd")]

ENABLED = Path("/sys/module/apparmor/parameters/enabled")
PROFILES = Path("/sys/kernel/security/apparmor/profiles")
NAME = "rktpy-test-app"
#: Everything but files of one name. Paths are those of the app's mount namespace, or disconnected ones.
PROFILE = f"""
profile {NAME} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  network,
  signal,
  unix,
  deny /**/refused w,
  deny /refused w,
}}
"""
SCRIPT = "cat /proc/self/attr/current; (echo x >/tmp/refused) 2>/dev/null && echo written; echo x >/tmp/other && echo other"


def parser(profile: Path, action: str) -> None:
    subprocess.run([need_tool("apparmor_parser"), "--skip-cache", action, profile], check=True, timeout=120)


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[str]:
    """The name of a profile that is loaded."""
    if not ENABLED.exists() or ENABLED.read_text() != "Y\n":
        pytest.skip("AppArmor is not enabled here")
    path = tmp_path / "profile"
    path.write_text(PROFILE)
    parser(path, "--replace")
    try:
        yield NAME
    finally:
        if f"{NAME} (" in PROFILES.read_text():
            parser(path, "--remove")


def confined(directory: Path, script: str, profile: str) -> str:
    asked = isolators(os__linux__apparmor_profile={"profile": profile})
    return pod_of(directory, app(f"mkdir -p /tmp; {script}", isolators=asked))


def test_a_loaded_profile_confines_the_app(profile: str, stored: Rktpy, tmp_path: Path) -> None:
    done = stored(UNSIGNED, "run", "--strict", confined(tmp_path, SCRIPT, profile))
    assert (done.stdout, done.stderr) == (f"{NAME} (enforce)\nother\n", "")
    (uuid,) = states(stored)
    assert report(stored, uuid) == {"os/linux/apparmor-profile": "enforced"}
    # The same app without profile may write both.
    assert stored(UNSIGNED, "run", pod_of(tmp_path, app(f"mkdir -p /tmp; {SCRIPT}"))).stdout.split() == [
        "unconfined",
        "written",
        "other",
    ]


def test_what_enters_is_confined_as_well(profile: str, stored: Rktpy, tmp_path: Path) -> None:
    uuid_file = tmp_path / "uuid"
    command = stored.argv(
        UNSIGNED, "run", f"--uuid-file-save={uuid_file}", confined(tmp_path, "echo up; exec sleep 300", profile)
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and "up" in process.stdout.readline()
            wait_for("the pod's UUID", lambda: uuid_file.exists() and uuid_file.read_text())
            entered = stored("enter", uuid_file.read_text(), "/bin/sh", "-c", SCRIPT)
            assert entered.stdout == f"{NAME} (enforce)\nother\n"
        finally:
            stored("stop", "--force", uuid_file.read_text(), status=None)
            process.kill()


def test_a_profile_that_was_unloaded_is_refused(profile: str, stored: Rktpy, tmp_path: Path) -> None:
    """Prepared while it was there, run when it is not: the app does not start without it."""
    manifest = confined(tmp_path, "echo ran", profile)
    uuid = stored(UNSIGNED, "prepare", "--quiet", manifest).stdout.strip()
    parser(tmp_path / "profile", "--remove")
    done = stored(UNSIGNED, "run-prepared", uuid, status=254)
    assert (done.stdout, done.stderr.splitlines()[-1]) == (
        "",
        f'run-prepared: app busybox: AppArmor profile "{NAME}" is not loaded',
    )
