"""The linters are tests. A missing tool skips for a developer and fails in CI."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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


LINKED = ("rktpy/formats", "rktpy/stage0", "rktpy/stage1/fly")


def test_pyright_strict() -> None:
    """No errors but the planted ones: pyright passes over symlinked directories in silence, so each has to show its own."""
    pyright = need_tool("pyright")
    planted = [(ROOT / link).resolve() / "planted_error.py" for link in LINKED]
    try:
        for path in planted:
            path.write_text("x: int = 'not a number'\n")
        done = run(pyright, "--outputjson")
    finally:
        for path in planted:
            path.unlink(missing_ok=True)
    report = json.loads(done.stdout)
    found = dict.fromkeys(planted, 0)
    problems = []
    for one in report["generalDiagnostics"]:
        path = Path(one["file"]).resolve()
        if path in found:
            found[path] += 1
        elif one["severity"] == "error":
            problems.append(f"{one['file']}:{one['range']['start']['line'] + 1}: {one['message']}")
    assert not problems, "\n".join(problems)
    assert all(found.values()), found


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
        if "import ctypes" in text and "linux" not in path.parts:
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
