"""CBOR (RFC 8949), as much as COSE headers need, read strictly so that every value has one spelling.

Accepted: integers, byte and text strings, arrays, maps, true, false, null, and the tags 1 (time) and 18 (COSE_Sign1).
Refused: what is not in its shortest form, indefinite lengths, floats, other tags, duplicate map keys, map keys other than
integers and text, and nesting deeper than 8. The order of map keys is free, for COSE does not prescribe it.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_DEPTH = 8
MAX_ITEMS = 256
TAG_TIME = 1
TAG_SIGN1 = 18

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_CONSTANTS = {20: False, 21: True, 22: None}


class Tagged:
    """A value with one of the two tags that are understood."""

    __slots__ = ("tag", "value")

    def __init__(self, tag: int, value: Any) -> None:
        self.tag = tag
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tagged) and (other.tag, other.value) == (self.tag, self.value)

    def __hash__(self) -> int:
        return hash((self.tag, repr(self.value)))

    def __repr__(self) -> str:
        return f"{self.tag}({self.value!r})"


def parse(data: bytes, what: str) -> Any:
    """The one value that ``data`` is; ``what`` names it in errors. Raises :class:`FormatError`."""
    reader = _Reader(data, what)
    value = reader.value(0)
    if reader.at != len(data):
        raise reader.fail("has bytes after its end")
    return value


class _Reader:
    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self.at = 0

    def fail(self, problem: str) -> FormatError:
        return FormatError(self._what, "", f"{problem} (at byte {self.at})")

    def _take(self, count: int) -> bytes:
        part = self._data[self.at : self.at + count]
        if len(part) != count:
            raise self.fail("is cut off")
        self.at += count
        return part

    def _head(self) -> tuple[int, int]:
        first = self._take(1)[0]
        kind, short = first >> 5, first & 0x1F
        if short < 24:
            return kind, short
        if short > 27:
            raise self.fail("has an indefinite or reserved length")
        size = 1 << (short - 24)
        number = int.from_bytes(self._take(size), "big")
        # A simple value or float has no shorter form; those are refused below anyhow.
        if kind != _SIMPLE and number < (24 if size == 1 else 1 << (size * 4)):
            raise self.fail("has a number that is not in its shortest form")
        return kind, number if kind != _SIMPLE else -1

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self.fail("is nested too deeply")
        kind, number = self._head()
        if kind == _UNSIGNED:
            return number
        if kind == _NEGATIVE:
            return -1 - number
        if kind == _BYTES:
            return self._take(number)
        if kind == _TEXT:
            try:
                return self._take(number).decode("utf-8")
            except UnicodeDecodeError:
                raise self.fail("has text that is not UTF-8") from None
        if kind == _SIMPLE:
            if number not in _CONSTANTS:
                raise self.fail("has a float or an unknown simple value")
            return _CONSTANTS[number]
        if kind == _TAG:
            if number not in (TAG_TIME, TAG_SIGN1):
                raise self.fail(f"has the tag {number}, which is not understood")
            return Tagged(number, self.value(depth + 1))
        if number > MAX_ITEMS:
            raise self.fail(f"has a list or map of more than {MAX_ITEMS} items")
        if kind == _ARRAY:
            return [self.value(depth + 1) for _ in range(number)]
        return self._map(number, depth + 1)

    def _map(self, count: int, depth: int) -> dict[int | str, Any]:
        found: dict[int | str, Any] = {}
        for _ in range(count):
            key = self.value(depth)
            if type(key) is not int and type(key) is not str:
                raise self.fail("has a map key that is neither an integer nor text")
            if key in found:
                raise self.fail(f"has the map key {key!r} twice")
            found[key] = self.value(depth)
        return found


def encode(value: Any) -> bytes:
    """The deterministic encoding (RFC 8949 section 4.2.1) of integers, strings, lists, maps, constants and :class:`Tagged`."""
    if value is None or isinstance(value, bool):
        return _head(_SIMPLE, {False: 20, True: 21, None: 22}[value])
    if isinstance(value, int):
        return _head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value)
    if isinstance(value, bytes):
        return _head(_BYTES, len(value)) + value
    if isinstance(value, str):
        data = value.encode("utf-8")
        return _head(_TEXT, len(data)) + data
    if isinstance(value, Tagged):
        return _head(_TAG, value.tag) + encode(value.value)
    if isinstance(value, dict):
        pairs: list[tuple[bytes, bytes]] = sorted(
            [(encode(key), encode(member)) for key, member in value.items()]  # pyright: ignore[reportUnknownVariableType]
        )
        return _head(_MAP, len(pairs)) + b"".join([key + member for key, member in pairs])
    if isinstance(value, (list, tuple)):
        items: list[Any] = list(value)  # pyright: ignore[reportUnknownArgumentType]
        return _head(_ARRAY, len(items)) + b"".join([encode(item) for item in items])
    raise TypeError(f"{type(value).__name__} is no CBOR value here")


def _head(kind: int, number: int) -> bytes:
    if number < 24:
        return bytes((kind << 5 | number,))
    for short, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << (8 * size):
            return bytes((kind << 5 | short,)) + number.to_bytes(size, "big")
    raise ValueError(f"{number} does not fit into CBOR")
