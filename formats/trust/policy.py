"""policy.json: which images are accepted, by where they come from (containers-policy.json(5), rktpy-policy.json(5)).

The format is that of containers/image, with three requirement types and one transport of rktpy's own. It is read strictly: see
:mod:`rktpy.formats.trust.members`. Nothing here says what a policy means; :mod:`rktpy.trust.policy` finds the rules for an image.

Hot-path module: ``run`` reads the policy at every start.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.trust.members import Members, join
from rktpy.formats.trust.policy_requirements import parse_requirement
from rktpy.formats.trust.scopes import ACI, DOCKER, TRANSPORTS, scope_problem
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.trust.requirements import Requirement

#: More than any policy that people write, in bytes.
MAX_SIZE = 4 << 20


class Policy(Record):
    """A whole policy. ``transports`` has the requirements by transport and scope; ``default`` counts for what is not in there.

    ``dead`` tells of scopes of ``docker`` that can never match. containers/image takes them, so they are no errors; but whoever
    wrote them believes that images are judged by them.
    """

    default: tuple[Requirement, ...]
    transports: dict[str, dict[str, tuple[Requirement, ...]]]
    dead: tuple[str, ...] = ()


def parse_policy(data: bytes, what: str) -> Policy:
    """Read a policy; ``what`` names it in errors. Raises :class:`FormatError` with the JSON path."""
    if len(data) > MAX_SIZE:
        raise FormatError(what, "", f"is larger than {MAX_SIZE} bytes")
    document = Members(jsondoc.parse(data, what), what, "")
    default = _requirements(document.take("default"), what, "default", "")
    transports: dict[str, dict[str, tuple[Requirement, ...]]] = {}
    dead: list[str] = []
    if document.has("transports"):
        transports = _transports(document.take("transports"), what, dead)
    document.end()
    return Policy(default, transports, tuple(dead))


def _transports(value: Any, what: str, dead: list[str]) -> dict[str, dict[str, tuple[Requirement, ...]]]:
    transports: dict[str, dict[str, tuple[Requirement, ...]]] = {}
    for transport, scopes in _members(value, what, "transports").items():
        path = join("transports", transport)
        if transport not in TRANSPORTS:
            raise FormatError(what, path, f"is no transport (there are {', '.join(TRANSPORTS)})")
        read: dict[str, tuple[Requirement, ...]] = {}
        for scope, requirements in _members(scopes, what, path).items():
            problem = scope_problem(transport, scope)
            if problem and transport == DOCKER and scope.isprintable():
                dead.append(f"{join(path, scope)} can never match: {problem}")
            elif problem:
                raise FormatError(what, join(path, scope), f"is no scope: {problem}")
            read[scope] = _requirements(requirements, what, join(path, scope), transport)
        transports[transport] = read
    return transports


def _members(value: Any, what: str, path: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise FormatError(what, path, "must be an object")
    return value  # pyright: ignore[reportUnknownVariableType]


def _requirements(value: Any, what: str, path: str, transport: str) -> tuple[Requirement, ...]:
    if type(value) is not list:
        raise FormatError(what, path, "must be a list of requirements")
    if not value:
        raise FormatError(what, path, "must not be empty: say insecureAcceptAnything or reject")
    return tuple(
        [parse_requirement(one, what, join(path, at), aci=transport == ACI) for at, one in enumerate(value)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    )
