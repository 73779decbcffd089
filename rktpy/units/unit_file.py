"""Reading files in the syntax of unit files (systemd.syntax(7)), strictly: what cannot be read is an error with file and line.

Hot-path module: a generator runs at every boot and every daemon-reload, before anything else can start.
"""

from __future__ import annotations

import os
import stat

from rktpy.errors import FormatError, describe
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of a file; systemd reads no unit file over a mebibyte either (UNIT_FILE_LENGTH of its sources is the same).
LARGEST = 1 << 20
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'", "s": " "}
_DIGITS = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}


class UnitFileError(FormatError):
    """A file that is no unit file, or says what nobody understands: the file, the line, the reason."""

    def __init__(self, path: str, line: int, problem: str) -> None:
        super().__init__(f"{path}:{line}" if line else path, "", problem)


class Setting(Record):
    """One line ``key=value`` and where it stands."""

    section: str
    key: str
    value: str
    path: str
    line: int

    def problem(self, text: str) -> UnitFileError:
        """The error that names this line."""
        return UnitFileError(self.path, self.line, f"{self.key}: {text}")


def read_file(path: str) -> str | None:
    """The text of a unit file; None for one that masks (empty, or a link to /dev/null). Raises UnitFileError.

    Whatever else lies there (a FIFO, a directory, a device) is not opened for long and never waited for.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise UnitFileError(path, 0, f"cannot be read: {describe(OSError(error.errno, error.strerror))}") from None
    try:
        state = os.fstat(fd)
        if stat.S_ISCHR(state.st_mode) and state.st_rdev == os.makedev(1, 3):
            return None
        if not stat.S_ISREG(state.st_mode):
            raise UnitFileError(path, 0, "is not a file")
        data = b""
        while len(data) <= LARGEST and (piece := os.read(fd, LARGEST + 1 - len(data))):
            data += piece
    except OSError as error:
        raise UnitFileError(path, 0, f"cannot be read: {describe(OSError(error.errno, error.strerror))}") from None
    finally:
        os.close(fd)
    if len(data) > LARGEST:
        raise UnitFileError(path, 0, f"is larger than {LARGEST} bytes")
    if not data.strip():
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UnitFileError(path, data[: error.start].count(b"\n") + 1, "is not UTF-8") from None
    for number, line in enumerate(text.split("\n"), 1):
        for character in line:
            if character < " " and character not in "\t\r":
                raise UnitFileError(path, number, f"has the control character {ord(character)}")
    return text


def parse(text: str, path: str) -> list[Setting]:
    """The settings of a file in order. Raises UnitFileError."""
    found: list[Setting] = []
    section = ""
    for number, line in _logical_lines(text, path):
        if line[0] == "[":
            if line[-1] != "]" or len(line) < 3 or "[" in line[1:] or "]" in line[1:-1]:
                raise UnitFileError(path, number, f"bad section header {line[:80]!r}")
            section = line[1:-1]
            continue
        key, equals, value = line.partition("=")
        key = key.strip()
        if not equals or not key or not key.replace("-", "").isalnum() or not key.isascii():
            raise UnitFileError(path, number, f"{line[:80]!r} is no setting: wanted KEY=VALUE")
        if not section:
            raise UnitFileError(path, number, f"{key} stands before the first section")
        found.append(Setting(section, key, value.strip(), path, number))
    return found


def _logical_lines(text: str, path: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, continuations joined by a space; comments and empty lines are left out."""
    held, begun = "", 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t\r")
        if line[:1] in ("#", ";") or (not line and not held):
            continue
        if not held:
            begun = number
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        line, held = held + line, ""
        if line.strip():
            yield begun, line.strip()
    if held.strip():
        raise UnitFileError(path, begun, "the line goes on after the end of the file")


def words(setting: Setting) -> list[str]:
    """The words of a value, with quotes and escapes resolved (systemd.syntax(7), "Quoting"). Raises UnitFileError."""
    text = setting.value
    found: list[str] = []
    index, end = 0, len(text)
    while index < end:
        if text[index] in " \t":
            index += 1
            continue
        word, quote = "", ""
        while index < end and (quote or text[index] not in " \t"):
            character = text[index]
            index += 1
            if character == "\\":
                piece, index = _escape(setting, text, index)
                word += piece
            elif quote:
                if character == quote:
                    quote = ""
                else:
                    word += character
            elif character in "\"'":
                quote = character
            else:
                word += character
        if quote:
            raise setting.problem(f"a quote ({quote}) is not closed")
        found.append(word)
    return found


def _escape(setting: Setting, text: str, index: int) -> tuple[str, int]:
    letter = text[index : index + 1]
    if letter in _ESCAPES and letter:
        return _ESCAPES[letter], index + 1
    if letter in _DIGITS:
        count, base = _DIGITS[letter]
        digits = text[index + 1 : index + 1 + count]
        index += 1 + count
    elif letter and letter in "01234567":
        digits, base, count = text[index : index + 3], 8, 3
        index += 3
    else:
        raise setting.problem(f"unknown escape \\{letter}")
    try:
        value = int(digits, base) if len(digits) == count and digits.isalnum() else 0
        character = chr(value)
    except (ValueError, OverflowError):
        value, character = 0, ""
    if not value or 0xD800 <= value < 0xE000:
        raise setting.problem(f"bad escape \\{letter}{digits}")
    return character, index


def truth(setting: Setting) -> bool:
    """A truth value (systemd.syntax(7)). Raises UnitFileError."""
    value = setting.value.lower()
    if value in ("1", "yes", "y", "true", "t", "on"):
        return True
    if value in ("0", "no", "n", "false", "f", "off"):
        return False
    raise setting.problem(f"{setting.value!r} is neither yes nor no")
