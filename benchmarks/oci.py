"""The low-level runtime beside runc and crun: a bundle of busybox, each command of the three in one run.

    python3 tests/sandbox.py python3 -m benchmarks.oci [ROUNDS]

crun refuses hybrid control groups and runs without any there, which the tables say; ours is the launcher with bundles of modules,
as it is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.setting import ROOT
from benchmarks.timing import BARE, BARE_ARGV, Contender, measure, need_root, table
from tests.support.oci_bundles import Bundle

MANY = 100
PARALLEL = 50


class Peer:
    """A runtime with a state directory of its own."""

    def __init__(self, name: str, command: list[str], work: Path) -> None:
        self.name = name
        self.command = [*command, "--root", str(work / name)]

    def argv(self, *args: str) -> list[str]:
        """A whole command line."""
        return [*self.command, *args]

    def call(self, *args: str) -> None:
        """Run to the end; what it prints is dropped."""
        subprocess.run(
            self.argv(*args), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


def peers(work: Path) -> list[Peer]:
    """Ours as it is installed, and those of Debian's."""
    here = ROOT / "rktpy/oci"
    subprocess.run(
        ["/usr/bin/python3", "-IS", "-X", "no_debug_ranges", str(here / "bundle.py"), str(here / "__pycache__")], check=True
    )
    hybrid = os.path.isdir("/sys/fs/cgroup/unified") or os.path.isdir("/sys/fs/cgroup/memory")
    crun = ["crun", "--cgroup-manager=disabled"] if hybrid else ["crun"]
    return [Peer("rktpy-oci", [str(here / "launch")], work), Peer("runc", ["runc"], work), Peer(" ".join(crun), crun, work)]


def bundle_for(path: Path, *args: str) -> str:
    """A bundle whose container runs ``args``; its path."""
    bundle = Bundle(path)
    bundle.config["process"]["args"] = list(args)
    bundle.write()
    return str(bundle.path)


def shown(title: str, contenders: list[Contender]) -> str:
    """A table with ratios to runc, and the processor time, which other users of the machine change less."""
    by_name = {one.name: one for one in contenders}
    lines = ["| command | CPU median ms | CPU min ms | x runc |", "|---|---|---|---|"]
    reference = median(by_name["runc"].cpu)
    for one in contenders:
        half = median(one.cpu)
        lines.append(f"| {one.name} | {half * 1e3:.1f} | {min(one.cpu) * 1e3:.1f} | {half / reference:.2f} |")
    return table(title, contenders, by_name["runc"], by_name["rktpy-oci"]) + "\n" + "\n".join(lines) + "\n"


def run_and_parts(all_peers: list[Peer], work: Path, rounds: int) -> str:
    """run, create + start + delete, exec, state."""
    true = bundle_for(work / "true", "/bin/true")
    sleep = bundle_for(work / "sleep", "/bin/sleep", "1000")
    out: list[str] = []
    runs = [Contender(BARE, BARE_ARGV), *[Contender(peer.name, peer.argv("run", "--bundle", true, "r")) for peer in all_peers]]
    measure(runs, rounds)
    out.append(shown("run of /bin/true", runs))
    script = "{0} create --bundle {1} c </dev/null >/dev/null 2>&1 && {0} start c && {0} delete --force c"
    lives = [
        Contender(peer.name, ["sh", "-c", script.format(" ".join(f"'{one}'" for one in peer.command), sleep)])
        for peer in all_peers
    ]
    measure(lives, rounds)
    out.append(shown("create + start + delete --force", lives))
    for peer in all_peers:
        peer.call("run", "--detach", "--bundle", sleep, "e")
    try:
        for name, args in (("exec of /bin/true", ("exec", "e", "/bin/true")), ("state", ("state", "e"))):
            contenders = [Contender(BARE, BARE_ARGV), *[Contender(peer.name, peer.argv(*args)) for peer in all_peers]]
            measure(contenders, rounds)
            out.append(shown(name, contenders))
    finally:
        for peer in all_peers:
            peer.call("delete", "--force", "e")
    return "\n".join(out)


def list_of_many(all_peers: list[Peer], work: Path, rounds: int) -> str:
    """list with a hundred containers that were created."""
    sleep = bundle_for(work / "many", "/bin/sleep", "1000")
    for peer in all_peers:
        for number in range(MANY):
            peer.call("create", "--bundle", sleep, f"m{number}")
    try:
        contenders = [Contender(peer.name, peer.argv("list")) for peer in all_peers]
        measure(contenders, rounds)
        memory = "".join(f"{peer.name}: {resident(peer):.0f} KiB\n" for peer in all_peers)
        waiting = f"Memory of a container that was created and waits (PSS of its first process, mean of {MANY}):\n{memory}"
        return f"{shown(f'list with {MANY} containers', contenders)}\n{waiting}"
    finally:
        for peer in all_peers:
            for number in range(MANY):
                peer.call("delete", "--force", f"m{number}")


def resident(peer: Peer) -> float:
    """Proportional memory of the first processes, in KiB, the mean."""
    total = 0
    for number in range(MANY):
        state: dict[str, Any] = json.loads(
            subprocess.run(peer.argv("state", f"m{number}"), check=True, capture_output=True).stdout
        )
        for line in Path(f"/proc/{state['pid']}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / MANY


def in_parallel(all_peers: list[Peer], work: Path, rounds: int) -> str:
    """Fifty containers started at the same time."""
    true = bundle_for(work / "parallel", "/bin/true")
    times: dict[str, list[float]] = {peer.name: [] for peer in all_peers}
    for _round in range(max(3, rounds // 5)):
        for peer in all_peers:
            begin = time.perf_counter()
            started = [
                subprocess.Popen(
                    peer.argv("run", "--bundle", true, f"p{number}"),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                )
                for number in range(PARALLEL)
            ]
            for process in started:
                _out, said = process.communicate()
                if process.returncode:
                    raise SystemExit(f"{peer.name}: {said.decode()}")
            times[peer.name].append(time.perf_counter() - begin)
    reference = median(times["runc"])
    lines = [f"{PARALLEL} containers of /bin/true at the same time (seconds: minimum, median; ratio to runc)"]
    for name, taken in times.items():
        half = median(taken)
        lines.append(f"{name:32} {min(taken):6.2f} {half:6.2f}   {half / reference:4.2f}")
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Print the tables."""
    need_root()
    rounds = int(argv[0]) if argv else 40
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        all_peers = peers(work)
        print(run_and_parts(all_peers, work, rounds))
        print(in_parallel(all_peers, work, rounds))
        print(list_of_many(all_peers, work, max(5, rounds // 4)))


if __name__ == "__main__":
    main(sys.argv[1:])
