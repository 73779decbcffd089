"""Contenders whose apps write down when they started: exit to exit, and how long it took to the first app instruction."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.timing import Contender


class Stamps:
    """The directory that the apps write into, a file each."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()

    def clear(self) -> None:
        """Remove the files."""
        for file in self.directory.iterdir():
            file.unlink()

    def times(self) -> list[int]:
        """When apps started, in nanoseconds of CLOCK_REALTIME, the earliest first. One that is just being written is left out."""
        texts = [file.read_text() for file in self.directory.iterdir()]
        return sorted([int(text) for text in texts if text.endswith("\n")])


@dataclass
class Stamped(Contender):
    """A contender that runs ``apps`` apps, which write into ``stamps``."""

    stamps: Stamps | None = None
    apps: int = 1
    firsts: list[float] = field(default_factory=list)

    def reset(self) -> None:
        super().reset()
        self.firsts.clear()

    def once(self) -> None:
        """As :meth:`Contender.once`; also notes the seconds from the start to the first instruction of the first app."""
        stamps = self.stamps
        if stamps is None:
            super().once()
            return
        stamps.clear()
        super().once()
        times = stamps.times()
        if len(times) != self.apps:
            raise SystemExit(f"{self.name}: {len(times)} apps ran, not {self.apps}")
        self.firsts.append((times[0] - self.started) / 1e9)

    @property
    def first(self) -> float:
        """The median of the times to the first app instruction, seconds."""
        return statistics.median(self.firsts)


def stamped_table(title: str, contenders: list[Stamped], unit: Stamped) -> str:
    """A Markdown table: exit to exit and first app instruction, in milliseconds and in units of ``unit``."""
    lines = [f"### {title}", "", f"{len(unit.times)} rounds, interleaved. One bare start: {unit.median * 1e3:.1f} ms.", ""]
    lines += ["| command | exit to exit ms | min ms | x bare | first instruction ms | min ms | x bare |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for c in contenders:
        first = "| | | "
        if c.firsts:
            first = f"| {c.first * 1e3:.1f} | {min(c.firsts) * 1e3:.1f} | {c.first / unit.median:.1f} "
        whole = f"{c.median * 1e3:.1f} | {min(c.times) * 1e3:.1f} | {c.median / unit.median:.1f}"
        lines.append(f"| {c.name} | {whole} {first}|")
    return "\n".join(lines) + "\n"
