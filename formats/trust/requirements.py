"""What a trust policy may require of an image: records, filled by the parsers of policies and read by the verifiers.

The first four types are those of containers/image (containers-policy.json(5)); the others are rktpy's own (rktpy-policy.json(5)).
Each requirement of a matched list must hold. ``path`` is where the requirement stands in its file (``transports.docker.""[0]``).

Hot-path module.
"""

from __future__ import annotations

from rktpy.record import Record


class KeySource(Record):
    """A key, certificate or trust root: the path of a file, or the bytes that stood in the policy (exactly one is set)."""

    path: str = ""
    data: bytes = b""


class Identity(Record):
    """How the name inside a signature must relate to the image's name (``signedIdentity``).

    ``type`` is ``matchRepoDigestOrExact``, ``matchExact``, ``matchRepository``, ``exactReference``, ``exactRepository`` or
    ``remapIdentity``. ``reference`` is its ``dockerReference`` or ``dockerRepository``; ``prefix`` and ``signed_prefix``
    belong to ``remapIdentity``.
    """

    type: str = "matchRepoDigestOrExact"
    reference: str = ""
    prefix: str = ""
    signed_prefix: str = ""


class TextMatch(Record):
    """How a text in a certificate must look: ``how`` is ``exact``, ``prefix`` or ``regexp`` (the whole text must match)."""

    how: str
    value: str


class Requirement(Record):
    """Base of all requirements."""

    path: str


class AcceptAnything(Requirement):
    """``insecureAcceptAnything``."""


class Reject(Requirement):
    """``reject``."""


class Unsupported(Requirement):
    """What containers/image takes in a policy and has never carried out: it can neither accept nor reject. ``what`` names it."""

    what: str


class SignedBy(Requirement):
    """``signedBy``: a simple-signing signature by one of the GPG keys in ``keys``."""

    keys: tuple[KeySource, ...]
    identity: Identity = Identity()


class Fulcio(Record):
    """Keyless cosign as containers/image has it: CA certificates, OIDC issuer and e-mail address, both exact."""

    ca: KeySource
    oidc_issuer: str
    subject_email: str


class PKI(Record):
    """cosign signatures with certificates of one's own CA (``pki``). One of the two subjects is set, or none."""

    roots: KeySource
    intermediates: KeySource | None = None
    subject_email: str = ""
    subject_hostname: str = ""


class SigstoreSigned(Requirement):
    """``sigstoreSigned``: a cosign signature of the old tag scheme. Exactly one of ``keys``, ``fulcio`` and ``pki`` is set.

    ``rekor_keys`` are the transparency log's public keys; when there are any, a SET by one of them is required.
    """

    keys: tuple[KeySource, ...] = ()
    fulcio: Fulcio | None = None
    pki: PKI | None = None
    rekor_keys: tuple[KeySource, ...] = ()
    identity: Identity = Identity()


class Keyless(Record):
    """Keyless sigstore identities: who may have signed, by a certificate that leads to the trusted root.

    ``issuer`` is compared with the OIDC issuer, ``subject`` with the subject alternative name of the kind ``subject_type``
    (``email``, ``uri`` or ``otherName``). ``claims`` are further certificate extensions by their dotted OID below
    1.3.6.1.4.1.57264.1, its last two arcs, or by name, each of which must match.
    """

    trusted_root: KeySource
    issuer: TextMatch
    subject_type: str
    subject: TextMatch
    claims: tuple[tuple[str, TextMatch], ...] = ()


class SigstoreBundle(Requirement):
    """``rktpy:sigstoreBundle``: a sigstore bundle found as a referrer, or an old-style cosign signature or attestation.

    Exactly one of ``keys`` and ``keyless`` is set. ``predicate_type`` empty asks for a signature of the image; otherwise for an
    attestation of that type. ``log`` is what the transparency log must show: ``none``, ``promise`` (SET), ``inclusion``
    (inclusion proof to a signed checkpoint) or ``any`` (one of the two); the log's keys are those of ``trusted_root`` or of
    ``log_keys``. ``identity`` counts where the signature names a repository.
    """

    keys: tuple[KeySource, ...] = ()
    keyless: Keyless | None = None
    predicate_type: str = ""
    log: str = "none"
    log_keys: tuple[KeySource, ...] = ()
    identity: Identity = Identity("matchRepository")


class Notation(Requirement):
    """``rktpy:notation``: the Notary Project's trust policy and trust store decide.

    ``trust_policy`` is the path of trustpolicy.oci.json or trustpolicy.json, ``trust_store`` the directory that holds ``x509``.
    """

    trust_policy: str
    trust_store: str


class TrustedKeys(Requirement):
    """``rktpy:trustedKeys``: rkt's rule for ACIs, a detached OpenPGP signature by a key of the keystore for the image's name.

    ``prefix`` restricts it to keys below this name prefix; empty means all that apply. ``keys``, when not empty, take the place
    of the keystore.
    """

    prefix: str = ""
    keys: tuple[KeySource, ...] = ()
