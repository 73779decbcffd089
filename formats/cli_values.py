"""Values of command-line flags that become parts of a pod manifest: volumes, mounts and ports.

Source: rkt 1.30 ``rkt/cli_apps.go`` and ``rkt/run.go``, appc/spec 0.8.11 ``schema/types/volume.go``. A map of the form
``name,key=value,key=value`` is split at commas and each part at its first ``=``; every part needs a value and no key may be
repeated.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError, UsageError
from rktpy.formats.aci.manifest import Port
from rktpy.formats.aci.types import ac_name_problem
from rktpy.formats.pod import ExposedPort, Mount, Volume, is_ip_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


def parse_boolean(text: str, what: str) -> bool:
    """A truth value as Go's ``strconv.ParseBool`` reads it. Raises :class:`UsageError`."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise UsageError(f"{what}: {text!r} is not true or false")


def parse_integer(text: str, what: str) -> int:
    """A decimal integer with an optional sign. Raises :class:`UsageError`."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise UsageError(f"{what}: {text!r} is not an integer")
    return int(text)


def parse_map(text: str) -> dict[str, str]:
    """Split ``key=value,key=value``. Raises :class:`UsageError`."""
    values: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"malformed string {text!r} - has a label without a value: {key}")
        if key in values:
            raise UsageError(f"label {key} with multiple values {values[key]!r} and {value!r}")
        values[key] = value
    return values


def parse_volume(text: str, flag: str = "--volume") -> Volume:
    """Read ``NAME,kind=host,source=PATH[,readOnly=B][,recursive=B]`` or ``NAME,kind=empty[,mode=M][,uid=N][,gid=N]``.

    Raises :class:`UsageError`.
    """
    try:
        return _volume(parse_map("name=" + text))
    except UsageError as error:
        raise UsageError(f"invalid value in {flag} flag {text!r}: {error}") from None


def _volume(values: dict[str, str]) -> Volume:
    document: dict[str, Any] = {}
    for key, value in values.items():
        if key in ("readOnly", "recursive"):
            document[key] = parse_boolean(value, key)
        elif key in ("uid", "gid"):
            document[key] = parse_integer(value, key)
        elif key in ("name", "kind", "source", "mode"):
            document[key] = value
        else:
            raise UsageError(f"unknown volume parameter {key!r}")
    try:
        return Volume.from_dict(document, "volume")
    except FormatError as error:
        raise UsageError(f"{error.path}: {error.problem}") from None


def parse_mount(text: str) -> Mount:
    """Read ``volume=NAME,target=PATH``. Raises :class:`UsageError`.

    Unlike rkt, ``%`` and ``+`` in the path stand for themselves.
    """
    values = parse_map(text)
    for key in values:
        if key not in ("volume", "target"):
            raise UsageError(f"unknown mount parameter {key!r}")
    problem = ac_name_problem(values.get("volume", ""))
    if problem:
        raise UsageError(f"invalid volume name {values.get('volume', '')!r} in --mount flag {text!r}: {problem}")
    target = values.get("target", "")
    if not target:
        raise UsageError(f"missing target= parameter in --mount flag {text!r}")
    return Mount(values["volume"], target)


def parse_mount_volume(text: str) -> Mount:
    """Read ``name=NAME,kind=K,source=PATH,target=PATH[,readOnly=B]``: a mount that carries its volume.

    Raises :class:`UsageError`.
    """
    values = parse_map(text)
    target = values.pop("target", "")
    if not target:
        raise UsageError("missing target= parameter")
    try:
        volume = _volume(values)
    except UsageError as error:
        raise UsageError(f"error parsing volume component of {text!r}: {error}") from None
    return Mount(volume.name, target, volume)


def parse_port(text: str) -> ExposedPort:
    """Read ``NAME:[HOSTIP:]HOSTPORT``; an IPv6 address stands in brackets. Raises :class:`UsageError`."""
    name, colon, rest = text.partition(":")
    if not colon:
        raise UsageError(f"{text!r} is not in name:[ip:]port format")
    problem = ac_name_problem(name)
    if problem:
        raise UsageError(f"{name!r} is not a valid port name: {problem}")
    address, colon, port = rest.rpartition(":")
    if colon:
        bare = address[1:-1] if address[:1] == "[" and address[-1:] == "]" else address
        if not is_ip_address(bare) or (":" in bare and bare is address):
            raise UsageError(f"{address!r} is not a valid IP")
        address = bare
    return ExposedPort(name, _port_number(port), address or None)


def parse_sandbox_port(text: str) -> ExposedPort:
    """Read ``NAME:PROTOCOL:PODPORT:HOSTIP:HOSTPORT``: a port of the host that leads to a port of the pod, not of a certain app.

    An IPv6 address may stand in brackets. Raises :class:`UsageError`.
    """
    parts = text.split(":", 3)
    address, colon, host_port = parts[3].rpartition(":") if len(parts) == 4 else ("", "", "")
    if not colon:
        raise UsageError(f"{text!r} is not in name:proto:podPort:hostIP:hostPort format")
    name, protocol, pod_port, _rest = parts
    problem = ac_name_problem(name)
    if problem:
        raise UsageError(f"{name!r} is not a valid port name: {problem}")
    if protocol not in ("tcp", "udp"):
        raise UsageError(f"invalid protocol {protocol!r}")
    bare = address[1:-1] if address[:1] == "[" and address[-1:] == "]" else address
    if not is_ip_address(bare):
        raise UsageError(f"could not parse IP {address!r}")
    return ExposedPort(name, _port_number(host_port), bare, Port(name, protocol, _port_number(pod_port)))


def _port_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 1 <= int(text) <= 65535:
        raise UsageError(f"{text!r} is not a valid port number")
    return int(text)
