"""How signatures and attestations are attached to images in registries and layouts: names, media types, annotations.

Sources: OCI distribution-spec 1.1 ("Listing Referrers", "Referrers Tag Schema"), OCI image-spec 1.1 (manifest.md "Guidance for
an Empty Descriptor"), sigstore/cosign ``specs/SIGNATURE_SPEC.md`` and ``BUNDLE_SPEC.md``, notaryproject
``signature-specification.md``.
Pure; hot-path module.
"""

from __future__ import annotations

from rktpy.formats.oci.media_types import OCI_EMPTY, without_parameters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.oci.manifest import Manifest

#: A layer of cosign's ``.sig`` tag: the payload, whose signature stands in the layer's annotations.
COSIGN_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
#: A layer of cosign's ``.att`` tag.
DSSE_ENVELOPE = "application/vnd.dsse.envelope.v1+json"
COSIGN_LAYERS = (COSIGN_PAYLOAD, DSSE_ENVELOPE)
COSIGN_SIGNATURE = "dev.cosignproject.cosign/signature"
#: What a plain signature of an image attests in a bundle: nothing but that (the type of an in-toto predicate).
COSIGN_SIGN = "https://sigstore.dev/cosign/sign/v1"
#: The suffixes of cosign's tags that are looked at: signatures and attestations.
SIGNATURES = "sig"
ATTESTATIONS = "att"

#: What is written today; older bundles are read too.
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_BUNDLES = (
    BUNDLE_TYPE,
    "application/vnd.dev.sigstore.bundle.v0.2+json",
    "application/vnd.dev.sigstore.bundle.v0.1+json",
)
_BUNDLE_WITH_VERSION = "application/vnd.dev.sigstore.bundle+json"

NOTATION_TYPE = "application/vnd.cncf.notary.signature"
NOTATION_JWS = "application/jose+json"
NOTATION_COSE = "application/cose"
NOTATION_ENVELOPES = (NOTATION_JWS, NOTATION_COSE)

#: A simple signature, as rktpy keeps it in archives (rktpy-archive(5)); registries and other tools know no such referrer.
SIMPLE_SIGNATURE = "application/vnd.rktpy.simple-signature.v1"

EMPTY_CONFIG = b"{}"
EMPTY_DIGEST = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

#: The longest tag that a registry takes (distribution-spec, "Pulling manifests").
LONGEST_TAG = 128

_TAG = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def is_bundle_type(media_type: str) -> bool:
    """Whether this is the media type of a sigstore bundle, of whatever version."""
    return media_type in _BUNDLES or without_parameters(media_type) == _BUNDLE_WITH_VERSION


def fallback_tag(digest: str) -> str:
    """The tag of the index of referrers, for registries without the referrers API."""
    algorithm, _, encoded = digest.partition(":")
    return "".join(c if c in _TAG else "-" for c in f"{algorithm[:32]}-{encoded[:64]}")


def cosign_tag(digest: str, suffix: str) -> str:
    """The tag of cosign's old scheme; empty when it would be longer than tags may be (sha512)."""
    tag = f"{digest.replace(':', '-', 1)}.{suffix}"
    return tag if len(tag) <= LONGEST_TAG else ""


def artifact_type_of(manifest: Manifest) -> str:
    """What kind of referrer a manifest is: its ``artifactType``, or else its configuration's media type."""
    return manifest.artifact_type or manifest.config.media_type


def empty_descriptor() -> dict[str, Any]:
    """The descriptor of the empty configuration of artifacts."""
    return {"mediaType": OCI_EMPTY, "digest": EMPTY_DIGEST, "size": len(EMPTY_CONFIG)}
