"""Timing whole commands against each other: interleaved, in one run, by medians and minima, as ratios.

Two shared cores vary by a factor of two between minutes, so a number of one command alone means nothing. Each round runs every
contender once, in a new order; a contender that does not exit with the wanted status ends the run, for a fast failure is no
result.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.reaper import leave_first_process

#: Seconds after which a run counts as hung, and is killed; that ends the benchmark.
LIMIT = 60
BARE = "bare python3 -I -S"
BARE_ARGV = ["/usr/bin/python3", "-I", "-S", "-c", "pass"]


@dataclass
class Contender:
    """One command. ``before`` and ``after`` are not timed; ``argv`` may be a function that gives a new command line each time."""

    name: str
    argv: Sequence[str] | Callable[[], Sequence[str]]
    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None
    env: dict[str, str] = field(default_factory=dict)
    status: int = 0
    times: list[float] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Seconds of processor time, of it and of what it waited for."""
    cpu: list[float] = field(default_factory=list)
    """Seconds of the processor that each run took, which vary less than the time on a machine that is shared."""
    started: int = 0
    """When the last run was started, in nanoseconds of CLOCK_REALTIME."""

    def reset(self) -> None:
        """Forget the runs so far."""
        self.times.clear()
        self.rss.clear()
        self.cpu.clear()
        self.cpu.clear()

    def once(self) -> None:
        """Run it and note seconds from before fork to after wait, and the peak resident memory in KiB."""
        if self.before:
            self.before()
        argv = list(self.argv() if callable(self.argv) else self.argv)
        self.started = time.time_ns()
        start = time.perf_counter()
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **self.env}
        )
        assert process.stderr is not None
        limit = threading.Timer(LIMIT, process.kill)
        limit.start()
        message = process.stderr.read()
        _pid, status, usage = os.wait4(process.pid, 0)
        self.times.append(time.perf_counter() - start)
        limit.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stderr.close()
        self.rss.append(usage.ru_maxrss)
        self.cpu.append(usage.ru_utime + usage.ru_stime)
        self.cpu.append(usage.ru_utime + usage.ru_stime)
        if process.returncode != self.status:
            raise SystemExit(f"{self.name}: exit status {process.returncode}\n{argv}\n{message.decode(errors='replace')}")
        if self.after:
            self.after()

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.times)


def measure(contenders: list[Contender], rounds: int, warm_up: int = 1) -> None:
    """Run all contenders ``rounds`` times, interleaved, after ``warm_up`` rounds that do not count."""
    order = list(contenders)
    for number in range(warm_up + rounds):
        random.shuffle(order)
        for contender in order:
            contender.once()
        if number + 1 == warm_up:
            for contender in contenders:
                contender.reset()


def table(title: str, contenders: list[Contender], unit: Contender, ours: Contender | None = None) -> str:
    """A Markdown table: median, minimum, ratio to ``unit``, how often ours goes into it, peak memory."""
    lines = [f"### {title}", "", f"{len(contenders[0].times)} rounds, interleaved.", ""]
    lines += [f"| command | median ms | min ms | x {unit.name} | ours is faster by | peak MB |", "|---|---|---|---|---|---|"]
    for c in contenders:
        faster = f"{c.median / ours.median:.2f}" if ours and c is not ours else ""
        ratio = c.median / unit.median
        lines.append(
            f"| {c.name} | {c.median * 1e3:.1f} | {min(c.times) * 1e3:.1f} | {ratio:.2f} | {faster} | {max(c.rss) / 1024:.0f} |"
        )
    return "\n".join(lines) + "\n"


def need_root() -> None:
    """The benchmarks run containers; see also :mod:`benchmarks.reaper`. Called before anything is started."""
    if os.geteuid() != 0:
        raise SystemExit(f"{sys.argv[0]}: must be run as root")
    leave_first_process()
