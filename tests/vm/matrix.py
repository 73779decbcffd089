"""Which test files ran where, as a Markdown table, from pytest's reports (``--junitxml``).

    python -m tests.vm.matrix hybrid=report.xml v2=first/junit.xml v2=second/junit.xml selinux=third/junit.xml

A column for each name; several reports of a name are taken together, of a test that is in more than one the last counts. In a
cell are the tests that passed, of those that were run; with what was skipped there, if anything was.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree


def read(path: str) -> dict[tuple[str, str], str]:
    """(file, test) -> ``passed``, ``failed`` or ``skipped``."""
    found: dict[tuple[str, str], str] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        module = case.get("classname", "").split(".")
        file = "/".join(module) + ".py"
        outcome = "passed"
        for child in case:
            if child.tag in ("failure", "error"):
                outcome = "failed"
            elif child.tag == "skipped" and outcome == "passed":
                outcome = "skipped"
        found[file, case.get("name", "")] = outcome
    return found


def cell(outcomes: list[str]) -> str:
    """What a cell says about the tests of one file."""
    if not outcomes:
        return ""
    skipped, passed = outcomes.count("skipped"), outcomes.count("passed")
    text = f"{passed} of {len(outcomes) - skipped}" if len(outcomes) - skipped != passed else f"{passed}"
    return f"{text} ({skipped} skipped)" if skipped else text


def table(reports: list[tuple[str, str]]) -> str:
    """The table of reports: (column, path)."""
    columns = list(dict.fromkeys(name for name, _path in reports))
    results: dict[str, dict[tuple[str, str], str]] = {name: {} for name in columns}
    for name, path in reports:
        results[name].update(read(path))
    files = sorted({file for found in results.values() for file, _test in found})
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for file in files:
        cells = [cell([outcome for (of, _test), outcome in results[name].items() if of == file]) for name in columns]
        lines.append(f"| `{file}` | {' | '.join(cells)} |")
    totals = [cell(list(results[name].values())) for name in columns]
    lines.append(f"| all | {' | '.join(totals)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table([(name, path) for name, _equals, path in (word.partition("=") for word in sys.argv[1:])]))
