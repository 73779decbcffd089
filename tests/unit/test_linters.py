"""The linters are tests. A missing tool skips for a developer and fails in CI."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, need_tool


def run(*argv: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=900, check=False)


def test_ruff_check() -> None:
    done = run(need_tool("ruff"), "check", ".")
    assert done.returncode == 0, done.stdout


def test_ruff_format() -> None:
    done = run(need_tool("ruff"), "format", "--check", ".")
    assert done.returncode == 0, done.stdout


def test_mypy_strict() -> None:
    done = run(need_tool("mypy"))
    assert done.returncode == 0, done.stdout


def test_pyright_strict() -> None:
    done = run(need_tool("pyright"), "--outputjson")
    report = json.loads(done.stdout)
    problems = [
        f"{d['file']}:{d['range']['start']['line'] + 1}: {d['message']}"
        for d in report["generalDiagnostics"]
        if d["severity"] == "error"
    ]
    assert not problems, "\n".join(problems)
    assert report["summary"]["filesAnalyzed"] > 20


@pytest.mark.parametrize("link", ["rktpy/formats", "rktpy/stage0", "rktpy/stage1/fly"])
def test_pyright_sees_the_linked_directories(link: str, tmp_path: Path) -> None:
    """pyright passes over symlinked directories in silence, so an error is planted behind each link and has to be found."""
    pyright = need_tool("pyright")
    real = (ROOT / link).resolve()
    planted = real / "planted_error.py"
    config = tmp_path / "pyrightconfig.json"
    config.write_text(json.dumps({"include": [str(ROOT / link / "planted_error.py")], "typeCheckingMode": "strict"}))
    planted.write_text("x: int = 'not a number'\n")
    try:
        done = run(pyright, "--outputjson", "-p", str(config))
    finally:
        planted.unlink()
    assert json.loads(done.stdout)["summary"]["errorCount"] == 1, done.stdout


def test_layers() -> None:
    done = run(need_tool("lint-imports"))
    assert done.returncode == 0, done.stdout


def test_shell_scripts() -> None:
    scripts = [str(p.relative_to(ROOT)) for p in [*ROOT.glob("*.sh"), *ROOT.glob("examples/*.sh"), ROOT / ".ci/run"]]
    done = run(need_tool("shellcheck"), *scripts)
    assert done.returncode == 0, done.stdout


def sources() -> list[Path]:
    names = run("git", "ls-files", "*.py").stdout.split()
    return [ROOT / name for name in names]


def test_no_forbidden_calls() -> None:
    """Bans that carry their reason."""
    bans = {
        "extractall(": "tarfile.extractall follows links out of the target (CVE-2007-4559)",
        "os.system(": "a shell between us and the arguments",
        "shell=True": "a shell between us and the arguments",
    }
    found = []
    for path in sources():
        if path.parts[len(ROOT.parts)] in ("tests", "benchmarks"):
            continue
        text = path.read_text()
        found += [f"{path}: {word}: {reason}" for word, reason in bans.items() if word in text]
        if "sys.exit(" in text and path.name not in ("__main__.py", "launcher.py"):
            found.append(f"{path}: only __main__ picks the exit status")
        if "ctypes" in text and "linux" not in path.parts:
            found.append(f"{path}: system calls live in rktpy/linux")
    assert not found, "\n".join(found)


def test_files_are_small() -> None:
    """One subject a file."""
    long = [
        f"{p}: {n} lines" for p in sources() if (n := len(p.read_text().splitlines())) > 500 and "syscall_tables" not in p.name
    ]
    assert not long, "\n".join(long)


def test_second_copies_are_refused() -> None:
    """Importing the real directories under another name would make second copies of every class."""
    done = run(sys.executable, "-c", "import formats")
    assert "import this package as rktpy.formats" in done.stderr
