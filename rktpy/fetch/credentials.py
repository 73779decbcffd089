"""Who we are at a registry: rkt's dockerAuth documents, then the files and helpers of containers and Docker.

containers-auth.json(5); the protocol of credential helpers is docker/docker-credential-helpers'.
"""

from __future__ import annotations

import os

from rktpy.errors import ConfigError, FormatError
from rktpy.fetch import limits
from rktpy.fetch.registry_auth import Credential
from rktpy.formats import jsondoc
from rktpy.formats.registry_auth import (
    AuthFile,
    CredentialChoice,
    credential_choices,
    parse_auth_file,
    parse_dockercfg,
)
from rktpy.log import debug, note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from rktpy.config import Config

# A user name that says: the secret is an identity token.
_TOKEN_USER = "<token>"
_LARGEST = 4 << 20


class Credentials:
    """Looks credentials up when a registry asks for them; files are read once, at the first question.

    ``config`` is rktpy's configuration, None for none. Calling it may raise :class:`ConfigError` for files that cannot be read.
    """

    def __init__(self, config: Config | None, environ: Mapping[str, str] | None = None) -> None:
        self._config = config
        self._environ = os.environ if environ is None else environ
        self._files: tuple[AuthFile, ...] | None = None

    def __call__(self, host: str, repository: str) -> Credential | None:
        """What to show ``host`` (``host[:port]``) for ``repository``, or None."""
        known = self._config.docker_credentials(host) if self._config else None
        if known is not None:
            debug("image", f"using the dockerAuth credentials for {host}")
            return Credential(known.user, known.password)
        if self._files is None:
            self._files = tuple(_read_files(self._environ))
        for choice in credential_choices(self._files, host, repository):
            found = self._try(choice)
            if found is not None:
                debug("image", f"using the credentials for {host} from {choice.source}")
                return found
        return None

    def _try(self, choice: CredentialChoice) -> Credential | None:
        login = choice.login
        if login is not None:
            return Credential(login.username, login.password, login.identity_token, login.registry_token)
        for server in choice.servers:
            found = ask_helper(choice.helper, server, self._environ)
            if found is not None:
                return found
        return None


def auth_files(environ: Mapping[str, str]) -> list[str]:
    """The credential files in the order in which they count, whether they exist or not."""
    if environ.get("REGISTRY_AUTH_FILE"):
        return [environ["REGISTRY_AUTH_FILE"]]
    home = environ.get("HOME") or ""
    runtime = environ.get("XDG_RUNTIME_DIR")
    config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    docker = environ.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else "")
    found = [f"{runtime}/containers/auth.json" if runtime else f"/run/containers/{os.getuid()}/auth.json"]
    if config:
        found.append(f"{config}/containers/auth.json")
    if docker:
        found.append(f"{docker}/config.json")
    if home:
        found.append(f"{home}/.dockercfg")
    return found


def _read_files(environ: Mapping[str, str]) -> list[AuthFile]:
    files: list[AuthFile] = []
    for path in auth_files(environ):
        try:
            with open(path, "rb") as file:
                data = file.read(_LARGEST)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise ConfigError("cannot read the registry credentials") from error
        if data.strip():
            files.append(parse_dockercfg(data, path) if path.endswith("/.dockercfg") else parse_auth_file(data, path))
    return files


def ask_helper(helper: str, server: str, environ: Mapping[str, str]) -> Credential | None:
    """What ``docker-credential-<helper> get`` has for ``server``; None when it has nothing or does not work, which is noted."""
    import subprocess

    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=server.encode(),
            capture_output=True,
            timeout=limits.HELPER_SECONDS,
            env=dict(environ),
            check=False,
        )
    except FileNotFoundError:
        note("image", f"credential helper {program} is not installed, going on without it")
        return None
    except subprocess.TimeoutExpired:
        note("image", f"credential helper {program} did not answer in {limits.HELPER_SECONDS:.0f} seconds, going on without it")
        return None
    except OSError as error:
        raise ConfigError(f"cannot run the credential helper {program}") from error
    if done.returncode != 0:
        said = done.stdout.decode("utf-8", "replace").strip()
        if "not found" not in said:
            note("image", f"credential helper {program} failed: {said[:200] or done.returncode}")
        return None
    try:
        answer = jsondoc.parse_object(done.stdout, program)
    except FormatError as error:
        raise ConfigError(f"credential helper {program} answered no JSON object") from error
    user, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str):
        raise ConfigError(f"credential helper {program} answered without Username and Secret")
    if user == _TOKEN_USER:
        return Credential(identity_token=secret)
    return Credential(user, secret) if user or secret else None
