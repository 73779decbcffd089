"""The ``meta`` elements of an HTML page that nobody has checked.

``html.parser`` would do, but it takes time that grows with the square of the page: some kilobytes of ``<a `` keep it busy for
minutes. Here every byte is looked at a constant number of times. Source: HTML Living Standard section 13.2.5, as far as start
tags, comments and the two elements whose content is no markup (script, style) need it.
"""

from __future__ import annotations

import re
from html import unescape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# No two parts of these can match the same bytes, so that matching never goes back.
_NAME = re.compile(rb"[a-zA-Z][^ \t\n\r\f/>]*")
_SKIPPED = re.compile(rb"[ \t\n\r\f/]*")
_ATTRIBUTE = re.compile(rb"[^ \t\n\r\f/>][^ \t\n\r\f/>=]*")
_EQUALS = re.compile(rb"[ \t\n\r\f]*(=?)[ \t\n\r\f]*")
_UNQUOTED = re.compile(rb"[^ \t\n\r\f>]*")


def meta_elements(page: bytes) -> Iterator[dict[str, str]]:
    """The attributes of each ``meta`` element, names in lower case; of a repeated attribute the first one counts."""
    lower = page.lower()
    position = 0
    while (start := lower.find(b"<", position)) >= 0:
        position = start + 1
        if lower.startswith(b"!--", position):
            position = lower.find(b"-->", position + 3)
            if position < 0:
                return
            continue
        name = _NAME.match(lower, position)
        if name is None:
            continue
        attributes: dict[str, str] | None = {} if name[0] == b"meta" else None
        position = _attributes(page, name.end(), attributes)
        if position < 0:
            return
        if attributes is not None:
            yield attributes
        elif name[0] in (b"script", b"style"):
            position = lower.find(b"</" + name[0], position)
            if position < 0:
                return


def _attributes(page: bytes, position: int, found: dict[str, str] | None) -> int:
    """Read a start tag from behind its name to behind its end, into ``found`` if given; -1 when the page ends before."""
    while True:
        position = _end(_SKIPPED, page, position)
        name = _ATTRIBUTE.match(page, position)
        if name is None:
            return position + 1 if position < len(page) else -1  # at ">"
        equals = _EQUALS.match(page, name.end())
        assert equals is not None
        value = b""
        position = name.end()
        if equals[1]:
            position = equals.end()
            quote = page[position : position + 1]
            if quote in (b'"', b"'"):
                end = page.find(quote, position + 1)
                if end < 0:
                    return -1
                value = page[position + 1 : end]
                position = end + 1
            else:
                end = _end(_UNQUOTED, page, position)
                value = page[position:end]
                position = end
        if found is not None:
            found.setdefault(name[0].lower().decode("utf-8", "replace"), _text(value))


def _end(pattern: re.Pattern[bytes], page: bytes, position: int) -> int:
    match = pattern.match(page, position)
    return match.end() if match else position


def _text(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    try:
        return unescape(text)
    except ValueError:
        return ""  # a character reference with thousands of digits
