"""The units of the services are ones that systemd takes, and name what the services listen on."""

from __future__ import annotations

import subprocess
from pathlib import Path

from rktpy.cli.commands import COMMANDS
from rktpy.stage0.metadata import SOCKET
from tests.conftest import ROOT, need_tool

UNITS = sorted((ROOT / "init/systemd").iterdir())


def test_systemd_takes_them(tmp_path: Path) -> None:
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/local/bin/rktpy", "/bin/true"))
    argv = [need_tool("systemd-analyze"), "verify", "--man=no", *[str(path) for path in sorted(tmp_path.iterdir())]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_they_start_what_there_is() -> None:
    commands = {" ".join(command.path) for command in COMMANDS}
    for unit in UNITS:
        if unit.suffix == ".service":
            line = next(line for line in unit.read_text().splitlines() if line.startswith("ExecStart="))
            words = line.removeprefix("ExecStart=/usr/local/bin/rktpy ").split()
            assert " ".join([word for word in words if not word.startswith("--")]) in commands
            assert {unit.with_suffix(".socket"), unit.with_suffix(".timer")} & set(UNITS)


def test_the_socket_is_where_pods_look_for_it() -> None:
    assert f"\nListenStream={SOCKET}\n" in (ROOT / "init/systemd/rktpy-metadata.socket").read_text()
