"""Fetching: bytes come from a transport, are judged by the trust policy, and only then become an image of the store.

Everything that a transport brings lies in the store as blobs and downloads that belong to no image; the record that makes an
image of them is written last, after the decision. What was refused is removed by the next garbage collection.

Messages are those of rkt 1.30's ``rkt/image``. Cold-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import FetchError, InputError, NotFoundError
from rktpy.fetch.reference import (
    AppReference,
    DockerArchiveReference,
    DockerReference,
    FileReference,
    LayoutReference,
    OCIArchiveReference,
    Reference,
    URLReference,
)
from rktpy.linux.service_manager import extend_start
from rktpy.log import debug, note
from rktpy.stage0 import images
from rktpy.store.dependencies import MissingDependency, order
from rktpy.store.image_record import ImageRecord
from rktpy.trust.decision import Image, SignatureFact
from rktpy.trust.explanation import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.aci.manifest import Dependency, ImageManifest
    from rktpy.stage0.options import FetchOptions, Globals
    from rktpy.store.import_aci import ImportedACI
    from rktpy.store.store import Store

#: A detached signature with all its packets; images are unbounded, signatures are not.
_SIGNATURE_LIMIT = 4 << 20
#: More dependencies than any sane image has; a hostile one could name new ones for ever.
_MAX_DEPENDENCIES = 256


def fetch(g: Globals, store: Store, reference: Reference, text: str, options: FetchOptions, signature: str) -> str:
    """Bring an image and everything it depends on into the store; its ID.

    Raises what :func:`rktpy.stage0.images.find_or_fetch` raises.
    """
    extend_start()
    if isinstance(reference, FileReference):
        debug("image", f"using image from file {reference.path}")
        image_id = from_file(g, store, reference.path, signature)
    elif isinstance(reference, URLReference):
        from rktpy.stage0.fetching_http import from_url

        image_id = from_url(g, store, reference.url, options, signature)
    elif isinstance(reference, AppReference):
        from rktpy.stage0.fetching_http import from_name

        image_id = from_name(g, store, reference, options, signature)
    elif isinstance(reference, DockerReference | LayoutReference | OCIArchiveReference | DockerArchiveReference):
        from rktpy.stage0.fetching_oci import from_transport

        return from_transport(g, store, reference, options)
    else:
        raise InputError(f"cannot fetch {text}")
    fetch_dependencies(g, store, image_id, options)
    # What it depends on may have been there before, let in unchecked.
    for decision in images.decisions(g, store, image_id):
        images.require(g, decision)
    if options.render:
        extend_start()
        store.ensure_tree(image_id)
    return image_id


def warn_insecure(g: Globals, *, tls: bool = False) -> None:
    """Say what the user switched off."""
    if tls and g.insecure.tls:
        note("image", "warning: TLS verification has been disabled")
    if g.insecure.image:
        note("image", "warning: image signature verification has been disabled")


def from_file(g: Globals, store: Store, path: str, signature: str) -> str:
    """Take an ACI file into the store.

    The signature is ``signature``, or the ``.aci.asc`` beside the file. With verification the file is copied into the store's own
    directory first: its owner could change it between the check and the import.
    """
    warn_insecure(g)
    if g.insecure.image:
        imported = store.import_aci(path)
        return add_aci(g, store, imported, ())
    asc: bytes | None = None
    if signature or os.path.lexists(signature_path(path)) or images.aci_signature_needed(g):
        asc = read_signature(signature or signature_path(path))
    with store.partial(f"file:{path}:{os.getpid()}") as partial:
        try:
            with open(path, "rb", buffering=0) as file:
                while chunk := file.read(1 << 20):
                    partial.write(chunk)
        except OSError as error:
            raise FetchError("error opening ACI file") from error
        try:
            return verify_and_add(g, store, partial.path, path, asc)
        finally:
            partial.discard()


def signature_path(path: str) -> str:
    """Where the signature of an ACI lies: ``x.aci`` -> ``x.aci.asc`` (rkt ``ascPathFromImgPath``)."""
    return path.removesuffix(".aci") + ".aci.asc"


def read_signature(path: str) -> bytes:
    """A signature file. Raises FetchError in rkt's words."""
    try:
        with open(path, "rb") as file:
            data = file.read(_SIGNATURE_LIMIT + 1)
    except OSError as error:
        raise FetchError("error opening signature file") from error
    if len(data) > _SIGNATURE_LIMIT:
        raise FetchError(f"signature file {path} is larger than {_SIGNATURE_LIMIT} bytes")
    return data


