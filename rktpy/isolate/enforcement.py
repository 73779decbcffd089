"""Telling what became of isolators, and refusing to start with less. Hot-path module."""

from __future__ import annotations

from rktpy.errors import NotEnforced
from rktpy.log import note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rktpy.formats.stage1 import Enforcement


def tell(report: Iterable[Enforcement], *, strict: bool) -> None:
    """Say on standard error what is not as asked for; with ``strict`` raise NotEnforced, but for what the user switched off."""
    weak = [entry for entry in report if entry.outcome != "enforced"]
    for entry in weak:
        note("stage1", str(entry))
    if not strict or not weak:
        return
    from rktpy.isolate.privileges import SWITCHED_OFF

    refused = [entry for entry in weak if entry.reason != SWITCHED_OFF]
    if refused:
        raise NotEnforced(f"refusing to run the pod: {refused[0]}")
