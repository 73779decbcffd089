"""containerd with our runtime in runc's place, as ``ctr run --runc-binary`` has it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import need_tool
from tests.support.oci_bundles import Bundle, own_runtime

pytestmark = pytest.mark.root
Ctr = Callable[..., str]


@pytest.fixture(scope="module")
def ctr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ctr]:
    """ctr(8) with a containerd of its own, ended and with all its containers gone after the tests."""
    daemon, client = need_tool("containerd"), need_tool("ctr")
    directory = tmp_path_factory.mktemp("containerd")
    (directory / "config.toml").write_text(
        f'version = 2\nroot = "{directory}/root"\nstate = "/run/containerd-test/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", '
        '"io.containerd.snapshotter.v1.zfs"]\n'
        '[grpc]\naddress = "/run/containerd-test/sock"\n[ttrpc]\naddress = "/run/containerd-test/ttrpc"\n'
    )
    os.makedirs("/run/containerd-test", exist_ok=True)
    log = open(directory / "log", "wb")
    process = subprocess.Popen(
        [daemon, "--config", str(directory / "config.toml")], stdout=log, stderr=log, stdin=subprocess.DEVNULL
    )
    bundle = Bundle(directory / "bundle")

    def run(*args: str, status: int | None = 0) -> str:
        done = subprocess.run(
            [client, "--address", "/run/containerd-test/sock", *args],
            capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if status is not None:
            assert done.returncode == status, (
                f"{args}: {done.returncode} {done.stdout} {done.stderr}\n{(directory / 'log').read_text()[-1500:]}"
            )
        return done.stdout

    def run_container(name: str, *command: str, status: int | None = 0, flags: tuple[str, ...] = ()) -> str:
        runtime = ("--runc-binary", own_runtime()[-1], "--runc-root", str(directory / "oci"))
        return run("run", *runtime, *flags, "--rootfs", str(bundle.rootfs), name, *command, status=status)

    run.container = run_container  # type: ignore[attr-defined]
    try:
        deadline = time.monotonic() + 20
        while subprocess.run(
            [client, "--address", "/run/containerd-test/sock", "version"], capture_output=True, check=False
        ).returncode:
            assert process.poll() is None and time.monotonic() < deadline, (directory / "log").read_text()[-2000:]
            time.sleep(0.1)
        yield run
    finally:
        for line in run("tasks", "list", status=None).splitlines()[1:]:
            run("tasks", "kill", "--signal", "KILL", line.split()[0], status=None)
        process.terminate()
        process.wait(20)
        log.close()


def test_run(ctr: Ctr) -> None:
    assert ctr.container("one", "/bin/echo", "hello", flags=("--rm",)) == "hello\n"  # type: ignore[attr-defined]


def test_status(ctr: Ctr) -> None:
    ctr.container("two", "/bin/sh", "-c", "exit 7", flags=("--rm",), status=7)  # type: ignore[attr-defined]


def test_a_program_that_is_not_there(ctr: Ctr) -> None:
    ctr.container("three", "/bin/nothere", flags=("--rm",), status=1)  # type: ignore[attr-defined]


def test_life(ctr: Ctr, tmp_path: Path) -> None:
    ctr.container("life", "/bin/sleep", "60", flags=("--detach",))  # type: ignore[attr-defined]
    assert "RUNNING" in ctr("tasks", "list")
    assert ctr("tasks", "exec", "--exec-id", "a", "life", "/bin/echo", "inside") == "inside\n"
    ctr("tasks", "exec", "--exec-id", "b", "life", "/bin/sh", "-c", "exit 5", status=5)
    assert "sleep" in ctr("tasks", "exec", "--exec-id", "c", "life", "/bin/cat", "/proc/1/cmdline")
    ctr("tasks", "pause", "life")
    assert "PAUSED" in ctr("tasks", "list")
    ctr("tasks", "resume", "life")
    pids = ctr("tasks", "ps", "life")
    assert len(pids.splitlines()) == 2
    assert "memory" in ctr("tasks", "metrics", "life")
    ctr("tasks", "kill", "--signal", "KILL", "life")
    deadline = time.monotonic() + 10
    while "STOPPED" not in ctr("tasks", "list") and time.monotonic() < deadline:
        time.sleep(0.05)
    ctr("tasks", "delete", "life")
    ctr("containers", "delete", "life")
    assert "life" not in ctr("containers", "list")
