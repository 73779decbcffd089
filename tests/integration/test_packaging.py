"""wheel, sdist and editable install carry everything, and each can run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

NEEDED = [
    "rktpy/oci/rktpy-oci",
    "rktpy/oci/launch.c",
    "rktpy/__main__.py",
    "rktpy/formats/jsondoc.py",
    "rktpy/formats/aci/manifest.py",
    "rktpy/formats/api/v1alpha.proto",
    "rktpy/stage0/options.py",
    "rktpy/stage1/fly/manifest",
    "rktpy/stage1/fly/run",
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files, so that building leaves the checkout alone."""
    target = tmp_path_factory.mktemp("source") / "rktpy"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for raw in filter(None, names):
        name = os.fsdecode(raw)
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(ROOT / name):
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
    return target


def build(source: Path, out: Path, kind: str) -> Path:
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "-o", str(out), str(source)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return next(out.iterdir())


def run_version(site: Path, tmp_path: Path) -> str:
    """Run ``rktpy version`` with nothing but ``site`` and the standard library on the path."""
    lines = (
        "import sys",
        f"sys.path.append({str(site)!r})",
        "sys.argv = ['rktpy', 'version']",
        "from rktpy.__main__ import console",
        "console()",
    )
    program = "; ".join(lines)
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout


def test_wheel(source: Path, tmp_path: Path) -> None:
    wheel = build(source, tmp_path / "out", "wheel")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        missing = [name for name in NEEDED if name not in names]
        assert not missing
        assert not [name for name in names if name.startswith(("tests/", "formats/", "stages/"))]
        assert any(name.endswith("/data/lib/systemd/system/rktpy-metadata.socket") for name in names)
        assert any(name.startswith("rktpy/linux/_sys.") and name.endswith(".so") for name in names), (
            "the C extension was not built"
        )
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site), str(wheel)], check=True
    )
    assert os.access(site / "rktpy/stage1/fly/run", os.X_OK)
    for program in ("rktpy-oci", "launch"):
        done = subprocess.run(
            [site / "rktpy/oci" / program, "--version"], check=True, capture_output=True, text=True, cwd=tmp_path
        )
        assert done.stdout.startswith("runc version ")
    assert "rktpy Version" in run_version(site, tmp_path)


def test_sdist_builds_the_same_wheel(source: Path, tmp_path: Path) -> None:
    sdist = build(source, tmp_path / "out", "sdist")
    unpacked = tmp_path / "unpacked"
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
        archive.extractall(unpacked)
    missing = [name for name in NEEDED if name not in names and name.replace("rktpy/formats", "formats") not in names]
    missing = [name for name in missing if name.replace("rktpy/stage0", "stages/stage0") not in names]
    missing = [name for name in missing if name.replace("rktpy/stage1/fly", "stages/stage1-fly") not in names]
    assert not missing
    wheel = build(next(unpacked.iterdir()), tmp_path / "wheel", "wheel")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in NEEDED if name not in archive.namelist()]


def test_editable_install_is_a_plain_path_file(source: Path, tmp_path: Path) -> None:
    """An import hook would cost 10 ms at every start."""
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False, system_site_packages=False, symlinks=True)
    python = environment / "bin/python"
    site = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True, capture_output=True, text=True
        ).stdout.strip()
    )
    (site / "tools.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")) + "\n")
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation", "-e", str(source)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    paths = list(site.glob("__editable__*"))
    assert [p.suffix for p in paths] == [".pth"]
    assert paths[0].read_text().strip() == str(source)
    done = subprocess.run([environment / "bin/rktpy", "version"], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert "rktpy Version" in done.stdout
