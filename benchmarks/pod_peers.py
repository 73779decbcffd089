"""The peers of benchmarks.pods: each runs the same program from the same image and root, if it is installed."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from benchmarks.nspawn import Nspawn
from benchmarks.peers import Podman, runc_bundle
from benchmarks.stamp_image import OUT, STAMP, StampImage
from benchmarks.stamped import Stamped, Stamps
from benchmarks.timing import Contender

#: How podman is told which runtime: options of podman, options of ``run``.
_RUNTIMES = {"crun": (("--runtime=crun",), ("--cgroups=disabled",)), "runc": (("--runtime=runc",), ())}


class PodPeers:
    """Peers in a directory of their own, all gone after :meth:`close`."""

    def __init__(self, work: Path, image: StampImage, stamps: Stamps) -> None:
        self._work = work
        self._image = image
        self._stamps = stamps
        self._podman: Podman | None = None
        self._id = ""
        self._closing: list[Callable[[], object]] = []
        if shutil.which("podman"):
            self._podman = Podman(work / "podman")
            self._closing.append(self._podman.close)
            self._podman.call("pull", "-q", f"oci:{image.layout}")
            self._id = self._podman.call("images", "-q").split()[0]

    def close(self) -> None:
        """End and remove everything."""
        while self._closing:
            self._closing.pop()()

    def without_network(self) -> list[Stamped]:
        """Whole pods and containers."""
        return [*self._nspawn(), *self._containers("none", "no network"), *self._pods("none", "no network"), *self._low_level()]

    def with_network(self) -> list[Stamped]:
        """With podman's default network, a bridge."""
        return [*self._containers("bridge", "bridge"), *self._pods("bridge", "bridge")]

    def _nspawn(self) -> Iterable[Stamped]:
        if not shutil.which("systemd-nspawn"):
            return
        for apps, confined in ((1, False), (2, False), (2, True)):
            directory = self._work / f"nspawn{apps}{'-confined' if confined else ''}"
            peer = Nspawn(directory, self._image.rootfs, self._stamps.directory, apps, confined=confined)
            name = f"systemd-nspawn --boot, services: {apps}{', confined as ours' if confined else ''}"
            yield Stamped(name, peer.argv(), before=peer.clear, stamps=self._stamps, apps=apps)

    def _runtimes(self) -> Iterable[str]:
        return [name for name in _RUNTIMES if self._podman is not None and shutil.which(name)]

    def _run(self, runtime: str, name: str, *options: str, stay: bool = False) -> list[str]:
        assert self._podman is not None
        general, special = _RUNTIMES[runtime]
        # As our pods do, it keeps the log and itself until somebody removes it.
        common = ("--log-driver=k8s-file", f"--name={name}", f"--volume={self._stamps.directory}:{OUT}")
        command = [STAMP, f"{OUT}/{name}", *(["stay"] if stay else [])]
        return self._podman.argv(*general, "run", *special, *common, *options, self._id, *command)

    def _containers(self, network: str, words: str) -> Iterable[Stamped]:
        podman = self._podman
        for runtime in self._runtimes():
            assert podman is not None
            yield Stamped(
                f"podman run, {runtime}, {words}",
                self._run(runtime, "one", f"--network={network}"),
                after=lambda: self._call("rm", "one"),
                env=podman.env,
                stamps=self._stamps,
            )

    def _call(self, *args: str) -> str:
        assert self._podman is not None
        return self._podman.call(*args)

    def _pods(self, network: str, words: str) -> Iterable[Stamped]:
        podman = self._podman
        if not shutil.which("catatonit"):
            return
        for runtime in self._runtimes():
            assert podman is not None
            general = _RUNTIMES[runtime][0]
            commands = (
                podman.argv(*general, "pod", "create", "--name=pod", f"--network={network}"),
                self._run(runtime, "first", "--pod=pod", "--detach"),
                self._run(runtime, "second", "--pod=pod"),
                podman.argv("wait", "first"),
                podman.argv("pod", "stop", "--time=0", "pod"),
            )
            yield Stamped(
                f"podman pod create, 2 x run, stop, {runtime}, {words}",
                ["/bin/sh", "-c", " && ".join([shlex.join(command) for command in commands])],
                after=lambda: self._call("pod", "rm", "-f", "-t0", "pod"),
                env=podman.env,
                stamps=self._stamps,
                apps=2,
            )

    def _low_level(self) -> Iterable[Stamped]:
        options = {"runc": [], "crun": ["--cgroup-manager=disabled"]}
        for name in options if shutil.which("runc") else ():
            if not shutil.which(name):
                continue
            bundle = runc_bundle(
                self._work / f"bundle-{name}",
                self._image.rootfs,
                [STAMP, f"{OUT}/app"],
                (self._stamps.directory, OUT),
                own_network=True,
            )
            argv = [name, f"--root={self._work}/state-{name}", *options[name], "run", "-b", str(bundle), f"bench-{name}"]
            yield Stamped(f"{name} run (no image)", argv, stamps=self._stamps)

    def start_pod(self, runtime: str, name: str) -> list[int]:
        """A podman pod with one idle container, ``<name>-app``; the process IDs of its two monitors."""
        self._call(*_RUNTIMES[runtime][0], "pod", "create", f"--name={name}", "--network=none")
        self._closing.append(lambda: self._call("pod", "rm", "-f", "-t0", name))
        argv = self._run(runtime, f"{name}-app", f"--pod={name}", "--detach", stay=True)
        self._call(*argv[1:])
        ids = self._call("pod", "inspect", "--format={{range .Containers}}{{.ID}} {{end}}", name).split()
        return [int(pid) for pid in self._call("inspect", "--format={{.State.ConmonPid}}", *ids).split()]

    def start_nspawn(self, name: str) -> list[int]:
        """An idle service in systemd-nspawn; the process ID of that."""
        peer = Nspawn(self._work / name, self._image.rootfs, self._stamps.directory, 1, stay=True, confined=True, prefix=name)
        process = subprocess.Popen(peer.argv(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def end() -> None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

        self._closing.append(end)
        return [process.pid]

    def idle(self) -> dict[str, Callable[[str], list[int]]]:
        """By words, what starts one more idle pod of a name and gives the processes that stay for it."""
        found: dict[str, Callable[[str], list[int]]] = {}
        if shutil.which("systemd-nspawn"):
            found["systemd-nspawn + systemd + journald"] = self.start_nspawn
        for runtime in self._runtimes() if shutil.which("catatonit") else ():
            found[f"podman pod of 1: 2 conmon + catatonit, {runtime}"] = partial(self.start_pod, runtime)
        return found

    def adding(self) -> list[Stamped]:
        """A container more in a running pod."""
        podman = self._podman
        contenders: list[Stamped] = []
        for runtime in self._runtimes() if shutil.which("catatonit") else ():
            assert podman is not None
            name = f"busy-{runtime}"
            self.start_pod(runtime, name)
            contenders.append(
                Stamped(
                    f"podman run --pod, {runtime}",
                    self._run(runtime, "late", f"--pod={name}", "--detach", stay=True),
                    after=lambda: self._call("rm", "-f", "-t0", "late"),
                    env=podman.env,
                    stamps=self._stamps,
                )
            )
        return contenders

    def looking(self) -> list[Contender]:
        """Commands about containers that run; after :meth:`adding`."""
        podman = self._podman
        contenders: list[Contender] = []
        if podman is None or not shutil.which("catatonit"):
            return contenders
        for runtime in self._runtimes():
            app = f"busy-{runtime}-app"
            contenders.append(Contender(f"podman exec, {runtime}", podman.argv("exec", app, "/bin/true"), env=podman.env))
        for args in (("logs", app), ("inspect", app), ("ps", "--pod")):
            contenders.append(Contender(f"podman {args[0]}", podman.argv(*args), env=podman.env))
        return contenders
