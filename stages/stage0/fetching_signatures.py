"""Looking for the signatures of an OCI image that is being fetched, as far as the policy can use them.

Simple-signing signatures lie in a lookaside storage that registries.d names; all others lie beside the image, in its registry or
layout. They are looked for under the logical name of the image; a mirror of the registry may hold them too.

Cold-path module.
"""

from __future__ import annotations

from rktpy.fetch.reference import DockerReference, LayoutReference, OCIArchiveReference
from rktpy.formats.oci.image_name import ImageName
from rktpy.formats.trust.evidence import NOTATION, SIMPLE_SIGNING
from rktpy.stage0 import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.fetch.reference import Reference
    from rktpy.formats.trust.evidence import Evidence
    from rktpy.stage0.options import Globals
    from rktpy.store.store import Store


def find_signatures(g: Globals, store: Store, reference: Reference, digest: str) -> tuple[dict[str, Any], ...]:
    """The signatures of the manifest ``digest`` that can matter for ``reference``, as an image's record keeps them.

    Their blobs are put into the store. Nothing is looked for where the policy asks for none. Raises FetchError, ConfigError.
    """
    path = images.policy_path(g)
    if g.insecure.image or not path:
        return ()
    from rktpy.stage0.policy_decisions import evidence_wanted

    wanted = evidence_wanted(path, "oci", reference.text)
    found: list[Evidence] = []
    if isinstance(reference, DockerReference):
        if SIMPLE_SIGNING in wanted:
            found += _lookaside(g, store, reference, digest)
        others = [family for family in wanted if family != SIMPLE_SIGNING]
        if others:
            from rktpy.fetch.signatures import find_evidence
            from rktpy.stage0.transport import open_registry

            with open_registry(g, reference) as registry:
                found += find_evidence(registry, digest, store, others)
    elif wanted and isinstance(reference, LayoutReference | OCIArchiveReference):
        from rktpy.fetch.signatures import find_evidence_in_layout

        found += find_evidence_in_layout(reference, digest, store, wanted)
    if any(one.family == NOTATION for one in found):
        from rktpy.stage0.notation_revocation import ask_about

        found = ask_about(g, store, path, reference.text, found)
    return tuple([one.to_dict() for one in found])


def _lookaside(g: Globals, store: Store, reference: DockerReference, digest: str) -> tuple[Evidence, ...]:
    from rktpy.fetch.lookaside import read_signatures
    from rktpy.fetch.registries_d import load_registries_d
    from rktpy.stage0.transport import open_client

    base = load_registries_d().lookaside(ImageName(reference.host, reference.repository, reference.tag, reference.digest))
    # What is there proves itself: it may come over plain http if that is what the configuration says.
    with open_client(g, allow_http=base.startswith("http://")) as client:
        return read_signatures(client, base, reference.repository, digest, store)
