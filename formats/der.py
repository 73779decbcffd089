"""ASN.1 DER, read strictly: definite shortest lengths, one-byte tags, shortest integers, nothing left over (ITU-T X.690).

What is signed is read with this reader and by nobody else, so there is one meaning for every byte. An element is read when it is
asked for; nothing recurses by itself. ``what`` names the document in errors, the path is made of the names that the caller gives.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OID = 0x06
UTF8_STRING = 0x0C
SEQUENCE = 0x30
SET = 0x31
GENERALIZED_TIME = 0x18

_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def context(number: int, *, constructed: bool = True) -> int:
    """The tag byte of the context-specific tag ``[number]`` (0 to 30)."""
    return (0xA0 if constructed else 0x80) | number


class Element:
    """One element: ``tag`` is the identifier byte, ``content`` the value's bytes, ``raw`` the whole encoding."""

    __slots__ = ("content", "path", "raw", "tag", "what")

    def __init__(self, tag: int, content: bytes, raw: bytes, what: str, path: str) -> None:
        self.tag = tag
        self.content = content
        self.raw = raw
        self.what = what
        self.path = path

    def refuse(self, problem: str) -> FormatError:
        """The error that names this element."""
        return FormatError(self.what, self.path, problem)

    def expect(self, tag: int) -> Element:
        """This element, if it has the tag. Raises :class:`FormatError`."""
        if self.tag != tag:
            raise self.refuse(f"has the DER tag 0x{self.tag:02x} where 0x{tag:02x} is due")
        return self

    def members(self, tag: int = SEQUENCE) -> Members:
        """The members of a constructed element with the tag ``tag``. Raises :class:`FormatError`."""
        self.expect(tag)
        return Members(self.content, self.what, self.path)

    def items(self, tag: int, limit: int) -> list[Element]:
        """The elements of a SEQUENCE OF or SET OF, at most ``limit``. Raises :class:`FormatError`."""
        members = self.members(tag)
        found: list[Element] = []
        while not members.at_end():
            if len(found) == limit:
                raise self.refuse(f"holds more than {limit} elements")
            found.append(members.take(None, f"[{len(found)}]"))
        return found

    def inner(self) -> Element:
        """The one element inside of an explicit tag. Raises :class:`FormatError`."""
        members = Members(self.content, self.what, self.path)
        found = members.take(None, "")
        members.finish()
        return found

    def integer(self) -> int:
        """The value of an INTEGER (also of an implicitly tagged one). Raises :class:`FormatError`."""
        content = self.content
        if not content:
            raise self.refuse("is an INTEGER without content")
        if len(content) > 1 and content[0] == (0xFF if content[1] & 0x80 else 0):
            raise self.refuse("is not the shortest form of its INTEGER")
        return int.from_bytes(content, "big", signed=True)

    def boolean(self) -> bool:
        """The value of a BOOLEAN. Raises :class:`FormatError`."""
        if self.content not in (b"\x00", b"\xff"):
            raise self.refuse("is not a DER BOOLEAN")
        return self.content == b"\xff"

    def oid(self) -> str:
        """The value of an OBJECT IDENTIFIER as dotted numbers. Raises :class:`FormatError`."""
        content = self.content
        if not content or content[-1] & 0x80 or len(content) > 64:
            raise self.refuse("is not a DER OBJECT IDENTIFIER")
        arcs: list[int] = []
        value = 0
        start = True
        for byte in content:
            if start and byte == 0x80:
                raise self.refuse("is not the shortest form of its OBJECT IDENTIFIER")
            value = value << 7 | byte & 0x7F
            start = not byte & 0x80
            if start:
                arcs.append(value)
                value = 0
        first = min(arcs[0] // 40, 2)
        return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))

    def generalized_time(self) -> tuple[int, int]:
        """The value of a GeneralizedTime in UTC: seconds since the epoch and microseconds.

        X.690 section 11.7: ``Z`` is due, and a fraction has no trailing zeros. Raises :class:`FormatError`.
        """
        text = self.content
        whole, fraction = text[:14], text[14:-1]
        if text[-1:] != b"Z" or len(whole) != 14 or not whole.isdigit():
            raise self.refuse("is not a DER GeneralizedTime in UTC")
        if fraction and (fraction[:1] != b"." or not fraction[1:].isdigit() or fraction[-1:] == b"0" or len(fraction) > 13):
            raise self.refuse("has a fraction of a second that is not DER")
        year, month, day = int(whole[:4]), int(whole[4:6]), int(whole[6:8])
        hour, minute, second = int(whole[8:10]), int(whole[10:12]), int(whole[12:14])
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        if not 1 <= month <= 12 or not 1 <= day <= _DAYS[month - 1] + (leap and month == 2):
            raise self.refuse("is not a date")
        if hour > 23 or minute > 59 or second > 59 or year < 1970:
            raise self.refuse("is not a time of this epoch")
        seconds = days_since_epoch(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
        return seconds, int(fraction[1:7].ljust(6, b"0")) if fraction else 0


class Members:
    """A cursor over the elements inside of one."""

    __slots__ = ("_at", "_data", "_path", "_what")

    def __init__(self, data: bytes, what: str, path: str) -> None:
        self._data = data
        self._what = what
        self._path = path
        self._at = 0

    def at_end(self) -> bool:
        """Whether every element was taken."""
        return self._at >= len(self._data)

    def take(self, tag: int | None, name: str) -> Element:
        """The next element, which must have the tag unless it is None. ``name`` is its name in errors.

        Raises :class:`FormatError`.
        """
        path = _join(self._path, name)
        if self.at_end():
            raise FormatError(self._what, path, "is missing")
        element, self._at = _read(self._data, self._at, self._what, path)
        return element if tag is None else element.expect(tag)

    def optional(self, tag: int, name: str) -> Element | None:
        """The next element if it has the tag. Raises :class:`FormatError`."""
        if self.at_end() or self._data[self._at] != tag:
            return None
        return self.take(tag, name)

    def finish(self) -> None:
        """Raises :class:`FormatError` unless every element was taken."""
        if not self.at_end():
            raise FormatError(self._what, self._path, "has members that do not belong there")


def parse(data: bytes, what: str) -> Element:
    """The one element that ``data`` is. Raises :class:`FormatError`."""
    element, end = _read(data, 0, what, "")
    if end != len(data):
        raise FormatError(what, "", "has bytes after its end")
    return element


def encode(tag: int, content: bytes) -> bytes:
    """The encoding of an element."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _join(path: str, name: str) -> str:
    if not path or not name or name[0] == "[":
        return path + name
    return f"{path}.{name}"


def _read(data: bytes, at: int, what: str, path: str) -> tuple[Element, int]:
    start = at
    if len(data) - at < 2:
        raise FormatError(what, path, "is cut off" if data else "is empty")
    tag, length = data[at], data[at + 1]
    if tag & 0x1F == 0x1F:
        raise FormatError(what, path, "has a DER tag of several bytes")
    at += 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4:
            raise FormatError(what, path, "has an indefinite or oversized length, which is not DER")
        field = data[at : at + count]
        length = int.from_bytes(field, "big")
        if len(field) < count:
            raise FormatError(what, path, "is cut off")
        if field[0] == 0 or length < 0x80:
            raise FormatError(what, path, "does not have the shortest form of its length")
        at += count
    end = at + length
    if end > len(data):
        raise FormatError(what, path, "is cut off")
    return Element(tag, data[at:end], data[start:end], what, path), end


def days_since_epoch(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar, by the trick of years that begin in March."""
    year -= month <= 2
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + of_year - 719468


def encode_oid(dotted: str) -> bytes:
    """The encoding of an OBJECT IDENTIFIER given as dotted numbers."""
    first, second, *rest = [int(arc) for arc in dotted.split(".")]
    content = b""
    for arc in (first * 40 + second, *rest):
        part = bytes((arc & 0x7F,))
        arc >>= 7
        while arc:
            part = bytes((arc & 0x7F | 0x80,)) + part
            arc >>= 7
        content += part
    return encode(OID, content)
