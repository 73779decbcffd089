"""Whether a keyless signer is the one that a policy asks for: identity provider, name and claims of the certificate.

Hot-path module; ``re`` is imported only for a policy that has a regular expression.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.trust.fulcio_claims import claim_number
from rktpy.formats.trust.members import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.trust.requirements import Keyless, TextMatch

#: Longer texts are not given to a regular expression, which may take time in the square of the length or worse.
_LONGEST_FOR_REGEXP = 2048


def identity_problem(keyless: Keyless, certificate: dict[str, Any]) -> str:
    """Why the certificate of a fact is not that of the wanted signer; empty if it is."""
    issuer: str = certificate["issuer"]
    if not issuer:
        return "the certificate does not name the issuer of the identity"
    if not matches(keyless.issuer, issuer):
        return f"the identity comes from {shown(issuer)!r}, not from {wanted(keyless.issuer)}"
    names: list[str] = [name for kind, name in certificate["names"] if kind == keyless.subject_type]
    if not names:
        others = ", ".join(sorted({kind for kind, _name in certificate["names"]})) or "no name at all"
        return f"the certificate has no name of the kind {keyless.subject_type} (it has {others})"
    if not any(matches(keyless.subject, name) for name in names):
        return f"the certificate is that of {shown(names[0])!r}, not of {wanted(keyless.subject)}"
    claims: dict[str, str] = certificate["claims"]
    for name, match in keyless.claims:
        try:
            number = claim_number(name, "policy", "claims")
        except FormatError:
            return f"{shown(name)!r} is no claim that a certificate could have"
        claim = claims.get(str(number))
        if claim is None:
            return f"the certificate does not have the claim {shown(name)}"
        if not matches(match, claim):
            return f"the certificate's claim {shown(name)} is {shown(claim)!r}, not {wanted(match)}"
    return ""


def matches(match: TextMatch, text: str) -> bool:
    """Whether the text is as it must be. A regular expression must fit the whole text."""
    if match.how == "exact":
        return text == match.value
    if match.how == "prefix":
        return text.startswith(match.value)
    if match.how != "regexp" or len(text) > _LONGEST_FOR_REGEXP:
        return False
    import re

    try:
        return re.fullmatch(match.value, text) is not None
    except (re.error, OverflowError, RecursionError):
        return False


def wanted(match: TextMatch) -> str:
    """What a match asks for, for a person."""
    text = repr(shown(match.value))
    return {"exact": text, "prefix": f"one that begins with {text}"}.get(match.how, f"one that fits {text}")
