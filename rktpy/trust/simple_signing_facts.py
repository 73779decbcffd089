"""What a simple-signing signature proves with certain keys: GnuPG is asked, the claims are read (containers-signature(5)).

The message is verified first; its claims are read from what GnuPG gives out as verified. Times are noted and not judged: a
signature or key that has expired today gives the same fact as yesterday.

Cold-path module.
"""

from __future__ import annotations

from rktpy.errors import ConfigError, FormatError
from rktpy.formats import openpgp
from rktpy.formats.openpgp_message import MAX_SIZE, check_signed_message
from rktpy.formats.trust.simple_signing import parse_claims
from rktpy.trust.decision import KeyState
from rktpy.trust.gpg_home import GpgHome
from rktpy.trust.gpg_status import read_key_listing, read_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rktpy.formats.trust.evidence import Evidence
    from rktpy.formats.trust.requirements import KeySource, SignedBy
    from rktpy.trust.decision import SignatureFact

FACT_VERSION = 1

_BEGIN = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
_END = b"-----END PGP PUBLIC KEY BLOCK-----"
# Verdicts that are a matter of the clock or of the key's state, both of which are judged at every start.
_TIMED = ("the signature has expired", "the signing key has expired", "the signing key was revoked")


def examine(
    requirement: SignedBy, evidence: Evidence, blob: Callable[[str], bytes], file: Callable[[KeySource], bytes]
) -> dict[str, Any]:
    """What the signature in ``evidence`` says, checked with the keys of the requirement. See :mod:`rktpy.trust.families`.

    Raises ConfigError for a key file that holds no public keys, TrustUndecided when GnuPG cannot be run.
    """
    what = f"signature {evidence.source}"
    message = blob(evidence.blob("signature"))
    try:
        signed = check_signed_message(message, what)
    except FormatError as error:
        return {"problem": error.problem}
    keys = tuple([public_keys(file(source), source.path or "keyData") for source in requirement.keys])
    with GpgHome() as gpg:
        states = _with_keys(gpg, keys)
        payload, status = gpg.open_signed(message, MAX_SIZE)
    verdicts = read_status(status)
    if len(verdicts) != 1:
        return {"problem": "gpg finds no signature in it" if not verdicts else "gpg finds more than one signature in it"}
    verdict = verdicts[0]
    if verdict.problem and verdict.problem not in _TIMED:
        return {"problem": _problem(verdict), "key": verdict.key}
    if not verdict.signer or payload != signed:
        # Text mode changes line ends; claims need none.
        return {"problem": "gpg verified something else than what was signed", "key": verdict.key}
    fact: dict[str, Any] = {
        "problem": "",
        "signer": verdict.signer,
        "key": verdict.key,
        "created": verdict.created,
        "expires": verdict.expires,
        "user": verdict.identity,
        "states": {key: [*map(int, states.keys[key])] for key in (verdict.signer, verdict.key) if key in states.keys},
    }
    try:
        claims = parse_claims(payload, what)
    except FormatError as error:
        return {**fact, "problem": f"claims: {error.path + ': ' if error.path else ''}{error.problem}"}
    return {
        **fact,
        "digest": claims.digest,
        "reference": claims.reference,
        "creator": claims.creator,
        "timestamp": claims.timestamp,
    }


# The keys that were imported last, the keyring that came of it and what is known of them: an image may have many signatures, and
# an import takes longer than all the rest.
_imported: list[tuple[tuple[bytes, ...], bytes, KeyState]] = []


def _with_keys(gpg: GpgHome, keys: tuple[bytes, ...]) -> KeyState:
    """Give the home these keys; what GnuPG says of them."""
    if _imported and _imported[0][0] == keys:
        gpg.take_over(_imported[0][1])
        return _imported[0][2]
    for data in keys:
        gpg.import_keys(data)
    states = read_key_listing(gpg.listing())
    keyring = gpg.keyring()
    if keyring:
        _imported[:] = [(keys, keyring, states)]
    return states


def _problem(verdict: SignatureFact) -> str:
    if "unknown entity" in verdict.problem:
        return f"the signature was made by key {verdict.key.upper()}, which is none of the policy's keys"
    if "hash mismatch" in verdict.problem:
        return "the signature does not fit what was signed: one of the two was changed"
    return verdict.problem


def public_keys(data: bytes, what: str) -> bytes:
    """The public keys in a key file, binary. Text around armor is passed over: distributions ship keys so.

    Raises :class:`ConfigError` when there is none or something else is in the file.
    """
    blocks: list[bytes] = []
    at = data.find(_BEGIN)
    while at >= 0:
        end = data.find(_END, at)
        if end < 0:
            break
        blocks.append(data[at : end + len(_END)])
        at = data.find(_BEGIN, end)
    try:
        binary = openpgp.dearmor(b"\n".join(blocks) if blocks else data, what)
        openpgp.parse_public_keys(binary, what)
    except FormatError as error:
        raise ConfigError(f"cannot use the keys in {what}: {error.problem}") from None
    return binary
