"""Private keys that cosign can sign with, as files: PEM of the usual kinds, and cosign's own encrypted form.

cosign (``pkg/cosign/keys.go``) and go-securesystemslib (``encrypted/encrypted.go``): PKCS #8 in a box of NaCl, whose key is made
from the password with scrypt, in JSON, in PEM.

Cold path: imports ``cryptography``, and for cosign's own form ``nacl``.
"""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from rktpy.errors import ConfigError, FormatError
from rktpy.formats import jsondoc
from rktpy.formats.trust import pem
from rktpy.formats.trust.fields import Fields

_COSIGN = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
_PLAIN = ("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")
_ENCRYPTED = "ENCRYPTED PRIVATE KEY"
_WHAT = "signing key"
#: More memory than this is not spent on a password, in bytes: scrypt takes 128 * N * r.
_MAX_SCRYPT = 256 << 20


def load_private_key(data: bytes, password: bytes | None) -> Any:
    """The private key of ``cryptography`` in a PEM file; ``password`` is for encrypted ones.

    Raises :class:`ConfigError` for a file that cannot be read, for a wrong or missing password, and for unsupported keys.
    """
    try:
        found = pem.blocks(data, _WHAT)
        # openssl ecparam puts the curve's parameters before the key.
        keys = [(label, der) for label, der in found if label != "EC PARAMETERS"]
        if len(keys) != 1:
            raise FormatError(_WHAT, "", f"must hold one PEM block with a private key, not {len(keys)}")
        label, der = keys[0]
        if label in _COSIGN:
            der = _opened(der, _asked(password))
            return _supported(serialization.load_der_private_key(der, None))
        if label == _ENCRYPTED:
            return _supported(serialization.load_der_private_key(der, _asked(password)))
        if label not in _PLAIN:
            raise FormatError(_WHAT, "", f"is a PEM block {label[:40]!r}, not a private key")
        return _supported(serialization.load_der_private_key(der, None))
    except FormatError as error:
        raise ConfigError(str(error)) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError("signing key: cannot be read (or the passphrase is wrong)") from None


def _asked(password: bytes | None) -> bytes:
    if password is None:
        raise ConfigError("signing key: is encrypted, and no passphrase was given")
    return password


def _supported(key: Any) -> Any:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in ("secp256r1", "secp384r1", "secp521r1"):
        return key
    if isinstance(key, ed25519.Ed25519PrivateKey) or (isinstance(key, rsa.RSAPrivateKey) and 2048 <= key.key_size <= 8192):
        return key
    raise FormatError(_WHAT, "", "is not a supported key (ECDSA P-256, P-384 or P-521, RSA of 2048 to 8192 bits, Ed25519 are)")


def _opened(data: bytes, password: bytes) -> bytes:
    """PKCS #8 out of cosign's box. Raises :class:`FormatError` and :class:`ConfigError`."""
    top = Fields(jsondoc.parse_object(data, _WHAT), _WHAT, "", ("kdf", "cipher", "ciphertext"))
    kdf = top.inside("kdf", ("name", "params", "salt"))
    kdf.one_of("name", ("scrypt",))
    params = kdf.inside("params", ("N", "r", "p"))
    n, r, p = params.integer("N"), params.integer("r"), params.integer("p")
    if n < 2 or n & (n - 1) or not r or not 1 <= p <= 16 or 128 * n * r > _MAX_SCRYPT:
        raise kdf.error("params", "are no parameters of scrypt, or want too much memory")
    cipher = top.inside("cipher", ("name", "nonce"))
    cipher.one_of("name", ("nacl/secretbox",))
    nonce, salt = cipher.data("nonce", 24), kdf.data("salt", 1024)
    box = top.data("ciphertext", 64 << 10)
    if len(nonce) != 24:
        raise cipher.error("nonce", "must be 24 bytes")
    try:
        from nacl.exceptions import CryptoError
        from nacl.secret import SecretBox
    except ImportError:
        raise ConfigError(
            "signing key: is in cosign's encrypted form, for which PyNaCl must be installed (or convert it to PKCS #8)"
        ) from None
    secret = hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=2 * _MAX_SCRYPT, dklen=32)
    try:
        return SecretBox(secret).decrypt(box, nonce)
    except CryptoError:
        raise ConfigError("signing key: the passphrase is wrong") from None
