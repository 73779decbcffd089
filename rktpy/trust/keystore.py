"""The keystore of OpenPGP keys for ACIs: which keys may sign an image of a given name.

::

    {system,local}/trustedkeys/root.d/<fingerprint>                 any image
    {system,local}/trustedkeys/prefix.d/<name prefix>/<fingerprint>  images below that prefix

A file is an armored public key named by the lower-case hex fingerprint of its primary key. Directories are read in the order
system root, local root, system prefix, local prefix; a later file of the same name replaces the earlier one, an empty file takes
that key away (rkt ``pkg/keystore``). rkt compares prefixes as text, so that a key for ``example.com/foo`` also signs
``example.com/foobar``; here whole path components count.

Hot-path module: ``run`` asks it at every start.
"""

from __future__ import annotations

import os

from rktpy.errors import ConfigError, FormatError, NotFoundError, UsageError
from rktpy.formats import openpgp
from rktpy.formats.aci.types import is_ac_identifier
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class TrustedKey(Record):
    """One key that applies to an image name. ``prefix`` is empty for a root key."""

    fingerprint: str
    prefix: str
    path: str


class RemovedKey(Record):
    """What became of a key: ``path`` is the file that is gone, or the empty one that masks the key."""

    path: str
    masked: bool


class Keystore:
    """The keys below the system and the local configuration directory. Construction does no I/O."""

    def __init__(self, system_dir: str, local_dir: str) -> None:
        self._system = os.path.join(system_dir, "trustedkeys")
        self._local = os.path.join(local_dir, "trustedkeys")

    def keys_for(self, name: str) -> tuple[TrustedKey, ...]:
        """The keys that may sign the image called ``name`` (an AC identifier), by the names of their files; see :meth:`read`.

        Raises :class:`UsageError` for what is no image name, :class:`ConfigError` when a directory cannot be read.
        """
        if not is_scope(name):
            raise UsageError(f"{name!r} is not an image name")
        keys: dict[str, TrustedKey] = {}
        for directory, prefix in self._directories(name):
            for fingerprint, path, size in _files(directory):
                if size == 0:
                    keys.pop(fingerprint, None)
                else:
                    keys[fingerprint] = TrustedKey(fingerprint, prefix, path)
        return tuple(keys.values())

    def _directories(self, name: str) -> Iterator[tuple[str, str]]:
        for base in (self._system, self._local):
            yield os.path.join(base, "root.d"), ""
        for base in (self._system, self._local):
            directory = os.path.join(base, "prefix.d")
            prefix = ""
            for component in name.split("/"):
                prefix = f"{prefix}/{component}" if prefix else component
                directory = os.path.join(directory, component)
                yield directory, prefix

    def read(self, key: TrustedKey) -> bytes:
        """The key file's bytes. Raises :class:`ConfigError` unless it holds just the key that its name promises."""
        try:
            with open(key.path, "rb") as file:
                data = file.read(openpgp.MAX_SIZE + 1)
            found = openpgp.parse_public_key(data, f"trusted key {key.path}")
        except (OSError, FormatError) as error:
            raise ConfigError(f"cannot load trusted key {key.path}") from error
        if found.fingerprint != key.fingerprint:
            raise ConfigError(f"fingerprint mismatch: {key.path} holds key {found.fingerprint}")
        return data

    def has_prefix_keys(self, name: str) -> bool:
        """Whether any key is trusted for ``name`` or a parent of it by prefix (then discovery does not offer new ones)."""
        return any(key.prefix for key in self.keys_for(name))

    def all_keys(self) -> tuple[TrustedKey, ...]:
        """Every key that is trusted for something, root keys first, then by prefix. Raises :class:`ConfigError`."""
        scopes = [("", "root.d"), *[(prefix, f"prefix.d/{prefix}") for prefix in self._prefixes()]]
        found: list[TrustedKey] = []
        for prefix, directory in scopes:
            keys: dict[str, TrustedKey] = {}
            for base in (self._system, self._local):
                for fingerprint, path, size in _files(os.path.join(base, directory)):
                    if size == 0:
                        keys.pop(fingerprint, None)
                    else:
                        keys[fingerprint] = TrustedKey(fingerprint, prefix, path)
            found += keys.values()
        return tuple(found)

    def _prefixes(self) -> list[str]:
        prefixes: set[str] = set()
        for base in (self._system, self._local):
            top = os.path.join(base, "prefix.d")
            for directory, _names, _files in os.walk(top):
                if directory != top:
                    prefixes.add(os.path.relpath(directory, top))
        return sorted(prefix for prefix in prefixes if is_scope(prefix))

    def remove(self, fingerprint: str, prefix: str) -> RemovedKey:
        """Trust a key no longer for a prefix, or for all images when ``prefix`` is empty. Other scopes of it stay.

        A key of the system's directory is masked by an empty local file. Raises :class:`NotFoundError` when it is not trusted
        there, :class:`UsageError`, :class:`ConfigError`.
        """
        if prefix and not is_scope(prefix):
            raise UsageError(f"{prefix!r} is not an image name prefix")
        directory = f"prefix.d/{prefix}" if prefix else "root.d"
        system, local = [
            {name: size for name, _path, size in _files(f"{base}/{directory}")} for base in (self._system, self._local)
        ]
        path = f"{self._local}/{directory}/{fingerprint}"
        if not local.get(fingerprint, system.get(fingerprint, 0)):
            scope = f"prefix {prefix!r}" if prefix else "all images"
            raise NotFoundError(f"key {fingerprint} is not trusted for {scope}")
        try:
            if not system.get(fingerprint):
                os.unlink(path)
                return RemovedKey(path, False)
            os.makedirs(f"{self._local}/{directory}", 0o755, exist_ok=True)
            temporary = f"{self._local}/{directory}/.{fingerprint}.{os.getpid()}"
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
            os.rename(temporary, path)
        except OSError as error:
            raise ConfigError(f"cannot remove trusted key {path}") from error
        return RemovedKey(path, True)

    def add(self, data: bytes, prefix: str) -> str:
        """Trust a public key for a name prefix, or for every image when ``prefix`` is empty; return the file's path.

        The file is complete or absent at any instant. Raises :class:`FormatError`, :class:`UsageError` and
        :class:`ConfigError` when the directory cannot be written.
        """
        if prefix and not is_scope(prefix):
            raise UsageError(f"{prefix!r} is not an image name prefix")
        key = openpgp.parse_public_key(data, "public key")
        directory = os.path.join(self._local, "prefix.d", *prefix.split("/")) if prefix else os.path.join(self._local, "root.d")
        path = os.path.join(directory, key.fingerprint)
        temporary = os.path.join(directory, f".{key.fingerprint}.{os.getpid()}")
        try:
            os.makedirs(directory, 0o755, exist_ok=True)
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
                os.fchmod(fd, 0o644)
                os.fsync(fd)
                os.rename(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
            finally:
                os.close(fd)
        except OSError as error:
            raise ConfigError(f"cannot store trusted key {path}") from error
        return path


def is_scope(name: str) -> bool:
    """Whether ``name`` may name directories of the keystore.

    AC identifiers are read leniently elsewhere (``a/../b`` passes the reference library); here they become paths.
    """
    return is_ac_identifier(name) and not any(component in ("", ".", "..") for component in name.split("/"))


def _files(directory: str) -> list[tuple[str, str, int]]:
    """(fingerprint, path, size) of the key files of one directory, which may be missing."""
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError("cannot read the keystore") from error
    found: list[tuple[str, str, int]] = []
    for entry in entries:
        # A name that starts with a dot is a key that is being written.
        if entry.name.startswith(".") or entry.is_dir():
            continue
        try:
            found.append((entry.name, entry.path, entry.stat().st_size))
        except OSError as error:
            raise ConfigError("cannot read the keystore") from error
    return found
