"""rkt's app strings, ``name[:version][,label=value...]`` (appc/spec 0.8.11, spec/discovery.md and discovery/parse.go).

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import UsageError
from rktpy.formats.aci.types import NameValue, ac_identifier_problem

_RANK = {"version": 0, "os": 1, "arch": 2}


def quoted(text: str) -> str:
    """``text`` in double quotes, on one line whatever it holds."""
    return f'"{ascii(text)[1:-1]}"'


def parse_app_string(text: str) -> tuple[str, tuple[NameValue, ...]]:
    """The image name and the labels: version, os and arch first, the others by name.

    The colon may stand once and only after the name; every label has a value and occurs once. Raises :class:`UsageError`.
    """
    colon, comma = text.find(":"), text.find(",")
    if 0 <= comma < colon:
        raise _invalid(text, "malformed app string - colon may appear only right after the app name")
    if text.count(":") > 1:
        raise _invalid(text, "malformed app string - colon may appear at most once")
    name, *parts = text.replace(":", ",version=", 1).split(",")
    pairs: list[tuple[str, str]] = []
    for part in parts:
        label, equals, value = part.partition("=")
        if not equals or not value:
            raise _invalid(text, f"malformed app string - has a label without a value: {quoted(label)}")
        pairs.append((label, value))
    return checked_app(text, name, pairs)


def checked_app(text: str, name: str, pairs: list[tuple[str, str]]) -> tuple[str, tuple[NameValue, ...]]:
    """Check a name and labels that came apart already; ``text`` is what errors quote. Raises :class:`UsageError`."""
    problem = ac_identifier_problem(name)
    if problem:
        raise _invalid(text, problem)
    labels: dict[str, str] = {}
    for label, value in pairs:
        problem = ac_identifier_problem(label)
        if problem:
            raise _invalid(text, problem)
        if label == "name" or label in labels:
            raise _invalid(text, f"label {label} with multiple values")
        if ":" in value or "," in value or not value:
            raise _invalid(text, f"the value of label {label} must not be empty or have a colon or comma")
        labels[label] = value
    ordered = sorted(labels.items(), key=lambda item: (_RANK.get(item[0], len(_RANK)), item[0]))
    return name, tuple(NameValue(label, value) for label, value in ordered)


def _invalid(text: str, problem: str) -> UsageError:
    return UsageError(f"invalid appc image string {quoted(text)}: {problem}")
