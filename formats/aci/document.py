"""What all appc records share: reading a JSON object leniently, and giving the same object back.

Follows appc/spec 0.8.11 and, where the text is silent, the habits of its Go reader: member names match without regard to
case, ``null`` counts as absent, unknown members are kept. Two spellings of one member in the same object are refused, because
two readers could pick different ones.

A record that was read gives its document back unchanged. A record changed with :meth:`Document.replace` writes the changed
members anew under their canonical names and keeps everything else, unknown members included.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Self, TypeVar

    D = TypeVar("D", bound="Document")


def copied(value: Any, what: str) -> Any:
    """A deep copy of a JSON value. Raises :class:`FormatError` when it is nested too deeply."""
    try:
        return _copy(value)
    except RecursionError:
        raise FormatError(what, "", "nested too deeply") from None


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        members: dict[Any, Any] = {}
        for name, member in value.items():  # pyright: ignore[reportUnknownVariableType]
            members[name] = _copy(member) if isinstance(member, (dict, list)) else member
        return members
    if isinstance(value, list):
        items: list[Any] = []
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            items.append(_copy(item) if isinstance(item, (dict, list)) else item)
        return items
    return value


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_text(value: object, what: str, path: str) -> str:
    """``value`` when it is a string that can be written as UTF-8, else :class:`FormatError`."""
    if not isinstance(value, str):
        raise FormatError(what, path, "must be a string")
    if not _is_unicode(value):
        raise FormatError(what, path, "contains half of a surrogate pair")
    return value


def check_os_text(value: object, what: str, path: str) -> str:
    """Like :func:`check_text`, for what is handed to the kernel (arguments, environment, paths): no NUL either."""
    text = check_text(value, what, path)
    if "\0" in text:
        raise FormatError(what, path, "contains a NUL character")
    return text


class Members:
    """The known members of one JSON object, found without regard to case.

    Every reading method raises :class:`FormatError` with the JSON path when the member has the wrong type.
    """

    __slots__ = ("path", "values", "what")

    def __init__(self, document: object, names: dict[str, str], what: str, path: str) -> None:
        if not isinstance(document, dict):
            raise FormatError(what, path, "must be an object")
        values: dict[str, Any] = {}
        for name, value in document.items():  # pyright: ignore[reportUnknownVariableType]
            if not isinstance(name, str):
                raise FormatError(what, path, "member names must be strings")
            known = names.get(name.casefold())
            if known is None:
                continue
            if known in values:
                raise FormatError(what, f"{path}.{known}" if path else known, "is given twice in different spellings")
            values[known] = value
        self.values = values
        self.what = what
        self.path = path

    def at(self, name: str) -> str:
        """The JSON path of the member ``name``."""
        return f"{self.path}.{name}" if self.path else name

    def fail(self, name: str, problem: str) -> FormatError:
        """The error to raise about the member ``name``."""
        return FormatError(self.what, self.at(name), problem)

    def get(self, name: str) -> Any:
        """The raw value, ``None`` when absent or null."""
        return self.values.get(name)

    def text(self, name: str, default: str = "") -> str:
        value = self.values.get(name)
        if value is None:
            return default
        return check_text(value, self.what, self.at(name))

    def os_text(self, name: str, default: str = "") -> str:
        value = self.values.get(name)
        if value is None:
            return default
        return check_os_text(value, self.what, self.at(name))

    def required_text(self, name: str) -> str:
        value = self.values.get(name)
        if value is None or value == "":
            raise self.fail(name, "must be set")
        return check_os_text(value, self.what, self.at(name))

    def boolean(self, name: str) -> bool:
        return self.optional_boolean(name) or False

    def optional_boolean(self, name: str) -> bool | None:
        value = self.values.get(name)
        if value is None or value is True or value is False:
            return value
        raise self.fail(name, "must be true or false")

    def integer(self, name: str, default: int, lowest: int, highest: int) -> int:
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.fail(name, "must be an integer")
        if not lowest <= value <= highest:
            raise self.fail(name, f"must be in {lowest}-{highest} range")
        return value

    def array(self, name: str) -> list[Any]:
        value = self.values.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.fail(name, "must be an array")
        return value  # pyright: ignore[reportUnknownVariableType]

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings for the kernel."""
        values = self.array(name)
        for index, value in enumerate(values):
            check_os_text(value, self.what, f"{self.at(name)}[{index}]")
        return tuple(values)

    def records(self, name: str, kind: type[D]) -> tuple[D, ...]:
        """A list of objects, each read as ``kind``."""
        at = self.at(name)
        return tuple([kind.read(value, self.what, f"{at}[{index}]") for index, value in enumerate(self.array(name))])

    def record(self, name: str, kind: type[D]) -> D | None:
        value = self.values.get(name)
        return None if value is None else kind.read(value, self.what, self.at(name))

    def string_map(self, name: str) -> dict[str, str]:
        """An object whose members are all strings (user annotations and labels)."""
        value = self.values.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.fail(name, "must be an object")
        for key, member in value.items():  # pyright: ignore[reportUnknownVariableType]
            check_text(key, self.what, self.at(name))  # pyright: ignore[reportUnknownArgumentType]
            check_text(member, self.what, f"{self.at(name)}.{key}")  # pyright: ignore[reportUnknownArgumentType]
        return dict(value)  # pyright: ignore[reportUnknownArgumentType]


