"""The archive that ``docker save``, ``podman save`` and skopeo write (Docker image spec v1.2, "Combined Image JSON + Filesystem
Changeset Format").

A tar with ``manifest.json``, which names the configuration and the layers of each image by their names in the tar. Newer
versions of Docker write an OCI layout around the same ``manifest.json``. Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import AmbiguousError, FormatError, NotFoundError, UsageError
from rktpy.formats import jsondoc
from rktpy.formats.oci import members
from rktpy.formats.oci.image_name import parse_image_name
from rktpy.formats.oci.manifest import MAX_LAYERS
from rktpy.formats.oci.media_types import DOCKER_CONFIG, DOCKER_MANIFEST
from rktpy.record import Record

_LISTED = 20


class SavedImage(Record):
    """One image of the archive: the names in the tar of its configuration and its layers (bottom first), and its tags."""

    config: str
    layers: tuple[str, ...]
    repo_tags: tuple[str, ...] = ()


def parse_saved_images(data: bytes, what: str = "manifest.json") -> tuple[SavedImage, ...]:
    """Read ``manifest.json``. Raises :class:`FormatError`."""
    documents = jsondoc.parse(data, what)
    if not isinstance(documents, list):
        raise FormatError(what, "", "must be a list")
    images: list[SavedImage] = []
    for number, item in enumerate(documents):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        path = f"[{number}]"
        doc = members.checked_object(item, what, path)
        layers = members.texts(doc, "Layers", what, path) or ()
        if len(layers) > MAX_LAYERS:
            raise FormatError(what, f"{path}.Layers", f"has more than {MAX_LAYERS} entries")
        config = members.text(doc, "Config", what, path, required=True)
        images.append(SavedImage(config, layers, members.texts(doc, "RepoTags", what, path) or ()))
    return tuple(images)


def choose_saved_image(images: tuple[SavedImage, ...], ref: str, what: str) -> SavedImage:
    """The image that ``ref`` means: a name with tag, ``@<number>`` (position, from 0), or empty for the only one.

    Names are compared in their full form, so ``busybox`` finds ``docker.io/library/busybox:latest``. ``what`` names the archive.
    Raises :class:`NotFoundError` and :class:`AmbiguousError`, listing the tags there are.
    """
    if not ref:
        if len(images) == 0:
            raise NotFoundError(f"{what}: holds no image")
        if len(images) > 1:
            raise AmbiguousError(
                f"{what}: holds several images, choose one by adding :NAME to the reference; there is {_listing(images)}"
            )
        return images[0]
    if ref.startswith("@"):
        number = ref[1:]
        if not (number.isascii() and number.isdigit()) or len(number) > 6 or int(number) >= len(images):
            raise NotFoundError(f"{what}: has no image {ref}; there are {len(images)}, counted from 0")
        return images[int(number)]
    wanted = expanded_tag(ref)
    for image in images:
        for tag in image.repo_tags:
            if tag == ref or (wanted and expanded_tag(tag) == wanted):
                return image
    raise NotFoundError(f"{what}: no image is called {ref!r}; there is {_listing(images)}")


def expanded_tag(text: str) -> str:
    """The full form of an image name, or empty when it is not one."""
    try:
        return parse_image_name(text).text
    except UsageError:
        return ""


def _listing(images: tuple[SavedImage, ...]) -> str:
    names = [image.repo_tags[0] if image.repo_tags else f"@{number}" for number, image in enumerate(images)]
    shown = ", ".join([ascii(name)[1:-1] for name in names[:_LISTED]])
    return shown + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def manifest_of_saved_image(config_digest: str, config_size: int, layers: tuple[tuple[str, str, int], ...]) -> bytes:
    """A Docker schema 2 manifest for an image that came without one.

    ``layers`` are (media type, digest, size in bytes). The bytes depend on the arguments alone and are those that
    containers/image makes up for the same archive, so that the image has one digest everywhere.
    """
    doc = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {"mediaType": DOCKER_CONFIG, "size": config_size, "digest": config_digest},
        "layers": [{"mediaType": kind, "size": size, "digest": digest} for kind, digest, size in layers],
    }
    return jsondoc.dump(doc)


def member_key(name: bytes) -> bytes | None:
    """A tar entry's name in the form in which names are compared: no ``./``, no doubled or trailing slash.

    None for a name that is absolute or has ``..``: it names nothing in an archive of ours.
    """
    if name.startswith(b"/"):
        return None
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    return None if b".." in parts else b"/".join(parts)


def link_key(name: bytes, target: bytes) -> bytes | None:
    """The entry that the symbolic link ``name`` (a key) points to, or None when that is outside of the archive."""
    if target.startswith(b"/"):
        return None
    parts = name.split(b"/")[:-1]
    for part in target.split(b"/"):
        if part == b"..":
            if not parts:
                return None
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)
