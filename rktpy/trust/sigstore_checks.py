"""What sigstore facts are worth for an image under a requirement: each check is a step with its reason.

The cryptography was done when the fact was found out; here are the digest of the image, the names, the transparency log and, for
certificates of one's own CA, the clock. Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.oci.artifacts import COSIGN_SIGN
from rktpy.formats.trust.members import shown
from rktpy.formats.trust.requirements import SigstoreBundle, SigstoreSigned
from rktpy.trust import identity
from rktpy.trust.decision import Image, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from rktpy.formats.trust.requirements import KeySource, Requirement

_ACCEPTS = "accepts"
_REJECTS = "rejects"


def material(requirement: Requirement) -> tuple[KeySource, ...]:
    """The files that are read to find out facts for the requirement, in a fixed order."""
    if isinstance(requirement, SigstoreBundle):
        root = (requirement.keyless.trusted_root,) if requirement.keyless is not None else ()
        return (*requirement.keys, *root, *requirement.log_keys)
    assert isinstance(requirement, SigstoreSigned)
    certificates: tuple[KeySource, ...] = ()
    if requirement.fulcio is not None:
        certificates = (requirement.fulcio.ca,)
    elif requirement.pki is not None:
        others = requirement.pki.intermediates
        certificates = (requirement.pki.roots,) if others is None else (requirement.pki.roots, others)
    return (*requirement.keys, *certificates, *requirement.rekor_keys)


def aspects(requirement: Requirement) -> tuple[str, ...]:
    """What besides the bytes of :func:`material` a fact depends on: what each of the files is for."""
    if isinstance(requirement, SigstoreBundle):
        signer = "keyless" if requirement.keyless is not None else f"keys {len(requirement.keys)}"
        return ("rktpy:sigstoreBundle", signer, f"logs {len(requirement.log_keys)}")
    assert isinstance(requirement, SigstoreSigned)
    signer = f"keys {len(requirement.keys)}"
    if requirement.fulcio is not None:
        signer = "fulcio"
    elif requirement.pki is not None:
        signer = "pki" if requirement.pki.intermediates is None else "pki with intermediates"
    return ("sigstoreSigned", signer, f"logs {len(requirement.rekor_keys)}")


def judge(requirement: Requirement, image: Image, fact: dict[str, Any], now: int) -> Step:
    """Judge one fact. ``now`` is in seconds since the epoch. The step's rule names the signer's key."""
    if "problem" in fact:
        return Step("", _REJECTS, shown(fact["problem"]))
    rule = f"by key {fact['key']}"
    steps: list[Step] = []
    for step in _checks(requirement, image, fact, now):
        steps.append(step)
        if step.outcome != _ACCEPTS:
            return Step(rule, step.outcome, step.reason, tuple(steps))
    return Step(rule, _ACCEPTS, "it is good, and about this image", tuple(steps))


def _checks(requirement: Requirement, image: Image, fact: dict[str, Any], now: int) -> Iterator[Step]:
    yield Step("signature", _ACCEPTS, "it fits what it signs")
    yield _step("image", _subject_problem(image, fact), f"it is about {image.digest}")
    assert isinstance(requirement, SigstoreSigned | SigstoreBundle)
    predicate_type = requirement.predicate_type if isinstance(requirement, SigstoreBundle) else ""
    if "predicateType" in fact or predicate_type:
        yield _predicate(predicate_type, fact.get("predicateType", ""))
    if "reference" in fact:
        problem = identity.matches(requirement.identity, image.name, fact["reference"])
        yield _step("identity", problem, f"it names {shown(fact['reference'])} ({requirement.identity.type})")
    if isinstance(requirement, SigstoreBundle):
        if requirement.keyless is not None:
            from rktpy.trust.keyless import identity_problem

            yield _signer(fact, identity_problem(requirement.keyless, fact["certificate"]))
        wanted = requirement.log
    else:
        if requirement.fulcio is not None:
            yield _signer(fact, _fulcio_problem(requirement, fact["certificate"]))
        elif requirement.pki is not None:
            yield _signer(fact, _pki_problem(requirement, fact["certificate"], now))
        wanted = "promise" if requirement.rekor_keys else "none"
    if wanted != "none":
        yield _log(wanted, fact.get("log"))


def _step(rule: str, problem: str, good: str) -> Step:
    return Step(rule, _REJECTS if problem else _ACCEPTS, problem or good)


def _subject_problem(image: Image, fact: dict[str, Any]) -> str:
    subjects: list[str] = fact["subjects"] if "subjects" in fact else [fact["digest"]]
    if not image.digest:
        return "the digest of the image's manifest is not known"
    if image.digest in subjects:
        return ""
    if image.index_digest and image.index_digest in subjects:
        return f"it is about the index {image.index_digest}, which does not vouch for the manifest {image.digest} picked from it"
    about = shown(subjects[0]) if subjects else "nothing with a sha256 or sha512 digest"
    more = f" and {len(subjects) - 1} others" if len(subjects) > 1 else ""
    return f"it is about {about}{more}, not about the image's manifest {image.digest}"


def _predicate(wanted: str, found: str) -> Step:
    if not wanted:
        problem = "" if found == COSIGN_SIGN else f"it is an attestation ({shown(found)}), not a signature of the image"
        return _step("predicate", problem, "it is a signature of the image")
    if not found or found == COSIGN_SIGN:
        return Step("predicate", _REJECTS, f"it is a signature, not an attestation of the type {shown(wanted)}")
    problem = "" if found == wanted else f"it attests {shown(found)}, not {shown(wanted)}"
    return _step("predicate", problem, f"it attests {shown(wanted)}")


def _signer(fact: dict[str, Any], problem: str) -> Step:
    certificate: dict[str, Any] = fact["certificate"]
    names = ", ".join(shown(name) for _kind, name in certificate["names"])
    by = f" (identity from {shown(certificate['issuer'])})" if certificate["issuer"] else ""
    return _step("signer", problem, f"the certificate is that of {names}{by}")


def _fulcio_problem(requirement: SigstoreSigned, certificate: dict[str, Any]) -> str:
    assert requirement.fulcio is not None
    issuer: str = certificate["issuer"]
    if not issuer:
        return "the certificate does not name the issuer of the identity"
    if issuer != requirement.fulcio.oidc_issuer:
        return f"the identity comes from {shown(issuer)!r}, not from {shown(requirement.fulcio.oidc_issuer)!r}"
    return _email_problem(certificate, requirement.fulcio.subject_email)


def _pki_problem(requirement: SigstoreSigned, certificate: dict[str, Any], now: int) -> str:
    assert requirement.pki is not None
    periods: list[list[int]] = certificate["valid"]
    if not any(start <= now <= end for start, end in periods):
        state = "is not valid yet" if now < periods[0][0] else "has expired"
        return f"the certificate of the signer, or one on its way to the CA, {state}"
    if requirement.pki.subject_email and (problem := _email_problem(certificate, requirement.pki.subject_email)):
        return problem
    host = requirement.pki.subject_hostname
    hosts = [name for kind, name in certificate["names"] if kind in ("dns", "ip")]
    if host and not any(_covers(name.lower(), host.lower()) for name in hosts):
        return f"the certificate is not for the host {shown(host)!r} (it has {shown(', '.join(hosts)) or 'none'})"
    return ""


def _email_problem(certificate: dict[str, Any], wanted: str) -> str:
    addresses = [name for kind, name in certificate["names"] if kind == "email"]
    if wanted in addresses:
        return ""
    return f"the certificate is not for the address {shown(wanted)!r} (it has {shown(', '.join(addresses)) or 'none'})"


def _covers(name: str, host: str) -> bool:
    """RFC 6125 section 6.4: a ``*`` stands for the whole first label, and for nothing else."""
    if name.startswith("*."):
        _label, dot, rest = host.partition(".")
        return bool(dot) and rest == name[2:]
    return name == host


def _log(wanted: str, log: dict[str, Any] | None) -> Step:
    promised = len(log["promised"]) if log else 0
    included: int = log["included"] if log else 0
    shows = [_counted(promised, "promise"), _counted(included, "inclusion proof")]
    good = f"trusted logs give {' and '.join(one for one in shows if one)}"
    if (promised and wanted in ("promise", "any")) or (included and wanted in ("inclusion", "any")):
        return Step("transparency log", _ACCEPTS, good)
    unknown: list[str] = log["unknown"] if log else []
    kind = {"promise": "no promise", "inclusion": "no proof of inclusion"}.get(
        wanted, "neither a promise nor a proof of inclusion"
    )
    others = f" (only entries of {_counted(len(unknown), 'log')} not trusted)" if unknown else ""
    return Step("transparency log", _REJECTS, f"there is {kind} by a trusted transparency log{others}")


def _counted(count: int, what: str) -> str:
    """``2 promises``; empty for none."""
    return f"{count} {what}{'s' if count > 1 else ''}" if count else ""
