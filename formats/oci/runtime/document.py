"""What all readers of a runtime configuration share. Hot-path module."""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.oci import members
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WHAT = "config.json"
U32 = 2**32 - 1
I32 = 2**31 - 1
I64 = 2**63 - 1
U64 = 2**64 - 1


class IDMapping(Record):
    """``size`` IDs from ``container_id`` on inside are those from ``host_id`` on outside (config-linux.md)."""

    container_id: int
    host_id: int
    size: int


def id_mappings(doc: dict[str, Any], name: str, path: str) -> tuple[IDMapping, ...]:
    """A list of ID mappings, empty when absent. Raises FormatError."""
    found: list[IDMapping] = []
    for item, where in members.objects(doc, name, WHAT, path):
        inside = required(item, "containerID", where, 0, U32)
        outside = required(item, "hostID", where, 0, U32)
        size = required(item, "size", where, 0, U32)
        found.append(IDMapping(inside, outside, size))
    return tuple(found)


def required(doc: dict[str, Any], name: str, path: str, low: int, high: int) -> int:
    """An integer that must be there. Raises FormatError."""
    value = members.integer(doc, name, WHAT, path, low, high)
    if value is None:
        raise FormatError(WHAT, members.join(path, name), "is missing")
    return value


def one_of(doc: dict[str, Any], name: str, path: str, values: tuple[str, ...]) -> str:
    """A text that must be one of ``values``; empty when absent. Raises FormatError."""
    value = members.text(doc, name, WHAT, path)
    if value and value not in values:
        raise FormatError(WHAT, members.join(path, name), f"{value!r} is none of {', '.join(values)}")
    return value
