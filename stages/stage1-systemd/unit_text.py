"""Text of systemd's unit files, with everything that comes from images quoted.

Source: systemd.syntax(7), systemd.service(5) ("Command lines", the prefix ``:``), systemd.unit(5) ("Specifiers").
Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import Stage1Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: systemd reads no longer lines (LONG_LINE_MAX of its sources); it would leave the setting out.
_LONGEST_LINE = 1 << 20
_ESCAPES = {
    **{number: f"\\x{number:02x}" for number in (*range(1, 32), 127)},
    ord("\n"): "\\n",
    ord("\t"): "\\t",
    ord("\\"): "\\\\",
    ord('"'): '\\"',
    ord("%"): "%%",
}


def quoted(text: str) -> str:
    """One word of a setting: in double quotes, nothing in it is a separator, an escape or a specifier."""
    return f'"{text.translate(_ESCAPES)}"'


def plain(text: str) -> str:
    """The rest of a line as it is, for settings that are not split into words (Description)."""
    return "".join([character if character.isprintable() else "?" for character in text]).replace("%", "%%").replace("\\", "\\\\")


def command(argv: Iterable[str], flags: str = "") -> str:
    """A command line: no variable is expanded in it. ``flags`` are more of the prefixes that ExecStart= takes."""
    program, *arguments = argv
    return " ".join([f"{flags}:{quoted(program)}", *[quoted(argument) for argument in arguments]])


def unit(*sections: tuple[str, Iterable[tuple[str, str]]]) -> str:
    """A unit file of sections, each a name and its settings. Raises Stage1Error for a setting that would not be one line."""
    return "\n".join(["".join([f"[{name}]\n", *[_line(key, value) for key, value in settings]]) for name, settings in sections])


def _line(key: str, value: str) -> str:
    if "\n" in value or "\r" in value or "\0" in value:
        raise Stage1Error(f"a unit's {key} cannot have a line break")
    line = f"{key}={value}\n"
    # A byte is at most four characters: most lines need not be encoded to know that.
    if len(line) * 4 >= _LONGEST_LINE and len(line.encode("utf-8", "surrogateescape")) >= _LONGEST_LINE:
        raise Stage1Error(f"a unit's {key} is too long for systemd: it takes less than {_LONGEST_LINE} bytes, quoted")
    return line
