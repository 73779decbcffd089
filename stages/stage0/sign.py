"""Signing images: the signature is kept beside the image, and written or pushed to where others look for it. Cold-path module."""

from __future__ import annotations

import os
import time

from rktpy import __version__
from rktpy.errors import ConfigError, UsageError
from rktpy.fetch.reference import DockerReference, FileReference, parse_reference
from rktpy.formats import jsondoc
from rktpy.formats.trust.evidence import BUNDLE, COSIGN, MAX_SIZE, NOTATION, SIMPLE_SIGNING, Evidence
from rktpy.log import note
from rktpy.record import Record
from rktpy.stage0 import images
from rktpy.stage0.fetching import signature_path
from rktpy.stage0.signatures import digest_of_image, keep, keep_detached, manifest_of
from rktpy.store.export import write_file
from rktpy.trust.sign_openpgp import OpenPGPSigner, SigningKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.stage0.options import Globals
    from rktpy.store.image_record import ImageRecord
    from rktpy.store.store import Store

#: The kinds of signatures, by their names on the command line.
ASC, SIMPLE, COSIGN_TAG, SIGSTORE_BUNDLE, NOTATION_JWS = "asc", "simple", "cosign", "bundle", "notation"
TYPES = (ASC, SIMPLE, COSIGN_TAG, SIGSTORE_BUNDLE, NOTATION_JWS)
_OPENPGP = (ASC, SIMPLE)
#: Where such signatures come from, as explanations name it.
_SOURCE = "image sign"
_LARGEST_KEY = 1 << 20


class SignOptions(Record):
    """What ``image sign`` is asked for.

    ``types`` are of :data:`TYPES`. ``key`` is a file: a secret OpenPGP key, or a PEM private key; ``local_user`` a key of GnuPG's
    keyring, ``passphrase_file`` the file with the passphrase of the key, ``certificates`` the PEM certificates that belong to it.
    ``reference`` is the name to sign an OCI image for, empty for the one it was fetched by. ``output`` is the file for a detached
    signature, ``lookaside`` the directory for simple signatures in place of the configured one. ``expiry`` is in seconds from
    now, 0 for none. ``predicate`` is a JSON file: it is attested, as one of the type ``predicate_type``. ``timestamp_url`` is
    that of an authority that stamps notation signatures with the time. ``push`` asks to push
    the signatures to the repository of the reference.
    """

    types: tuple[str, ...] = ()
    key: str = ""
    local_user: str = ""
    passphrase_file: str = ""
    certificates: str = ""
    reference: str = ""
    output: str = ""
    overwrite: bool = False
    lookaside: str = ""
    expiry: int = 0
    predicate: str = ""
    predicate_type: str = ""
    timestamp_url: str = ""
    push: bool = False


def sign(g: Globals, store: Store, text: str, options: SignOptions) -> list[str]:
    """Sign an image that is stored, or an ACI in a file; what came of it, a line each.

    Raises NotFoundError, UsageError for options that do not fit the image, ConfigError for bad keys, InputError when gpg cannot
    sign, FetchError when a lookaside cannot be written or a registry refuses the signatures.
    """
    reference = parse_reference(text)
    if isinstance(reference, FileReference):
        _only(options, (ASC,), f"{text} is an ACI in a file")
        return [_sign_file(reference.path, options)]
    record = store.record(images.resolve_image(store, text))
    if record.format != "oci":
        _only(options, (ASC,), f"image {record.name} is an ACI")
        return _sign_aci(g, store, record, options)
    _only(options, TYPES[1:], f"image {record.name} is an OCI image")
    return _Signing(g, store, record, text, options).run()


def _only(options: SignOptions, fitting: tuple[str, ...], what: str) -> None:
    """Check the options against the kind of image. Raises UsageError."""
    if not options.types:
        raise UsageError(f"{what}: say with --type how to sign it ({', '.join(fitting)})")
    for kind in options.types:
        if kind not in fitting:
            raise UsageError(f"{what}, which is not signed by --type={kind} (but by {', '.join(fitting)})")
    unused = [
        (options.output and ASC not in options.types, "--output is for --type=asc"),
        (options.lookaside and SIMPLE not in options.types, "--lookaside is for --type=simple"),
        (options.certificates and NOTATION_JWS not in options.types, "--certificates is for --type=notation"),
        (options.expiry and NOTATION_JWS not in options.types, "--expiry is for --type=notation"),
        (options.timestamp_url and NOTATION_JWS not in options.types, "--timestamp-url is for --type=notation"),
        (bool(options.predicate) != bool(options.predicate_type), "--predicate and --predicate-type belong together"),
        (
            options.predicate and not set(options.types) <= {COSIGN_TAG, SIGSTORE_BUNDLE},
            "--predicate is for --type=cosign and --type=bundle",
        ),
        (options.local_user and not set(options.types) & set(_OPENPGP), "--local-user is for --type=asc and --type=simple"),
        (ASC in options.types and (options.push or options.reference), "--push and --reference are for OCI images"),
        (options.push and set(options.types) == {SIMPLE}, "--push: simple signatures are kept in a lookaside, not in a registry"),
        (
            options.key and not options.local_user and len({kind in _OPENPGP for kind in options.types}) > 1,
            "--key cannot be an OpenPGP and a PEM key at once: name the OpenPGP key with --local-user",
        ),
    ]
    for wrong, message in unused:
        if wrong:
            raise UsageError(message)


