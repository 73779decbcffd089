"""What is installed for the host's own tools is read by them without complaint."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, need_tool

INIT = ROOT / "init"


def test_the_apparmor_profile_is_parsed() -> None:
    parser = need_tool("apparmor_parser")
    done = subprocess.run(
        [parser, "-QT", "--warn=all", str(INIT / "apparmor.d/rktpy")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    names = subprocess.run([parser, "-N", str(INIT / "apparmor.d/rktpy")], capture_output=True, text=True, check=True).stdout
    assert names.split() == ["rktpy", "rktpy//pod"]


def test_the_profile_keeps_the_policy_and_the_kernel(tmp_path: Path) -> None:
    """Capabilities that neither the tool nor a pod has."""
    text = (INIT / "apparmor.d/rktpy").read_text()
    for name in ("sys_module", "sys_rawio", "mac_admin", "mac_override"):
        assert f"deny capability {name}," in text and name not in text.split("network,")[0]


@pytest.mark.parametrize("unit", sorted(path.name for path in (INIT / "systemd").iterdir()))
def test_systemd_finds_nothing_wrong_in(unit: str, tmp_path: Path) -> None:
    need_tool("systemd-analyze")
    for path in (INIT / "systemd").iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace("/usr/local/bin/rktpy", "/bin/true"))
    name = unit.replace("@.", "@x.")
    (tmp_path / name).write_text((tmp_path / unit).read_text())
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_sysusers_and_tmpfiles(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group"):
        (tmp_path / "etc" / name).write_text("root:x:0:\n" if name == "group" else "root:x:0:0::/root:/bin/sh\n")
    run = lambda *argv: subprocess.run([need_tool(argv[0]), *argv[1:]], capture_output=True, text=True, check=False)  # noqa: E731
    done = run("systemd-sysusers", f"--root={tmp_path}", str(INIT / "sysusers.d/rktpy.conf"))
    assert done.returncode == 0, done.stderr
    assert "rktpy:" in (tmp_path / "etc/group").read_text()
    done = run("systemd-tmpfiles", f"--root={tmp_path}", "--create", str(INIT / "tmpfiles.d/rktpy.conf"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "var/lib/rktpy").stat().st_mode & 0o7777 == 0o2750
