"""The Notary Project's trust policy for OCI artifacts: ``trustpolicy.oci.json``, or ``trustpolicy.json`` as older tools call it.

notaryproject/specifications ``trust-store-trust-policy.md``, version 1.0. Every member that is unknown, twice there or of a wrong
type is an error with its path; so are rules that contradict each other.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.trust.members import Members, join, shown
from rktpy.formats.trust.notation.identity import overlap, parse_identity
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_SIZE = 1 << 20
ENFORCE = "enforce"
LOG = "log"
SKIP = "skip"
#: The checks in the order in which they are made. Integrity is always enforced.
CHECKS = ("authenticity", "expiry", "authenticTimestamp", "revocation")
_LEVELS = {
    "strict": (ENFORCE, ENFORCE, ENFORCE, ENFORCE),
    "permissive": (ENFORCE, LOG, LOG, LOG),
    "audit": (LOG, LOG, LOG, LOG),
}
STORE_TYPES = ("ca", "signingAuthority", "tsa")
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
_REPOSITORY = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-/:")


class Statement(Record):
    """One trust policy. ``level`` is ``strict``, ``permissive``, ``audit`` or ``skip``.

    ``actions`` has ``enforce``, ``log`` or ``skip`` for each of :data:`CHECKS`, ``stores`` are pairs of type and name.
    ``identities`` empty means any. ``after_expiry`` tells that time stamps count only when a certificate has expired.
    """

    name: str
    scopes: tuple[str, ...]
    level: str
    actions: tuple[str, ...]
    after_expiry: bool
    stores: tuple[tuple[str, str], ...]
    identities: tuple[dict[str, str], ...]

    def action(self, check: str) -> str:
        """What a failed check leads to."""
        return self.actions[CHECKS.index(check)]

    def to_dict(self) -> dict[str, Any]:
        """A JSON form of ours, in which facts keep it."""
        return {
            "name": self.name,
            "scopes": list(self.scopes),
            "level": self.level,
            "actions": list(self.actions),
            "afterExpiry": self.after_expiry,
            "stores": [list(store) for store in self.stores],
            "identities": list(self.identities),
        }

    @classmethod
    def from_dict(cls, doc: dict[str, Any]) -> Statement:
        """Read the form of :meth:`to_dict`. Raises KeyError and TypeError for what it did not write."""
        return cls(
            doc["name"],
            tuple(doc["scopes"]),
            doc["level"],
            tuple(doc["actions"]),
            doc["afterExpiry"],
            tuple([(kind, name) for kind, name in doc["stores"]]),
            tuple(doc["identities"]),
        )


def select(statements: tuple[Statement, ...], repository: str) -> Statement | None:
    """The statement for ``host/repository`` (empty for an image of no registry): the exact one, else that for ``*``."""
    everything: Statement | None = None
    for statement in statements:
        if repository and repository in statement.scopes:
            return statement
        if statement.scopes == ("*",):
            everything = statement
    return everything


def parse(data: bytes, what: str) -> tuple[Statement, ...]:
    """Read a trust policy document; ``what`` names it in errors. Raises :class:`FormatError`."""
    if len(data) > MAX_SIZE:
        raise FormatError(what, "", f"is larger than {MAX_SIZE} bytes")
    doc = Members(jsondoc.parse_object(data, what), what, "")
    version = doc.text("version")
    if version != "1.0":
        doc.fail("version", f"is {shown(version)!r}, and only 1.0 is known")
    items = doc.items("trustPolicies")
    doc.end()
    statements: list[Statement] = []
    names: set[str] = set()
    scopes: set[str] = set()
    for number, item in enumerate(items):
        statement = _statement(Members(item, what, join("trustPolicies", number)))
        if statement.name in names:
            raise FormatError(what, f"trustPolicies[{number}].name", f"{shown(statement.name)!r} is the name of another one too")
        names.add(statement.name)
        for scope in statement.scopes:
            if scope in scopes:
                problem = f"{shown(scope)!r} is in more than one trust policy"
                raise FormatError(what, f"trustPolicies[{number}].registryScopes", problem)
            scopes.add(scope)
        statements.append(statement)
    return tuple(statements)


def _statement(members: Members) -> Statement:
    name = members.text("name")
    scopes = _scopes(members)
    verification = members.inner("signatureVerification")
    level = verification.text("level")
    if level not in _LEVELS and level != SKIP:
        verification.fail("level", f"{shown(level)!r} is none of strict, permissive, audit and skip")
    actions = _LEVELS.get(level, (SKIP,) * len(CHECKS))
    if verification.has("override"):
        if level == SKIP:
            verification.fail("override", "cannot be used with the level skip")
        actions = _override(verification.inner("override"), actions)
    when = verification.optional_text("verifyTimestamp") or "always"
    if when not in ("always", "afterCertExpiry"):
        verification.fail("verifyTimestamp", f"{shown(when)!r} is neither always nor afterCertExpiry")
    verification.end()
    if level == SKIP:
        if scopes == ("*",):
            members.fail("signatureVerification", 'cannot have the level skip for the scope "*"')
        for unused in ("trustStores", "trustedIdentities"):
            if members.has(unused) and members.take(unused):
                members.fail(unused, "has no meaning with the level skip")
        members.end()
        return Statement(name, scopes, level, actions, when != "always", (), ())
    statement = Statement(name, scopes, level, actions, when != "always", _stores(members), _identities(members))
    members.end()
    return statement


def _override(members: Members, actions: tuple[str, ...]) -> tuple[str, ...]:
    found = list(actions)
    if members.has("integrity"):
        members.fail("integrity", "is always enforced")
    for number, check in enumerate(CHECKS):
        if not members.has(check):
            continue
        action = members.text(check)
        if action not in (ENFORCE, LOG, SKIP):
            members.fail(check, f"{shown(action)!r} is none of enforce, log and skip")
        if action == SKIP and check != "revocation":
            members.fail(check, "cannot be skipped")
        found[number] = action
    members.end()
    return tuple(found)


def _scopes(members: Members) -> tuple[str, ...]:
    found: list[str] = []
    for number, scope in enumerate(members.items("registryScopes")):
        place = join("registryScopes", number)
        if type(scope) is not str or not scope:
            members.fail(place, "must be a repository or *")
        if scope in found:
            members.fail(place, "is there twice")
        if scope != "*" and not _is_repository(scope):
            members.fail(place, f"{shown(scope)!r} is not a whole repository name (host/name, without tag or digest)")
        found.append(scope)
    if "*" in found and len(found) > 1:
        members.fail("registryScopes", "must not have * beside others")
    return tuple(found)


def _is_repository(scope: str) -> bool:
    host, slash, path = scope.partition("/")
    # A colon is that of a port; one in the path would begin a tag.
    return bool(slash and host and path) and _REPOSITORY.issuperset(scope) and ":" not in path and all(path.split("/"))


def _stores(members: Members) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for number, text in enumerate(members.items("trustStores")):
        place = join("trustStores", number)
        if type(text) is not str:
            members.fail(place, "must be a string")
        kind, colon, name = text.partition(":")
        if not colon or kind not in STORE_TYPES:
            members.fail(place, f"{shown(text)!r} must be ca:NAME, signingAuthority:NAME or tsa:NAME")
        if not name or not _NAME.issuperset(name) or name in (".", ".."):
            members.fail(place, f"{shown(name)!r} is not the name of a trust store")
        if (kind, name) in found:
            members.fail(place, "is there twice")
        found.append((kind, name))
    if all(kind == "tsa" for kind, _ in found):
        members.fail("trustStores", "needs a store of the type ca or signingAuthority")
    return tuple(found)


def _identities(members: Members) -> tuple[dict[str, str], ...]:
    texts = members.items("trustedIdentities")
    if texts == ["*"]:
        return ()
    found: list[dict[str, str]] = []
    for number, text in enumerate(texts):
        place = join("trustedIdentities", number)
        if type(text) is not str:
            members.fail(place, "must be a string")
        if text == "*":
            members.fail("trustedIdentities", "must not have * beside others")
        try:
            identity = parse_identity(text)
        except ValueError as error:
            members.fail(place, str(error))
        for earlier, other in enumerate(found):
            if overlap(identity, other):
                members.fail(place, f"overlaps with trustedIdentities[{earlier}]")
        found.append(identity)
    return tuple(found)
