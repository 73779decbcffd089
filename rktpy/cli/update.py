"""``rktpy update``."""

from __future__ import annotations

from rktpy.cli.images import of
from rktpy.cli.output import out
from rktpy.cli.parse import parse
from rktpy.cli.pod_arguments import no_arguments
from rktpy.cli.pull import fetch_options
from rktpy.cli.settings import settings
from rktpy.errors import StateError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments
    from rktpy.units.update import Unit

_SECOND = 1_000_000_000


def run(arguments: Arguments) -> int:
    """Update the images of a unit; prints what it runs now."""
    no_arguments(arguments)
    if not arguments.text("unit"):
        raise UsageError("must provide the unit to update, as --unit=NAME")
    timeout, settle = arguments.duration("timeout"), arguments.duration("settle")
    if timeout <= 0 or settle < 0:
        raise UsageError("--timeout must be more than nothing, and --settle not less")
    from rktpy.units.update import unit_argv, update

    name, words = unit_argv(arguments.text("unit"))
    outcome = update(name, _unit(name, words), timeout_s=timeout / _SECOND, settle_s=settle / _SECOND)
    if not outcome.changed:
        out(f"{name} is up to date")
    for reference, before, after in outcome.changed:
        out(f"{name}: {reference}: {after} (before: {before or 'none'})")
    return 0


def _unit(name: str, words: list[str]) -> Unit:
    """What the unit's command line says. Raises StateError, UsageError."""
    from rktpy.units.update import Unit

    said = parse(words)
    if said.command.path != ("run",):
        raise StateError(f"{name} does not run pods: its command is {said.command.full_name}")
    images = tuple([(draft.image, draft.texts.get("signature", "")) for draft in of(said).drafts])
    unit = Unit(settings(said), said.text("pins"), images, fetch_options(said, render=True), said.text("uuid-file-save"))
    if not unit.references:
        raise StateError(f"{name} names no image but by ID: there is nothing to update")
    return unit
