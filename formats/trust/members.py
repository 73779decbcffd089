"""Members of a JSON object that must hold nothing but what its format names.

Documents that decide about trust are read without mercy: a member that nobody asked for, a wrong type or ``null`` is an error
with its JSON path, for what is misspelt or unknown might be the very restriction that was meant. (Duplicate members are refused
by :mod:`rktpy.formats.jsondoc` already.)

Hot-path module.
"""

from __future__ import annotations

import binascii

from rktpy.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:")


def shown(text: str) -> str:
    """Text from a document on one line, without control characters and not longer than a line should be."""
    short = text if len(text) <= 200 else text[:200] + "…"
    return short if short.isprintable() else ascii(short)[1:-1]


def join(path: str, name: str | int) -> str:
    """The JSON path of a member or an item: ``transports.docker."registry.example/app"[0].keyPath``."""
    if isinstance(name, int):
        return f"{path}[{name}]"
    word = shown(name) if name and _PLAIN.issuperset(name) else f'"{shown(name)}"'
    return f"{path}.{word}" if path else word


def as_object(value: Any) -> dict[str, Any] | None:
    """``value`` if it is a JSON object, else None."""
    return value if type(value) is dict else None  # pyright: ignore[reportUnknownVariableType]


class Members:
    """The members of one object. Each is taken by name; :meth:`end` refuses what is left.

    ``what`` names the document and ``path`` the object in errors. Every method raises :class:`FormatError`.
    """

    def __init__(self, value: Any, what: str, path: str) -> None:
        if type(value) is not dict:
            raise FormatError(what, path, "must be an object")
        self._left: dict[str, Any] = dict(value)  # pyright: ignore[reportUnknownArgumentType]
        self.what = what
        self.path = path

    def fail(self, name: str, problem: str) -> NoReturn:
        """Raise the error about a member, or about the object itself when ``name`` is empty."""
        raise FormatError(self.what, join(self.path, name) if name else self.path, problem)

    def has(self, name: str) -> bool:
        """Whether the member is there and was not taken yet."""
        return name in self._left

    def take(self, name: str) -> Any:
        """A required member."""
        if name not in self._left:
            self.fail(name, "is missing")
        return self._left.pop(name)

    def text(self, name: str) -> str:
        """A required string that is not empty."""
        value = self.take(name)
        if type(value) is not str:
            self.fail(name, "must be a string")
        return _sound(value, self.what, join(self.path, name))

    def optional_text(self, name: str) -> str:
        """A string that may be absent (then empty), but not empty itself."""
        return self.text(name) if name in self._left else ""

    def path_text(self, name: str) -> str:
        """A required absolute path."""
        return _absolute(self.text(name), self.what, join(self.path, name))

    def paths(self, name: str) -> tuple[str, ...]:
        """A required list of one or more absolute paths."""
        place = join(self.path, name)
        return tuple(
            [
                _absolute(_sound(value, self.what, join(place, at)), self.what, join(place, at))
                for at, value in enumerate(self.items(name))
            ]
        )

    def data(self, name: str) -> bytes:
        """Required bytes in base64 (RFC 4648 section 4, padded, without line ends)."""
        return _decoded(self.take(name), self.what, join(self.path, name))

    def datas(self, name: str) -> tuple[bytes, ...]:
        """A required list of one or more texts in base64."""
        place = join(self.path, name)
        return tuple([_decoded(value, self.what, join(place, at)) for at, value in enumerate(self.items(name))])

    def items(self, name: str) -> list[Any]:
        """A required list that is not empty."""
        value = self.take(name)
        if type(value) is not list:
            self.fail(name, "must be a list")
        if not value:
            self.fail(name, "must not be empty")
        return value  # pyright: ignore[reportUnknownVariableType]

    def inner(self, name: str) -> Members:
        """A required object."""
        return Members(self.take(name), self.what, join(self.path, name))

    def one_of(self, *names: str) -> str:
        """The one of ``names`` that is there; more or fewer are an error."""
        found = self.at_most_one_of(*names)
        if not found:
            self.fail("", f"needs exactly one of {', '.join(names)}")
        return found

    def at_most_one_of(self, *names: str) -> str:
        """The one of ``names`` that is there, or empty."""
        found = [name for name in names if name in self._left]
        if len(found) > 1:
            self.fail("", f"{found[0]} and {found[1]} exclude each other")
        return found[0] if found else ""

    def end(self) -> None:
        """Refuse members that were not taken."""
        for name in self._left:
            self.fail(name, "is unknown")


def _sound(value: Any, what: str, path: str) -> str:
    if type(value) is not str:
        raise FormatError(what, path, "must be a string")
    if not value:
        raise FormatError(what, path, "must not be empty")
    if "\0" in value:
        raise FormatError(what, path, "must not contain a NUL character")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError(what, path, "must not contain half of a surrogate pair") from None
    return value


def _absolute(path: str, what: str, place: str) -> str:
    # A relative path would be found, or not, by the directory in which a command happens to be called.
    if path[0] != "/":
        raise FormatError(what, place, "must be an absolute path")
    return path


def _decoded(value: Any, what: str, path: str) -> bytes:
    text = _sound(value, what, path)
    try:
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise FormatError(what, path, "is not base64") from None
    if not data:
        raise FormatError(what, path, "must not be empty")
    return data
