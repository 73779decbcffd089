"""References to images, as users of rkt and skopeo write them on a command line.

rkt 1.30 decides by the scheme, and without one by a short list of guesses between a file and an app name; the transports of
skopeo (``oci:``, ``oci-archive:``, ``docker-archive:``) and image IDs are added to that. ``str()`` of a parsed reference is its
full, absolute form, and parses to the same reference.

Hot-path module.
"""

from __future__ import annotations

import os
from stat import S_ISREG

from rktpy.errors import UsageError
from rktpy.fetch.app_string import checked_app, parse_app_string, quoted
from rktpy.fetch.url import checked_http_url, escape, file_url, path_of_file_url, query_pairs, unescape
from rktpy.formats.oci.image_name import HUB, parse_image_name
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rktpy.formats.aci.types import NameValue

ACI_EXTENSION = ".aci"

_HEX = frozenset("0123456789abcdef")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_SCHEME = _LETTERS | frozenset("0123456789+-.")
_ID_LENGTHS = {"sha512": 128, "sha256": 64}
_SHORTEST_ID = 2
_FOREIGN_TRANSPORTS = ("atomic", "containers-storage", "dir", "docker-daemon", "ostree", "sif", "tarball")


class Reference(Record):
    """Base of all references."""

    @property
    def text(self) -> str:
        """The full form, which parses to an equal reference."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.text


class FileReference(Reference):
    """An ACI in a file; ``path`` is absolute."""

    path: str

    @property
    def text(self) -> str:
        """``file:///path``, or rkt's ``cimd:`` form when the name does not end in ``.aci``."""
        return _archive_text(file_url(self.path), self.path)


class URLReference(Reference):
    """An ACI behind an http or https URL."""

    url: str

    @property
    def text(self) -> str:
        """The URL, or rkt's ``cimd:`` form when its path does not end in ``.aci``."""
        return _archive_text(self.url, self.url.partition("?")[0])


class AppReference(Reference):
    """An image by appc name and labels: found in the store or by meta discovery. Labels in the order version, os, arch, rest."""

    name: str
    labels: tuple[NameValue, ...] = ()

    @property
    def text(self) -> str:
        """``name[:version][,label=value...]``, or rkt's ``cimd:`` form for a name that would be taken for something else."""
        if _is_taken(self.name):
            pairs = "&".join([f"{label.name}={escape(label.value)}" for label in self.labels])
            return f"cimd:appc:v=0:{escape(self.name)}" + (f"?{pairs}" if pairs else "")
        parts = [self.name]
        for label in self.labels:
            parts.append(f":{label.value}" if label.name == "version" else f",{label.name}={label.value}")
        return "".join(parts)

    def label(self, name: str) -> str | None:
        """The value of one label."""
        for label in self.labels:
            if label.name == name:
                return label.value
        return None


