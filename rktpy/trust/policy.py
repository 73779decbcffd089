"""Which rule of a policy.json speaks of an image: the lookup by transport and scope.

Source: containers-policy.json(5) and, for the order of scopes, containers/image ``docker/policyconfiguration``. Only the most
specific scope counts. For ``docker`` these are, from the most to the least specific, the name with its tag or digest, the
repository, each namespace above it, the host, wildcards for the domains above the host, and "" for the whole transport; for
``oci``, ``oci-archive`` and ``dir`` the path and each directory above it. What is found nowhere is judged by ``default``.

ACIs have names of their own: the scopes of ``aci`` are prefixes of whole path components. Where ``aci`` is missing, or no scope
of it fits, rkt's rule counts (a trusted key for the image's name) and not ``default``, which speaks of OCI images.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import UsageError
from rktpy.formats.oci.image_name import ImageName, parse_image_name
from rktpy.formats.trust.requirements import TrustedKeys
from rktpy.formats.trust.scopes import ACI, DOCKER, PATH_TRANSPORTS, docker_scopes, parent_scopes
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.trust.policy import Policy
    from rktpy.formats.trust.requirements import Requirement


class Rule(Record):
    """The requirements for one image. ``place`` says where they stand: ``transports.docker."registry.example"``."""

    place: str
    requirements: tuple[Requirement, ...]


#: rkt's own rule for ACIs.
RKT_RULE = Rule("rkt's rule for ACIs", (TrustedKeys("rkt's rule for ACIs"),))


def rule_for(policy: Policy, image_format: str, name: str) -> Rule:
    """The rule for an image. ``image_format`` is ``aci`` or ``oci``, ``name`` as in :class:`rktpy.trust.decision.Image`."""
    if image_format == ACI:
        return _found(policy, ACI, [*parent_scopes(name), ""]) or RKT_RULE
    transport, scopes = scopes_of(name)
    return _found(policy, transport, [*scopes, ""]) or Rule("default", policy.default)


def _found(policy: Policy, transport: str, scopes: list[str]) -> Rule | None:
    table = policy.transports.get(transport)
    if table:
        for scope in scopes:
            requirements = table.get(scope)
            if requirements is not None:
                return Rule(f'transports.{transport}."{scope}"', requirements)
    return None


def scopes_of(name: str) -> tuple[str, list[str]]:
    """The transport of an OCI image's reference text, and the scopes that speak of it, the most specific first."""
    transport, _colon, rest = name.partition(":")
    if transport == DOCKER:
        image = docker_name(name)
        return transport, docker_scopes(image) if image is not None else []
    if transport in PATH_TRANSPORTS:
        return transport, parent_scopes(real_path(rest.partition(":")[0]))
    return transport, []


def docker_name(name: str) -> ImageName | None:
    """The image name in a ``docker://`` reference; a digest makes the tag meaningless. None for other references."""
    if not name.startswith("docker://"):
        return None
    try:
        image = parse_image_name(name[9:])
    except UsageError:
        return None
    return image.replace(tag="") if image.digest else image


def real_path(path: str) -> str:
    """``path`` without symbolic links: who may make a link must not choose the rule."""
    from posixpath import realpath

    return realpath(path)
