"""OCI image layouts: the ``oci-layout`` file and the choice of an image from ``index.json`` (OCI image-spec 1.1 image-layout.md).

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import AmbiguousError, FormatError, NotFoundError
from rktpy.formats import jsondoc
from rktpy.formats.oci import members
from rktpy.formats.oci.digest import HEX_LENGTHS
from rktpy.formats.oci.index import ImageIndex, is_placeholder, select_platform
from rktpy.formats.oci.media_types import INDEX_TYPES, MANIFEST_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.oci.descriptor import Descriptor
    from rktpy.formats.oci.platform import Platform

REF_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"
_LISTED = 20
_HEX = "0123456789abcdef"
_SUFFIXES = ("sig", "att", "sbom")


def check_layout_file(data: bytes, what: str = "oci-layout") -> None:
    """Check the content of the file ``oci-layout``. Raises :class:`FormatError` for a version other than 1.x."""
    version = members.text(jsondoc.parse_object(data, what), "imageLayoutVersion", what, "", required=True)
    if version.partition(".")[0] != "1":
        raise FormatError(what, "imageLayoutVersion", f"version {version!r} is not supported (1.0.0 is)")


def choose_entry(index: ImageIndex, ref: str, platform: Platform, what: str) -> Descriptor:
    """The entry of a layout's ``index.json`` that ``ref`` means.

    ``ref`` is a reference name, ``@<digest>``, ``@<number>`` (position, from 0), or empty for the only image there is. Entries
    that share a name are taken for the platforms of one image. ``what`` names the layout. Raises :class:`NotFoundError` and
    :class:`AmbiguousError`, listing the names there are.
    """
    if ref.startswith("@"):
        return _by_position_or_digest(index, ref[1:], what)
    if ref:
        named = [entry for entry in index.manifests if entry.annotations.get(REF_NAME) == ref]
        if not named:
            named = [entry for entry in index.manifests if entry.annotations.get(_CONTAINERD_NAME) == ref]
        if not named:
            raise NotFoundError(f"{what}: no image is called {ref!r}; there is {_listing(list(index.manifests))}")
    else:
        named = [entry for entry in index.manifests if _is_image(entry)]
        if not named:
            raise NotFoundError(f"{what}: holds no image")
    return _only(named, index, platform, what)


def named_images(index: ImageIndex) -> list[tuple[str, str]]:
    """The images of a layout, each as its reference name and digest: those that have a name, or else the nameless ones.

    Signatures are left out: cosign's tags, indexes of referrers and entries that state what artifact they are.
    """
    named: list[tuple[str, str]] = []
    nameless: list[tuple[str, str]] = []
    for entry in index.manifests:
        name = entry.annotations.get(REF_NAME) or entry.annotations.get(_CONTAINERD_NAME) or ""
        if not _is_image(entry) or _is_signature_tag(name.rpartition("/")[2].rpartition(":")[2]):
            continue
        (named if name else nameless).append((name, entry.digest))
    return list(dict.fromkeys(named or nameless))


def _is_signature_tag(tag: str) -> bool:
    """Whether a tag is one of those under which signatures of a digest are found."""
    algorithm, dash, rest = tag.partition("-")
    encoded, dot, suffix = rest.partition(".")
    length = min(HEX_LENGTHS.get(algorithm, 0), 64)
    return bool(dash and length) and len(encoded) >= length and not encoded.strip(_HEX) and (not dot or suffix in _SUFFIXES)


def _is_image(entry: Descriptor) -> bool:
    kind = entry.media_type
    return not entry.artifact_type and not is_placeholder(entry) and (not kind or kind in INDEX_TYPES or kind in MANIFEST_TYPES)


def _only(named: list[Descriptor], index: ImageIndex, platform: Platform, what: str) -> Descriptor:
    if len({entry.digest for entry in named}) == 1:
        return named[0]
    if len({entry.annotations.get(REF_NAME) for entry in named}) == 1 and all(entry.platform for entry in named):
        return select_platform(index.replace(manifests=tuple(named)), platform, what)
    raise AmbiguousError(f"{what}: holds several images, choose one by adding :NAME to the reference; there is {_listing(named)}")


def _by_position_or_digest(index: ImageIndex, text: str, what: str) -> Descriptor:
    if text.isascii() and text.isdigit():
        if len(text) > 6 or int(text) >= len(index.manifests):
            raise NotFoundError(f"{what}: has no entry {text}; there are {len(index.manifests)}, counted from 0")
        return index.manifests[int(text)]
    for entry in index.manifests:
        if entry.digest == text:
            return entry
    raise NotFoundError(f"{what}: no image has the digest {text!r}; there is {_listing(list(index.manifests))}")


def _listing(entries: list[Descriptor]) -> str:
    names = [entry.annotations.get(REF_NAME) or f"@{entry.digest}" for entry in entries]
    shown = ", ".join([ascii(name)[1:-1] for name in names[:_LISTED]])
    if len(names) > _LISTED:
        shown += f" and {len(names) - _LISTED} more"
    return shown or "none"
