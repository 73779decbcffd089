"""What a pod of stage1-systemd prints: every line of its apps with time, app and process before it, as rkt prints it."""

from __future__ import annotations

import re

#: The name in brackets is of a process of systemd's that could not execute the app. stage1-oci knows no process.
LINE = re.compile(r"\[ *\d+\.\d{6}\] ([a-z0-9-]+|\([^)]+\))(?:\[[1-9]\d*\])?: (.*)")


def app_lines(text: str) -> list[tuple[str, str]]:
    """Each line as the name of its app and what the app wrote; a line of another form fails the test."""
    found = []
    for line in text.removesuffix("\n").split("\n") if text else []:
        match = LINE.fullmatch(line)
        assert match, f"not a line of an app: {line!r} in {text!r}"
        found.append((match[1], match[2]))
    assert not text or text.endswith("\n")
    return found


def app_output(text: str, *, debug: bool = False) -> str:
    """The lines without what stands before them. With ``debug`` systemd tells what it does between them, in its own form."""
    if debug:
        text = "".join([line for line in text.splitlines(keepends=True) if LINE.fullmatch(line.rstrip("\n"))])
    return "".join([f"{line}\n" for app, line in app_lines(text) if not (debug and app.startswith("systemd"))])
