"""in-toto statements (in-toto/attestation ``spec/v1/statement.md`` and ``spec/v0.1.0``): what is spoken of, and what is said.

Subjects are matched by digest only. Members that the specification does not name are ignored, as it asks; duplicates are not.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.oci.digest import HEX_LENGTHS, parse_digest
from rktpy.formats.oci.members import checked_object, join
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TYPE_V1 = "https://in-toto.io/Statement/v1"
TYPE_V01 = "https://in-toto.io/Statement/v0.1"
MAX_SUBJECTS = 1024
MAX_DIGESTS = 32


class Statement(Record):
    """A statement: ``subjects`` are the digests (``sha256:…``, ``sha512:…``) of what it is about."""

    predicate_type: str
    subjects: tuple[str, ...]


def parse_statement(data: bytes, what: str) -> Statement:
    """Read a statement; ``what`` names it in errors. Raises :class:`FormatError`."""
    doc = jsondoc.parse_object(data, what)
    if doc.get("_type") not in (TYPE_V1, TYPE_V01):
        raise FormatError(what, "_type", f"must be {TYPE_V1} or {TYPE_V01}")
    predicate_type = doc.get("predicateType")
    if type(predicate_type) is not str or not predicate_type or len(predicate_type) > 1024:
        raise FormatError(what, "predicateType", "must be a string that is not empty, of at most 1024 characters")
    if doc.get("predicate") is not None:
        checked_object(doc["predicate"], what, "predicate")
    subjects: Any = doc.get("subject")
    if type(subjects) is not list or not subjects:
        raise FormatError(what, "subject", "must be a list that is not empty")
    if len(subjects) > MAX_SUBJECTS:  # pyright: ignore[reportUnknownArgumentType]
        raise FormatError(what, "subject", f"has more than {MAX_SUBJECTS} entries")
    digests: dict[str, None] = {}
    for number, subject in enumerate(subjects):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        path = join("subject", number)
        given = checked_object(checked_object(subject, what, path).get("digest"), what, join(path, "digest"))
        if not given or len(given) > MAX_DIGESTS:
            raise FormatError(what, join(path, "digest"), f"must hold 1 to {MAX_DIGESTS} digests")
        for algorithm, value in given.items():
            if type(value) is not str:
                raise FormatError(what, join(join(path, "digest"), algorithm), "must be a string")
            if algorithm in HEX_LENGTHS:
                digest = f"{algorithm}:{value}"
                parse_digest(digest, what, join(join(path, "digest"), algorithm))
                digests[digest] = None
    return Statement(predicate_type, tuple(digests))


def written(digest: str, predicate_type: str, predicate: dict[str, Any]) -> bytes:
    """A statement of version 1 about the one thing with this ``digest`` (``sha256:…``)."""
    algorithm, _, encoded = digest.partition(":")
    return jsondoc.dump(
        {
            "_type": TYPE_V1,
            "subject": [{"digest": {algorithm: encoded}}],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    )
