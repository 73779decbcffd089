"""Credential files of other tools: containers' ``auth.json``, Docker's ``config.json`` and the old ``.dockercfg``.

Source: containers-auth.json(5), and Docker's documentation of ``docker login``. Members that these tools keep for other purposes
are ignored. This module only decides what to try; it runs no helper. Hot-path module.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64

from rktpy.errors import ConfigError, FormatError
from rktpy.formats import jsondoc
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HUB = "docker.io"
HUB_SERVER = "https://index.docker.io/v1/"
"""The name under which Docker's credential helpers keep the login to Docker Hub."""

_HUB_HOSTS = ("docker.io", "index.docker.io", "registry-1.docker.io", "auth.docker.io")
_HELPER = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


class Login(Record):
    """What one entry holds: a user with a password, or an identity token (OAuth2 refresh token), or a registry token (bearer).

    ``scope`` is the host, or host and path, that it is for.
    """

    scope: str
    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return f"Login(scope={self.scope!r}, username={self.username!r}, …)"  # no secrets in tracebacks and logs

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it; Docker leaves such an entry beside a login that a helper keeps."""
        return not (self.username or self.password or self.identity_token or self.registry_token)


class AuthFile(Record):
    """One credential file: ``source`` is its path, ``helpers`` pairs (host, helper), ``store`` the helper for all other hosts."""

    source: str
    logins: tuple[Login, ...] = ()
    helpers: tuple[tuple[str, str], ...] = ()
    store: str = ""


class CredentialChoice(Record):
    """One thing to try, in order. Exactly one of ``login`` and ``helper`` is set.

    To use a helper run ``docker-credential-<helper> get`` with each of ``servers`` on standard input until one is found; if none
    is, go on with the next choice. ``source`` is the file that said so.
    """

    source: str
    login: Login | None = None
    helper: str = ""
    servers: tuple[str, ...] = ()


def parse_auth_file(data: bytes, source: str) -> AuthFile:
    """Read ``auth.json`` or ``config.json``; ``source`` is its path. Raises :class:`ConfigError`, which never shows a secret."""
    doc = _document(data, source)
    logins = _logins(_object(doc.get("auths"), source, "auths"), source, "auths")
    helpers: list[tuple[str, str]] = []
    for key, value in _object(doc.get("credHelpers"), source, "credHelpers").items():
        helpers.append((_scope_of_key(key), _helper_name(value, source, f"credHelpers.{key}")))
    store = doc.get("credsStore")
    return AuthFile(source, logins, tuple(helpers), "" if store in (None, "") else _helper_name(store, source, "credsStore"))


def parse_dockercfg(data: bytes, source: str) -> AuthFile:
    """Read ``.dockercfg``, which is the ``auths`` object alone. Raises :class:`ConfigError`."""
    return AuthFile(source, _logins(_document(data, source), source, ""))


def credential_choices(files: tuple[AuthFile, ...], host: str, repository: str) -> tuple[CredentialChoice, ...]:
    """What to try for ``host`` (with its port) and ``repository``, best first.

    Files count in their order. In one file a helper named for the host comes first, then the login with the longest matching
    path, then the helper for all hosts. Nothing is returned when no file knows the host: go without credentials.
    """
    choices: list[CredentialChoice] = []
    wanted = _normal_host(host)
    for file in files:
        named = [helper for key, helper in file.helpers if key == wanted]
        if named:
            choices.append(CredentialChoice(file.source, helper=named[0], servers=_servers(wanted)))
            continue
        login = _longest(file.logins, wanted, repository)
        if login is not None:
            choices.append(CredentialChoice(file.source, login=login))
        elif file.store:
            choices.append(CredentialChoice(file.source, helper=file.store, servers=_servers(wanted)))
    return tuple(choices)


def _servers(host: str) -> tuple[str, ...]:
    return (HUB_SERVER, HUB) if host == HUB else (host, f"https://{host}")


def _longest(logins: tuple[Login, ...], host: str, repository: str) -> Login | None:
    scope = f"{host}/{repository}"
    while True:
        for login in logins:
            if login.scope == scope and not login.is_empty:
                return login
        scope, slash, _last = scope.rpartition("/")
        if not slash:
            return None


def _normal_host(host: str) -> str:
    lowered = host.lower()
    return HUB if lowered in _HUB_HOSTS else lowered


def _scope_of_key(key: str) -> str:
    """``host[:port][/path]`` of a key; URLs, as Docker writes them for Docker Hub, stand for their host alone."""
    rest = key.partition("://")[2]
    host, _slash, path = (rest or key).partition("/")
    path = path.strip("/")
    if rest or path in ("v1", "v2"):
        path = ""
    return f"{_normal_host(host)}/{path}" if path else _normal_host(host)


def _document(data: bytes, source: str) -> dict[str, Any]:
    try:
        return jsondoc.parse_object(data, source)
    except FormatError as error:
        # The parser's message may quote a member's name, never a value.
        raise ConfigError(str(error)) from None


def _shown(path: str) -> str:
    return path if path.isprintable() else ascii(path)[1:-1]


def _object(value: Any, source: str, path: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{source}: {_shown(path)}: must be an object")
    return value  # pyright: ignore[reportUnknownVariableType]


def _helper_name(value: Any, source: str, path: str) -> str:
    # It becomes part of a program's name, which must not turn into a path.
    if not isinstance(value, str) or not value or not _HELPER.issuperset(value):
        raise ConfigError(f"{source}: {_shown(path)}: must be the name of a credential helper, without docker-credential-")
    return value


def _logins(entries: dict[str, Any], source: str, path: str) -> tuple[Login, ...]:
    logins: list[Login] = []
    for key, value in entries.items():
        inner = f"{path}.{key}" if path else key
        logins.append(_login(_scope_of_key(key), _object(value, source, inner), source, inner))
    return tuple(logins)


def _login(scope: str, entry: dict[str, Any], source: str, path: str) -> Login:
    username = _text(entry, "username", source, path)
    password = _text(entry, "password", source, path)
    encoded = _text(entry, "auth", source, path)
    if encoded:
        try:
            decoded = a2b_base64(encoded, strict_mode=True).decode("utf-8")
        except (Base64Error, ValueError):
            raise ConfigError(f"{source}: {_shown(path)}.auth: must be base64 of user:password") from None
        username, colon, password = decoded.partition(":")
        password = password.rstrip("\0")  # old versions of Docker padded it
        if not colon or not username:
            raise ConfigError(f"{source}: {_shown(path)}.auth: must be base64 of user:password")
    return Login(
        scope, username, password, _text(entry, "identitytoken", source, path), _text(entry, "registrytoken", source, path)
    )


def _text(entry: dict[str, Any], name: str, source: str, path: str) -> str:
    value = entry.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ConfigError(f"{source}: {_shown(path)}.{name}: must be a string")
    return value
