"""Pods made and watched through the command, as a user does it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.conftest import Rktpy

UNSIGNED = "--insecure-options=image"
BUSYBOX = "example.com/busybox"


def shell(rktpy: Rktpy, script: str, *flags: str, pod: tuple[str, ...] = (), **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a shell script in the stored busybox image. ``flags`` follow the image, ``pod`` stands before it."""
    return rktpy(UNSIGNED, "run", *pod, BUSYBOX, *flags, "--exec", "/bin/sh", "--", "-c", script, **options)


def prepare(rktpy: Rktpy, *arguments: str) -> str:
    """Prepare a pod (of the stored busybox, if nothing else is named); its UUID."""
    done = rktpy(UNSIGNED, "prepare", "--quiet", *(arguments or (BUSYBOX,)))
    return done.stdout.strip()


def store_with(rktpy: Rktpy, *images: Path) -> Path:
    """Fetch and render images; the data directory, which can be copied and used elsewhere."""
    for image in images:
        prepare(rktpy, str(image))
    rktpy("gc", "--grace-period=0s", "--expire-prepared=0s")
    return Path(rktpy.data)


def document(rktpy: Rktpy, uuid: str) -> dict[str, Any]:
    """What ``status`` tells of a pod as JSON."""
    found: dict[str, Any] = json.loads(rktpy("status", "--format=json", uuid).stdout)
    return found


def states(rktpy: Rktpy) -> dict[str, str]:
    """UUID -> state of all pods that ``list`` shows."""
    return {pod["name"]: pod["state"] for pod in json.loads(rktpy("list", "--format=json").stdout or "[]")}


def report(rktpy: Rktpy, uuid: str) -> dict[str, str]:
    """Isolator or option -> outcome, as the stage1 told it in the pod's directory."""
    path = next(Path(rktpy.data).glob(f"pods/*/{uuid}/enforcement"))
    return {entry["isolator"]: entry["outcome"] for entry in json.loads(path.read_bytes())["isolators"]}


class Running:
    """A ``run`` in the background while its context is open; ready when the context is entered."""

    def __init__(self, rktpy: Rktpy, directory: Path, script: str, *flags: str, pod: tuple[str, ...] = ()) -> None:
        self._rktpy = rktpy
        self.uuid_file = directory / f"uuid-{time.monotonic_ns()}"
        command = ("run", f"--uuid-file-save={self.uuid_file}", *pod, BUSYBOX, *flags, "--exec", "/bin/sh", "--", "-c", script)
        self._argv = rktpy.argv(UNSIGNED, *command)
        self.process: subprocess.Popen[str]
        self.uuid = ""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            deadline = time.monotonic() + 20
            while not (self.uuid_file.exists() and self.uuid_file.stat().st_size):
                assert time.monotonic() < deadline and self.process.poll() is None, self.process.communicate(timeout=5)
                time.sleep(0.01)
            self.uuid = self.uuid_file.read_text().strip()
            self._rktpy("status", "--wait-ready=20s", self.uuid)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=10)

    def ended(self, timeout_s: float = 10) -> tuple[int, str, str]:
        """Wait for the end of ``run``: its exit status, stdout, stderr."""
        out, err = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, self._rktpy.app_output(out), err

    def line(self) -> str:
        """The next line of the app's output."""
        assert self.process.stdout is not None
        return self._rktpy.app_output(self.process.stdout.readline())


def mounts_of(directory: Path | str) -> list[str]:
    """Mount points below ``directory`` in the present mount namespace."""
    prefix = os.path.realpath(directory)
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split()[4] for line in file]
    return [point for point in points if point.startswith(prefix + "/")]


def cgroups_of_pods(uuid: str = "") -> list[str]:
    """Directories of control groups that pods (one pod) have left; systemd's scopes around them are systemd's."""
    names = [(d, os.path.basename(d)) for d, _dirs, _files in os.walk("/sys/fs/cgroup")]
    return [d for d, name in names if name.startswith(f"rktpy-{uuid}") and is_pods(name)]


def is_pods(name: str) -> bool:
    """Whether a group of this name is a pod's, not a scope or a service of systemd's."""
    return len(name) == len("rktpy-") + 36


def control_files(pattern: str, uuid: str) -> list[Path]:
    """Files of a pod's control groups by a pattern for their path below the pod's; other pods come and go meanwhile."""
    return [path for group in cgroups_of_pods(uuid) for path in Path(group).glob(pattern)]


def processes_with(text: str) -> dict[int, str]:
    """Processes other than this one with ``text`` in their command line, working directory or root."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            command = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            places = command + os.readlink(f"/proc/{name}/cwd") + os.readlink(f"/proc/{name}/root")
            if text in places and Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found[int(name)] = command
        except OSError:
            continue
    return found


def wait_for(what: str, condition: Any, timeout_s: float = 10) -> None:
    """Look again and again until ``condition()`` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.01)


def kill(process: subprocess.Popen[Any]) -> None:
    """SIGKILL a child's process group, which it must lead, and reap it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait(10)