def _openpgp_key(options: SignOptions) -> SigningKey:
    if options.local_user:
        return SigningKey(options.local_user, "", options.passphrase_file)
    if not options.key:
        raise UsageError("wants a key to sign with: --local-user=USER from the GnuPG keyring, or --key=FILE")
    return SigningKey("", options.key, options.passphrase_file)


def _sign_file(path: str, options: SignOptions) -> str:
    """Sign an ACI where it lies, and write the signature beside it or to the output."""
    target = options.output or signature_path(path)
    with OpenPGPSigner(_openpgp_key(options)) as signer:
        signature = signer.detached(path)
    write_file(target, "signature file", (), lambda write: write(signature), overwrite=options.overwrite)
    return f"signature written to {target}"


def _sign_aci(g: Globals, store: Store, record: ImageRecord, options: SignOptions) -> list[str]:
    """Sign a stored ACI as ``image export`` writes it. If a trusted key signed, the policy knows of it from now on."""
    from rktpy.trust.openpgp import check_file

    path = store.blob_path(record.blobs[0])
    with OpenPGPSigner(_openpgp_key(options)) as signer:
        signature = signer.detached(path)
    keys = images.keystore(g)
    facts = check_file(path, signature, keys, keys.keys_for(record.name), images.own_aci_keys(g, record.name))
    good = [fact.to_dict() for fact in facts if not fact.problem]
    keep_detached(store, record, signature, good)
    said = [f"signature kept beside image {record.name}"]
    if not good:
        note("image", f"warning: the key is not trusted for images named {record.name} here (see trust)")
    if options.output:
        write_file(options.output, "signature file", (), lambda write: write(signature), overwrite=options.overwrite)
        said.append(f"signature written to {options.output}")
    return said


