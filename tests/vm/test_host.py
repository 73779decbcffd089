"""The test host works, and what only it can show is so: a short selection. All else is run by hand (docs/test-matrix.md)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.conftest import ROOT, need_tool
from tests.support.pods import processes_with, wait_for
from tests.vm.cache import cache_directory
from tests.vm.host import saved_already
from tests.vm.profiles import PROFILES

pytestmark = [pytest.mark.root, pytest.mark.slow]

#: Limits of version 2 that bite, profiles of AppArmor, scopes and units of systemd's, machined.
SELECTION = (
    "tests/integration/test_cgroup_limits.py",
    "tests/integration/test_apparmor.py",
    "tests/integration/test_host_systemd.py",
    "tests/integration/test_fly_isolators.py::test_memory_cpu_and_shares",
    "tests/integration/test_systemd_isolators.py::test_oom_score",
    "tests/integration/test_systemd_users.py::test_limits_and_network",
)
#: What cannot be on such a host: devices of cgroup v1.
SKIPPED = {"test_devices_that_no_rule_names_are_closed[1]"}
#: Seconds that the selection may take.
LIMIT = 600


@pytest.fixture(scope="module", autouse=True)
def host() -> None:
    """The image needs Debian's packages, and so a network, which the sandbox has not: test.sh has it built before."""
    need_tool("qemu-system-x86_64")
    if not saved_already(PROFILES["apparmor"]):
        message = f"no test host in {cache_directory()}: run python -m tests.vm build outside the sandbox"
        if os.environ.get("RKTPY_TEST_REQUIRE_TOOLS"):
            pytest.fail(message)
        pytest.skip(message)


def vm(*argv: str) -> list[str]:
    return [sys.executable, "-m", "tests.vm", *argv]


def test_what_a_host_with_cgroup_v2_and_apparmor_shows(tmp_path: Path) -> None:
    command = vm("run", f"--time={LIMIT}", f"--results={tmp_path}", *SELECTION)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT + 240, check=False)
    assert done.returncode == 0, f"{done.stdout[-20000:]}\n{done.stderr[-4000:]}"
    cases = list(ElementTree.parse(tmp_path / "junit.xml").iter("testcase"))
    skipped = {case.get("name") for case in cases if case.find("skipped") is not None}
    assert len(cases) >= 21 and skipped == SKIPPED
    assert "systemd[1]: Started rktpy-tests.scope" in (tmp_path / "journal.txt").read_text()


def test_it_ends_with_the_process_that_started_it(request: pytest.FixtureRequest) -> None:
    """Killed in the middle of a command: QEMU and the file server go too."""
    # Sockets are made in it, and the path of a socket must be short.
    mark = tempfile.mkdtemp(prefix="rktpy-ends-")
    request.addfinalizer(lambda: shutil.rmtree(mark))
    environment = {**os.environ, "TMPDIR": mark}
    command = vm("exec", "--", "sh", "-c", "echo up; sleep 600")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        assert any("qemu-system" in one for one in processes_with(mark).values())
        process.send_signal(signal.SIGKILL)
    wait_for("the end of QEMU and virtiofsd", lambda: not processes_with(mark), 30)


def test_it_ends_when_the_time_is_up() -> None:
    done = subprocess.run(
        vm("exec", "--time=3", "--", "sh", "-c", "echo up; trap '' TERM; sleep 600"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (124, "up\n", "vm: still running after 3 seconds\n")


def test_status_and_output_are_the_commands() -> None:
    done = subprocess.run(
        vm("exec", "--", "sh", "-c", "echo out; echo err >&2; cat /proc/1/comm; exit 7"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\nsystemd\n", "err\n")
