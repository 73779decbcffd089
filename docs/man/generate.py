"""Write the manual pages of the commands from the tables that also make ``--help``, and from the texts in ``src``.

    python3 docs/man/generate.py [--check]

A text ``src/NAME.txt`` holds sections that begin with ``# TITLE``. A paragraph ends at an empty line; lines indented by four
spaces are shown as they are; ``TERM`` followed by a line that begins with ``: `` is an entry of a list; ``**word**`` is bold. The
pages go to ``man1``; with ``--check`` nothing is written and the status is 1 if a page is not up to date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from rktpy import __version__  # noqa: E402
from rktpy.cli import flags  # noqa: E402
from rktpy.cli.command import Command  # noqa: E402
from rktpy.cli.commands import COMMANDS, ROOT  # noqa: E402
from rktpy.cli.help import flag_text, shown, sub_commands, use_line  # noqa: E402

if TYPE_CHECKING:
    from rktpy.cli.flags import Flag

# Sections of a page in their order; those of the text that are not named here come before SEE ALSO.
LAST = "SEE ALSO"


def page_name(command: Command) -> str:
    """``rktpy-image-list``."""
    return "-".join(("rktpy", *command.path))


def reference(page: str) -> str:
    """A page as SEE ALSO names it: ``name`` stands for ``name(1)``."""
    name, _bracket, section = page.removesuffix(")").partition("(")
    return f"\\fB{escape(name)}\\fR({section or 1})"


def text_sections(path: Path) -> dict[str, str]:
    """The sections of a text by their titles; empty when there is no such file."""
    sections: dict[str, str] = {}
    if path.exists():
        for part in re.split(r"^# ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            title, _newline, body = part.partition("\n")
            sections[title.strip()] = body.strip("\n")
    return sections


def escape(text: str) -> str:
    """Text for roff: hyphens that are typed stay what they are, and ``**`` becomes bold."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = re.sub(r"\*\*(.+?)\*\*", r"\\fB\1\\fR", text)
    return "\n".join("\\&" + line if line.startswith((".", "\\(aq")) else line for line in text.split("\n"))


def paragraphs(body: str) -> list[str]:
    """The roff of a section's body."""
    out: list[str] = []
    for block in re.split(r"\n\s*\n", body):
        lines = block.split("\n")
        if all(line.startswith("    ") for line in lines):
            out += [".PP", ".RS 4", ".nf", *[escape(line[4:]) for line in lines], ".fi", ".RE"]
        elif len(lines) > 1 and lines[1].startswith(": "):
            out += [
                ".TP",
                f"\\fB{escape(lines[0])}\\fR",
                escape("\n".join([lines[1][2:], *[line.strip() for line in lines[2:]]])),
            ]
        else:
            out += [".PP", escape("\n".join(line.strip() for line in lines))]
    return out


def options(table: list[Flag]) -> list[str]:
    """The roff of a list of flags."""
    out: list[str] = []
    for flag in shown(table):
        text = flag_text(flag)
        if flag[0] == "help":
            text = f"-h, {text}"
        out += [".TP", f"\\fB{escape(text)}\\fR", sentence(flag[3])]
    return out


def sentence(text: str) -> str:
    """What a flag does, as roff: a value stays as it is typed, and a long one may be broken before an optional part."""
    first = text.split()[0]
    if "=" not in first:
        text = text[0].upper() + text[1:]
    return " ".join([escape(word).replace("[,", "\\:[,") if len(word) > 50 else escape(word) for word in f"{text}.".split(" ")])


def page(command: Command) -> str:
    """A whole manual page."""
    name = page_name(command)
    texts = text_sections(HERE / "src" / f"{name}.txt")
    short = command.short if command is ROOT else command.short[0].lower() + command.short[1:]
    out = [
        '.\\" Written by docs/man/generate.py.',
        f'.TH "{escape(name.upper())}" "1" "" "rktpy {__version__}" "rktpy"',
        ".nh",
        ".ad l",
        ".SH NAME",
        f"{escape(name)} \\- {escape(short)}",
        ".SH SYNOPSIS",
        f"\\fB{escape(' '.join(('rktpy', *command.path)))}\\fR{escape(use_line(command)[len(command.full_name) :])}",
        ".SH DESCRIPTION",
        *paragraphs(command.long),
    ]
    if "DESCRIPTION" in texts:
        out += paragraphs(texts.pop("DESCRIPTION"))
    below = sub_commands(command)
    if below:
        out.append(".SH COMMANDS")
        for other in below:
            out += [".TP", f"\\fB{escape(page_name(other))}\\fR(1)", escape(other.short + ".")]
    if command.module and command.flags:
        out += [".SH OPTIONS", *options([*command.flags])]
    if command is ROOT:
        out += [".SH OPTIONS", *options([*flags.GLOBAL, flags.HELP])]
    else:
        out += [
            ".PP",
            "The global options are in \\fBrktpy\\fR(1)." if command.flags else "Only the global options, see \\fBrktpy\\fR(1).",
        ]
        if not command.flags:
            out.insert(-2, ".SH OPTIONS")
    also = texts.pop(LAST, "")
    for title, body in texts.items():
        out += [f".SH {escape(title)}", *paragraphs(body)]
    names = [*re.split(r"[,\s]+", also)] if also else []
    if command is not ROOT:
        names = ["rktpy", *names]
    if names:
        out += [f".SH {LAST}", ",\n".join(reference(other) for other in names)]
    return "\n".join(out) + "\n"


def pages() -> dict[str, str]:
    """All pages by file name."""
    return {f"{page_name(command)}.1": page(command) for command in (ROOT, *[c for c in COMMANDS if c.listed])}


def main(argv: list[str]) -> int:
    """Write the pages, or compare them with what is there."""
    target = HERE / "man1"
    wanted = pages()
    stale = sorted(path.name for path in target.glob("*.1") if path.name not in wanted)
    changed = [
        name for name, text in wanted.items() if not (target / name).exists() or (target / name).read_text("utf-8") != text
    ]
    if argv == ["--check"]:
        for name in (*changed, *stale):
            sys.stderr.write(f"{name} is not up to date: run docs/man/generate.py\n")
        return 1 if changed or stale else 0
    target.mkdir(exist_ok=True)
    for name in changed:
        (target / name).write_text(wanted[name], encoding="utf-8")
    for name in stale:
        (target / name).unlink()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
