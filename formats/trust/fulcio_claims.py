"""The extensions of Fulcio's certificates: what the identity provider said of the signer (sigstore/fulcio ``docs/oid-info.md``).

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError

#: All are below this object identifier.
ARC = "1.3.6.1.4.1.57264.1."
ISSUER_RAW = 1
OTHER_NAME = 7
ISSUER = 8
#: Extensions up to this number hold their text as it is, later ones as a DER UTF8String.
LAST_RAW = 6

NAMES = {
    "githubWorkflowTrigger": 2,
    "githubWorkflowSHA": 3,
    "githubWorkflowName": 4,
    "githubWorkflowRepository": 5,
    "githubWorkflowRef": 6,
    "buildSignerURI": 9,
    "buildSignerDigest": 10,
    "runnerEnvironment": 11,
    "sourceRepositoryURI": 12,
    "sourceRepositoryDigest": 13,
    "sourceRepositoryRef": 14,
    "sourceRepositoryIdentifier": 15,
    "sourceRepositoryOwnerURI": 16,
    "sourceRepositoryOwnerIdentifier": 17,
    "buildConfigURI": 18,
    "buildConfigDigest": 19,
    "buildTrigger": 20,
    "runInvocationURI": 21,
    "sourceRepositoryVisibilityAtSigning": 22,
    "deploymentEnvironment": 23,
}
"""What policies may call the claims, and the last number of each one's object identifier."""

_NOT_CLAIMS = (ISSUER_RAW, OTHER_NAME, ISSUER)


def claim_number(name: str, what: str, path: str) -> int:
    """The number of a claim, which a policy calls by name, by its object identifier, or by the last two arcs of that (``1.9``).

    ``what`` and ``path`` say where the name stands. Raises :class:`FormatError`.
    """
    number = NAMES.get(name, 0)
    if not number:
        last = name.removeprefix(ARC) if name.startswith(ARC) else name.removeprefix("1.")
        if (
            last != name
            and last.isascii()
            and last.isdigit()
            and len(last) <= 4
            and last[0] != "0"
            and int(last) not in _NOT_CLAIMS
        ):
            number = int(last)
    if not number:
        raise FormatError(what, path, f"is no claim: give 1.N, {ARC}N, or one of {', '.join(NAMES)}")
    return number
