"""Taking images from a file that ``image save`` or another tool wrote, with their signatures. Cold-path module.

An image gets the name that the archive has for it, and is judged by that name as if it had been fetched from there: this is how a
machine without a network comes to it. A policy that accepts anything under a name says so of what its registry delivers, not of
any file; so in that case the archive itself must be allowed as well, as ``fetch oci-archive:FILE`` asks it.
"""

from __future__ import annotations

import os
from hashlib import file_digest

from rktpy.errors import FetchError, FormatError, NotFoundError, UsageError
from rktpy.fetch.archive_file import ArchiveFile
from rktpy.fetch.layouts import pull_oci_archive
from rktpy.fetch.reference import DockerReference, OCIArchiveReference
from rktpy.formats.oci.image_name import parse_image_name
from rktpy.formats.oci.index import ImageIndex
from rktpy.formats.oci.layout import named_images
from rktpy.formats.oci.parse import MAX_DOCUMENT, parse_manifest_document
from rktpy.log import debug
from rktpy.stage0.fetching import read_signature, signature_path, warn_insecure
from rktpy.stage0.fetching_oci import add_pulled, wanted_platform
from rktpy.stage0.images import find_or_fetch, judge_name
from rktpy.stage0.signatures import keep_detached

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage0.options import FetchOptions, Globals
    from rktpy.store.store import Store


def load(g: Globals, store: Store, path: str, options: FetchOptions, name: str = "") -> list[str]:
    """Take the images of the file ``path``, an OCI archive or an ACI, into the store; their IDs in the order of the file.

    ``name``, if any, is the only image wanted. Raises NotFoundError, FetchError, FormatError, DigestMismatch, TrustError.
    """
    path = os.path.abspath(path)
    if path.endswith(".aci"):
        if name:
            raise UsageError("an ACI is the only image of its file: --name is for archives")
        return [_load_aci(g, store, path, options)]
    if ":" in path:
        raise UsageError(f"{path}: a colon in the name of an archive would be taken for the end of its name")
    if os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(f"{path}: is not a file (images of a layout in a directory are fetched, as oci:{path})")
    warn_insecure(g)
    found = _images(store, path)
    if name:
        found = [one for one in found if one[0] in (name, name.removeprefix("docker://"))]
    if not found:
        raise NotFoundError(f"oci-archive {path}: holds no image" + (f" called {name!r}" if name else ""))
    return list(dict.fromkeys([_load_one(g, store, path, one, digest, options) for one, digest in found]))


def _images(store: Store, path: str) -> list[tuple[str, str]]:
    with ArchiveFile(path, "oci-archive", store) as archive:
        what = f"{archive.name}: index.json"
        index = parse_manifest_document(archive.read_document("index.json", MAX_DOCUMENT), None, what)
        if not isinstance(index, ImageIndex):
            raise FormatError(what, "manifests", "is missing")
        return named_images(index)


def _load_one(g: Globals, store: Store, path: str, name: str, digest: str, options: FetchOptions) -> str:
    archive = OCIArchiveReference(path, name or f"@{digest}")
    reference = _reference(archive, name)
    debug("image", f"loading {reference.text} from {path}")
    judge_name(g, reference.text)
    pulled = pull_oci_archive(path, f"@{digest}", wanted_platform(options.platform), store)
    image_id = add_pulled(g, store, pulled, reference, archive)
    if options.render:
        store.ensure_tree(image_id)
    return image_id


def _reference(archive: OCIArchiveReference, name: str) -> DockerReference | OCIArchiveReference:
    """The name that an image gets: its place in a registry if the archive tells it, or else where it lies in the archive."""
    if "/" in name:
        try:
            known = parse_image_name(name)
            return DockerReference(known.host, known.repository, known.tag, known.digest)
        except UsageError:
            pass
    return archive


def _load_aci(g: Globals, store: Store, path: str, options: FetchOptions) -> str:
    """As fetching the file does; its signature is kept too if it is one over the image as the store has it."""
    image_id = find_or_fetch(g, store, path, options)
    try:
        data = read_signature(signature_path(path))
    except FetchError:
        return image_id  # and yet it was accepted
    record = store.record(image_id)
    with open(path, "rb") as file:
        if "sha512-" + file_digest(file, "sha512").hexdigest() == image_id:
            keep_detached(store, record, data, ())
    return image_id
