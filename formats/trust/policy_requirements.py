"""The requirements in a policy.json and the identities in them: JSON objects to records.

Types without ``rktpy:`` are those of containers/image (its ``signature/policy_config*.go`` and containers-policy.json(5)), the
others are rktpy's own (rktpy-policy.json(5)).

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import UsageError
from rktpy.formats.oci.image_name import parse_image_name
from rktpy.formats.trust.members import Members, join, shown
from rktpy.formats.trust.requirements import (
    PKI,
    AcceptAnything,
    Fulcio,
    Identity,
    Keyless,
    KeySource,
    Notation,
    Reject,
    Requirement,
    SignedBy,
    SigstoreBundle,
    SigstoreSigned,
    TextMatch,
    TrustedKeys,
    Unsupported,
)
from rktpy.formats.trust.scopes import aci_problem, prefix_problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_REKOR = "rekorPublicKey"
# Known to containers/image, which cannot check them either; files that have them are not wrong.
_UNSUPPORTED_KEYS = ("signedByGPGKeys", "X509Certificates", "signedByX509CAs")
_LOGS = ("none", "promise", "inclusion", "any")


def parse_requirement(value: Any, what: str, path: str, *, aci: bool) -> Requirement:
    """Read one requirement. ``aci`` says that it stands below the transport ``aci``. Raises FormatError."""
    members = Members(value, what, path)
    kind = members.text("type")
    read = _READERS.get(kind)
    if read is None:
        members.fail("type", f"'{shown(kind)}' is no type of requirement")
    if aci and kind not in _FOR_ACI:
        members.fail("type", f"{kind} says nothing about ACIs (use {_TRUSTED_KEYS})")
    if not aci and kind == _TRUSTED_KEYS:
        members.fail("type", f"{kind} speaks of ACIs: it belongs below transports.aci")
    requirement = read(members)
    members.end()
    return requirement


def _signed_by(members: Members) -> Requirement:
    kind = members.text("keyType")
    if kind != "GPGKeys" and kind not in _UNSUPPORTED_KEYS:
        members.fail("keyType", f"'{shown(kind)}' is no type of keys (GPGKeys is)")
    requirement = SignedBy(members.path, _keys(members, several_data=False), _identity(members, Identity()))
    return requirement if kind == "GPGKeys" else Unsupported(members.path, f"keyType {kind}")


def _signed_base_layer(members: Members) -> Requirement:
    _identity(members, Identity(), "baseLayerIdentity", required=True)
    return Unsupported(members.path, "signedBaseLayer")


def _sigstore_signed(members: Members) -> Requirement:
    found = members.one_of("keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki")
    fulcio: Fulcio | None = None
    pki: PKI | None = None
    keys: tuple[KeySource, ...] = ()
    if found == "fulcio":
        fulcio = _fulcio(members.inner("fulcio"))
    elif found == "pki":
        pki = _pki(members.inner("pki"))
    else:
        keys = _keys(members)
    rekor = _keys(members, _REKOR, required=False)
    if fulcio is not None and not rekor:
        members.fail("", f"fulcio needs one of {_REKOR}Path, {_REKOR}Paths, {_REKOR}Data, {_REKOR}Datas")
    if pki is not None and rekor:
        members.fail("", f"pki and {_REKOR}… exclude each other")
    return SigstoreSigned(members.path, keys, fulcio, pki, rekor, _identity(members, Identity()))


def _fulcio(members: Members) -> Fulcio:
    fulcio = Fulcio(_source(members, "ca"), members.text("oidcIssuer"), members.text("subjectEmail"))
    members.end()
    return fulcio


def _pki(members: Members) -> PKI:
    roots = _source(members, "caRoots")
    intermediates = None
    if members.at_most_one_of("caIntermediatesPath", "caIntermediatesData"):
        intermediates = _source(members, "caIntermediates")
    pki = PKI(roots, intermediates, members.optional_text("subjectEmail"), members.optional_text("subjectHostname"))
    if not pki.subject_email and not pki.subject_hostname:
        members.fail("", "needs subjectEmail or subjectHostname")
    members.end()
    return pki


def _bundle(members: Members) -> Requirement:
    found = members.one_of("keyPath", "keyPaths", "keyData", "keyDatas", "keyless")
    keyless = _keyless(members.inner("keyless")) if found == "keyless" else None
    keys = () if keyless is not None else _keys(members)
    predicate = members.optional_text("predicateType")
    log = members.optional_text("log") or "none"
    if log not in _LOGS:
        members.fail("log", f"must be one of {', '.join(_LOGS)}")
    log_keys = _keys(members, "logKey", required=False)
    if log == "none" and log_keys:
        members.fail("log", "must say what the log has to show, since keys of a log are given")
    if log != "none" and keyless is None and not log_keys:
        members.fail("", "log needs one of logKeyPath, logKeyPaths, logKeyData, logKeyDatas")
    identity = _identity(members, Identity("matchRepository"))
    return SigstoreBundle(members.path, keys, keyless, predicate, log, log_keys, identity)


def _keyless(members: Members) -> Keyless:
    root = _source(members, "trustedRoot")
    issuer = _match(members, "issuer")
    subject = members.inner("subject")
    kind = subject.one_of("email", "uri", "otherName")
    wanted = _match(subject, kind)
    subject.end()
    claims: list[tuple[str, TextMatch]] = []
    if members.has("claims"):
        from rktpy.formats.trust.fulcio_claims import claim_number

        given = members.take("claims")
        table = Members(given, members.what, f"{members.path}.claims")
        if not given:
            members.fail("claims", "must not be empty")
        for name in given:
            claim_number(name, table.what, join(table.path, name))
            claims.append((name, _match(table, name)))
    members.end()
    return Keyless(root, issuer, kind, wanted, tuple(claims))


def _match(members: Members, name: str) -> TextMatch:
    """A text that must be equal, or an object that says how it must look."""
    value = members.take(name)
    if type(value) is str:
        if not value:
            members.fail(name, "must not be empty")
        return TextMatch("exact", value)
    inner = Members(value, members.what, f"{members.path}.{name}")
    how = inner.one_of("exact", "prefix", "regexp")
    match = TextMatch(how, inner.text(how))
    if how == "regexp":
        import re

        try:
            re.compile(match.value)
        except (re.error, OverflowError, RecursionError):
            inner.fail(how, "is no regular expression")
    inner.end()
    return match


def _notation(members: Members) -> Requirement:
    return Notation(members.path, members.path_text("trustPolicyPath"), members.path_text("trustStorePath"))


def _trusted_keys(members: Members) -> Requirement:
    prefix = members.optional_text("prefix")
    if prefix and (problem := aci_problem(prefix)):
        members.fail("prefix", problem)
    keys = _keys(members, required=False, several_data=False)
    if prefix and keys:
        members.fail("", "prefix chooses keys of the keystore and cannot stand beside keys of its own")
    return TrustedKeys(members.path, prefix, keys)


def _source(members: Members, stem: str) -> KeySource:
    """``<stem>Path`` or ``<stem>Data``."""
    if members.one_of(f"{stem}Path", f"{stem}Data").endswith("Path"):
        return KeySource(members.path_text(f"{stem}Path"))
    return KeySource(data=members.data(f"{stem}Data"))


def _keys(members: Members, stem: str = "key", *, required: bool = True, several_data: bool = True) -> tuple[KeySource, ...]:
    """``<stem>Path``, ``<stem>Paths``, ``<stem>Data`` or, with ``several_data``, ``<stem>Datas``."""
    names = [f"{stem}Path", f"{stem}Paths", f"{stem}Data"]
    if several_data:
        names.append(f"{stem}Datas")
    found = members.one_of(*names) if required else members.at_most_one_of(*names)
    if not found:
        return ()
    if found == names[0]:
        return (KeySource(members.path_text(found)),)
    if found == names[1]:
        return tuple([KeySource(path) for path in members.paths(found)])
    if found == names[2]:
        return (KeySource(data=members.data(found)),)
    return tuple([KeySource(data=data) for data in members.datas(found)])


def _identity(members: Members, default: Identity, name: str = "signedIdentity", *, required: bool = False) -> Identity:
    if not required and not members.has(name):
        return default
    inner = members.inner(name)
    kind = inner.text("type")
    if kind in ("matchExact", "matchRepoDigestOrExact", "matchRepository"):
        identity = Identity(kind)
    elif kind == "exactReference":
        identity = Identity(kind, _reference(inner, "dockerReference", version=True))
    elif kind == "exactRepository":
        identity = Identity(kind, _reference(inner, "dockerRepository", version=False))
    elif kind == "remapIdentity":
        prefix, signed = inner.text("prefix"), inner.text("signedPrefix")
        for name, text in (("prefix", prefix), ("signedPrefix", signed)):
            if problem := prefix_problem(text):
                inner.fail(name, problem)
        identity = Identity(kind, prefix=prefix, signed_prefix=signed)
    else:
        inner.fail("type", f"'{shown(kind)}' is no way to compare identities")
    inner.end()
    return identity


def _reference(members: Members, name: str, *, version: bool) -> str:
    """An image name as users write them, with (or without) a tag or digest, expanded."""
    text = members.text(name)
    try:
        parsed = parse_image_name(text)
    except UsageError as error:
        members.fail(name, str(error))
    has_version = "@" in text or ":" in text.rpartition("/")[2]
    if version and not has_version:
        members.fail(name, "must have a tag or digest")
    if not version and has_version:
        members.fail(name, "must not have a tag or digest")
    return parsed.text if version else parsed.name


_TRUSTED_KEYS = "rktpy:trustedKeys"
_FOR_ACI = ("insecureAcceptAnything", "reject", _TRUSTED_KEYS)
_READERS: dict[str, Callable[[Members], Requirement]] = {
    "insecureAcceptAnything": lambda members: AcceptAnything(members.path),
    "reject": lambda members: Reject(members.path),
    "signedBy": _signed_by,
    "signedBaseLayer": _signed_base_layer,
    "sigstoreSigned": _sigstore_signed,
    _TRUSTED_KEYS: _trusted_keys,
    "rktpy:sigstoreBundle": _bundle,
    "rktpy:notation": _notation,
}
