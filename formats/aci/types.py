"""The common types of the App Container specification: names, image IDs, versions, dates, labels, annotations.

Source: appc/spec 0.8.11, ``spec/types.md``. AC Identifiers and AC Names are read as leniently as the reference library reads
them (it checks the characters and both ends only, and names converted from Docker rely on that); ``strict`` asks for the
regular expression of the text.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.aci.document import Document, Members

AC_VERSION = "0.8.11"  # what we write as acVersion of new manifests

_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_IDENTIFIER = _ALNUM | frozenset("-._~/")
_NAME = _ALNUM | frozenset("-")
_HEX = frozenset("0123456789abcdef")
_DIGITS = frozenset("0123456789")
_SEMVER_TAIL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")

# os -> architectures (schema/types/labels.go); the text lists the same.
OS_ARCH: dict[str, tuple[str, ...]] = {
    "linux": ("amd64", "i386", "aarch64", "aarch64_be", "armv6l", "armv7l", "armv7b", "ppc64", "ppc64le", "s390x"),
    "freebsd": ("amd64", "i386", "arm"),
    "darwin": ("x86_64", "i386"),
}


def ac_identifier_problem(text: str, *, strict: bool = False) -> str:
    """Why ``text`` is not an AC Identifier; empty when it is one."""
    return _name_problem(text, "ACIdentifier", _IDENTIFIER, '"-._~/"', strict)


def ac_name_problem(text: str, *, strict: bool = False) -> str:
    """Why ``text`` is not an AC Name; empty when it is one."""
    return _name_problem(text, "ACName", _NAME, '"-"', strict)


def _name_problem(text: str, kind: str, allowed: frozenset[str], extra: str, strict: bool) -> str:
    if not text:
        return f"{kind} cannot be empty"
    if not allowed.issuperset(text):
        return f"{kind} must contain only lower case alphanumeric characters plus {extra}, got {text!r}"
    if text[0] not in _ALNUM or text[-1] not in _ALNUM:
        return f"{kind} must start and end with only lower case alphanumeric characters, got {text!r}"
    if strict:
        for index in range(1, len(text)):
            if text[index - 1] not in _ALNUM and text[index] not in _ALNUM:
                return f"{kind} must not have two separators in a row, got {text!r}"
    return ""


def is_ac_identifier(text: str, *, strict: bool = False) -> bool:
    """Whether ``text`` is an AC Identifier (image, label, annotation and isolator names)."""
    return not ac_identifier_problem(text, strict=strict)


def is_ac_name(text: str, *, strict: bool = False) -> bool:
    """Whether ``text`` is an AC Name (app, volume, mount point and port names)."""
    return not ac_name_problem(text, strict=strict)


def sanitize_ac_identifier(text: str) -> str:
    """The AC Identifier nearest to ``text``: lower case, other characters to ``_``, separators cut from both ends.

    Raises :class:`FormatError` when nothing is left.
    """
    return _sanitize(text, _IDENTIFIER, "_", "-._~/", "AC identifier")


def sanitize_ac_name(text: str) -> str:
    """The AC Name nearest to ``text``: lower case, other characters to ``-``, dashes cut from both ends.

    Raises :class:`FormatError` when nothing is left.
    """
    return _sanitize(text, _NAME, "-", "-", "AC name")


def _sanitize(text: str, allowed: frozenset[str], other: str, edges: str, what: str) -> str:
    name = "".join([c if c in allowed else other for c in text.lower()]).strip(edges)
    if not name:
        raise FormatError(what, "", f"{text!r} must contain at least one valid character")
    return name


def app_name_of(image_name: str) -> str:
    """The app name that rkt gives to an image: the last component of its name, as an AC Name."""
    return sanitize_ac_name(image_name.rpartition("/")[2])


def parse_uuid(text: str, what: str = "UUID") -> str:
    """``text`` (32 hexadecimal digits, dashes ignored) as 8-4-4-4-12 in lower case. Raises :class:`FormatError`."""
    digits = text.replace("-", "").lower()
    if len(digits) != 32:
        raise FormatError(what, "", f"bad UUID length != 32 in {text!r}")
    if not _HEX.issuperset(digits):
        raise FormatError(what, "", f"{text!r} is not hexadecimal")
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def parse_image_id(text: str, what: str = "image ID", path: str = "") -> tuple[str, str]:
    """Split an image ID into algorithm and hexadecimal value.

    appc knows ``sha512-<hex>`` (128 digits in full; rkt writes 64); ours are also ``sha256-<64 hex>`` for OCI manifests.
    Raises :class:`FormatError`.
    """
    algorithm, dash, value = text.partition("-")
    if not dash or not value or "-" in value:
        raise FormatError(what, path, f"badly formatted hash string {text!r}")
    longest = {"sha512": 128, "sha256": 64}.get(algorithm)
    if longest is None:
        raise FormatError(what, path, f"unrecognized hash type: {algorithm!r}")
    if len(value) > longest or not _HEX.issuperset(value):
        raise FormatError(what, path, f"{text!r} is not a {algorithm} value")
    return algorithm, value


def is_image_id(text: str) -> bool:
    """Whether ``text`` is a complete image ID of ours: ``sha512-<128 hex>`` or ``sha256-<64 hex>``."""
    algorithm, _dash, value = text.partition("-")
    return len(value) == {"sha512": 128, "sha256": 64}.get(algorithm) and _HEX.issuperset(value)


def version_problem(text: str) -> str:
    """Why ``text`` is not a semantic version that appc accepts; empty when it is one."""
    core, plus, metadata = text.partition("+")
    core, dash, release = core.partition("-")
    parts = core.split(".")
    if len(parts) != 3 or not all(part and len(part) < 19 and _DIGITS.issuperset(part) for part in parts):
        return f"SemVer is bad: {text!r}"
    if (dash and not (release and _SEMVER_TAIL.issuperset(release))) or (
        plus and not (metadata and _SEMVER_TAIL.issuperset(metadata))
    ):
        return f"SemVer is bad: {text!r}"
    if not dash and not plus and not any(part.strip("0") for part in parts):
        return "SemVer cannot be zero"
    return ""


def is_date(text: str) -> bool:
    """Whether ``text`` is an RFC 3339 date and time with ``T``."""
    if len(text) < 20 or text[4] != "-" or text[7] != "-" or text[10] != "T" or text[13] != ":" or text[16] != ":":
        return False
    fields = (text[:4], text[5:7], text[8:10], text[11:13], text[14:16], text[17:19])
    if not all(_DIGITS.issuperset(field) for field in fields):
        return False
    year, month, day, hour, minute, second = [int(field) for field in fields]
    rest = text[19:]
    if rest[0] == ".":
        fraction = rest[1:].rstrip("Z") if rest.endswith("Z") else rest[1:-6]
        if not fraction or not _DIGITS.issuperset(fraction):
            return False
        rest = rest[1 + len(fraction) :]
    if rest != "Z":
        zone = (rest[1:3], rest[4:6])
        if len(rest) != 6 or rest[0] not in "+-" or rest[3] != ":" or not all(_DIGITS.issuperset(part) for part in zone):
            return False
        if int(zone[0]) > 23 or int(zone[1]) > 59:
            return False
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    return 1 <= month <= 12 and 1 <= day <= days[month - 1] and hour < 24 and minute < 60 and second < 60


def is_http_url(text: str) -> bool:
    """Whether ``text`` has the form of an http or https URL without control characters or spaces."""
    scheme, separator, rest = text.partition(":")
    if not separator or scheme.lower() not in ("http", "https"):
        return False
    return rest.startswith("//") and len(rest) > 2 and text.isprintable() and " " not in text


class NameValue(Document):
    """A pair {name, value}: a label, an annotation, or an environment variable."""

    name: str
    value: str = ""

    MEMBERS = (("name", "name", True), ("value", "value", True))

    @classmethod
    def _parse(cls, members: Members) -> NameValue:
        return cls(members.required_text("name"), members.text("value"))


def lookup(pairs: tuple[NameValue, ...], name: str) -> str | None:
    """The value of the first pair called ``name``."""
    for pair in pairs:
        if pair.name == name:
            return pair.value
    return None


def with_value(pairs: tuple[NameValue, ...], name: str, value: str) -> tuple[NameValue, ...]:
    """``pairs`` with ``name`` set to ``value``: in its old place when it is there, else appended."""
    for index, pair in enumerate(pairs):
        if pair.name == name:
            return (*pairs[:index], pair.replace(value=value), *pairs[index + 1 :])
    return (*pairs, NameValue(name, value))


def _read_pairs(members: Members, member: str, kind: str) -> tuple[NameValue, ...]:
    pairs = members.records(member, NameValue)
    seen: set[str] = set()
    for index, pair in enumerate(pairs):
        problem = ac_identifier_problem(pair.name)
        if not problem and pair.name in seen:
            problem = f"duplicate {kind} of name {pair.name!r}"
        if problem:
            raise members.fail(f"{member}[{index}].name", problem)
        seen.add(pair.name)
    return pairs


def read_labels(members: Members, member: str = "labels") -> tuple[NameValue, ...]:
    """Read a list of labels: unique AC Identifiers, not ``name``, and a known pair of ``os`` and ``arch``."""
    labels = _read_pairs(members, member, "labels")
    for index, label in enumerate(labels):
        if label.name == "name":
            raise members.fail(f"{member}[{index}].name", "invalid label name: 'name'")
    os = lookup(labels, "os")
    if os is not None:
        arch = lookup(labels, "arch")
        known = OS_ARCH.get(os)
        if known is None:
            raise members.fail(member, f"bad os {os!r} (must be one of: {' '.join(sorted(OS_ARCH))})")
        if arch is not None and arch not in known:
            raise members.fail(member, f"bad arch {arch!r} for {os} (must be one of: {' '.join(known)})")
    return labels


def read_annotations(members: Members, member: str = "annotations") -> tuple[NameValue, ...]:
    """Read a list of annotations: unique AC Identifiers; ``created`` is a date, ``homepage`` and ``documentation`` URLs."""
    annotations = _read_pairs(members, member, "annotations")
    for index, annotation in enumerate(annotations):
        name, value = annotation.name, annotation.value
        if name == "created" and not is_date(value):
            raise members.fail(f"{member}[{index}].value", f"bad Date: {value!r} is not RFC 3339")
        if name in ("homepage", "documentation") and not is_http_url(value):
            raise members.fail(f"{member}[{index}].value", f"bad URL {value!r}, must be http/https")
    return annotations


def read_ac_identifier(members: Members, member: str) -> str:
    """A required AC Identifier."""
    text = members.required_text(member)
    problem = ac_identifier_problem(text)
    if problem:
        raise members.fail(member, problem)
    return text


def read_ac_name(members: Members, member: str) -> str:
    """A required AC Name."""
    text = members.required_text(member)
    problem = ac_name_problem(text)
    if problem:
        raise members.fail(member, problem)
    return text


def read_version(members: Members) -> str:
    """The required ``acVersion``."""
    text = members.required_text("acVersion")
    problem = version_problem(text)
    if problem:
        raise members.fail("acVersion", problem)
    return text
