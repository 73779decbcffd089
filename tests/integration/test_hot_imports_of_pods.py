"""What the commands that make, enter, stop and remove pods load: of Python only what is free, of rktpy only hot-path modules.

A module says of itself, in the docstring at its head, that it is one. Taken from the interpreter's own report, because ``run``
ends by becoming the app.
"""

from __future__ import annotations

import ast
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, SYSTEM_PYTHON, Rktpy

pytestmark = pytest.mark.root

NAME = "example.com/busybox"
# Built into the interpreter or frozen.
FREE = frozenset(
    "__future__ _collections_abc _json _sha1 _sha256 _sha512 _socket _stat _struct binascii errno fcntl gc genericpath os "  # noqa: SIM905
    "os.path posixpath stat struct".split()
)


def loaded(rktpy: Rktpy, *args: str) -> list[str]:
    """The modules that the command loads beyond those of a bare interpreter."""
    interpreter = [SYSTEM_PYTHON, "-I", "-S", "-X", "importtime"]

    def names(argv: list[str]) -> list[str]:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        lines = [line for line in done.stderr.split("\n") if line.startswith("import time:")]
        return [line.rpartition("|")[2].strip() for line in lines[1:]]

    bare = set(names([*interpreter, "-c", "pass"]))
    return [name for name in names([*interpreter, *rktpy.argv("--insecure-options=image", *args)]) if name not in bare]


def is_hot(name: str) -> bool:
    path = ROOT / (name.replace(".", "/") + ".py")
    if not path.exists():
        # A package that holds nothing but its docstring, or the C extension.
        package = ROOT / name.replace(".", "/") / "__init__.py"
        return not package.exists() or len(package.read_text().splitlines()) < 25
    text = path.read_text()
    return "ot-path module" in (ast.get_docstring(ast.parse(text)) or "")


def check(modules: list[str]) -> None:
    assert "rktpy.__main__" in modules
    ours = [name for name in modules if name.partition(".")[0] == "rktpy"]
    assert [name for name in ours if not is_hot(name)] == []
    assert sorted(set(modules) - set(ours) - FREE) == []


@pytest.fixture
def stored(rktpy: Rktpy, busybox_images: Path) -> Rktpy:
    """rktpy with a rendered busybox."""
    rktpy("--insecure-options=image", "prepare", str(busybox_images / "busybox.aci"), "--exec=/bin/true")
    return rktpy


def test_run(stored: Rktpy) -> None:
    check(loaded(stored, "run", "--volume=v,kind=empty", NAME, "--mount=volume=v,target=/v", "--user=0", "--exec=/bin/true"))
    assert "exited" in stored("list").stdout


def test_run_prepared_and_the_end_of_a_pod(stored: Rktpy) -> None:
    uuid = stored("list", "--full", "--no-legend").stdout.split("\t")[0]
    check(loaded(stored, "run-prepared", uuid))
    assert "exited" in stored("status", uuid).stdout
    check(loaded(stored, "gc", "--mark-only"))
    check(loaded(stored, "rm", uuid))
    assert stored("list", "--no-legend").stdout == ""


def test_a_running_pod(stored: Rktpy) -> None:
    done = stored("--insecure-options=image", "prepare", NAME, "--exec=/bin/sleep", "--", "60")
    uuid = done.stdout.strip()
    with subprocess.Popen(stored.argv("run-prepared", uuid), stdin=subprocess.DEVNULL) as process:
        try:
            check(loaded(stored, "status", "--wait-ready=20s", uuid))
            check(loaded(stored, "enter", uuid, "/bin/true"))
            check(loaded(stored, "stop", "--force", uuid))
            check(loaded(stored, "status", "--wait=20s", uuid))
            check(loaded(stored, "gc", "--grace-period=0s"))
        finally:
            process.kill()
    assert uuid not in stored("list", "--full", "--no-legend").stdout


def test_apps_of_a_running_pod(stored: Rktpy, tmp_path: Path) -> None:
    file = tmp_path / "uuid"
    argv = stored.argv("app", "sandbox", "--stage1=systemd", "--net=none", f"--uuid-file-save={file}")
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        try:
            while not (file.exists() and file.stat().st_size):
                assert process.poll() is None
                time.sleep(0.01)
            uuid = file.read_text()
            stored("status", "--wait-ready=20s", uuid)
            check(loaded(stored, "app", "add", uuid, NAME, "--name=a", "--memory=64M", "--exec=/bin/sleep", "--", "60"))
            for line in (["list"], ["start", "--app=a"], ["status", "--app=a"], ["stop", "--app=a"], ["rm", "--app=a"]):
                check(loaded(stored, "app", *line, uuid))
            assert stored("app", "list", "--no-legend", uuid).stdout == "\n"
        finally:
            stored("stop", "--force", uuid)
            process.kill()
