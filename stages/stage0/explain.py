"""Showing trust decisions while a command goes on (``--explain``). Hot-path module, imported only when that is asked for."""

from __future__ import annotations

from rktpy.log import note
from rktpy.trust.explanation import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.trust.decision import Decision


def show(made: list[Decision]) -> None:
    """Print the decisions on standard error."""
    for decision in made:
        note("", tree(decision))
