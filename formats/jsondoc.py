"""JSON documents: strict reading and stable writing (RFC 8259), without the cost of importing ``json``.

``json`` imports ``re`` and takes 4-8 ms; its C scanner and encoder live in ``_json`` and are free. Reading refuses duplicate
member names (RFC 8259 section 4 leaves them undefined, and two readers that pick different ones are an attack), NaN and
Infinity, and nesting deeper than the interpreter allows.

Hot-path module.
"""

from __future__ import annotations

from _json import encode_basestring, make_encoder, make_scanner

from rktpy.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPACE = " \t\n\r"


class _Duplicate(Exception):
    pass


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _value in pairs:
            if name in seen:
                raise _Duplicate(name)
            seen.add(name)
    return members


def _constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"number {text} is out of range")
    return value


class _Context:
    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_members)
    parse_float = staticmethod(_number)
    parse_int = int
    parse_constant = staticmethod(_constant)
    memo: dict[str, str] = {}


_scan = make_scanner(_Context())


def _scanned(text: str, start: int) -> tuple[Any, int]:
    try:
        return _scan(text, start)
    except SystemError:
        # The C scanner takes its exception class from json.decoder and fails so when nobody has imported that module.
        __import__("json.decoder")
        return _scan(text, start)


def parse(data: bytes | str, what: str) -> Any:
    """Read one JSON document.

    ``data`` is UTF-8 bytes or text; ``what`` names the document in errors. Raises :class:`FormatError`.
    """
    if isinstance(data, str):
        text = data
    else:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(what, "", f"not UTF-8 at byte {error.start}") from None
    start = 0
    end = len(text)
    while start < end and text[start] in _SPACE:
        start += 1
    try:
        value, stop = _scanned(text, start)
    except StopIteration as error:
        raise FormatError(what, "", f"not JSON at character {error.value}") from None
    except _Duplicate as error:
        raise FormatError(what, _place_of_duplicate(text, start), f"duplicate member {error.args[0]!r}") from None
    except RecursionError:
        raise FormatError(what, "", "nested too deeply") from None
    except ValueError as error:
        raise FormatError(what, "", f"not JSON: {error}") from None
    while stop < end and text[stop] in _SPACE:
        stop += 1
    if stop != end:
        raise FormatError(what, "", f"text after the document at character {stop}")
    return value


class _Pairs(list[tuple[str, "Any"]]):
    """The members of one object in order, duplicates and all."""


class _PairsContext:
    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_Pairs)
    parse_float = staticmethod(_number)
    parse_int = int
    parse_constant = staticmethod(_constant)
    memo: dict[str, str] = {}


def _place_of_duplicate(text: str, start: int) -> str:
    """The JSON path of the first object that has a member twice, in a document that was found to have one."""
    try:
        value, _stop = make_scanner(_PairsContext())(text, start)
        return _duplicate_below(value, "") or ""
    except (ValueError, StopIteration, RecursionError, SystemError):
        # The document is broken in another way further on.
        return ""


def _duplicate_below(value: Any, path: str) -> str | None:
    inner: list[tuple[str, Any]]
    if isinstance(value, _Pairs):
        if len({name for name, _member in value}) != len(value):
            return path
        inner = [(f"{path}.{shown}" if path else shown, member) for shown, member in _shown(value)]
    elif isinstance(value, list):
        inner = [(f"{path}[{at}]", member) for at, member in enumerate(value)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    else:
        return None
    for place, member in inner:
        found = _duplicate_below(member, place)
        if found is not None:
            return found
    return None


def _shown(pairs: _Pairs) -> list[tuple[str, Any]]:
    return [(name if name.isprintable() else ascii(name)[1:-1], member) for name, member in pairs]


def parse_object(data: bytes | str, what: str) -> dict[str, Any]:
    """Like :func:`parse`, for a document that must be an object."""
    value = parse(data, what)
    if not isinstance(value, dict):
        raise FormatError(what, "", "must be an object")
    return value  # pyright: ignore[reportUnknownVariableType]


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not a JSON value")


_encode = make_encoder(None, _refuse, encode_basestring, None, ":", ",", False, False, False)
_encode_sorted = make_encoder(None, _refuse, encode_basestring, None, ":", ",", True, False, False)


def dump(value: object, *, sort: bool = False) -> bytes:
    """One compact line of UTF-8. Members keep their order, or are sorted with ``sort``.

    Raises :class:`FormatError` for text that no UTF-8 can hold (an argument that was not UTF-8).
    """
    try:
        return "".join((_encode_sorted if sort else _encode)(value, 0)).encode("utf-8")
    except UnicodeEncodeError as error:
        raise FormatError("JSON document", "", f"cannot hold text that is not Unicode: {error.object[:80]!r}") from None


def dump_pretty(value: object, indent: str = "\t") -> str:
    """Indented text without a final newline, laid out as Go's ``MarshalIndent`` does (rkt prints so)."""
    parts: list[str] = []
    _pretty(value, "\n", indent, parts)
    return "".join(parts)


def _pretty(value: Any, newline: str, indent: str, out: list[str]) -> None:
    inner = newline + indent
    if isinstance(value, dict) and value:
        separator = "{"
        for name, member in value.items():  # pyright: ignore[reportUnknownVariableType]
            out.append(f"{separator}{inner}{encode_basestring(str(name))}: ")  # pyright: ignore[reportUnknownArgumentType]
            _pretty(member, inner, indent, out)
            separator = ","
        out.append(newline + "}")
    elif isinstance(value, (list, tuple)) and value:
        separator = "["
        for member in value:  # pyright: ignore[reportUnknownVariableType]
            out.append(separator + inner)
            _pretty(member, inner, indent, out)
            separator = ","
        out.append(newline + "]")
    else:
        out.append("".join(_encode(value, 0)))
