"""The sets of capabilities that an app gets.

Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.aci.isolators import CapsRemove, CapsRetain, effective_capabilities
from rktpy.isolate.capability_numbers import NUMBERS, SETPCAP, SYS_ADMIN, SYS_RESOURCE
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.aci.isolators import Isolator


class CapabilitySet(Record):
    """A set as a bit mask, with the names that are no capability (of this program's list)."""

    mask: int
    unknown: tuple[str, ...] = ()


def capability_mask(names: tuple[str, ...]) -> CapabilitySet:
    """The bit mask of ``names``; they may be in any case and without ``CAP_``."""
    mask = 0
    unknown: list[str] = []
    for name in names:
        upper = name.upper()
        number = NUMBERS.get(upper if upper.startswith("CAP_") else f"CAP_{upper}")
        if number is None:
            unknown.append(name)
        else:
            mask |= 1 << number
    return CapabilitySet(mask, tuple(unknown))


def capability_names(mask: int) -> tuple[str, ...]:
    """The names in a bit mask, by number; ``CAP_<number>`` for one that has no name here."""
    by_number = {number: name for name, number in NUMBERS.items()}
    return tuple([by_number.get(number, f"CAP_{number}") for number in range(mask.bit_length()) if mask >> number & 1])


def asks_for_capabilities(isolators: tuple[Isolator, ...]) -> bool:
    """Whether a retain or remove set is there."""
    return any(isinstance(one.parsed, (CapsRetain, CapsRemove)) for one in isolators)


def app_capabilities(isolators: tuple[Isolator, ...]) -> CapabilitySet:
    """The bounding set that isolators leave an app: the retain sets, or the 14 defaults without the remove sets."""
    bounding = capability_mask(effective_capabilities(isolators))
    unknown: list[str] = []
    for one in isolators:
        if isinstance(one.parsed, (CapsRetain, CapsRemove)):
            unknown += capability_mask(one.parsed.set).unknown
    return CapabilitySet(bounding.mask, tuple(unknown))


def last_capability() -> int:
    """The number of the kernel's last capability."""
    try:
        with open("/proc/sys/kernel/cap_last_cap", "rb", buffering=0) as file:
            return int(file.read())
    except (OSError, ValueError):
        return len(NUMBERS) - 1


__all__ = [
    "NUMBERS",
    "SETPCAP",
    "SYS_ADMIN",
    "SYS_RESOURCE",
    "CapabilitySet",
    "app_capabilities",
    "asks_for_capabilities",
    "capability_mask",
    "capability_names",
    "last_capability",
]
