"""Names of images in registries: ``[host[:port]/]repository[:tag][@digest]``.

The grammar of distribution-spec 1.1 for repository and tag, and the Docker Hub rules that every client shares: no host means
``docker.io``, one path component there means ``library/``, no tag and no digest mean ``latest``. Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError, UsageError
from rktpy.formats.oci.digest import parse_digest
from rktpy.record import Record

HUB = "docker.io"
_HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io")
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_HEX = frozenset("0123456789abcdef")
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_TAG = _WORD | frozenset(".-")
_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_LONGEST_NAME = 255
_LONGEST_TAG = 128


class ImageName(Record):
    """A fully expanded name: ``host`` may carry a port; ``tag`` and ``digest`` are empty when not given, never both."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def text(self) -> str:
        """``host/repository[:tag][@digest]``."""
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def name(self) -> str:
        """``host/repository``."""
        return f"{self.host}/{self.repository}"

    def __str__(self) -> str:
        return self.text


def parse_image_name(text: str) -> ImageName:
    """Read and expand a name as a user writes it. Raises :class:`UsageError` with the problem alone, without the name."""
    rest, at, digest = text.partition("@")
    if at:
        try:
            parse_digest(digest, "digest", "")
        except FormatError as error:
            raise UsageError(f"digest {error.problem}") from None
    path, tag = rest, ""
    colon = rest.rfind(":")
    if colon > rest.rfind("/"):
        path, tag = rest[:colon], rest[colon + 1 :]
        if not tag or len(tag) > _LONGEST_TAG or tag[0] not in _WORD or not _TAG.issuperset(tag):
            raise UsageError("the tag must be 1 to 128 letters, digits, '_', '.' or '-' and not start with '.' or '-'")
    host, slash, repository = path.partition("/")
    if slash and _is_host(host):
        host = parse_host(host)
    else:
        host, repository = HUB, path
    if host in _HUB_NAMES:
        host = HUB
        if repository and "/" not in repository:
            if len(repository) == 64 and _HEX.issuperset(repository):
                raise UsageError("64 hex digits are an image ID, not a repository name")
            repository = "library/" + repository
    _check_repository(repository)
    if len(host) + 1 + len(repository) > _LONGEST_NAME:
        raise UsageError(f"the name is longer than {_LONGEST_NAME} characters")
    if not tag and not digest:
        tag = "latest"
    return ImageName(host, repository, tag, digest)


def _is_host(first: str) -> bool:
    """Whether the first path component is a host: it has a dot, a port or brackets, or is ``localhost``."""
    return "." in first or ":" in first or first.lower() == "localhost" or first.startswith("[")


def parse_host(host: str) -> str:
    """Check ``host[:port]`` and bring it into lower case. Raises :class:`UsageError` with the problem alone."""
    lowered = host.lower() if host.isascii() else host
    name, port = lowered, ""
    if lowered.startswith("["):
        address, bracket, after = lowered[1:].partition("]")
        if not bracket or not _is_ipv6(address) or (after and not after.startswith(":")):
            raise UsageError("the registry's IPv6 address is malformed")
        name, port = "", after[1:] if after else ""
        has_port = bool(after)
    else:
        name, colon, port = lowered.partition(":")
        has_port = bool(colon)
    if has_port and not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise UsageError("the registry's port must be 1 to 65535")
    if name or not lowered.startswith("["):
        for label in name.split("."):
            if not label or len(label) > 63 or not _HOST.issuperset(label) or label[0] == "-" or label[-1] == "-":
                raise UsageError("the registry's host name is malformed")
    return lowered


def _is_ipv6(address: str) -> bool:
    from _socket import AF_INET6, inet_pton

    try:
        inet_pton(AF_INET6, address)
    except (OSError, UnicodeError):
        return False
    return True


def _check_repository(repository: str) -> None:
    if not repository:
        raise UsageError("the repository name is missing")
    for component in repository.split("/"):
        if not _is_component(component):
            if component.lower() != component:
                raise UsageError("the repository name must be in lower case")
            raise UsageError(
                "the repository name must be lower-case letters and digits, with one '.', one or two '_' or some '-' between"
            )


def _is_component(component: str) -> bool:
    """``[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*``."""
    if not component or component[0] not in _LOWER or component[-1] not in _LOWER:
        return False
    separator = ""
    for character in component:
        if character in _LOWER:
            if separator not in ("", ".", "_", "__") and separator.strip("-"):
                return False
            separator = ""
        elif character in "._-":
            separator += character
        else:
            return False
    return True
