"""Checking detached OpenPGP signatures with GnuPG (RFC 4880; appc/spec 0.8.11 ``spec/aci.md``).

The keys that the keystore trusts for an image's name are imported into an empty, private GnuPG home, so that no key of the user
and no trust database takes part. What GnuPG reports is read from its status lines; python-gnupg's summary keeps only the last
of several signatures and calls cleartext signatures valid, so the summary is not asked.

Cold-path module.
"""

from __future__ import annotations

import os
import shutil
import tempfile

import gnupg

from rktpy.errors import FormatError, TrustUndecided
from rktpy.formats import openpgp as packets
from rktpy.trust.decision import KEY_EXPIRED, KEY_REVOKED, KeyState, SignatureFact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.trust.keystore import Keystore, TrustedKey


def verify_detached(path: str, signature: bytes, keystore: Keystore, keys: tuple[TrustedKey, ...]) -> tuple[SignatureFact, ...]:
    """Check a detached signature over the file at ``path``.

    ``signature`` is armored or binary, with one or several signature packets. Returns one fact per signature, in order. Raises
    :class:`FormatError` when ``signature`` is not a detached signature, :class:`ConfigError` for a broken key file and
    :class:`TrustUndecided` when GnuPG cannot be run.
    """
    binary = packets.check_detached(signature, "signature file")
    home = tempfile.mkdtemp(prefix="rktpy-gpg-")
    try:
        try:
            gpg = _gpg(home)
            for key in keys:
                gpg.import_keys(keystore.read(key))
            signature_file = os.path.join(home, "signature")
            with open(signature_file, "wb") as file:
                file.write(binary)
            result = gpg.verify_file(signature_file, data_filename=path, close_file=False)
        except (OSError, ValueError) as error:
            raise TrustUndecided("cannot run gpg to verify a signature") from error
        return read_status(result.stderr or "")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def examine(data: bytes) -> KeyState:
    """What GnuPG says of the one public key in ``data``, a file of the keystore: its keys, their expiry and revocation.

    A key that GnuPG does not take has no keys. Raises :class:`TrustUndecided` when GnuPG cannot be run.
    """
    home = tempfile.mkdtemp(prefix="rktpy-gpg-")
    try:
        try:
            gpg = _gpg(home)
            gpg.import_keys(data)
            return read_key_listing(gpg.list_keys().data.decode("utf-8", "replace"))
        except (OSError, ValueError) as error:
            raise TrustUndecided("cannot run gpg to examine a key") from error
    finally:
        shutil.rmtree(home, ignore_errors=True)


def read_key_listing(listing: str) -> KeyState:
    """The keys in GnuPG's output of ``--list-keys --with-colons`` (its ``doc/DETAILS``).

    Revoked counts as well what GnuPG calls invalid or disabled. Raises ValueError for what is no such output.
    """
    keys: dict[str, tuple[int, bool]] = {}
    current: tuple[int, bool] | None = None
    for line in listing.split("\n"):
        fields = [*line.split(":"), *[""] * 12]
        if fields[0] in ("pub", "sub"):
            current = (int(fields[6] or 0), fields[1][:1] in ("r", "i", "d") or "D" in fields[11])
        elif fields[0] == "fpr" and current is not None:
            keys[fields[9].lower()] = current
            current = None
    return KeyState(keys)


def _gpg(home: str) -> gnupg.GPG:
    return gnupg.GPG(gnupghome=home, options=["--trust-model", "always", "--no-auto-key-retrieve", "--batch"])


def read_status(status: str) -> tuple[SignatureFact, ...]:
    """The signatures in GnuPG's status output (its ``doc/DETAILS``), one fact each.

    Only a GOODSIG that is followed by its VALIDSIG counts as good; anything else carries a problem.
    """
    facts: list[SignatureFact] = []
    current: SignatureFact | None = None
    # Not splitlines(): a user ID may hold other line separators, which GnuPG does not escape, and a whole line behind them.
    for line in status.split("\n"):
        if not line.startswith("[GNUPG:] "):
            continue
        word, *values = line[9:].split(" ")
        if word == "NEWSIG":
            _close(facts, current)
            current = None
        elif word in _VERDICTS:
            _close(facts, current)
            identity = " ".join(values[1:])
            key_id = values[0].lower() if values else ""
            problem = _VERDICTS[word]
            if word == "ERRSIG":
                unknown = len(values) > 5 and values[5] == "9"
                problem = "openpgp: signature made by unknown entity" if unknown else "the signature cannot be checked"
                identity = ""
            current = SignatureFact("", key_id, 0, 0, identity, problem)
        elif word == "VALIDSIG" and current is not None:
            signer = values[9].lower() if len(values) > 9 else values[0].lower()
            problem = "" if current.problem == _UNVALIDATED else current.problem
            current = SignatureFact(signer, values[0].lower(), int(values[2]), int(values[3]), current.identity, problem)
    _close(facts, current)
    return tuple(facts)


_UNVALIDATED = "the signature was not validated"
_VERDICTS = {
    "GOODSIG": _UNVALIDATED,
    "BADSIG": "openpgp: invalid signature: hash mismatch",
    "EXPSIG": "the signature has expired",
    "EXPKEYSIG": KEY_EXPIRED,
    "REVKEYSIG": KEY_REVOKED,
    "ERRSIG": "the signature cannot be checked",
}


def _close(facts: list[SignatureFact], current: SignatureFact | None) -> None:
    if current is not None:
        facts.append(current)


def check_file(path: str, signature: bytes, keystore: Keystore, keys: tuple[TrustedKey, ...]) -> tuple[SignatureFact, ...]:
    """:func:`verify_detached`, with a malformed signature file reported as a signature that was looked at and failed."""
    try:
        return verify_detached(path, signature, keystore, keys)
    except FormatError as error:
        return (SignatureFact("", problem=str(error)),)
