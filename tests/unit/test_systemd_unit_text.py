"""Text of unit files: nothing of an image's starts a line, a section or a setting of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import Stage1Error
from rktpy.stage1.systemd.unit_text import command, plain, quoted, unit

# What JSON can carry and a manifest may have: no NUL, no lone surrogates.
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
LINE_BREAKS = "\n\r\0"


def lines(text: str) -> list[str]:
    """As systemd reads a file: each of these ends a line."""
    for character in LINE_BREAKS:
        text = text.replace(character, "\n")
    return text.split("\n")


@given(st.lists(TEXTS, min_size=1))
def test_a_command_is_one_line_of_words(argv: list[str]) -> None:
    text = command(argv)
    assert len(lines(text)) == 1
    assert unquoted(text.removeprefix(":")) == argv


def unquoted(text: str) -> list[str]:
    """The words of systemd.syntax(7), for words that are all in double quotes."""
    words: list[str] = []
    rest = text
    while rest:
        assert rest[0] == '"'
        word, position = "", 1
        while rest[position] != '"':
            if rest[position] == "\\":
                following = rest[position + 1]
                if following == "x":
                    word += chr(int(rest[position + 2 : position + 4], 16))
                    position += 4
                    continue
                word += {"n": "\n", "t": "\t", "\\": "\\", '"': '"'}[following]
                position += 2
            elif rest[position] == "%":
                assert rest[position + 1] == "%"
                word += "%"
                position += 2
            else:
                word += rest[position]
                position += 1
        words.append(word)
        rest = rest[position + 1 :].removeprefix(" ")
    return words


@given(TEXTS)
def test_a_description_is_one_line(text: str) -> None:
    shown = plain(text)
    assert len(lines(shown)) == 1
    # An odd number of backslashes at the end would join the next line.
    assert (len(shown) - len(shown.rstrip("\\"))) % 2 == 0
    assert shown.replace("%%", "").count("%") == 0


@pytest.mark.parametrize("value", ["a\nUser=0", "a\rUser=0", "a\0User=0", "\n"])
def test_a_setting_with_a_line_break_is_refused(value: str) -> None:
    with pytest.raises(Stage1Error, match="a unit's SELinuxContext cannot have a line break"):
        unit(("Service", (("SELinuxContext", value),)))


def test_a_line_that_systemd_would_leave_out_is_refused() -> None:
    fits = quoted("é" * 500_000)
    assert unit(("Service", (("ExecStart", fits),))).endswith(f"{fits}\n")
    with pytest.raises(Stage1Error, match="a unit's ExecStart is too long for systemd"):
        unit(("Service", (("ExecStart", quoted("é" * 600_000)),)))
    with pytest.raises(Stage1Error, match="too long"):
        unit(("Service", (("ExecStart", quoted("\x01" * 300_000)),)))
