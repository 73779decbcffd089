"""rktpy-unit(5) says what the generator reads."""

from __future__ import annotations

import re

from rktpy.units import generator, service
from rktpy.units.described import KEYS
from tests.unit.test_man_formats import TEXTS, mentions, plain

PAGE = "rktpy-unit"


def test_every_key_is_there_and_no_other() -> None:
    described: dict[str, set[str]] = {}
    for section in ("APP", "POD"):
        part = TEXTS[PAGE].split(f".SH KEYS OF THE {section}\n")[1].split(".SH ")[0]
        keys = {key for line in re.findall(r"^\.TP\n(.*)$", part, re.MULTILINE) for key in plain(line).split(", ")}
        described[section] = keys
    assert described["APP"] | described["POD"] == set(KEYS["App"]) | set(KEYS["Pod"])
    assert described["POD"] == set(KEYS["Pod"])


def test_what_the_service_has() -> None:
    for key in service.OURS:
        assert mentions(PAGE, key), key
    for directory in generator.SYSTEM_DIRECTORIES:
        assert directory in plain(TEXTS[PAGE])
    written = service.service("/usr/bin/rktpy", [], description="x", pins="%N")
    for line in ("Type=notify", "Delegate=yes", "KillMode=mixed", "--pins=%N"):
        assert line in written and line in plain(TEXTS[PAGE])
