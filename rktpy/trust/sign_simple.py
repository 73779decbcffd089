"""Making simple-signing signatures with GnuPG (containers-signature(5)). Cold-path module."""

from __future__ import annotations

from rktpy.errors import FormatError, InputError
from rktpy.formats.openpgp_message import check_signed_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.trust.simple_signing import Claims
    from rktpy.trust.sign_openpgp import OpenPGPSigner


def sign(claims: Claims, signer: OpenPGPSigner) -> bytes:
    """A signed message with the ``claims``, as it is put into a lookaside storage; ``signer`` is open.

    Raises :class:`InputError` when gpg cannot sign, or makes something that verifiers would refuse (two signatures, because a
    configuration of its own says so).
    """
    message = signer.message(claims.to_bytes())
    try:
        check_signed_message(message, "simple signature")
    except FormatError as error:
        raise InputError("cannot sign with gpg") from error
    return message
