"""Trusted identities of a Notary Project trust policy: ``x509.subject: C=US, ST=WA, O=example.com``.

notaryproject/specifications ``trust-store-trust-policy.md``, "Trusted Identities Constraints". An identity lists attributes of
the leaf certificate's subject; those that it does not list may be anything.

Hot-path module.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PREFIX = "x509.subject:"
_LONGEST = 4096
#: What a backslash may stand before. RFC 4514 has more; the specification names these.
_ESCAPABLE = frozenset(',;\\+"<>#= ')
_TYPE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-")
_REQUIRED = ("C", "ST", "O")


def parse_identity(text: str) -> dict[str, str]:
    """The attributes that an identity lists, by type. Raises ValueError that says what is wrong."""
    if not text.startswith(PREFIX):
        raise ValueError(f"must start with {PREFIX!r}")
    if len(text) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} characters")
    found: dict[str, str] = {}
    for part in _split(text[len(PREFIX) :]):
        kind, value = _attribute(part)
        if kind in found:
            raise ValueError(f"has {kind} twice")
        found[kind] = value
    for kind in _REQUIRED:
        if kind not in found:
            raise ValueError(f"must have C, ST and O, and lacks {kind}")
    return found


def overlap(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether one of the two says nothing that the other does not say: every certificate of the longer is the shorter too.

    The text of the specification reaches further (any certificate that could be both), its implementation does not, and policies
    that list one OU and one CN are in use.
    """
    shorter, longer = (one, other) if len(one) <= len(other) else (other, one)
    return all(longer.get(kind) == value for kind, value in shorter.items())


def mismatch(identity: Mapping[str, str], subject: Sequence[Sequence[str]]) -> str:
    """Why a subject (pairs of type and value) is not this identity; empty if it is."""
    for kind, value in identity.items():
        held = [pair[1] for pair in subject if pair[0] == kind]
        if len(held) > 1:
            return f"the subject has {kind} {len(held)} times"
        if not held:
            return f"the subject has no {kind}"
        if held[0] != value:
            return f"the subject's {kind} is {held[0]!r}"
    return ""


def text_of(identity: Mapping[str, str]) -> str:
    """An identity as a person writes it."""
    return PREFIX + " " + ", ".join([f"{kind}={_escaped(value)}" for kind, value in identity.items()])


def _escaped(value: str) -> str:
    text = "".join(["\\" + letter if letter in ",;\\+" else letter for letter in value])
    if text.startswith(" "):
        text = "\\" + text
    if text.endswith(" ") and len(value) > 1:
        text = text[:-1] + "\\ "
    return text


def _split(text: str) -> list[str]:
    """The parts between commas that are not escaped, with their escapes."""
    parts = [""]
    at = 0
    while at < len(text):
        letter = text[at]
        if letter == "\\":
            parts[-1] += text[at : at + 2]
            at += 2
            continue
        if letter in ";+":
            raise ValueError(f"has {letter!r} without a backslash before it")
        if letter == ",":
            parts.append("")
        else:
            parts[-1] += letter
        at += 1
    return parts


def _attribute(part: str) -> tuple[str, str]:
    kind, equals, value = part.partition("=")
    kind = kind.strip(" ")
    if not equals or not kind or not _TYPE.issuperset(kind):
        raise ValueError("must be attributes TYPE=VALUE with commas between them")
    letters: list[str] = []
    # The end of the last letter that must stay, so that trailing spaces go unless they are escaped.
    keep = 0
    at = 0
    while at < len(value):
        letter = value[at]
        if letter == "\\":
            letter = value[at + 1 : at + 2]
            if letter not in _ESCAPABLE or not letter:
                raise ValueError("has a backslash before something that needs none")
            at += 1
            letters.append(letter)
            keep = len(letters)
        elif letter != " " or letters:
            letters.append(letter)
            keep = len(letters) if letter != " " else keep
        at += 1
    text = "".join(letters[:keep])
    if not text:
        raise ValueError(f"has an empty {kind}")
    kind = kind.upper()
    return "ST" if kind == "S" else kind, text
