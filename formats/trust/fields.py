"""Strict access to the members of a JSON object in a signed document.

Unlike in image documents, a member that is not known is an error: it could mean something to another reader. ``null`` stands for
an absent member, as in the JSON form of protocol buffers. Each complaint names the document and the JSON path.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.oci.members import join, shown
from rktpy.formats.trust import base64_strict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Largest value of protocol buffers' ``int64``.
MAX_INT64 = (1 << 63) - 1
_DIGITS = frozenset("0123456789")


class Fields:
    """An object of which only the ``known`` members may be there. Raises :class:`FormatError`, as all its methods do."""

    __slots__ = ("_doc", "path", "what")

    def __init__(self, doc: Any, what: str, path: str, known: tuple[str, ...]) -> None:
        if type(doc) is not dict:
            raise FormatError(what, path, "must be an object")
        self._doc: dict[str, Any] = doc
        self.what = what
        self.path = path
        for name in self._doc:
            if name not in known:
                raise FormatError(what, join(path, name[:80]), "is not known here")

    def has(self, name: str) -> bool:
        """Whether the member is there and is not ``null``."""
        return self._doc.get(name) is not None

    def value(self, name: str) -> Any:
        """The member, which must be there."""
        value = self._doc.get(name)
        if value is None:
            raise self.error(name, "is missing")
        return value

    def error(self, name: str, problem: str) -> FormatError:
        """What to raise about a member."""
        return FormatError(self.what, join(self.path, name), problem)

    def text(self, name: str, limit: int = 4096) -> str:
        """A string that is not empty, of at most ``limit`` characters."""
        text = self.value(name)
        if type(text) is not str or not text:
            raise self.error(name, "must be a string that is not empty")
        return self._bounded(name, text, limit)

    def optional_text(self, name: str, limit: int = 4096) -> str:
        """A string, empty when it is absent."""
        text = self._doc.get(name)
        if text is None:
            return ""
        if type(text) is not str:
            raise self.error(name, "must be a string")
        return self._bounded(name, text, limit)

    def _bounded(self, name: str, text: str, limit: int) -> str:
        if len(text) > limit:
            raise self.error(name, f"is longer than {limit} characters")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise self.error(name, "must not contain half of a surrogate pair") from None
        return text

    def one_of(self, name: str, choices: tuple[str, ...]) -> str:
        """A string that is one of ``choices``."""
        text = self.text(name)
        if text not in choices:
            raise self.error(name, f"{shown(text[:80])!r} is not supported ({', '.join(choices)} are)")
        return text

    def integer(self, name: str) -> int:
        """A JSON integer from 0 to 2^63-1."""
        value = self.value(name)
        if type(value) is not int or not 0 <= value <= MAX_INT64:
            raise self.error(name, "must be an integer between 0 and 2^63-1")
        return value

    def int64(self, name: str) -> int:
        """A 64-bit integer as protocol buffers write it in JSON: a string of decimal digits. Negative values are refused."""
        text = self.value(name)
        if (
            type(text) is not str
            or not text
            or not _DIGITS.issuperset(text)
            or len(text) > 19
            or (text[0] == "0" and text != "0")
        ):
            raise self.error(name, "must be a string of decimal digits, as protocol buffers write 64-bit integers")
        value = int(text)
        if value > MAX_INT64:
            raise self.error(name, "is larger than 2^63-1")
        return value

    def optional_int64(self, name: str) -> int:
        """Like :meth:`int64`, 0 when it is absent."""
        return self.int64(name) if self.has(name) else 0

    def data(self, name: str, limit: int) -> bytes:
        """Bytes in base64, not empty and at most ``limit`` of them."""
        data = base64_strict.decode(self.value(name), self.what, join(self.path, name), limit)
        if not data:
            raise self.error(name, "must not be empty")
        return data

    def hexadecimal(self, name: str, size: int) -> str:
        """``size`` bytes in lower-case hexadecimal digits."""
        text = self.text(name)
        if len(text) != 2 * size or not frozenset("0123456789abcdef").issuperset(text):
            raise self.error(name, f"must be {2 * size} lower-case hexadecimal digits")
        return text

    def inside(self, name: str, known: tuple[str, ...]) -> Fields:
        """An object member, which must be there."""
        return Fields(self.value(name), self.what, join(self.path, name), known)

    def items(self, name: str, limit: int) -> list[Any]:
        """A list of at most ``limit`` items, empty when it is absent."""
        value = self._doc.get(name)
        if value is None:
            return []
        if type(value) is not list:
            raise self.error(name, "must be a list")
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        if len(items) > limit:
            raise self.error(name, f"has more than {limit} entries")
        return items

    def each(self, name: str, limit: int, known: tuple[str, ...]) -> list[Fields]:
        """A list of objects."""
        inner = join(self.path, name)
        return [Fields(item, self.what, join(inner, number), known) for number, item in enumerate(self.items(name, limit))]
