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
from rktpy.trust.decision import KeyState, SignatureFact
from rktpy.trust.gpg_status import read_key_listing, read_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.trust.keystore import Keystore, TrustedKey


def verify_detached(
    path: str, signature: bytes, keystore: Keystore, keys: tuple[TrustedKey, ...], further: tuple[bytes, ...] = ()
) -> tuple[SignatureFact, ...]:
    """Check a detached signature over the file at ``path`` with ``keys`` of the keystore and the ``further`` key files.

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
            for data in further:
                gpg.import_keys(data)
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


def _gpg(home: str) -> gnupg.GPG:
    return gnupg.GPG(gnupghome=home, options=["--trust-model", "always", "--no-auto-key-retrieve", "--batch"])


def check_file(
    path: str, signature: bytes, keystore: Keystore, keys: tuple[TrustedKey, ...], further: tuple[bytes, ...] = ()
) -> tuple[SignatureFact, ...]:
    """:func:`verify_detached`, with a malformed signature file reported as a signature that was looked at and failed."""
    try:
        return verify_detached(path, signature, keystore, keys, further)
    except FormatError as error:
        return (SignatureFact("", problem=str(error)),)
