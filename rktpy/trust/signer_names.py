"""Who a certificate says that the signer is: names, identity provider and its claims, as JSON values (``docs/oid-info.md`` of
Fulcio).

Cold path: imports ``cryptography``.
"""

from __future__ import annotations

from typing import Any

from cryptography import x509

from rktpy.errors import FormatError
from rktpy.formats import der
from rktpy.formats.trust.fulcio_claims import ARC, ISSUER, ISSUER_RAW, LAST_RAW, OTHER_NAME
from rktpy.trust.log_proofs import Unproven

MAX_TEXT = 4096


def names(leaf: x509.Certificate) -> list[list[str]]:
    """The subject alternative names as pairs of kind (``email``, ``uri``, ``otherName``, ``dns``, ``ip``) and text.

    Raises :class:`Unproven` for names that cannot be read.
    """
    found: list[list[str]] = []
    try:
        given = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return found
    for name in given:
        if isinstance(name, x509.RFC822Name):
            found.append(["email", name.value])
        elif isinstance(name, x509.UniformResourceIdentifier):
            found.append(["uri", name.value])
        elif isinstance(name, x509.DNSName):
            found.append(["dns", name.value])
        elif isinstance(name, x509.IPAddress):
            found.append(["ip", str(name.value)])
        elif isinstance(name, x509.OtherName) and name.type_id.dotted_string == f"{ARC}{OTHER_NAME}":
            found.append(["otherName", _utf8_string(name.value, "otherName")])
    if any(len(text) > MAX_TEXT for _kind, text in found):
        raise Unproven(f"the certificate has a name of more than {MAX_TEXT} characters")
    return found


def provider(leaf: x509.Certificate) -> str:
    """The OIDC issuer, empty when the certificate names none. Raises :class:`Unproven` when it names two different ones."""
    texts = _extensions(leaf)
    raw, text = texts.get(ISSUER_RAW), texts.get(ISSUER)
    if raw is not None and text is not None and raw != text:
        raise Unproven("the certificate names two different issuers of the identity")
    return text if text is not None else raw or ""


def claims(leaf: x509.Certificate) -> dict[str, str]:
    """The other extensions of Fulcio, by the last number of their object identifiers. Raises :class:`Unproven`."""
    left_out = (ISSUER_RAW, ISSUER, OTHER_NAME)
    return {str(number): text for number, text in _extensions(leaf).items() if number not in left_out}


def _extensions(leaf: x509.Certificate) -> dict[int, str]:
    found: dict[int, str] = {}
    for extension in leaf.extensions:
        oid = extension.oid.dotted_string
        last = oid.removeprefix(ARC)
        if last == oid or not last.isdigit():
            continue
        value: Any = extension.value
        data: bytes = value.value
        number = int(last)
        if number <= LAST_RAW:
            if len(data) > MAX_TEXT:
                raise Unproven(f"the certificate's extension {oid} is too long")
            try:
                found[number] = data.decode("utf-8")
            except UnicodeDecodeError:
                raise Unproven(f"the certificate's extension {oid} is not UTF-8") from None
        elif number != OTHER_NAME:
            found[number] = _utf8_string(data, f"extension {oid}")
    return found


def _utf8_string(data: bytes, place: str) -> str:
    try:
        element = der.parse(data, f"certificate: {place}").expect(der.UTF8_STRING)
        text = element.content.decode("utf-8")
    except FormatError as error:
        raise Unproven(str(error)) from None
    except UnicodeDecodeError:
        raise Unproven(f"the certificate's {place} is not UTF-8") from None
    if len(text) > MAX_TEXT:
        raise Unproven(f"the certificate's {place} is too long")
    return text
