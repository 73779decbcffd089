"""Pods with the host's systemd in them, beside systemd-nspawn, podman, runc and crun.

    python3 tests/sandbox.py python3 -m benchmarks.pods [ROUNDS]
    python3 tests/sandbox.py python3 -m benchmarks.pods --many N

With .venv/bin/python in place of python3, which has the systemd module, ``logs`` is measured too. Run it in the sandbox of the
tests, as above: it makes networks, mounts and control groups, and there all of them end with it.

Measured are whole commands and the first instruction of an app (``stamp.c``), without and with a network; changing and looking
at pods that run; memory of idle pods. ``--many`` runs N pods at once and measures nothing else. Peers that are not installed are
left out, and named. What we want to reach is printed at the end; nothing fails when it is not reached.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from typing import NoReturn

from benchmarks.many_pods import many_pods
from benchmarks.pod_memory import memory_table
from benchmarks.pod_peers import PodPeers
from benchmarks.running_pods import RunningPods
from benchmarks.setting import Setting
from benchmarks.stamp_image import OUT, STAMP, StampImage
from benchmarks.stamped import Stamped, Stamps, stamped_table
from benchmarks.targets import Targets
from benchmarks.timing import BARE, BARE_ARGV, Contender, measure, need_root, table

#: Debian package by program, of the peers.
PEERS = {"systemd-nspawn": "systemd-container", "podman": "podman", "crun": "crun", "runc": "runc", "catatonit": "catatonit"}
#: No run takes longer than this, in seconds.
LIMIT = 900
_RUNNING = 8


class Pods:
    """The tables; what they have in common."""

    def __init__(self, setting: Setting, rounds: int) -> None:
        self.setting = setting
        self.rounds = rounds
        self.stamps = Stamps(setting.work / "out")
        self.image = StampImage(setting.work / "image")
        self.id = setting.call("fetch", f"oci:{self.image.layout}").strip()
        self.peers = PodPeers(setting.work, self.image, self.stamps)
        self.targets = Targets()

    def ours(self, apps: int, *options: str) -> list[str]:
        """``run`` of a pod of apps that end at once."""
        volume = (f"--volume=out,kind=host,source={self.stamps.directory}", f"--mount=volume=out,target={OUT}")
        argv = self.setting.argv("run", *options, *volume)
        for number in range(apps):
            argv += ["---"] if number else []
            argv += [self.id, f"--name=app{number}", f"--exec={STAMP}", "--", f"{OUT}/app{number}"]
        return argv

    def _contender(self, name: str, apps: int, *options: str) -> Stamped:
        return Stamped(name, self.ours(apps, *options), stamps=self.stamps, apps=apps)

    def starting(self) -> str:
        """Without a network."""
        bare = Stamped(BARE, BARE_ARGV)
        one = self._contender("rktpy run, 1 app", 1, "--net=none")
        two = self._contender("rktpy run, 2 apps", 2, "--net=none")
        fly = self._contender("rktpy run, 1 app, fly", 1, "--stage1=fly", "--net=host")
        contenders = [bare, one, two, fly, *self.peers.without_network()]
        self._measure(contenders)
        self.targets.below("two apps, exit to exit", two.median / bare.median, 22, "bare starts")
        self.targets.below("two apps, first instruction", two.first / bare.median, 12, "bare starts")
        self.targets.below("a second app costs", (two.median - one.median) * 1e3, 40, "ms")
        return stamped_table("pods without a network", contenders, bare)

    def networked(self) -> str:
        """With the default network."""
        bare = Stamped(BARE, BARE_ARGV)
        one = self._contender("rktpy run, 1 app, ptp", 1)
        two = self._contender("rktpy run, 2 apps, ptp", 2)
        peers = self.peers.with_network()
        contenders = [bare, one, two, *peers]
        self._measure(contenders)
        for apps, ours in ((1, one), (2, two)):
            times = [peer.median for peer in peers if peer.apps == apps]
            if times:
                limit = min(times)
                self.targets.below(f"with network, apps: {apps}, against podman", ours.median * 1e3, limit * 1e3, "ms")
        return stamped_table("pods with the default network", contenders, bare)

    def _measure(self, contenders: list[Stamped]) -> None:
        measure(list[Contender](contenders), self.rounds)
        subprocess.run(self.setting.argv("gc", "--grace-period=0s"), check=True, capture_output=True)

    def changing(self) -> str:
        """Apps of a mutable pod, and commands about pods that run."""
        bare = Stamped(BARE, BARE_ARGV)
        call, argv = self.setting.call, self.setting.argv
        with RunningPods(self.setting, self.id, self.stamps.directory) as pods:
            names = [f"idle{number}" for number in range(_RUNNING - 1)]
            pods.start_all(names)
            sandbox, idle = pods.start_sandbox("sandbox"), pods.uuid("idle0")
            volume = f"--mnt-volume=name=out,kind=host,source={self.stamps.directory},target={OUT}"
            add = ("app", "add", sandbox, self.id, "--name=late", volume, f"--exec={STAMP}", "--", f"{OUT}/late", "stay")
            start = ("app", "start", "--app=late", sandbox)

            def remove() -> None:
                call("app", "rm", "--app=late", sandbox)

            both = Stamped("rktpy app add, app start", _one_after_another(argv(*add), argv(*start)), stamps=self.stamps)

            def remove_when_it_ran() -> None:
                # It counts as started before it is executed.
                deadline = time.monotonic() + 10
                while not self.stamps.times() and time.monotonic() < deadline:
                    time.sleep(0.001)
                remove()

            both.after = remove_when_it_ran
            apps: list[Stamped] = [
                bare,
                both,
                Stamped("rktpy app add", argv(*add), after=remove),
                Stamped("rktpy app start", argv(*start), before=lambda: call(*add), after=remove),
                *self.peers.adding(),
            ]
            self._measure(apps)
            text = stamped_table("an app more in a running pod", apps, bare)
            looking = [
                Contender(BARE, BARE_ARGV),
                Contender("rktpy enter UUID /bin/true", argv("enter", idle, "/bin/true")),
                *([Contender("rktpy logs UUID", argv("logs", idle))] if _reads_journals() else []),
                Contender("rktpy status UUID", argv("status", idle)),
                Contender(f"rktpy list, {_RUNNING} pods run", argv("list")),
                *self.peers.looking(),
            ]
            measure(looking, self.rounds)
            text += "\n" + table("looking at and entering running pods", looking, looking[0])
        self.targets.below("app add and app start", both.median * 1e3, 80, "ms")
        return text

    def keeping(self) -> str:
        """Memory of idle pods."""
        with RunningPods(self.setting, self.id, self.stamps.directory) as pods:
            text, one, further = memory_table(pods, self.peers)
        self.targets.below("PSS of an idle pod", one.pss / 1e6, 14, "MB")
        self.targets.below("private memory of a further idle pod", further.private / 1e6, 4, "MB")
        return text


def _one_after_another(*commands: list[str]) -> list[str]:
    return ["/bin/sh", "-c", " && ".join([shlex.join(command) for command in commands])]


def missing() -> list[str]:
    """What is left out, in words."""
    words = [f"{program} is not installed (Debian: {package})" for program, package in PEERS.items() if not shutil.which(program)]
    if not _reads_journals():
        words.append("logs: this Python has no systemd module (run the benchmark with that of the tests' virtual environment)")
    return [f"left out: {word}\n" for word in words]


def _reads_journals() -> bool:
    return importlib.util.find_spec("systemd") is not None


def _out_of_time(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(f"benchmarks.pods: not finished after {LIMIT} seconds")


def _terminated(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> None:
    need_root()
    parser = argparse.ArgumentParser(prog="benchmarks.pods")
    parser.add_argument("rounds", nargs="?", type=int, default=9)
    parser.add_argument("--many", type=int, metavar="N")
    arguments = parser.parse_args()
    # Whatever hangs, what was started is ended.
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.signal(signal.SIGTERM, _terminated)
    signal.alarm(LIMIT)
    with Setting("pods") as setting:
        if arguments.many is not None:
            if arguments.many < 1:
                raise SystemExit("benchmarks.pods: --many wants a number of pods")
            print(many_pods(setting, arguments.many))
            return
        print("\n".join(missing()))
        pods = Pods(setting, arguments.rounds)
        tables: list[Callable[[], str]] = [pods.starting, pods.networked, pods.changing, pods.keeping]
        try:
            for make in tables:
                print(make(), flush=True)
        finally:
            pods.peers.close()
        print(pods.targets.table())


if __name__ == "__main__":
    main()
