"""Values of flags that are neither text, truth nor duration: what they mean and what is wrong with them.

Hot-path module, loaded only when such a flag is given. Every function raises :class:`UsageError` with the reason alone; the
parser adds the flag.
"""

from __future__ import annotations

from rktpy.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments

INSECURE_OPTIONS = (
    "none",
    "image",
    "tls",
    "ondisk",
    "http",
    "pubkey",
    "capabilities",
    "paths",
    "seccomp",
    "all-fetch",
    "all-run",
    "all",
)
IMAGE_FIELDS = ("id", "name", "size", "importtime", "lastused")
SORTABLE_FIELDS = ("name", "importtime", "lastused", "size")


def set_value(arguments: Arguments, name: str, kind: str, value: str) -> str:
    """Take in one value of the flag ``name``; give the text that :meth:`Arguments.text` shall return."""
    if kind == "list":
        arguments.lists.setdefault(name, []).append(value)
    elif kind == "integer":
        arguments.numbers[name] = integer(value)
    elif kind == "directory":
        return directory(value)
    elif kind == "insecure-options":
        options(value, INSECURE_OPTIONS)
    elif kind == "fields":
        options(value, IMAGE_FIELDS)
    elif kind == "sort":
        options(value, SORTABLE_FIELDS)
    elif kind == "order":
        if value.lower() not in ("asc", "desc"):
            raise UsageError("wrong sort order")
        return value.lower()
    elif kind == "format":
        if value not in ("", "json", "json-pretty"):
            raise UsageError(f"Invalid format option: {value}")
    elif kind == "progress":
        if value not in ("auto", "json", "none"):
            raise UsageError("must be auto, json or none")
    elif kind == "pull-policy":
        if value not in ("new", "update", "never"):
            raise UsageError("must be new, update or never")
    elif kind == "pair":
        _pair(arguments, name, value)
    elif kind == "net":
        _networks(arguments, name, value)
    elif kind == "port":
        from rktpy.formats.cli_values import parse_port

        if value.count(":") > 3 and value.partition(":")[2].startswith(("tcp:", "udp:")):
            from rktpy.formats.cli_values import parse_sandbox_port

            arguments.ports.append(parse_sandbox_port(value))
        else:
            arguments.ports.append(parse_port(value))
    elif kind == "sandbox-port":
        from rktpy.formats.cli_values import parse_sandbox_port

        arguments.ports.append(parse_sandbox_port(value))
    elif kind == "volume":
        from rktpy.formats.cli_values import parse_volume

        arguments.volumes.append(parse_volume(value))
    elif kind == "stage1":
        _stage1(arguments, name)
    else:
        from rktpy.cli.images import set_image_value

        set_image_value(arguments, name, kind, value)
    return value


def directory(value: str) -> str:
    """An absolute path without ``.``, ``..`` and double slashes."""
    from os.path import abspath

    if not value:
        raise UsageError('"" is not a valid directory')
    return abspath(value)


def options(value: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """A list of words, separated by commas and in any case, each from ``allowed`` and given once."""
    chosen: list[str] = []
    for word in value.lower().split(",") if value else ():
        if word not in allowed:
            raise UsageError(f'unknown option "{word}"')
        if word in chosen:
            raise UsageError(f'duplicated option "{word}"')
        chosen.append(word)
    return tuple(chosen)


def _pair(arguments: Arguments, name: str, value: str) -> None:
    key, equals, text = value.partition("=")
    if not equals:
        raise UsageError("must be specified as key=value")
    pairs = arguments.pairs.setdefault(name, {})
    if key in pairs:
        raise UsageError(f'key "{key}" already set')
    pairs[key] = text


def _networks(arguments: Arguments, name: str, value: str) -> None:
    chosen = arguments.lists.setdefault(name, [])
    for network in value.split(","):
        parts = network.split(":")
        if not parts[0]:
            raise UsageError("netname must not be empty")
        if any(other.partition(":")[0] == parts[0] for other in chosen):
            raise UsageError(f'found duplicate netname "{parts[0]}"')
        if len(parts) > 2:
            raise UsageError(f'network "{parts[0]}" provided with invalid arguments: [{" ".join(parts[1:])}]')
        if len(parts) == 2 and parts[0] in ("all", "host"):
            raise UsageError(f'arguments are not supported by special netname "{parts[0]}"')
        chosen.append(network if len(parts) == 2 and parts[1] else parts[0])


def integer(text: str) -> int:
    """A decimal number as ``strconv.Atoi`` reads it."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        raise UsageError(f'strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)


def _stage1(arguments: Arguments, name: str) -> None:
    for other in arguments.given:
        if other.startswith("stage1"):
            if other == name:
                raise UsageError(f"--{name} already used")
            raise UsageError(f"flags --{name} and --{other} are mutually exclusive")
