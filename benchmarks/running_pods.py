"""Pods of ours that run in the background while something is measured, and that are gone afterwards whatever happens."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

from benchmarks.setting import Setting
from benchmarks.stamp_image import OUT, STAMP

#: How long a pod may take to start, and all of them to end, in seconds.
PATIENCE = 60.0


class RunningPods:
    """Idle pods. ``out`` is the directory that their apps write into when they have started."""

    def __init__(self, setting: Setting, image: str, out: Path) -> None:
        self._setting = setting
        self._image = image
        self._out = out
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._uuids: dict[str, Path] = {}

    @property
    def pids(self) -> list[int]:
        """The processes outside of the pods, one of each."""
        return [process.pid for process in self._processes.values()]

    def uuid(self, name: str) -> str:
        """The UUID of a pod that has started."""
        return self._uuids[name].read_text().strip()

    def uuids(self) -> list[str]:
        """Those of all pods that have started."""
        return [self.uuid(name) for name in self._uuids]

    def _start(self, name: str, *args: str) -> None:
        self._uuids[name] = self._setting.work / f"uuid-{name}"
        with self._messages(name).open("wb") as file:
            self._processes[name] = subprocess.Popen(
                self._setting.argv(*args), stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    def _messages(self, name: str) -> Path:
        return self._setting.work / f"messages-{name}"

    def start(self, name: str) -> None:
        """Start a pod of one app that stays, without waiting for it."""
        uuid = self._setting.work / f"uuid-{name}"
        volume = f"--volume=out,kind=host,source={self._out}"
        options = ["--net=none", f"--uuid-file-save={uuid}", volume, "--mount=volume=out,target=/out"]
        self._start(name, "run", *options, self._image, f"--exec={STAMP}", "--", f"{OUT}/{name}", "stay")

    def start_sandbox(self, name: str) -> str:
        """Start a mutable pod without apps and wait until it is ready; its UUID."""
        uuid = self._setting.work / f"uuid-{name}"
        self._start(name, "app", "sandbox", "--net=none", f"--uuid-file-save={uuid}")
        deadline = time.monotonic() + PATIENCE
        while not (uuid.exists() and uuid.read_text().strip()):
            self._check(name, deadline)
        self._setting.call("status", f"--wait-ready={PATIENCE:.0f}s", uuid.read_text().strip())
        return self.uuid(name)

    def started(self, name: str) -> bool:
        """Whether the pod's app has run its first instruction. Raises SystemExit when the pod has ended."""
        file = self._out / name
        if file.exists() and file.read_text().endswith("\n"):
            return True
        self._check(name, time.monotonic() + 1)
        return False

    def start_all(self, names: list[str], at_once: int = 4) -> float:
        """Start pods, ``at_once`` of them at the same time. The seconds until the last one has started."""
        begin = time.monotonic()
        todo, starting = list(names), list[str]()
        deadline = begin + PATIENCE + 2 * len(names)
        while todo or starting:
            while todo and len(starting) < at_once:
                starting.append(todo.pop(0))
                self.start(starting[-1])
            time.sleep(0.005)
            starting = [name for name in starting if not self.started(name)]
            if time.monotonic() > deadline:
                raise SystemExit(f"{len(todo) + len(starting)} of {len(names)} pods have not started")
        return time.monotonic() - begin

    def _check(self, name: str, deadline: float) -> None:
        status = self._processes[name].poll()
        if status is not None:
            message = self._messages(name).read_text(errors="replace")
            raise SystemExit(f"pod {name} ended with status {status}, {len(self._processes)} were started\n{message}")
        if time.monotonic() > deadline:
            raise SystemExit(f"pod {name} has not started")
        time.sleep(0.002)

    def wait(self) -> None:
        """Wait until all pods have ended. Raises SystemExit when that takes too long."""
        deadline = time.monotonic() + PATIENCE
        for name, process in self._processes.items():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise SystemExit(f"pod {name} does not end") from None

    def close(self) -> None:
        """End what still runs: in order, then by force (a pod dies with its monitor), and remove the pods."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = [process for process in self._processes.values() if process.poll() is None]
            for process in left:
                process.send_signal(number)
            deadline = time.monotonic() + 10
            for process in left:
                try:
                    process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    pass
        subprocess.run(self._setting.argv("gc", "--grace-period=0s"), check=False, capture_output=True, timeout=120)

    def __enter__(self) -> RunningPods:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
