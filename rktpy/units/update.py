"""Updating the images of a unit, with a way back.

::

    fetch what the references mean now, ask the policy, unpack      nothing of the unit has changed yet
    write the trial                                                 counts while the lock is held
    restart, wait until ready, watch
        up      write the trial as pinned                           the update is done
        not     drop the trial, restart                             the unit runs what was pinned

Killed at any instant, the unit's next start runs an image that was pinned: the new one only if that had proved itself.
"""

from __future__ import annotations

import os

from rktpy.errors import RktpyError, StateError, UsageError
from rktpy.fetch.reference import ImageIDReference, parse_reference
from rktpy.log import note
from rktpy.record import Record
from rktpy.stage0 import images
from rktpy.store.store import Store
from rktpy.units.host_manager import command_line, restart, service_state
from rktpy.units.pins import Pins, lock_pins, read_pins, unit_stem, write_pins

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rktpy.stage0.options import FetchOptions, Globals


class Unit(Record):
    """What a unit runs: the settings, its images in order as the command line names them, with the paths of their signatures, and
    how to fetch them. ``uuid_file`` is where the UUID of its pod is noted."""

    settings: Globals
    pins: str
    images: tuple[tuple[str, str], ...]
    fetch: FetchOptions
    uuid_file: str = ""

    @property
    def references(self) -> tuple[tuple[str, str], ...]:
        """Those images that are not named by their IDs."""
        return tuple([pair for pair in dict.fromkeys(self.images) if not isinstance(parse_reference(pair[0]), ImageIDReference)])


class Outcome(Record):
    """What became of the update: references with the images before and after; empty when nothing was new."""

    changed: tuple[tuple[str, str, str], ...] = ()


def unit_argv(name: str) -> tuple[str, list[str]]:
    """The full name of the service and the words of its command after the program's name. Raises RktpyError."""
    unit = f"{unit_stem(name)}.service"
    argv = command_line(unit)
    if os.path.basename(argv[0]) != "rktpy":
        raise StateError(f"{unit} does not run rktpy but {argv[0]}")
    return unit, argv[1:]


def update(
    name: str, unit: Unit, *, timeout_s: float, settle_s: float, restarting: Callable[[str, float, float], str] = restart
) -> Outcome:
    """Update the service ``name`` (with its suffix).

    ``restarting`` restarts it and says why it is not up. Raises UsageError, StateError, what fetching raises, and RktpyError when
    the new images did not come up; the old ones run again then, if the message does not say otherwise.
    """
    stem = unit_stem(name)
    if unit.pins != stem:
        raise UsageError(
            f"{name} does not run its images by --pins={stem}: write it with rktpy generate unit, or as a file of rktpy-unit(5)"
        )
    g = unit.settings
    with Store(g.data_dir) as store, lock_pins(g.data_dir, stem):
        before = read_pins(g.data_dir, stem) or Pins({}, {})
        pinned = _pinned_now(g, store, unit, before.pinned)
        new: dict[str, str] = {}
        for reference, signature in unit.references:
            fetch = unit.fetch.replace(pull_policy="update", render=True)
            new[reference] = images.find_or_fetch(g, store, reference, fetch, signature)
            store.ensure_tree(new[reference])
        changed = tuple([(one, pinned.get(one, ""), new[one]) for one in new if pinned.get(one) != new[one]])
        if not changed:
            if before.pinned != new or before.trial:
                write_pins(g.data_dir, stem, Pins(new, {}))
            return Outcome()
        was_up = service_state(name).active in ("active", "activating", "reloading") if restarting is restart else True
        # What the unit runs so far stays what it runs, whatever happens from here on.
        write_pins(g.data_dir, stem, Pins(pinned, new))
        if was_up:
            problem = restarting(name, timeout_s, settle_s)
            if problem:
                write_pins(g.data_dir, stem, Pins(pinned, {}))
                _roll_back(name, pinned, problem, lambda: restarting(name, timeout_s, settle_s))
        else:
            note("update", f"{name} does not run: its images are used when it is started")
        write_pins(g.data_dir, stem, Pins(new, {}))
    return Outcome(changed)


def _pinned_now(g: Globals, store: Store, unit: Unit, pinned: dict[str, str]) -> dict[str, str]:
    """What the unit would run now: what is pinned, else what its references mean in the store."""
    found: dict[str, str] = {}
    running = _running(g, unit)
    for reference, _signature in unit.references:
        image_id = pinned.get(reference) or running.get(reference)
        if image_id is None or image_id not in store.image_ids():
            try:
                image_id = images.resolve_image(store, reference)
            except RktpyError:
                continue  # never fetched: there is nothing to go back to
        found[reference] = image_id
    return found


def _running(g: Globals, unit: Unit) -> dict[str, str]:
    """The images of the pod that the unit started last, by reference; empty when there is none any more."""
    from rktpy.stage0.pods import find_pod, read_uuid_file

    if not unit.uuid_file:
        return {}
    try:
        pod = find_pod(g.data_dir, read_uuid_file(unit.uuid_file), "problem retrieving pod")
        apps = pod.manifest().apps
    except (RktpyError, OSError):
        return {}
    if len(apps) != len(unit.images):
        return {}
    return {reference: app.image.id for (reference, _signature), app in zip(unit.images, apps, strict=True)}


def _roll_back(name: str, pinned: dict[str, str], problem: str, again: Callable[[], str]) -> None:
    back = ", ".join(pinned.values())
    if not back:
        raise RktpyError(f"{name}: the new image fails: {problem}; there is none to go back to")
    still = again()
    if still:
        raise RktpyError(f"{name}: the new image fails: {problem}; back to {back}, and that fails too: {still}")
    raise RktpyError(f"{name}: the new image fails: {problem}; it runs {back} again")
