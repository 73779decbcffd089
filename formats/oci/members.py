"""Typed access to the members of a parsed JSON object; every complaint names the document and the JSON path.

``null`` counts as absent, as in Go's reader: most tools write ``"Env": null``. Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_SIZE = (1 << 63) - 1
"""Largest size in bytes that a document may state (a signed 64-bit integer in every implementation)."""

MAX_ITEMS = 10_000
"""Most entries that one list or map of an image document may have."""


def join(path: str, name: str | int) -> str:
    """The JSON path of a member (text) or an item (number) of the value at ``path``."""
    if isinstance(name, int):
        return f"{path}[{name}]"
    return f"{path}.{shown(name)}" if path else shown(name)


def shown(text: str) -> str:
    """``text`` from a document in a form that stays on one line."""
    return text if text.isprintable() else ascii(text)[1:-1]


def copied(doc: dict[str, Any], what: str) -> dict[str, Any]:
    """A deep copy of a JSON object (the ``copy`` module is too dear on hot paths).

    Raises :class:`FormatError` when it is nested too deeply.
    """
    try:
        return {name: _copied(member) for name, member in doc.items()}
    except RecursionError:
        raise FormatError(what, "", "nested too deeply") from None


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(member) for name, member in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_copied(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def checked_text(value: Any, what: str, path: str) -> str:
    """``value`` as text that can be given to the kernel: no NUL, no half of a surrogate pair."""
    if not isinstance(value, str):
        raise FormatError(what, path, "must be a string")
    if "\0" in value:
        raise FormatError(what, path, "must not contain a NUL character")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError(what, path, "must not contain half of a surrogate pair") from None
    return value


def checked_object(value: Any, what: str, path: str) -> dict[str, Any]:
    """``value`` as an object."""
    if not isinstance(value, dict):
        raise FormatError(what, path, "must be an object")
    return value  # pyright: ignore[reportUnknownVariableType]


def text(doc: dict[str, Any], name: str, what: str, path: str, *, required: bool = False) -> str:
    """A string member; empty when it is absent and not required."""
    value = doc.get(name)
    if value is None:
        if required:
            raise FormatError(what, join(path, name), "is missing")
        return ""
    checked = checked_text(value, what, join(path, name))
    if required and not checked:
        raise FormatError(what, join(path, name), "must not be empty")
    return checked


def size(doc: dict[str, Any], name: str, what: str, path: str) -> int:
    """A required size in bytes, 0 to :data:`MAX_SIZE`."""
    value = doc.get(name)
    if value is None:
        raise FormatError(what, join(path, name), "is missing")
    if not isinstance(value, int) or isinstance(value, bool):
        raise FormatError(what, join(path, name), "must be an integer")
    if not 0 <= value <= MAX_SIZE:
        raise FormatError(what, join(path, name), "must be between 0 and 2^63-1")
    return value


def flag(doc: dict[str, Any], name: str, what: str, path: str) -> bool:
    """A boolean member, false when absent."""
    value = doc.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise FormatError(what, join(path, name), "must be true or false")
    return value


def items(doc: dict[str, Any], name: str, what: str, path: str) -> list[Any] | None:
    """A list member, or None when absent."""
    value = doc.get(name)
    if value is None:
        return None
    if not isinstance(value, list):
        raise FormatError(what, join(path, name), "must be a list")
    if len(value) > MAX_ITEMS:  # pyright: ignore[reportUnknownArgumentType]
        raise FormatError(what, join(path, name), f"has more than {MAX_ITEMS} entries")
    return value  # pyright: ignore[reportUnknownVariableType]


def texts(doc: dict[str, Any], name: str, what: str, path: str) -> tuple[str, ...] | None:
    """A list of strings, or None when absent."""
    value = items(doc, name, what, path)
    if value is None:
        return None
    inner = join(path, name)
    return tuple(checked_text(item, what, join(inner, number)) for number, item in enumerate(value))


def object_member(doc: dict[str, Any], name: str, what: str, path: str) -> dict[str, Any] | None:
    """An object member, or None when absent."""
    value = doc.get(name)
    return None if value is None else checked_object(value, what, join(path, name))


def text_map(doc: dict[str, Any], name: str, what: str, path: str) -> dict[str, str]:
    """A map of strings to strings, empty when absent."""
    value = object_member(doc, name, what, path)
    if value is None:
        return {}
    inner = join(path, name)
    if len(value) > MAX_ITEMS:
        raise FormatError(what, inner, f"has more than {MAX_ITEMS} entries")
    return {checked_text(key, what, inner): checked_text(member, what, join(inner, key)) for key, member in value.items()}


def key_set(doc: dict[str, Any], name: str, what: str, path: str) -> tuple[str, ...]:
    """The keys of a map whose values mean nothing (Go's ``map[string]struct{}``), empty when absent."""
    value = object_member(doc, name, what, path)
    if value is None:
        return ()
    inner = join(path, name)
    if len(value) > MAX_ITEMS:
        raise FormatError(what, inner, f"has more than {MAX_ITEMS} entries")
    for key, member in value.items():
        if member is not None and not isinstance(member, dict):
            raise FormatError(what, join(inner, key), "must be an empty object")
    return tuple(checked_text(key, what, inner) for key in value)


def extra(doc: dict[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    """The members that the specification does not name; give it a copy of the caller's object."""
    return {name: value for name, value in doc.items() if name not in known}


def refuse_lookalikes(doc: dict[str, Any], known: tuple[str, ...], what: str) -> None:
    """Refuse members whose names differ from known ones in case only.

    Go matches JSON names without regard to case, so ``Layers`` is read as ``layers`` by other tools: one document, two meanings.
    """
    for name in doc:
        if name not in known:
            lowered = name.lower()
            for candidate in known:
                if candidate.lower() == lowered:
                    raise FormatError(what, name, f"is not the name of a member; it must be spelt {candidate!r}")


def integer(doc: dict[str, Any], name: str, what: str, path: str, low: int, high: int) -> int | None:
    """An integer member from ``low`` to ``high``, None when absent."""
    value = doc.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise FormatError(what, join(path, name), "must be an integer")
    if not low <= value <= high:
        raise FormatError(what, join(path, name), f"must be between {low} and {high}")
    return value


def objects(doc: dict[str, Any], name: str, what: str, path: str) -> list[tuple[dict[str, Any], str]]:
    """The objects of a list member, each with its JSON path; empty when absent."""
    value = items(doc, name, what, path)
    if value is None:
        return []
    inner = join(path, name)
    return [(checked_object(item, what, f"{inner}[{number}]"), f"{inner}[{number}]") for number, item in enumerate(value)]