class DockerReference(Reference):
    """An image in a registry, fully expanded: Docker Hub is the host ``docker.io``. With a digest the tag only informs."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def text(self) -> str:
        """``docker://host/repository[:tag][@digest]``."""
        return f"docker://{self.name}{self._version}"

    @property
    def name(self) -> str:
        """``host/repository``, the name that policies and signatures speak of."""
        return f"{self.host}/{self.repository}"

    @property
    def _version(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def api_host(self) -> str:
        """The host[:port] whose API serves the image."""
        return "registry-1.docker.io" if self.host == HUB else self.host

    @property
    def familiar(self) -> str:
        """The shortest form that means the same: no ``docker.io/library/`` and no ``:latest``."""
        name = self.name
        if self.host == HUB:
            rest = self.repository.removeprefix("library/")
            name = self.repository if "/" in rest else rest
        if self.tag == "latest" and not self.digest:
            return name
        return name + self._version


class LayoutReference(Reference):
    """An image in an OCI layout directory; ``path`` is absolute; ``ref`` a reference name, ``@digest``, ``@number``, or empty."""

    path: str
    ref: str = ""

    @property
    def text(self) -> str:
        """``oci:path[:ref]``."""
        return _transport_text("oci", self.path, self.ref)


class OCIArchiveReference(Reference):
    """An image in a tar of an OCI layout; members as :class:`LayoutReference`."""

    path: str
    ref: str = ""

    @property
    def text(self) -> str:
        """``oci-archive:path[:ref]``."""
        return _transport_text("oci-archive", self.path, self.ref)


class DockerArchiveReference(Reference):
    """An image in the output of ``docker save``; ``ref`` is a name with tag, ``@number``, or empty."""

    path: str
    ref: str = ""

    @property
    def text(self) -> str:
        """``docker-archive:path[:ref]``."""
        return _transport_text("docker-archive", self.path, self.ref)


class ImageIDReference(Reference):
    """An image in the store by its ID or an unambiguous beginning of it, with the algorithm: ``sha512-1b3f``."""

    prefix: str

    @property
    def text(self) -> str:
        """The ID as given."""
        return self.prefix


def parse_reference(text: str) -> Reference:
    """Understand a reference.

    Files are looked for (one ``stat``) only where nothing else tells a file from a name, as rkt does. Raises
    :class:`UsageError` with one line.
    """
    if not text:
        raise UsageError("the image name is empty")
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        raise _invalid(text, "it is not a valid argument") from None
    if any(byte < 0x20 or byte == 0x7F for byte in encoded):
        raise _invalid(text, "it has control characters")
    reference = _image_id(text)
    if reference is not None:
        return reference
    scheme, rest = _split_scheme(text)
    if not scheme:
        return _file(text) if _looks_like_file(text) else AppReference(*parse_app_string(text))
    reader = _READERS.get(scheme)
    if reader is not None:
        return reader(text, rest)
    if rest.startswith("//"):
        raise _invalid(text, f"the scheme {scheme!r} is not supported")
    if scheme in ("docker-daemon", "containers-storage") or (scheme in _FOREIGN_TRANSPORTS and "/" in rest):
        raise _invalid(text, f"the transport {scheme!r} is not supported; copy the image with skopeo to oci: or docker-archive:")
    return AppReference(*parse_app_string(text))


def _invalid(text: str, problem: str) -> UsageError:
    return UsageError(f"invalid image string {quoted(text)}: {problem}")


def _split_scheme(text: str) -> tuple[str, str]:
    """The URL scheme in lower case and what follows its colon (RFC 3986 section 3.1), or empty and the whole."""
    scheme, colon, rest = text.partition(":")
    if colon and scheme and scheme[0] in _LETTERS and _SCHEME.issuperset(scheme):
        return scheme.lower(), rest
    return "", text


def _image_id(text: str) -> ImageIDReference | None:
    algorithm, separator, digits = text[:6], text[6:7], text[7:]
    length = _ID_LENGTHS.get(algorithm)
    if length is None or not _HEX.issuperset(digits):
        return None
    # A digest is the ID of an OCI image as other tools write it; with a colon it must be whole, or it would be a version.
    if (separator == "-" and _SHORTEST_ID <= len(digits) <= length) or (separator == ":" and len(digits) == length):
        return ImageIDReference(f"{algorithm}-{digits}")
    return None


def _looks_like_file(text: str) -> bool:
    if text.startswith("/") or _is_regular_file(text):
        return True
    if ":" in text:
        return False
    return "./" in text or text.endswith(ACI_EXTENSION)


def _is_taken(name: str) -> bool:
    """Whether the app ``name``, written alone or before a colon, would be read as a file, an ID or a transport."""
    return (
        name in _READERS
        or name in _FOREIGN_TRANSPORTS
        or _image_id(name) is not None
        or (name in _ID_LENGTHS)
        or "./" in name
        or name.endswith(ACI_EXTENSION)
    )


def _absolute(path: str) -> str:
    absolute = os.path.abspath(path)
    return absolute[1:] if absolute.startswith("//") else absolute


def _is_regular_file(path: str) -> bool:
    try:
        return S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _archive_text(url: str, path: str) -> str:
    if path.endswith(ACI_EXTENSION):
        return url
    return "cimd:aci-archive:v=0:" + escape(url)


def _file(path: str) -> FileReference:
    absolute = _absolute(path)
    if not absolute.endswith(ACI_EXTENSION):
        hint = "the name of an image file ends in .aci; other archives need oci-archive: or docker-archive: before their path"
        raise _invalid("file://" + absolute, hint)
    return FileReference(absolute)


def _read_file_url(text: str, rest: str, *, any_name: bool = False) -> Reference:
    try:
        path = path_of_file_url(rest)
    except UsageError as error:
        raise _invalid(text, str(error)) from None
    return FileReference(_absolute(path)) if any_name else _file(path)


def _read_http_url(text: str, _rest: str, *, any_name: bool = False) -> Reference:
    try:
        url = checked_http_url(text)
    except UsageError as error:
        raise _invalid(text, str(error)) from None
    if not any_name and not url.partition("?")[0].endswith(ACI_EXTENSION):
        raise _invalid(text, "the path of an image URL ends in .aci")
    return URLReference(url)


def _read_docker(text: str, rest: str) -> Reference:
    try:
        name = parse_image_name(rest.removeprefix("//"))
    except UsageError as error:
        raise _invalid(text, str(error)) from None
    return DockerReference(name.host, name.repository, name.tag, name.digest)


def _path_and_ref(text: str, rest: str) -> tuple[str, str]:
    path, _colon, ref = rest.partition(":")
    if not path:
        raise _invalid(text, "the path is missing")
    absolute = _absolute(path)
    if ":" in absolute:
        raise _invalid(text, f"the directory {quoted(absolute)} has a colon, which separates path and reference")
    return absolute, ref


def _transport_text(scheme: str, path: str, ref: str) -> str:
    return f"{scheme}:{path}:{ref}" if ref else f"{scheme}:{path}"


def _read_layout(text: str, rest: str) -> Reference:
    return LayoutReference(*_path_and_ref(text, rest))


def _read_oci_archive(text: str, rest: str) -> Reference:
    return OCIArchiveReference(*_path_and_ref(text, rest))


def _read_docker_archive(text: str, rest: str) -> Reference:
    path, ref = _path_and_ref(text, rest)
    if ref and not ref.startswith("@"):
        try:
            name = parse_image_name(ref)
        except UsageError as error:
            raise _invalid(text, str(error)) from None
        if name.digest:
            raise _invalid(text, "a docker-archive is not searched by digest")
        ref = name.text
    return DockerArchiveReference(path, ref)


def _read_cimd(text: str, rest: str) -> Reference:
    """rkt's own notation, ``cimd:type:v=version:data`` (rkt 1.30, pkg/distribution)."""
    opaque, _mark, query = rest.partition("#")[0].partition("?")
    kind, _, after = opaque.partition(":")
    version, colon, data = after.partition(":")
    if not colon:
        raise _invalid(text, "malformed distribution uri")
    number = version.removeprefix("v=")
    if not (number.isascii() and number.isdigit()):
        raise _invalid(text, f"malformed distribution version: {quoted(version)}")
    if number.strip("0"):
        raise _invalid(text, f"distribution version {number} is not supported")
    if kind == "docker":
        return _read_docker(text, data)
    if kind == "appc":
        try:
            name, pairs = unescape(data), query_pairs(query)
        except UsageError as error:
            raise _invalid(text, str(error)) from None
        return AppReference(*checked_app(text, name, pairs))
    if kind == "aci-archive":
        return _read_cimd_archive(text, data)
    raise _invalid(text, f"unknown distribution type: {quoted(kind)}")


def _read_cimd_archive(text: str, data: str) -> Reference:
    try:
        url = unescape(data)
    except UsageError as error:
        raise _invalid(text, str(error)) from None
    scheme, rest = _split_scheme(url)
    if scheme == "file":
        return _read_file_url(url, rest, any_name=True)
    if scheme in ("http", "https"):
        return _read_http_url(url, rest, any_name=True)
    raise _invalid(text, "an ACI archive needs a file, http or https URL")


_READERS: dict[str, Callable[[str, str], Reference]] = {
    "file": _read_file_url,
    "http": _read_http_url,
    "https": _read_http_url,
    "docker": _read_docker,
    "oci": _read_layout,
    "oci-archive": _read_oci_archive,
    "docker-archive": _read_docker_archive,
    "cimd": _read_cimd,
}