def verify_and_add(
    g: Globals,
    store: Store,
    path: str,
    what: str,
    signature: bytes | None,
    *,
    wanted: AppReference | None = None,
    latest: bool = False,
    references: tuple[str, ...] = (),
    expected_id: str | None = None,
) -> str:
    """Import the ACI at ``path``, which nobody else can change, check its signature and make it an image; its ID.

    ``what`` is what messages call it.
    ``wanted`` is what was asked for: name and labels must be those. ``signature`` None means that there is none to be looked at:
    verification is switched off, or the policy may do without.
    """
    imported = store.import_aci(path, what=what, expected_id=expected_id)
    if wanted is not None:
        check_name(imported.manifest, wanted)
    facts: tuple[SignatureFact, ...] = ()
    if signature is not None:
        from rktpy.trust.openpgp import check_file

        keys = images.keystore(g)
        name = imported.manifest.name
        facts = check_file(path, signature, keys, keys.keys_for(name), images.own_aci_keys(g, name))
        _report(name, facts)
    return add_aci(g, store, imported, facts, latest=latest, references=references)


def _report(name: str, facts: tuple[SignatureFact, ...]) -> None:
    good = [fact for fact in facts if not fact.problem]
    if good:
        note("image", "\n".join(["signature verified:", *[f"  {printable(fact.identity)}" for fact in good]]))
    elif any("unknown entity" in fact.problem for fact in facts):
        note("image", "If you expected the signing key to change, try running:")
        note("image", f"    rktpy trust --prefix {name}")


def add_aci(
    g: Globals,
    store: Store,
    imported: ImportedACI,
    facts: tuple[SignatureFact, ...],
    *,
    latest: bool = False,
    references: tuple[str, ...] = (),
) -> str:
    """Ask the trust policy about an imported ACI and make it an image; its ID. Raises TrustError."""
    manifest = imported.manifest
    evidence = tuple([fact.to_dict() for fact in facts])
    subject = Image(imported.id, "aci", manifest.name)
    images.require(g, images.decide_image(g, store, subject, evidence, insecure=g.insecure.image))
    record = ImageRecord(
        id=imported.id,
        format="aci",
        name=manifest.name,
        labels=manifest.labels,
        size=imported.size,
        latest=latest,
        blobs=(imported.digest,),
        references=references,
        evidence=tuple([fact.to_dict() for fact in facts if not fact.problem]),
    )
    store.add_image(record, imported.manifest_bytes)
    return imported.id


def check_name(manifest: ImageManifest, wanted: AppReference) -> None:
    """What was fetched must be what was asked for (appc discovery; rkt ``validator``). Raises InputError."""
    if manifest.name != wanted.name:
        raise InputError(f'error when reading the app name: "{wanted.name}" expected but "{manifest.name}" found')
    for label in wanted.labels:
        value = manifest.label(label.name)
        if value is None:
            raise InputError(f'requested label "{label.name}" not provided by the image manifest')
        if value != label.value:
            found = printable(value)
            text = f'requested value for label "{label.name}": "{label.value}" differs from fetched aci label value: "{found}"'
            raise InputError(text)


def fetch_dependencies(g: Globals, store: Store, image_id: str, options: FetchOptions) -> None:
    """Fetch what an ACI depends on, and what that depends on, until nothing is missing.

    With the pull policy ``update`` each dependency is asked for once even if one is in the store. Raises InputError for a circle
    of dependencies (naming it) or for too many, and what fetching raises.
    """
    if not store.manifest(image_id).dependencies:
        return
    import networkx

    graph: networkx.DiGraph[str] = networkx.DiGraph()
    asked: set[str] = set()
    pending = [image_id]
    while pending:
        current = pending.pop()
        for dependency in store.manifest(current).dependencies:
            reference = AppReference(dependency.image_name, dependency.labels)
            key = f"{current} {reference.text} {dependency.image_id}"
            if key in asked:
                continue
            asked.add(key)
            if len(asked) > _MAX_DEPENDENCIES:
                raise InputError(f"image {image_id} has more than {_MAX_DEPENDENCIES} dependencies")
            found = _dependency(g, store, dependency, reference, options)
            graph.add_edge(current, found)
            if not networkx.is_directed_acyclic_graph(graph):
                names = [store.record(edge[0]).name for edge in networkx.find_cycle(graph)]
                raise InputError(f"image dependencies form a cycle: {' -> '.join([*names, names[0]])}")
            pending.append(found)
    try:
        order(store.layout, image_id)
    except MissingDependency as error:
        raise FetchError(f"failed to get dependencies for image ID {image_id}") from error


def _dependency(g: Globals, store: Store, dependency: Dependency, reference: AppReference, options: FetchOptions) -> str:
    if dependency.image_id:
        try:
            return store.resolve_id(dependency.image_id)
        except NotFoundError:
            pass
    elif options.pull_policy != "update":
        record = store.find_by_name(dependency.image_name, dependency.labels)
        if record is not None:
            debug("image", f"using image from local store for image name {reference.text}")
            return record.id
    if options.pull_policy == "never":
        raise FetchError(f'dependency "{reference.text}" is not in the store and fetching is disabled')
    from rktpy.stage0.fetching_http import from_name

    return from_name(g, store, reference, options, "", expected_id=dependency.image_id or None, size=dependency.size)
