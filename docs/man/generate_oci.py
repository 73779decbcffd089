"""Write the manual pages of the low-level runtime, ``man8/rktpy-oci*.8``, from its table of commands and the texts in ``oci``.

    python3 docs/man/generate_oci.py [--check]

The texts are those of ``generate.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE)]

from generate import escape, paragraphs, sentence, text_sections  # noqa: E402

from rktpy import __version__  # noqa: E402
from rktpy.oci.command_line import COMMANDS, GLOBAL  # noqa: E402

PROGRAM = "rktpy-oci"


def options(flags: tuple[tuple[str, str, str, str, str], ...]) -> list[str]:
    """The roff of a list of flags."""
    out: list[str] = []
    for name, kind, default, text, short in flags:
        value = {"bool": "", "number": "=NUMBER", "bytes": "=BYTES", "duration": "=TIME"}.get(kind, "=VALUE")
        shown = f" ({default} by default)" if default not in ("", "false", "0") else ""
        letter = f"-{short}, " if short else ""
        out += [".TP", f"\\fB{escape(f'{letter}--{name}{value}')}\\fR", sentence(text + shown)]
    return out


def head(name: str, short: str, synopsis: str) -> list[str]:
    """The beginning of a page."""
    return [
        '.\\" Written by docs/man/generate_oci.py.',
        f'.TH "{escape(name.upper())}" "8" "" "rktpy {__version__}" "rktpy"',
        ".nh",
        ".ad l",
        ".SH NAME",
        f"{escape(name)} \\- {escape(short)}",
        ".SH SYNOPSIS",
        synopsis,
    ]


def page(command: str) -> str:
    """The page of one command, or with an empty name of the program."""
    name = f"{PROGRAM}-{command}" if command else PROGRAM
    texts = text_sections(HERE / "oci" / f"{name}.txt")
    if command:
        use, short, flags = COMMANDS[command][:3]
        out = head(name, short[0].lower() + short[1:], f"\\fB{escape(PROGRAM)} [flags]\\fR {escape(use)}")
        out += [".SH DESCRIPTION", f"{escape(short)}."]
        if "DESCRIPTION" in texts:
            out += paragraphs(texts.pop("DESCRIPTION"))
        out += [".SH OPTIONS", *options(flags)] if flags else []
    else:
        out = head(name, "run a container of an OCI bundle", f"\\fB{escape(PROGRAM)}\\fR [flags] COMMAND [flags] [ARGUMENT...]")
        out += [".SH DESCRIPTION", *paragraphs(texts.pop("DESCRIPTION")), ".SH COMMANDS"]
        for other, entry in COMMANDS.items():
            out += [".TP", f"\\fB{escape(f'{PROGRAM}-{other}')}\\fR(8)", f"{escape(entry[1])}."]
        out += [".SH OPTIONS", *options(GLOBAL), ".TP", "\\fB\\-v, \\-\\-version\\fR", "Print the version."]
    for title, body in texts.items():
        out += [f".SH {escape(title)}", *paragraphs(body)]
    also = [f"\\fB{escape(PROGRAM)}\\fR(8)"] if command else ["\\fBrktpy\\-oci\\fR(1)", "\\fBrktpy\\fR(1)"]
    return "\n".join([*out, ".SH SEE ALSO", ",\n".join(also)]) + "\n"


def pages() -> dict[str, str]:
    """All pages by file name."""
    return {f"{PROGRAM}{f'-{name}' if name else ''}.8": page(name) for name in ("", *COMMANDS)}


def main(argv: list[str]) -> int:
    """Write the pages, or compare them with what is there."""
    target = HERE / "man8"
    wanted = pages()
    there = {path.name: path.read_text("utf-8") for path in target.glob("*.8")}
    changed = [name for name, text in wanted.items() if there.get(name) != text]
    stale = sorted(name for name in there if name not in wanted)
    if argv == ["--check"]:
        for name in (*changed, *stale):
            sys.stderr.write(f"{name} is not up to date: run docs/man/generate_oci.py\n")
        return 1 if changed or stale else 0
    target.mkdir(exist_ok=True)
    for name in changed:
        (target / name).write_text(wanted[name], encoding="utf-8")
    for name in stale:
        (target / name).unlink()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
