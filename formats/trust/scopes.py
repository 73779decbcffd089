"""What may stand as a scope below a transport of policy.json (containers-policy.json(5), "Supported transports").

A scope that can never match is a problem: an image is then judged by a more general rule than the author of the policy believes.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import UsageError
from rktpy.formats.aci.types import is_ac_identifier
from rktpy.formats.oci.image_name import ImageName, parse_host, parse_image_name

DOCKER = "docker"
ACI = "aci"
#: Transports whose images are named by paths.
PATH_TRANSPORTS = ("oci", "oci-archive", "dir")
#: Transports whose images have no names: only the scope "" can be given.
NAMELESS_TRANSPORTS = ("docker-archive", "tarball")
#: Transports of containers/image that rktpy does not have. Their scopes are read and never match.
FOREIGN_TRANSPORTS = ("atomic", "containers-storage", "docker-daemon", "ostree", "sif")
TRANSPORTS = (ACI, DOCKER, *PATH_TRANSPORTS, *NAMELESS_TRANSPORTS, *FOREIGN_TRANSPORTS)


def scope_problem(transport: str, scope: str) -> str:
    """What is wrong with a scope; empty if nothing is. The scope "" is good everywhere."""
    if not scope:
        return ""
    if not scope.isprintable():
        return "has control characters"
    if transport == DOCKER:
        return _docker_problem(scope)
    if transport in PATH_TRANSPORTS:
        return _path_problem(scope)
    if transport == ACI:
        return aci_problem(scope)
    if transport in NAMELESS_TRANSPORTS:
        return f'images of {transport} have no names: only the scope "" can be used'
    return ""


def _docker_problem(scope: str) -> str:
    if "*" in scope:
        domain = scope.removeprefix("*.")
        if domain == scope or "*" in domain or "/" in domain or ":" in domain:
            return "a wildcard stands for subdomains, as in *.example.com, and for nothing else"
        return _host_problem(domain)
    if "/" not in scope:
        # A name without a slash is a host here, and a repository of Docker Hub on a command line.
        return _host_problem(scope) or ("" if _is_host(scope) else _NOT_FULL)
    if not _is_host(scope.partition("/")[0]):
        return _NOT_FULL
    return repository_problem(scope, version=True)


_NOT_FULL = "must begin with a registry's host name, as in docker.io/library/busybox"


def _is_host(text: str) -> bool:
    return "." in text or ":" in text or text == "localhost"


def _host_problem(host: str) -> str:
    try:
        parsed = parse_host(host)
    except UsageError as error:
        return str(error)
    return "" if parsed == host else "a host name is written in lower case"


def repository_problem(scope: str, *, version: bool) -> str:
    """What is wrong with ``host[:port]/path``, with ``version`` also ``host[:port]/path:tag`` and ``…@digest``."""
    last = scope.rpartition("/")[2]
    if not version and ("@" in scope or ":" in last):
        return "must not have a tag or digest"
    if "@" in scope and ":" in scope.partition("@")[0].rpartition("/")[2]:
        return "must not have both a tag and a digest"
    try:
        parsed = parse_image_name(scope)
    except UsageError as error:
        return str(error)
    if not scope.startswith(parsed.host + "/"):
        return f"the registry is called {parsed.host}"
    return ""


def prefix_problem(prefix: str) -> str:
    """What is wrong with ``host[:port][/path]``, the prefix of image names that ``remapIdentity`` takes."""
    if "/" in prefix:
        return repository_problem(prefix, version=False) if _is_host(prefix.partition("/")[0]) else _NOT_FULL
    return _host_problem(prefix) or ("" if _is_host(prefix) else _NOT_FULL)


def _path_problem(scope: str) -> str:
    if scope[0] != "/":
        return "must be an absolute path"
    if scope == "/":
        return 'must not be "/": use "" for all images of the transport'
    if any(part in ("", ".", "..") for part in scope[1:].split("/")):
        return "must be a path without empty parts, . and .."
    return ""


def aci_problem(scope: str) -> str:
    """What is wrong with a prefix of ACI names."""
    if not is_ac_identifier(scope) or any(part in ("", ".", "..") for part in scope.split("/")):
        return "is not an image name"
    return ""


def docker_scopes(image: ImageName) -> list[str]:
    """The scopes that speak of a name in a registry, the most specific first, without "".

    Where a digest is given the tag only informs. Source: containers/image ``docker/policyconfiguration``; registries.d has the
    same scopes.
    """
    scopes = [(image.replace(tag="") if image.digest else image).text, *parent_scopes(image.name)]
    # Wildcards are for names of hosts, without their port; an address has no subdomains.
    domain = "" if image.host.startswith("[") else image.host.partition(":")[0]
    while "." in domain:
        domain = domain.partition(".")[2]
        scopes.append(f"*.{domain}")
    return scopes


def parent_scopes(name: str) -> list[str]:
    """``a/b/c`` -> itself, ``a/b``, ``a``. The root directory of a path is left out: policies cannot name it."""
    scopes: list[str] = []
    while name:
        scopes.append(name)
        name = name.rpartition("/")[0]
    return scopes
