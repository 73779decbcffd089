"""Many pods at once: starting them, ``list`` while they run, their memory, stopping and removing them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from benchmarks.process_memory import descendants, memory
from benchmarks.running_pods import RunningPods
from benchmarks.setting import Setting
from benchmarks.stamp_image import StampImage
from benchmarks.targets import Targets
from benchmarks.timing import BARE, BARE_ARGV, Contender, measure

_LOOKS = 5
# Of fs.inotify.max_user_instances, which the kernel counts per user: what a pod's systemd has open, and what is left to others.
_INSTANCES_PER_POD = 3
_INSTANCES_FOR_OTHERS = 32
_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")


def _fitting(number: int) -> tuple[int, str]:
    """How many pods the machine lets run at once, and why it is not ``number``. Its setting is not ours to change."""
    limit = int(_INSTANCES.read_text())
    most = max(1, (limit - _INSTANCES_FOR_OTHERS) // _INSTANCES_PER_POD)
    if number <= most:
        return number, ""
    needed = number * _INSTANCES_PER_POD + _INSTANCES_FOR_OTHERS
    return most, f"{number} pods do not fit: fs.inotify.max_user_instances is {limit}, and would have to be {needed}\n\n"


def _available() -> int:
    """Bytes of memory that the machine could still give (proc_meminfo(5))."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def many_pods(setting: Setting, number: int) -> str:
    """A Markdown table of ``number`` idle pods, or of as many as fit, and the target."""
    number, problem = _fitting(number)
    out = setting.work / "out"
    out.mkdir()
    image = setting.call("fetch", f"oci:{StampImage(setting.work / 'image').layout}").strip()
    names = [f"pod{one}" for one in range(number)]
    rows: list[tuple[str, str]] = []
    with RunningPods(setting, image, out) as pods:
        before = _available()
        seconds = pods.start_all(names)
        rows.append(("start all, 4 at a time", f"{seconds:.1f} s, {seconds * 1e3 / number:.0f} ms a pod"))
        bare, listing = Contender(BARE, BARE_ARGV), Contender("list", setting.argv("list"))
        measure([bare, listing], _LOOKS)
        rows.append(("list", f"{listing.median * 1e3:.1f} ms, min {min(listing.times) * 1e3:.1f}"))
        rows.append(("list, in bare starts", f"{listing.median / bare.median:.1f}"))
        shown = sum("running" in line.split() for line in setting.call("list", "--no-legend").splitlines())
        rows.append(("running, as list tells", str(shown)))
        total = memory(descendants(pods.pids), "stamp")
        for what, value in (("PSS", total.pss), ("private", total.private), ("available memory lost", before - _available())):
            rows.append((what, f"{value / 1e6:.0f} MB, {value / 1e6 / number:.2f} MB a pod"))
        begin = time.monotonic()
        subprocess.run(setting.argv("stop", *pods.uuids()), check=True, stdout=subprocess.DEVNULL, timeout=300)
        pods.wait()
        seconds = time.monotonic() - begin
        rows.append(("stop all", f"{seconds:.1f} s, {seconds * 1e3 / number:.0f} ms a pod"))
        begin = time.monotonic()
        subprocess.run(setting.argv("gc", "--grace-period=0s"), check=True, capture_output=True, timeout=300)
        seconds = time.monotonic() - begin
        rows.append(("gc of all", f"{seconds:.1f} s, {seconds * 1e3 / number:.0f} ms a pod"))
        left = len(setting.call("list", "--no-legend").splitlines())
        rows.append(("pods left", str(left)))
    targets = Targets()
    targets.below(f"list of {number} pods", listing.median * 1e3, 200, "ms")
    lines = [f"### {number} pods at once", "", "| what | measured |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in rows]
    return problem + "\n".join(lines) + "\n\n" + targets.table()
