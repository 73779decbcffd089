"""Memory that idle pods keep beside their apps."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.pod_peers import PodPeers
from benchmarks.process_memory import Memory, descendants, memory
from benchmarks.running_pods import RunningPods

_PODS = 4
_APP = "stamp"
# Until what starting a pod needs has been given back, in seconds.
_SETTLE = 1.0


def _measured(start: Callable[[str], list[int]], name: str) -> tuple[Memory, Memory]:
    """What one pod has, and what each further pod adds."""
    roots = start(f"{name}0")
    time.sleep(_SETTLE)
    one = memory(descendants(roots), _APP)
    for number in range(1, _PODS):
        roots += start(f"{name}{number}")
    time.sleep(_SETTLE)
    every = memory(descendants(roots), _APP)
    # What is private is so only when another pod does not map the same files.
    return one, Memory((every.pss - one.pss) // (_PODS - 1), every.private // _PODS, every.processes // _PODS)


def memory_table(pods: RunningPods, peers: PodPeers) -> tuple[str, Memory, Memory]:
    """A Markdown table; our first pod, and what each further one costs."""

    def ours(name: str) -> list[int]:
        pods.start_all([name])
        return pods.pids[-1:]

    first, further = _measured(ours, "memory")
    rows = {"rktpy: monitor + systemd + journald": (first, further)}
    for number, (words, start) in enumerate(peers.idle().items()):
        rows[words] = _measured(start, f"peer{number}")
    lines = [f"### memory of idle pods without their apps, {_PODS} of each", ""]
    lines += ["Pages shared with any other process of the machine count less in PSS; private memory is that of several pods.", ""]
    lines += ["| what stays | processes | PSS of one pod MB | PSS per further pod MB | private per pod MB |"]
    lines += ["|---|---|---|---|---|"]
    for words, (one, more) in rows.items():
        lines.append(f"| {words} | {one.processes} | {one.pss / 1e6:.1f} | {more.pss / 1e6:.1f} | {more.private / 1e6:.1f} |")
    return "\n".join(lines) + "\n", first, further
