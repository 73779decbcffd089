"""What every test may rely on: the sandbox, a launcher of the checkout's rktpy, and the rule for missing tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from tests.support.app_lines import app_output

ROOT = Path(__file__).resolve().parent.parent
SYSTEM_PYTHON = "/usr/bin/python3"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that act as root run only as root, and only in the sandbox of tests/sandbox.py."""
    if os.geteuid() == 0 and os.environ.get("RKTPY_TEST_SANDBOX"):
        return
    reason = "needs root" if os.geteuid() else "acts as root: run it through tests/sandbox.py"
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test marked ``stage1("fly", "systemd")`` runs with pods of each; without a name, or a mark, with rktpy as it comes."""
    marker = metafunc.definition.get_closest_marker("stage1")
    if marker and marker.args:
        assert "stage1" in metafunc.fixturenames, f"{metafunc.definition.nodeid} is marked, but has no use for a stage1"
        metafunc.parametrize("stage1", marker.args, indirect=True)


def pytest_collection_finish() -> None:
    """Have hypothesis's table of the characters that UTF-8 can write before a test is timed.

    It takes more than a second to make, once in a checkout (``.hypothesis`` keeps it), and the first property test that draws
    text was charged for it: "input generation is slow".
    """
    if "hypothesis" in sys.modules:
        from hypothesis import strategies

        strategies.characters(codec="utf-8").validate()


def need_tool(name: str) -> str:
    """The path of a program; a missing one skips the test for a developer and fails it in CI."""
    path = shutil.which(name)
    if path is None:
        message = f"{name} is not installed"
        if os.environ.get("RKTPY_TEST_REQUIRE_TOOLS"):
            pytest.fail(message)
        pytest.skip(message)
    return path


class Rktpy:
    """The command under test, in a data and configuration directory of its own.

    With ``stage1`` its pods are those of fly, kvm, systemd or of an OCI runtime (``oci``: runc; ``oci:NAME``), and a test can say
    the same of all: a pod that has networks gets none unless the test names one, and its output is given without what stands
    before each line, whose form is checked.
    """

    def __init__(self, launcher: Path, directory: Path, stage1: str = "") -> None:
        self.launcher = launcher
        self.data = directory / "data"
        self.config = directory / "config"
        self.system = directory / "system"
        self.stage1 = stage1
        configured = {}
        if stage1 in ("fly", "kvm"):
            # As a machine is configured that ran rkt with these; systemd is what one gets without configuration.
            configured = {"location": f"/usr/lib/rkt/stage1-images/stage1-{stage1}.aci"}
        elif stage1.startswith("oci"):
            configured = {"ociRuntime": stage1.partition(":")[2] or "runc"}
        if configured:
            (self.config / "stage1.d").mkdir(parents=True)
            document = {"rktKind": "stage1", "rktVersion": "v1", **configured}
            (self.config / "stage1.d" / "stage1.json").write_text(json.dumps(document))

    def argv(self, *args: str) -> list[str]:
        """The whole command line for ``args``."""
        ours = args[: args.index("--")] if "--" in args else args
        network = self.stage1 not in ("", "fly") and _runs(ours) and not any(word.startswith("--net") for word in ours)
        return [
            str(self.launcher),
            f"--dir={self.data}",
            f"--local-config={self.config}",
            f"--system-config={self.system}",
            *(["--net=none"] if network else []),
            *args,
        ]

    def __call__(
        self, *args: str, status: int | None = 0, timeout: float = 60, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; ``status`` is the exit status that is wanted, ``None`` for any."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            self.argv(*args), capture_output=True, text=True, timeout=timeout, check=False, **options
        )
        if status is not None:
            assert done.returncode == status, f"{args} gave {done.returncode}\nstdout: {done.stdout}\nstderr: {done.stderr}"
        if _runs(args) and not {"--interactive", "--dry-run"} & set(args) and not done.stdout.startswith("NAME:\n"):
            done.stdout = self.app_output(done.stdout, debug="--debug" in args)
        return done

    def app_output(self, text: str, *, debug: bool = False) -> str:
        """What the apps wrote, of what ``run`` printed."""
        return text if self.stage1 in ("", "fly") else app_output(text, debug=debug)

    def killed(self, number: int) -> int:
        """The status with which ``run`` ends when a signal kills the app: fly's app is the process itself, conmon adds 128."""
        if self.stage1.startswith("oci"):
            return 128 + number
        return -number if self.stage1 == "fly" else number


def _runs(args: tuple[str, ...]) -> bool:
    return not {"run", "run-prepared"}.isdisjoint(args)


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A launcher of the checkout's rktpy for the system's Python, as the install script writes it."""
    target = tmp_path_factory.mktemp("bin") / "rktpy"
    python = SYSTEM_PYTHON if os.path.exists(SYSTEM_PYTHON) else sys.executable
    subprocess.run(
        [python, str(ROOT / "rktpy/launcher.py"), str(target), python, str(ROOT), sysconfig.get_path("platlib")], check=True
    )
    return target


@pytest.fixture
def stage1(request: pytest.FixtureRequest) -> str:
    """The stage1 of the test's pods by its short name; empty if the test is not marked."""
    name: str = getattr(request, "param", "")
    return name


@pytest.fixture
def rktpy(request: pytest.FixtureRequest, launcher: Path, tmp_path: Path, stage1: str) -> Rktpy:
    """The command, with an empty store."""
    made = Rktpy(launcher, tmp_path, stage1)
    if stage1 == "kvm":
        add_guest(made, request.getfixturevalue("guest_cache"))
    return made


def add_guest(rktpy: Rktpy, cache: Path) -> None:
    """Give the command what stage1-kvm has built before: guest, accelerator, snapshots. None of it is ever written to again."""
    rktpy.data.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-al", str(cache), f"{rktpy.data}/stage1-kvm"], check=True)


@pytest.fixture(scope="session")
def guest_cache(launcher: Path, busybox_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stage1-kvm builds at its first run, once for all tests; the accelerator is found by trying."""
    need_tool("qemu-system-x86_64")
    need_tool("mkfs.erofs")
    first = Rktpy(launcher, tmp_path_factory.mktemp("guest"))
    first.stage1 = "kvm"
    image = str(busybox_images / "busybox.aci")
    run = ("--insecure-options=image", "run", "--stage1=kvm", image, "--exec=/bin/true")
    first(*run, timeout=120)
    first(*run, image, "--name=second", "--exec=/bin/true", timeout=120)  # a larger machine
    return first.data / "stage1-kvm"


@pytest.fixture(scope="session")
def busybox_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with busybox.aci and busybox-oci (tag 1), made by the example script."""
    need_tool("busybox")
    directory = tmp_path_factory.mktemp("busybox")
    subprocess.run(["sh", str(ROOT / "examples/busybox-images.sh"), str(directory)], check=True)
    return directory
