"""Arguments of the entry points: flags as Go's ``flag`` package reads them, because rkt's stage0 writes for it.

``-f`` is ``--f``; a value follows ``=`` or, except for booleans, is the next argument; flags end at ``--`` or at the first
argument that is none. Unknown flags are refused: an argument that is not understood must not be ignored. Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import UsageError

#: The flags of ``run`` that stage0 may pass, see rktpy-stage1(7).
RUN_BOOLEANS = (
    "debug",
    "interactive",
    "disable-capabilities-restriction",
    "disable-paths",
    "disable-seccomp",
    "mutable",
    "strict",
    "dry-run",
)
RUN_VALUES = ("net", "private-users", "mds-token", "local-config", "hostname", "dns-conf-mode", "ipc")
DNS_MODES = {"resolv": ("host", "stage0", "none", "default"), "hosts": ("host", "stage0", "default")}

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


class Arguments:
    """What was parsed: flags by name, and the arguments that follow them."""

    __slots__ = ("flags", "rest")

    def __init__(self, flags: dict[str, str], rest: list[str]) -> None:
        self.flags = flags
        self.rest = rest

    def text(self, name: str, default: str = "") -> str:
        """The value of a flag."""
        return self.flags.get(name, default)

    def is_set(self, name: str) -> bool:
        """The value of a boolean flag, false when it was not given."""
        return self.flags.get(name) in _TRUE


def parse_arguments(argv: list[str], booleans: tuple[str, ...], values: tuple[str, ...]) -> Arguments:
    """Parse ``argv`` (without the program's name). Raises :class:`UsageError`."""
    flags: dict[str, str] = {}
    index = 0
    while index < len(argv):
        argument = argv[index]
        if len(argument) < 2 or argument[0] != "-":
            break
        index += 1
        if argument == "--":
            break
        name, equals, value = argument[2 if argument[1] == "-" else 1 :].partition("=")
        if name in booleans:
            if not equals:
                value = "true"
            elif value not in _TRUE and value not in _FALSE:
                raise UsageError(f"invalid boolean value {value!r} for -{name}")
        elif name in values:
            if not equals:
                if index == len(argv):
                    raise UsageError(f"flag needs an argument: -{name}")
                value = argv[index]
                index += 1
        else:
            raise UsageError(f"flag provided but not defined: -{name}")
        flags[name] = value
    return Arguments(flags, argv[index:])


def parse_run(argv: list[str]) -> Arguments:
    """The arguments of a stage1's ``run``, of which one is the pod's UUID. Raises UsageError."""
    arguments = parse_arguments(argv, RUN_BOOLEANS, RUN_VALUES)
    if len(arguments.rest) != 1:
        raise UsageError("UUID is missing or malformed")
    return arguments


def parse_pairs(text: str, allowed: dict[str, tuple[str, ...]], flag: str) -> dict[str, str]:
    """Read ``key=value,key=value`` where every key has its set of values; a missing key is ``default``. Raises UsageError."""
    pairs = dict.fromkeys(allowed, "default")
    for part in text.split(",") if text else ():
        key, equals, value = part.partition("=")
        if not equals or value not in allowed.get(key, ()):
            raise UsageError(f"invalid value {part!r} for -{flag}")
        pairs[key] = value
    return pairs