class _Signing:
    """Signing one OCI image."""

    def __init__(self, g: Globals, store: Store, record: ImageRecord, text: str, options: SignOptions) -> None:
        self._g = g
        self._store = store
        self._record = record
        self._options = options
        self._manifest = manifest_of(store, record)
        self._digest = digest_of_image(record)
        self._reference = _signed_reference(record, text, options)
        self._now = int(time.time())
        self._said: list[str] = []

    def run(self) -> list[str]:
        """Make all signatures, keep them, and push them if that is wanted."""
        makers = {
            SIMPLE: self._simple,
            COSIGN_TAG: self._cosign,
            SIGSTORE_BUNDLE: self._bundle,
            NOTATION_JWS: self._notation,
        }
        made = [makers[kind]() for kind in dict.fromkeys(self._options.types)]
        keep(self._store, self._record, made)
        self._said.insert(0, f"{len(made)} signature{'s' if len(made) > 1 else ''} kept beside image {self._record.name}")
        if self._options.push:
            from rktpy.stage0.push import push_signatures

            self._said += push_signatures(self._g, self._store, self._record.id, self._named().text, made)
        return self._said

    def _named(self) -> DockerReference:
        """The name in a registry that the signature is for. Raises UsageError."""
        if self._reference is None:
            raise UsageError(
                f"image {self._record.name} was not fetched from a registry: name the place to sign it for by"
                " --reference=docker://HOST/NAME[:TAG]"
            )
        return self._reference

    def _simple(self) -> Evidence:
        from rktpy.fetch.lookaside import MEDIA_TYPE, write_signature
        from rktpy.fetch.registries_d import load_registries_d
        from rktpy.formats.oci.image_name import parse_image_name
        from rktpy.formats.trust.simple_signing import Claims
        from rktpy.trust.sign_simple import sign as sign_simple

        named = self._named()
        name = named.text.removeprefix("docker://")
        claims = Claims(self._digest, name, f"rktpy {__version__}", self._now)
        base = _directory_url(self._options.lookaside) or load_registries_d().lookaside(parse_image_name(name), write=True)
        with OpenPGPSigner(_openpgp_key(self._options)) as signer:
            message = sign_simple(claims, signer)
        path = write_signature(base, named.repository, self._digest, message)
        self._said.append(f"simple signature written to {path}")
        return self._evidence(SIMPLE_SIGNING, MEDIA_TYPE, "signature", message)

    def _cosign(self) -> Evidence:
        from rktpy.formats.oci.artifacts import COSIGN_PAYLOAD, DSSE_ENVELOPE
        from rktpy.trust.sign_cosign import attest_image, load_key, sign_image

        key = load_key(*self._private_key())
        if self._options.predicate:
            envelope, annotations = attest_image(key, self._digest, self._options.predicate_type, self._predicate())
            return self._evidence(COSIGN, DSSE_ENVELOPE, "payload", envelope, annotations)
        payload, annotations = sign_image(key, self._digest, self._named().name)
        return self._evidence(COSIGN, COSIGN_PAYLOAD, "payload", payload, annotations)

    def _bundle(self) -> Evidence:
        from rktpy.formats.oci.artifacts import BUNDLE_TYPE
        from rktpy.trust.sign_cosign import attest_bundle, load_key, sign_bundle

        key = load_key(*self._private_key())
        if self._options.predicate:
            bundle, annotations = attest_bundle(key, self._digest, self._options.predicate_type, self._predicate())
        else:
            bundle, annotations = sign_bundle(key, self._digest)
        return self._evidence(BUNDLE, BUNDLE_TYPE, "bundle", bundle, annotations)

    def _notation(self) -> Evidence:
        from rktpy.formats.trust.notation.envelope import Target
        from rktpy.trust.sign_notation import load_signer
        from rktpy.trust.sign_notation import sign as sign_notation

        if not self._options.certificates:
            raise UsageError("--type=notation wants --certificates=FILE, the PEM certificates of the key, its own first")
        key, password = self._private_key()
        signer = load_signer(key, _read(self._options.certificates, "certificates"), self._now, password)
        target = Target(self._manifest.media_type, self._digest, len(self._manifest.to_bytes()))
        expiry = self._now + self._options.expiry if self._options.expiry else 0
        url = self._options.timestamp_url
        made = sign_notation(target, signer, self._now, expiry=expiry, timestamp=self._stamp if url else None)
        return self._evidence(NOTATION, made.media_type, "envelope", made.envelope, made.annotations)

    def _stamp(self, signature: bytes) -> bytes:
        from rktpy.fetch.timestamp import stamp

        return stamp(self._options.timestamp_url, signature)

    def _predicate(self) -> dict[str, Any]:
        return jsondoc.parse_object(_read(self._options.predicate, "predicate", MAX_SIZE // 2), self._options.predicate)

    def _private_key(self) -> tuple[bytes, bytes | None]:
        """The PEM file, and its passphrase."""
        if not self._options.key:
            raise UsageError("wants --key=FILE, a PEM private key")
        password: bytes | None = None
        if self._options.passphrase_file:
            password = _read(self._options.passphrase_file, "passphrase").partition(b"\n")[0].removesuffix(b"\r")
        return _read(self._options.key, "signing key"), password

    def _evidence(
        self, family: str, media_type: str, role: str, data: bytes, annotations: tuple[tuple[str, str], ...] = ()
    ) -> Evidence:
        pairs = tuple(sorted(annotations))
        return Evidence(family, _SOURCE, media_type, ((role, self._store.put_blob(data)),), pairs)


def _signed_reference(record: ImageRecord, text: str, options: SignOptions) -> DockerReference | None:
    """The name that the signature is for: the one given, the one the image was asked for by, or the last it was fetched by."""
    if options.reference:
        chosen = parse_reference(options.reference)
        if not isinstance(chosen, DockerReference):
            raise UsageError(f"--reference wants docker://HOST/NAME[:TAG], not {options.reference!r}")
        return chosen
    for candidate in (text, *record.references[::-1]):
        reference = parse_reference(candidate)
        if isinstance(reference, DockerReference):
            return reference
    return None


def _directory_url(path: str) -> str:
    from urllib.parse import quote

    return f"file://{quote(os.path.abspath(path))}" if path else ""


def _read(path: str, what: str, limit: int = _LARGEST_KEY) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the {what}") from error
    if len(data) > limit:
        raise ConfigError(f"{path}: is larger than a {what} may be")
    return data
