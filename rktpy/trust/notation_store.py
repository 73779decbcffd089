"""The Notary Project's trust store on disk, and the trust policy that names parts of it.

::

    <trust store>/x509/{ca,signingAuthority,tsa}/<name>/*.{pem,crt,cer}

notaryproject/specifications ``trust-store-trust-policy.md``, "Trust Store". Symbolic links are refused, for directories and
files; sub-directories and files with other endings are passed over. Here files are only found and the policy is read, which is
cheap enough for every start; certificates are read when evidence is examined.

Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import ConfigError, FormatError
from rktpy.formats.trust.notation.policy import MAX_SIZE, Statement, parse
from rktpy.formats.trust.requirements import KeySource
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.trust.requirements import Notation

_ENDINGS = (".pem", ".crt", ".cer")
#: Most certificate files of one named store.
MAX_FILES = 256
#: Names that the trust policy may have when a directory is given; the first that is there counts.
_POLICY_NAMES = ("trustpolicy.oci.json", "trustpolicy.json")


class Store(Record):
    """A named store: its files in the order of their names, or in ``problem`` why it cannot be used."""

    kind: str
    name: str
    files: tuple[str, ...] = ()
    problem: str = ""

    @property
    def key(self) -> str:
        """``type:name``, as trust policies write it."""
        return f"{self.kind}:{self.name}"


def policy_source(requirement: Notation) -> KeySource:
    """The trust policy's file. A directory stands for the file in it. Never raises; what is not there fails when it is read."""
    path = requirement.trust_policy
    if os.path.isdir(path):
        for name in _POLICY_NAMES:
            inside = os.path.join(path, name)
            if os.path.lexists(inside):
                return KeySource(path=inside)
        return KeySource(path=os.path.join(path, _POLICY_NAMES[0]))
    return KeySource(path=path)


def read_policy(data: bytes, path: str) -> tuple[Statement, ...]:
    """The trust policy in ``data``. Raises :class:`ConfigError`."""
    try:
        return parse(data, f"trust policy {path}")
    except FormatError as error:
        raise ConfigError(str(error)) from None


def statements_of(requirement: Notation) -> tuple[Statement, ...]:
    """Read the trust policy from its file. Raises :class:`ConfigError`."""
    path = policy_source(requirement).path
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the trust policy {path}") from error
    return read_policy(data, path)


def stores_of(requirement: Notation, statements: tuple[Statement, ...]) -> tuple[Store, ...]:
    """The stores that the statements name, with the files that are there now. Never raises."""
    named = dict.fromkeys([store for statement in statements for store in statement.stores])
    return tuple([_find(requirement.trust_store, kind, name) for kind, name in named])


def _find(base: str, kind: str, name: str) -> Store:
    directory = os.path.join(base, "x509", kind, name)
    what = f"trust store {kind}:{name}"
    if os.path.islink(directory):
        return Store(kind, name, (), f"{what} is a symbolic link, which is not allowed ({directory})")
    files: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_symlink():
                    return Store(kind, name, (), f"{what} holds a symbolic link, which is not allowed ({entry.path})")
                if entry.name.endswith(_ENDINGS) and entry.is_file(follow_symlinks=False):
                    files.append(entry.path)
    except OSError as error:
        reason = error.strerror.lower() if error.strerror else "cannot be read"
        return Store(kind, name, (), f"{what} cannot be read: {directory}: {reason}")
    if not files:
        return Store(kind, name, (), f"{what} holds no certificate ({directory})")
    if len(files) > MAX_FILES:
        return Store(kind, name, (), f"{what} holds more than {MAX_FILES} files")
    return Store(kind, name, tuple(sorted(files)))
