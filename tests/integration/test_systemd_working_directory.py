"""The working directory of an app: any name, and what becomes of one that is not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Rktpy
from tests.support.pods import BUSYBOX, UNSIGNED

pytestmark = pytest.mark.root

HOSTILE = [
    "plain",
    "ends with a blank ",
    "ends with a backslash\\",
    "100%n %h $HOME ${PATH}",
    '"quoted\' twice"',
    "two\nExecStartPre=+/bin/sh -c 'echo escaped >/rkt/status/busybox'\nlines",
    "carriage\rUser=12",
    "-\t~\x01\x7fé\u2028",
]


def run(rktpy: Rktpy, directory: str, script: str, *pod: str, status: int = 0) -> str:
    done = rktpy(
        UNSIGNED,
        "run",
        "--net=none",
        *pod,
        BUSYBOX,
        f"--working-dir={directory}",
        "--exec",
        "/bin/sh",
        "--",
        "-c",
        script,
        status=status,
    )
    return done.stdout


def test_any_name(stored: Rktpy, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    for name in HOSTILE:
        (volume / name).mkdir(parents=True)
        (volume / name / "here").write_bytes(os.fsencode(name).hex().encode())
    shared = ("--volume", f"v,kind=host,source={volume}", "--mount", "volume=v,target=/v")
    for name in HOSTILE:
        out = run(stored, f"/v/{name}", "cat here; exit 7", *shared, status=7)
        assert os.fsencode(name).hex() in out.split(), name


def test_a_setting_cannot_be_smuggled_in(stored: Rktpy) -> None:
    """As a directory that is not there it is only that."""
    for line in ("ExecStartPre=+/bin/sh -c 'echo escaped'", "User=0", "[Unit]"):
        out = run(stored, f"/tmp\n{line}", "id -u", status=200)
        assert "escaped" not in out.replace("echo escaped", "")


def test_one_that_is_not_there_is_the_apps_failure(stored: Rktpy) -> None:
    out = run(stored, "/not/there", "echo ran", status=200)
    assert "Changing to the requested working directory failed" in out and "ran" not in out.split()


def test_links_stay_in_the_app(stored: Rktpy) -> None:
    out = run(stored, "/proc/self/root/../../..", "ls -d opt/stage2 etc/machine-id; ls bin/busybox; exit 3", status=3)
    assert "bin/busybox" in out and out.count("No such file") == 2