class Document(Record):
    """Base of the records that are read from, and written as, a JSON object.

    A subclass lists its members in ``MEMBERS`` as (field, member name, written even when it has its default), in the order in
    which they are written, and implements :meth:`_parse`. ``KIND`` is the ``acKind`` of a top-level document, ``WHAT`` its
    name in errors.
    """

    MEMBERS: ClassVar[tuple[tuple[str, str, bool], ...]] = ()
    KIND: ClassVar[str] = ""
    WHAT: ClassVar[str] = "document"
    _names: ClassVar[dict[str, str]] = {}
    # Of a record that was read: its document and the fields that no longer agree with it.
    _document: ClassVar[dict[str, Any] | None] = None
    _stale: ClassVar[frozenset[str]] = frozenset()
    _bytes: ClassVar[bytes | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._names = {member.casefold(): member for _field, member, _always in cls.MEMBERS}
        if cls.KIND:
            cls._names["ackind"] = "acKind"

    @classmethod
    def _parse(cls, members: Members) -> Self:
        raise NotImplementedError

    @classmethod
    def read(cls, document: object, what: str, path: str) -> Self:
        """Read ``document``, which from here on belongs to the record and must not be changed.

        ``path`` is its JSON path inside ``what``. Raises :class:`FormatError`.
        """
        members = Members(document, cls._names, what, path)
        if cls.KIND:
            kind = members.get("acKind")
            if kind != cls.KIND:
                raise members.fail("acKind", "must be set" if kind in (None, "") else f"must be {cls.KIND!r}, got {kind!r}")
        record = cls._parse(members)
        record.__dict__["_document"] = document
        return record

    @classmethod
    def from_dict(cls, document: object, what: str = "", path: str = "") -> Self:
        """Read a parsed JSON object; it is copied, not kept. Raises :class:`FormatError`."""
        what = what or cls.WHAT
        return cls.read(copied(document, what), what, path)

    @classmethod
    def from_bytes(cls, data: bytes, what: str = "") -> Self:
        """Read a JSON document. Raises :class:`FormatError`."""
        what = what or cls.WHAT
        record = cls.read(jsondoc.parse_object(data, what), what, "")
        record.__dict__["_bytes"] = bytes(data)
        return record

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, the caller's own copy. For a record that was read and not changed it equals what was read."""
        original = self._document
        stale = self._stale
        if original is not None and not stale:
            return copied(original, self.WHAT)  # type: ignore[no-any-return]
        fresh: dict[str, Any] = {}
        if self.KIND:
            fresh["acKind"] = self.KIND
        for field, member, always in self.MEMBERS:
            if original is not None and field not in stale:
                continue
            value = self.__dict__[field]
            default = self._defaults.get(field)
            if always or not (value is default or (type(value) is type(default) and value == default)):
                fresh[member] = _json(value)
        if original is None:
            return fresh
        changed = {member for field, member, _always in self.MEMBERS if field in stale}
        document: dict[str, Any] = {}
        for name, value in original.items():
            known = self._names.get(name.casefold())
            if known is None or known not in changed:
                document[known or name] = copied(value, self.WHAT)
            elif known in fresh:
                document[known] = fresh[known]
        for member, value in fresh.items():
            if member in changed and member not in document:
                document[member] = value
        return document

    def to_bytes(self) -> bytes:
        """The document's bytes: those it was read from when nothing was changed, else one compact line.

        New or changed content is read back before it is returned, so that nothing invalid is ever written. Raises
        :class:`FormatError`.
        """
        if self._bytes is not None:
            return self._bytes
        data = jsondoc.dump(self.to_dict())
        self.from_bytes(data)
        return data

    def checked(self) -> Self:
        """The same record, read back from its own document. Raises :class:`FormatError` when it breaks a rule."""
        return self.from_bytes(jsondoc.dump(self.to_dict()))

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; the other members of the document it was read from are kept as they were."""
        record = super().replace(**changes)
        if self._document is not None:
            mine = self.__dict__
            stale = {name for name, value in changes.items() if value is not mine[name]}
            record.__dict__["_document"] = self._document
            record.__dict__["_stale"] = self._stale | stale
            if not record._stale and self._bytes is not None:
                record.__dict__["_bytes"] = self._bytes
        return record

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, theirs = self.__dict__, other.__dict__
        return all(mine[name] == theirs[name] for name in self._fields)

    __hash__ = Record.__hash__


def _json(value: Any) -> Any:
    if isinstance(value, Document):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_json(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, (dict, list)):
        return copied(value, "document")
    return value
