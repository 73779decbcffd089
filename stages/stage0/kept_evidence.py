"""What a pod keeps of its images' signatures, so that it can be judged again when the image was removed (docs/adr/0013).

In the pod's ``trust`` file each decision has, under ``evidence``, the signatures that it rests on: the evidence, the fact about
it with its key in the store's notes, and the bytes, so that even with changed key files it can be examined again.

Hot-path module.
"""

from __future__ import annotations

import binascii

from rktpy.errors import DigestMismatch, FormatError, NotFoundError, StoreError
from rktpy.formats.oci.digest import digest_of
from rktpy.formats.trust.evidence import Evidence
from rktpy.formats.trust.members import as_object
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rktpy.trust.engine import Finding

#: Bytes of signatures that are kept with a pod. Beyond it the facts must do.
_MOST = 256 << 10


class KeptEvidence(Record):
    """Signatures as a pod kept them: as an image's record has them, facts by their keys, and blobs by digest."""

    evidence: tuple[dict[str, Any], ...] = ()
    facts: dict[str, dict[str, Any]] = {}
    blobs: dict[str, bytes] = {}


def keep(good: list[Finding], keys: dict[int, str], blob: Callable[[str], bytes]) -> tuple[dict[str, Any], ...]:
    """The JSON form of the signatures that an acceptance rests on. ``keys`` gives the key of each finding's fact by its id()."""
    kept: list[dict[str, Any]] = []
    left = _MOST
    for finding in good:
        data: dict[str, str] = {}
        for _role, digest in finding.evidence.blobs:
            try:
                content = blob(digest)
            except (NotFoundError, StoreError, DigestMismatch):
                continue
            if len(content) <= left:
                left -= len(content)
                data[digest] = binascii.b2a_base64(content, newline=False).decode("ascii")
        kept.append({"evidence": finding.evidence.to_dict(), "data": data, "key": keys[id(finding)], "fact": finding.fact})
    return tuple(kept)


def read_kept(documents: Any) -> KeptEvidence:
    """Read the JSON form. What does not have its digest is not there. Raises :class:`FormatError`."""
    what = "trust decision of the pod"
    if not isinstance(documents, list):
        raise FormatError(what, "evidence", "must be a list")
    evidence: list[dict[str, Any]] = []
    facts: dict[str, dict[str, Any]] = {}
    blobs: dict[str, bytes] = {}
    for one in documents:  # pyright: ignore[reportUnknownVariableType]
        members = as_object(one) or {}
        document, data, fact = (as_object(members.get(name)) for name in ("evidence", "data", "fact"))
        key = members.get("key")
        if document is None or data is None or fact is None or not isinstance(key, str):
            raise FormatError(what, "evidence", "is incomplete")
        Evidence.from_dict(document)
        if document not in evidence:
            evidence.append(document)
        facts[key] = fact
        for digest, text in data.items():
            try:
                content = binascii.a2b_base64(text, strict_mode=True)
            except (binascii.Error, TypeError, ValueError):
                raise FormatError(what, "evidence", "is not base64") from None
            if digest == digest_of(content, digest.partition(":")[0]):
                blobs[digest] = content
    return KeptEvidence(tuple(evidence), facts, blobs)
