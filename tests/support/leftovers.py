"""What pods could leave on a host: looked for in all places where a pod has something that outlives a process."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from tests.support.pods import cgroups_of_pods, mounts_of, processes_with

_ADDRESSES = Path("/var/lib/cni/networks")


def reap(*known: int) -> None:
    """Wait for processes whose parent was killed, as an init does, but not for ``known`` children."""
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in {int(word) for word in children.read_text().split()}.difference(known):
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


def leftovers(data: Path, uuids: Iterable[str]) -> list[str]:
    """What is left of pods that were in ``data`` and had ``uuids``, in words."""
    found = [f"mount {point}" for point in mounts_of(data)]
    found += [f"pod {path}" for path in data.glob("pods/*/*")]
    found += [f"process {pid} {command}" for pid, command in processes_with(str(data)).items()]
    rules = subprocess.run(["iptables-save", "-t", "nat"], stdout=subprocess.PIPE, text=True, check=False).stdout
    mounts = Path("/proc/self/mountinfo").read_text()
    for uuid in uuids:
        found += [f"cgroup {path}" for path in cgroups_of_pods(uuid)]
        found += [f"network namespace {path}" for path in Path("/run/netns").glob(f"*{uuid}*")]
        found += [f"address {path}" for path in _ADDRESSES.glob("*/[0-9]*") if uuid in path.read_text()]
        found += [f"rule {line}" for line in rules.splitlines() if uuid in line]
        found += [f"mount {line}" for line in mounts.splitlines() if uuid in line]
    return found


def left_after_a_while(data: Path, uuids: Iterable[str], known: Iterable[int] = (), timeout_s: float = 5) -> list[str]:
    """The same when the kernel has had time to take processes down."""
    wanted, deadline = list(uuids), time.monotonic() + timeout_s
    while True:
        reap(*known)
        found = leftovers(data, wanted)
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)
