"""User and group of an app, looked up in its own root.

appc/spec 0.8.11 ``spec/aci.md``: first the image's /etc/passwd or /etc/group, then a number, then the owner of a file (the
text starts with ``/``). ``root`` is 0 also without such files, as in rkt. The files belong to the image: lines that cannot be
read are passed over, as the C library does. Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import InputError
from rktpy.formats.stage1 import GROUP_OF_USER
from rktpy.isolate.plan import shown
from rktpy.isolate.root import Root
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.isolate.pod_app import PodApp

_LARGEST_ID = 2**32 - 2  # the last value means "leave as it is" to setresuid(2)


class Account(Record):
    """A line of /etc/passwd."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


class User(Record):
    """Who an app runs as. ``account`` is its /etc/passwd entry if there is one."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    account: Account | None = None


def app_user(app: PodApp, root: Root) -> User:
    """Who an app runs as, looked up in its root. Raises InputError."""
    section = app.app
    may_be_uid = section.user == section.group and not section.user.isdigit() and section.user != "root" and app.from_docker
    return resolve_user(root, section.user, section.group, section.supplementary_gids, group_may_be_uid=may_be_uid)


def resolve_user(
    root: Root, user: str, group: str, supplementary_gids: tuple[int, ...] = (), *, group_may_be_uid: bool = False
) -> User:
    """Look up an app's ``user``, ``group`` and supplementary groups in its root.

    ``group`` ``:user`` stands for the groups that the image's own files give to the user (what OCI images mean). With
    ``group_may_be_uid`` an unknown group that is spelt as the user takes the user's ID, which images that docker2aci converted
    rely on. Raises :class:`InputError`.
    """
    accounts = _accounts(root)
    account, uid = _user(root, accounts, user)
    if group == GROUP_OF_USER:
        gid = account.gid if account else 0
        extra = _groups_of(root, account.name) if account else ()
        return User(uid, gid, _unique(gid, (*supplementary_gids, *extra)), account)
    found = _group(root, group)
    if found is None:
        if not (group_may_be_uid and group == user):
            raise InputError(f"group {shown(group)} not found in the image")
        found = uid
    return User(uid, found, _unique(found, supplementary_gids), account)


def _unique(gid: int, others: tuple[int, ...]) -> tuple[int, ...]:
    """The supplementary groups; as in rkt the primary one is among them."""
    return tuple(dict.fromkeys((gid, *others)))


def _user(root: Root, accounts: list[Account], user: str) -> tuple[Account | None, int]:
    for account in accounts:
        if account.name == user:
            return account, account.uid
    uid = _number(user)
    if uid is None and user == "root":
        uid = 0
    if uid is None and user.startswith("/"):
        status = root.stat(user)
        if status is None:
            raise InputError(f"file {shown(user)}, whose owner the app should run as, is not in the image")
        uid = status.st_uid
    if uid is None:
        raise InputError(f"user {shown(user)} not found in the image")
    for account in accounts:
        if account.uid == uid:
            return account, uid
    return None, uid


def _group(root: Root, group: str) -> int | None:
    for name, number, _members in _group_lines(root):
        if name == group:
            return number
    gid = _number(group)
    if gid is None and group == "root":
        gid = 0
    if gid is None and group.startswith("/"):
        status = root.stat(group)
        if status is None:
            raise InputError(f"file {shown(group)}, whose group the app should run as, is not in the image")
        gid = status.st_gid
    return gid


def _groups_of(root: Root, name: str) -> tuple[int, ...]:
    return tuple([gid for _name, gid, members in _group_lines(root) if name in members])


def _number(text: str) -> int | None:
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        return None
    number = int(text)
    return number if number <= _LARGEST_ID else None


def _lines(root: Root, path: str) -> list[list[str]]:
    data = root.read(path)
    if data is None:
        return []
    return [line.split(":") for line in data.decode("utf-8", "surrogateescape").split("\n") if line]


def _accounts(root: Root) -> list[Account]:
    accounts: list[Account] = []
    for fields in _lines(root, "/etc/passwd"):
        if len(fields) < 7:
            continue
        uid, gid = _number(fields[2]), _number(fields[3])
        if fields[0] and uid is not None and gid is not None:
            accounts.append(Account(fields[0], uid, gid, fields[5], fields[6]))
    return accounts


def _group_lines(root: Root) -> list[tuple[str, int, list[str]]]:
    groups: list[tuple[str, int, list[str]]] = []
    for fields in _lines(root, "/etc/group"):
        if len(fields) < 4:
            continue
        gid = _number(fields[2])
        if fields[0] and gid is not None:
            groups.append((fields[0], gid, fields[3].split(",")))
    return groups
