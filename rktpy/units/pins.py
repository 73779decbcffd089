"""Which images a unit runs: those that were pinned when it was last updated.

A unit names its images by references (``docker://registry.example/web:1``). ``rktpy update --unit`` finds out what they mean now
and pins that; ``rktpy run --pins=NAME`` runs the pinned image where there is one. One file a unit, in the store::

    <data>/units/<name>.json      {"pinned": {REFERENCE: IMAGE ID}, "trial": {REFERENCE: IMAGE ID}}
    <data>/units/<name>.lock      held by the update that is under way

The trial is what an update has just fetched and is trying out. It counts only as long as that update holds the lock: when
the update dies, whatever the unit starts next is the pinned image, without anybody having to repair anything. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import RktpyError, StateError, UsageError
from rktpy.formats import jsondoc
from rktpy.record import Record
from rktpy.store.locks import Lock, try_acquire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.stage0.options import AppOptions

_LARGEST = 1 << 20
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")


class Pins(Record):
    """Image IDs by reference."""

    pinned: dict[str, str]
    trial: dict[str, str]


def unit_stem(name: str) -> str:
    """The name of a service without its suffix. Raises UsageError for what is no name of a unit (systemd.unit(5))."""
    stem = name.removesuffix(".service")
    if not stem or len(stem) > 240 or not _ALLOWED.issuperset(stem) or stem.startswith("."):
        raise UsageError(f"{name!r} is not the name of a service")
    return stem


def pinned(data_dir: str, name: str, apps: tuple[AppOptions, ...]) -> tuple[AppOptions, ...]:
    """``apps`` with the images that are pinned for the unit ``name``. Raises RktpyError."""
    stem = unit_stem(name)
    pins = read_pins(data_dir, stem)
    if pins is None:
        return apps
    images = {**pins.pinned, **(pins.trial if pins.trial and _under_way(data_dir, stem) else {})}
    return tuple([app.replace(image=images[app.image], signature="") if app.image in images else app for app in apps])


def read_pins(data_dir: str, stem: str) -> Pins | None:
    """The unit's file, None when it has none. Raises StateError, FormatError."""
    path = f"{data_dir}/units/{stem}.json"
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read(_LARGEST)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"cannot read what is pinned for {stem}") from error
    document = jsondoc.parse_object(data or b"", path)
    return Pins(_table(document, "pinned", path), _table(document, "trial", path))


def _table(document: dict[str, Any], member: str, path: str) -> dict[str, str]:
    part: Any = document.get(member, {})
    if not isinstance(part, dict):
        part = {"": None}
    members: dict[str, Any] = {**part}
    table: dict[str, str] = {}
    for key, value in members.items():
        if not isinstance(value, str):
            raise StateError(f"{path} is damaged: {member} is not a table of image IDs; remove it to pin anew")
        table[key] = value
    return table


def write_pins(data_dir: str, stem: str, pins: Pins) -> None:
    """Replace the unit's file: after a crash it is the old one or the whole new one. The caller holds the lock.

    Raises OSError.
    """
    directory = f"{data_dir}/units"
    path = f"{directory}/{stem}.json"
    data = jsondoc.dump({"pinned": pins.pinned, "trial": pins.trial})
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(f"{path}.new", path)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def lock_pins(data_dir: str, stem: str) -> Lock:
    """Let nobody else update the unit. Raises StateError when somebody does, StoreError."""
    os.makedirs(f"{data_dir}/units", 0o755, exist_ok=True)
    lock = try_acquire(f"{data_dir}/units/{stem}.lock", exclusive=True)
    if lock is None:
        raise StateError(f"{stem} is being updated by somebody else")
    return lock


def all_pinned(data_dir: str) -> frozenset[str]:
    """The images that any unit may go back to, which garbage collection keeps. Raises StateError, FormatError."""
    try:
        names = os.listdir(f"{data_dir}/units")
    except FileNotFoundError:
        return frozenset()
    images: set[str] = set()
    for name in names:
        if name.endswith(".json"):
            pins = read_pins(data_dir, name.removesuffix(".json"))
            if pins is not None:
                images.update(pins.pinned.values(), pins.trial.values())
    return frozenset(images)


def _under_way(data_dir: str, stem: str) -> bool:
    try:
        lock = try_acquire(f"{data_dir}/units/{stem}.lock", exclusive=False)
    except RktpyError:
        return False
    if lock is None:
        return True
    lock.release()
    return False
