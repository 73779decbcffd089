"""What we want to reach, printed beside what was measured. Nothing fails: the machine is shared, the numbers are for reading."""

from __future__ import annotations


class Targets:
    """Lines of a Markdown table."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def below(self, what: str, value: float, limit: float, unit: str) -> None:
        """``value`` should be less than ``limit``, both in ``unit``."""
        self._lines.append(f"| {what} | {value:.1f} {unit} | < {limit:.1f} {unit} | {'yes' if value < limit else 'NO'} |")

    def table(self) -> str:
        """All of them."""
        return "\n".join(["### targets", "", "| what | measured | target | met |", "|---|---|---|---|", *self._lines]) + "\n"
