"""The error object of a plugin.

Source: CNI ``SPEC.md`` 1.1.0 section 5, "Error". The text says standard error in one place and standard output in another; libcni
reads standard output. Both are looked at, in that order. Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.aci.document import Members
from rktpy.record import Record

INCOMPATIBLE_VERSION = 1
UNKNOWN_CONTAINER = 3
TRY_AGAIN = 11
NOT_AVAILABLE = 50
LIMITED = 51

_NAMES = {name: name for name in ("code", "msg", "details")}
_LONGEST = 1000  # characters that are shown of what a plugin says without an error object


class Failure(Record):
    """What a plugin says of its failure. ``code`` is 0 when it says nothing that can be understood."""

    code: int
    message: str
    details: str = ""

    def __str__(self) -> str:
        return f"{self.message}; {self.details}" if self.details else self.message


def parse_failure(stdout: bytes, stderr: bytes) -> Failure:
    """The failure of a plugin that wrote this. Never raises: a broken plugin says what it can."""
    for data in (stdout, stderr):
        found = _error_object(data)
        if found is not None:
            return found
    text = " ".join((stderr.strip() or stdout.strip()).decode("utf-8", "backslashreplace").split())
    return Failure(0, text[:_LONGEST] or "no error message")


def _error_object(data: bytes) -> Failure | None:
    if not data.strip():
        return None
    try:
        members = Members(jsondoc.parse_object(data, "error"), _NAMES, "error", "")
        code = members.integer("code", 0, 0, 2**31 - 1)
        message = members.text("msg")
        details = members.text("details")
    except FormatError:
        return None
    if not code and not message:
        return None
    return Failure(code, " ".join(message.split())[:_LONGEST] or f"error code {code}", " ".join(details.split())[:_LONGEST])
