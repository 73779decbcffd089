"""Run pytest in a host, with the output as it comes and the reports afterwards."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from tests.vm.environment import CHECKOUT, PLACE
from tests.vm.host import Host

#: Where the reports are in the guest.
_RESULTS = "/var/tmp/rktpy-results"
#: Seconds for one test: ten times what the slowest takes on a machine that translates nothing.
_TEST = 240
ENVIRONMENT = {
    "HOME": "/root",
    "USER": "root",
    "PATH": f"{PLACE}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    # Nothing else is on this machine that a test as root could harm.
    "RKTPY_TEST_SANDBOX": "host",
    "RKTPY_TEST_REQUIRE_TOOLS": "1",
    # Repetitions that find what happens seldom take too long here.
    "RKTPY_TEST_KILLS": "8",
    "RKTPY_TEST_PODS": "10",
    # What systemd leaves to the tests (rktpy-groups.service).
    "RKTPY_TEST_CGROUP": "/system.slice/rktpy-groups.service",
}


def as_a_login(argv: list[str]) -> list[str]:
    """A command in a scope of systemd's, as a shell of a person has one: not delegated, limits as they come."""
    scope = ("--quiet", "--scope", "--collect", "--slice=user.slice", "--unit=rktpy-tests", "--property=OOMPolicy=continue")
    return ["systemd-run", *scope, "--", *argv]


def run_tests(host: Host, arguments: list[str], results: Path | None, limit: float, jobs: int = 2) -> int:
    """pytest's exit status; its report and the host's journal are left in the directory ``results``, if there is one.

    ``arguments`` are pytest's, ``limit`` is in seconds. Raises TimeoutError, HostError.
    """
    # fmt: off
    argv = [
        f"{PLACE}/bin/python", "-m", "pytest", "-v", "-p", "no:cacheprovider", f"--timeout={_TEST}",
        f"--session-timeout={max(30.0, limit - 45):.0f}", f"--junitxml={_RESULTS}/junit.xml",
        *(["-n", str(jobs), "--dist", "loadfile"] if jobs > 1 else []), *arguments,
    ]
    # fmt: on
    try:
        status, _ = host.run(as_a_login(argv), patience=limit, output=through(1), error=through(2), env=ENVIRONMENT, cwd=CHECKOUT)
    finally:
        if results is not None:
            results.mkdir(parents=True, exist_ok=True)
            (results / "console.txt").write_bytes(host.machine.log.read_bytes())
    if results is not None:
        for name, command in (
            ("junit.xml", f"cat {_RESULTS}/junit.xml"),
            ("journal.txt", "journalctl -b --no-pager -o short-precise"),
        ):
            done, content = host.run(shlex.split(command), patience=120)
            if done == 0:
                (results / name).write_bytes(content)
    return status


def through(stream: int) -> Callable[[bytes], object]:
    """What takes a command's output and writes it to our standard output (1) or error (2) at once."""
    file = (sys.stdout, sys.stderr)[stream - 1].buffer

    def write(data: bytes) -> None:
        file.write(data)
        file.flush()

    return write
