"""Isolators from command-line flags, and how they are merged with those of the image.

Source: rkt 1.30 ``rkt/cli_apps.go``, ``common/apps/apps.go`` and ``stage0/run.go`` (prepareIsolators).

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError, UsageError
from rktpy.formats.aci.isolators import (
    CAPS_REMOVE_NAME,
    CAPS_RETAIN_NAME,
    CPU_NAME,
    CPU_SHARES_NAME,
    MEMORY_NAME,
    NO_NEW_PRIVILEGES_NAME,
    OOM_SCORE_ADJ_NAME,
    SECCOMP_REMOVE_NAME,
    SECCOMP_RETAIN_NAME,
    Isolator,
    Memory,
    isolator,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LEAST_MEMORY = 4096  # bytes; below it the user wrote 16m (thousandths of a byte) and meant 16M


def _build(flag: str, name: str, value: Any) -> Isolator:
    try:
        return isolator(name, value)
    except FormatError as error:
        raise UsageError(f"{flag}: {error.problem}") from None


def memory_isolator(text: str) -> Isolator:
    """``--memory``: request and limit in bytes, as a quantity. Raises :class:`UsageError`."""
    built = _build("--memory", MEMORY_NAME, {"default": False, "request": text, "limit": text})
    limit = built.parsed.limit if isinstance(built.parsed, Memory) else None
    if limit is None or limit < _LEAST_MEMORY:
        raise UsageError(f"memory limit of {limit} bytes too low. Try a reasonable value, such as --memory=16M")
    return built


def cpu_isolator(text: str) -> Isolator:
    """``--cpu``: request and limit in cores, as a quantity. Raises :class:`UsageError`."""
    return _build("--cpu", CPU_NAME, {"default": False, "request": text, "limit": text})


def cpu_shares_isolator(value: int) -> Isolator:
    """``--cpu-shares``. Raises :class:`UsageError`."""
    return _build("--cpu-shares", CPU_SHARES_NAME, value)


def oom_score_adj_isolator(value: int) -> Isolator:
    """``--oom-score-adj``. Raises :class:`UsageError`."""
    return _build("--oom-score-adj", OOM_SCORE_ADJ_NAME, value)


def caps_retain_isolator(names: tuple[str, ...]) -> Isolator:
    """``--caps-retain``, split at its commas. Raises :class:`UsageError`."""
    return _build("--caps-retain", CAPS_RETAIN_NAME, {"set": list(names)})


def caps_remove_isolator(names: tuple[str, ...]) -> Isolator:
    """``--caps-remove``, split at its commas. Raises :class:`UsageError`."""
    return _build("--caps-remove", CAPS_REMOVE_NAME, {"set": list(names)})


def no_new_privileges_isolator(value: bool) -> Isolator:
    """``--no-new-privileges``."""
    return _build("--no-new-privileges", NO_NEW_PRIVILEGES_NAME, value)


def seccomp_isolator(text: str) -> Isolator:
    """``--seccomp mode=retain|remove[,errno=E...],call,call``. Raises :class:`UsageError`."""
    mode = errno = ""
    calls: list[str] = []
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            calls.append(part)
        elif key == "mode":
            mode = value
        elif key == "errno":
            errno = value
        else:
            raise UsageError(f"--seccomp: invalid seccomp command-line override {part!r}")
    if mode not in ("retain", "remove"):
        raise UsageError(f"--seccomp: invalid seccomp mode command-line override {mode!r}, wanted mode=retain or mode=remove")
    name = SECCOMP_RETAIN_NAME if mode == "retain" else SECCOMP_REMOVE_NAME
    return _build("--seccomp", name, {"set": calls, "errno": errno})


def apply_cli_isolators(
    isolators: tuple[Isolator, ...],
    *,
    memory: str | None = None,
    cpu: str | None = None,
    cpu_shares: int | None = None,
    oom_score_adj: int | None = None,
    caps_retain: tuple[str, ...] | None = None,
    caps_remove: tuple[str, ...] | None = None,
    seccomp: str | None = None,
    no_new_privileges: bool | None = None,
) -> tuple[Isolator, ...]:
    """The isolators of an image with those of the command line merged in.

    ``memory`` and ``cpu`` are appended (the last one counts), the others take the place of all of their kind. Raises
    :class:`UsageError`.
    """
    if caps_retain is not None and caps_remove is not None:
        raise UsageError("cannot use both --caps-retain and --caps-remove on the same image")
    merged = list(isolators)
    if memory is not None:
        merged.append(memory_isolator(memory))
    if cpu is not None:
        merged.append(cpu_isolator(cpu))
    if cpu_shares is not None:
        _take_place(merged, cpu_shares_isolator(cpu_shares), CPU_SHARES_NAME)
    if oom_score_adj is not None:
        _take_place(merged, oom_score_adj_isolator(oom_score_adj), OOM_SCORE_ADJ_NAME)
    if no_new_privileges is not None:
        _take_place(merged, no_new_privileges_isolator(no_new_privileges), NO_NEW_PRIVILEGES_NAME)
    if caps_retain is not None:
        _take_place(merged, caps_retain_isolator(caps_retain), CAPS_RETAIN_NAME, CAPS_REMOVE_NAME)
    if caps_remove is not None:
        _take_place(merged, caps_remove_isolator(caps_remove), CAPS_RETAIN_NAME, CAPS_REMOVE_NAME)
    if seccomp is not None:
        _take_place(merged, seccomp_isolator(seccomp), SECCOMP_RETAIN_NAME, SECCOMP_REMOVE_NAME)
    return tuple(merged)


def _take_place(merged: list[Isolator], new: Isolator, *names: str) -> None:
    merged[:] = [one for one in merged if one.name not in names]
    merged.append(new)
