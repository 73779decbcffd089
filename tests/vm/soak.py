"""Units starting, failing, restarting and being updated for a long time on the test host; nothing may be left of them.

    python -m tests.vm.soak [--minutes=30] [--seed=N]

It prints what was done and what was counted before and after. The status is 0 when nothing has leaked and every update did what
it should, and 1 otherwise. The host is stopped some minutes after the time is up, whatever happens in it.
"""

from __future__ import annotations

import getopt
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import ROOT, SYSTEM_PYTHON
from tests.support.aci import make_aci
from tests.vm.environment import PLACE

UNITS = Path("/run/systemd/system")
FILES: dict[str, bytes | str | None] = {"/bin/busybox": "/bin/busybox", "/bin/sh": "/bin/busybox"}
GOOD = "trap 'exit 0' TERM; while :; do /bin/busybox sleep 0.2; done"
STEADY = ("soak-a", "soak-b", "soak-fly", "soak-net")
#: Minutes for building before, and for counting afterwards.
_ROUND = 8


class Soak:
    """The machine under test: a store, images, units."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.random = random.Random(seed)
        self.done: dict[str, int] = {}
        self.wrong: list[str] = []
        self.version = 0
        launcher = directory / "rktpy"
        argv = [
            SYSTEM_PYTHON,
            str(ROOT / "rktpy/launcher.py"),
            str(launcher),
            SYSTEM_PYTHON,
            str(ROOT),
            sysconfig.get_path("platlib"),
        ]
        subprocess.run(argv, check=True)
        self.flags = [f"--dir={directory}/data", f"--local-config={directory}/etc", "--insecure-options=image"]
        self.launcher = str(launcher)

    def rktpy(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.launcher, *self.flags, *argv], capture_output=True, text=True, check=False, timeout=300)

    def image(self, name: str, script: str) -> Path:
        self.version += 1
        target = self.directory / f"{name}.new"
        make_aci(target, f"example.com/{name}", FILES, exec=["/bin/sh", "-c", f": {self.version}; {script}"])
        target.rename(self.directory / f"{name}.aci")
        return self.directory / f"{name}.aci"

    def unit(self, name: str, image: Path, *flags: str, restart: str = "always") -> None:
        done = self.rktpy("generate", "unit", f"--restart={restart}", *flags, str(image))
        assert done.returncode == 0, done.stderr
        text = done.stdout.replace("[Service]\n", "[Service]\nRestartSec=1\nTimeoutStopSec=30\n")
        (UNITS / f"{name}.service").write_text(text.replace("[Unit]\n", "[Unit]\nStartLimitIntervalSec=0\n"))

    def set_up(self) -> None:
        good = self.image("good", GOOD)
        self.unit("soak-a", good, "--net=none")
        self.unit("soak-b", good, "--net=host")
        self.unit("soak-fly", good, "--stage1=fly")
        self.unit("soak-net", good)
        self.unit("soak-flapping", self.image("flapping", "/bin/busybox sleep 1; exit 3"), "--net=none")
        self.unit("soak-updated", self.image("updated", GOOD), "--net=none")
        systemctl("daemon-reload")
        systemctl("start", *STEADY, "soak-flapping", "soak-updated")

    def step(self) -> None:
        actions: tuple[Callable[[], str], ...] = (
            self.restart, self.restart, self.stop_and_start, self.kill, self.kill_the_pod, self.terminate,
            self.update, self.bad_update, self.collect, self.reload,
        )  # fmt: skip
        name = self.random.choice(actions)()
        self.done[name] = self.done.get(name, 0) + 1

    def restart(self) -> str:
        self.expect(systemctl("restart", self.random.choice(STEADY)) == 0, "a restart failed")
        return "restarts"

    def stop_and_start(self) -> str:
        unit = self.random.choice(STEADY)
        self.expect(systemctl("stop", unit) == 0, f"{unit} does not stop")
        self.expect(systemctl("start", unit) == 0, f"{unit} does not start")
        return "stops"

    def kill(self) -> str:
        """The monitor, at any instant."""
        systemctl("kill", "--kill-whom=main", "--signal=SIGKILL", self.random.choice(STEADY))
        return "kills of the monitor"

    def kill_the_pod(self) -> str:
        main = shown(self.random.choice(STEADY), "MainPID")
        subprocess.run(["pkill", "-KILL", "-P", main], check=False)  # children of a process of ours
        return "kills of the pod"

    def terminate(self) -> str:
        listed = subprocess.run(["machinectl", "list", "--no-legend"], capture_output=True, text=True, check=False).stdout.split(
            "\n"
        )
        machines = [line.split()[0] for line in listed if line.startswith("rkt-")]
        if machines:
            subprocess.run(
                ["machinectl", "terminate", self.random.choice(machines)], capture_output=True, check=False, timeout=120
            )
        return "machinectl terminate"

    def update(self) -> str:
        self.image("updated", GOOD)
        done = self.rktpy("update", "--unit=soak-updated", "--settle=500ms", "--timeout=2m")
        self.expect(done.returncode == 0, f"an update failed: {done.stderr.strip()}")
        return "updates"

    def bad_update(self) -> str:
        self.image("updated", "exit 9")
        done = self.rktpy("update", "--unit=soak-updated", "--settle=2s", "--timeout=2m")
        self.expect(done.returncode == 254 and "again" in done.stderr, f"no roll back: {done.stdout}{done.stderr}")
        return "updates rolled back"

    def collect(self) -> str:
        done = self.rktpy("gc", "--grace-period=0s")
        self.expect(done.returncode == 0, f"gc: {done.stderr.strip()}")
        self.rktpy("image", "gc", "--grace-period=0s")
        return "collections"

    def reload(self) -> str:
        systemctl("daemon-reload")
        return "daemon-reloads"

    def expect(self, condition: bool, problem: str) -> None:
        if not condition:
            self.wrong.append(problem)
            print(f"soak: {problem}", flush=True)

    def tear_down(self) -> None:
        units = (*STEADY, "soak-flapping", "soak-updated")
        systemctl("stop", *units)
        for unit in units:
            (UNITS / f"{unit}.service").unlink(missing_ok=True)
        systemctl("daemon-reload")
        systemctl("reset-failed")
        self.expect(self.rktpy("gc", "--grace-period=0s", "--expire-prepared=0s").returncode == 0, "the last gc failed")
        time.sleep(2)

    def counted(self) -> dict[str, int]:
        """What a pod could leave behind."""
        data = f"{self.directory}/data"
        commands = [path for path in Path("/proc").glob("[0-9]*/cmdline") if data in read(path)]
        groups = [path for path in Path("/sys/fs/cgroup").rglob("rktpy-*") if path.is_dir() and "groups" not in path.name]
        return {
            "mounts": len([line for line in read(Path("/proc/self/mountinfo")).split("\n") if data in line or "rktpy" in line]),
            "network namespaces": len(namespaces()),
            "named network namespaces": len(list(Path("/run/netns").glob("*"))),
            "control groups": len(groups),
            "processes": len([one for one in commands if one.parent.name != str(os.getpid())]),
            "pods": len(list(Path(data).glob("pods/*/*-*"))),
            "journals": len(list(Path(data).glob("pods/*/*/stage1/rootfs/var/log/journal/*"))),
            "addresses": len(list(Path("/var/lib/cni/networks").glob("*/[0-9]*"))),
            "interfaces": len(list(Path("/sys/class/net").iterdir())),
            "scopes": len(lines("systemctl", "list-units", "--all", "--plain", "--no-legend", "rktpy-*-*.scope")),
            "machines": len(list(Path("/run/systemd/machines").glob("rkt-*"))),
        }  # fmt: skip


def systemctl(*argv: str) -> int:
    return subprocess.run(["systemctl", *argv], capture_output=True, check=False, timeout=300).returncode


def lines(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60).stdout.splitlines()


def shown(unit: str, name: str) -> str:
    return subprocess.run(["systemctl", "show", "-P", name, unit], capture_output=True, text=True, check=False).stdout.strip()


def namespaces() -> set[str]:
    """The network namespaces of all processes."""
    found: set[str] = set()
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(os.readlink(path))
        except OSError:
            pass  # it has ended
    return found


def read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def inside(minutes: float, seed: int) -> int:
    """Do it on this machine, which nothing else is on."""
    with tempfile.TemporaryDirectory(prefix="rktpy-soak-", dir="/var/tmp") as directory:
        soak = Soak(Path(directory), seed)
        before = soak.counted()
        soak.set_up()
        end = time.monotonic() + minutes * 60
        told = time.monotonic()
        try:
            while time.monotonic() < end:
                soak.step()
                if time.monotonic() - told > 60:
                    told = time.monotonic()
                    print(f"soak: {soak.done} {shown('soak-flapping', 'NRestarts')} restarts by failure", flush=True)
            flapped = shown("soak-flapping", "NRestarts")
        finally:
            soak.tear_down()
        after = soak.counted()
    print(f"done: {soak.done}, {flapped} restarts by failure")
    leaks = {name: count for name, count in after.items() if count > before[name]}
    for name, count in after.items():
        print(f"{name:28}{before[name]:6}{count:6}{'   LEAKED' if name in leaks else ''}")
    for problem in soak.wrong:
        print(f"wrong: {problem}")
    return 1 if leaks or soak.wrong else 0


def main(argv: list[str]) -> int:
    """The exit status."""
    given = dict(getopt.getopt(argv, "", ["minutes=", "seed=", "inside"])[0])
    minutes = float(given.get("--minutes", "30"))
    seed = int(given.get("--seed", str(int(time.time()))))
    if "--inside" in given:
        return inside(minutes, seed)
    print(f"soak: {minutes:g} minutes, seed {seed}", flush=True)
    limit = (minutes + _ROUND) * 60
    command = [f"{PLACE}/bin/python", "-m", "tests.vm.soak", "--inside", f"--minutes={minutes}", f"--seed={seed}"]
    return subprocess.run(
        [sys.executable, "-m", "tests.vm", "exec", f"--time={limit:.0f}", "--", *command], cwd=ROOT, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
