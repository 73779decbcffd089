"""The WWW-Authenticate field of a 401 answer (RFC 9110 section 11.6.1)."""

from __future__ import annotations

import re

from rktpy.record import Record

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}[^\s,]*))\s*(?:,|$)')
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?:\s+|$|,)")


class Challenge(Record):
    """One way to authenticate that a server offers. ``scheme`` and the names of the parameters are in lower case."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """The value of a parameter; empty when it is absent."""
        return next((value for key, value in self.parameters if key == name), "")


def parse_challenges(fields: list[str]) -> list[Challenge]:
    """The challenges in all WWW-Authenticate lines; what cannot be read is left out."""
    challenges: list[Challenge] = []
    for field in fields:
        position = 0
        while match := _SCHEME.match(field, position):
            scheme = match[1].lower()
            position = match.end()
            parameters: list[tuple[str, str]] = []
            while parameter := _PARAMETER.match(field, position):
                value = parameter[3] if parameter[2] is None else re.sub(r"\\(.)", r"\1", parameter[2])
                parameters.append((parameter[1].lower(), value))
                position = parameter.end()
            challenges.append(Challenge(scheme, tuple(parameters)))
    return challenges
