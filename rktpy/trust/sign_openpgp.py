"""Making OpenPGP signatures with GnuPG: detached ones for ACIs, signed messages for simple signing (RFC 4880).

The key is one of the user's keyring, or in a file; then it is imported into an empty, private GnuPG home that ends with the
signature, so that the keyring never learns of it. Cold-path module.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile

from rktpy.errors import ConfigError, InputError
from rktpy.log import harmless
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

# Somebody may have to find a passphrase or a smart card first.
_LIMIT = 600
_LARGEST_KEY = 1 << 20


# A socket's path may have 107 bytes; what the agent's is called, and the directory's own name, come after this.
_LONGEST_DIRECTORY = 65


class SigningKey(Record):
    """Which key signs: ``user`` names one of the keyring (empty: its default key), or ``path`` is a file with secret keys.

    ``passphrase_path`` is the file whose first line is the passphrase; without it the agent asks for one if it must.
    """

    user: str = ""
    path: str = ""
    passphrase_path: str = ""


class OpenPGPSigner:
    """Signs with one key while its context is open. Raises :class:`ConfigError` for a key file that is none."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self._home = ""

    def __enter__(self) -> Self:
        if self._key.path:
            try:
                with open(self._key.path, "rb") as file:
                    data = file.read(_LARGEST_KEY)
                self._home = tempfile.mkdtemp(prefix="rktpy-gpg-", dir=_directory())
            except OSError as error:
                raise ConfigError("cannot read the signing key") from error
            try:
                self._import(data)
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_error: object) -> None:
        if self._home:
            # The agent that signing has started would keep the key for a while.
            try:
                argv = ["gpgconf", f"--homedir={self._home}", "--kill", "all"]
                subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=_LIMIT)
            except (OSError, subprocess.SubprocessError):
                pass
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = ""

    def _import(self, data: bytes) -> None:
        self._run("--import", data=data, passphrase=False)
        listing = self._run("--with-colons", "--list-secret-keys", passphrase=False).decode("utf-8", "replace")
        if not any(line.startswith("sec:") for line in listing.splitlines()):
            raise ConfigError(f"{self._key.path}: holds no secret OpenPGP key")

    def detached(self, path: str) -> bytes:
        """An armored detached signature over a file (``.asc``). Raises :class:`InputError` when gpg cannot sign."""
        return self._run("--armor", "--output=-", "--detach-sign", "--", path)

    def message(self, data: bytes) -> bytes:
        """``data`` as a signed message with one signature, binary and not compressed, which is the form all verifiers read.

        Raises :class:`InputError` when gpg cannot sign.
        """
        return self._run("--compress-algo=none", "--output=-", "--sign", data=data)

    def _run(self, *arguments: str, data: bytes = b"", passphrase: bool = True) -> bytes:
        argv = ["gpg", "--batch", "--quiet", "--yes"]
        if self._home:
            argv += [f"--homedir={self._home}", "--no-options", "--trust-model=always"]
        if self._key.user:
            argv.append(f"--local-user={self._key.user}")
        if passphrase and self._key.passphrase_path:
            argv += ["--pinentry-mode=loopback", f"--passphrase-file={self._key.passphrase_path}"]
        try:
            done = subprocess.run(
                [*argv, *arguments],
                input=data,
                capture_output=True,
                timeout=_LIMIT,
                check=False,
                env=_environ(),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise InputError("cannot run gpg to sign") from error
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            reason = said[-1].removeprefix("gpg: ") if said else f"exit status {done.returncode}"
            raise InputError(f"cannot sign with gpg: {harmless(reason)}")
        return done.stdout


def _directory() -> str:
    """Where a private home may be made: the agent's sockets lie in it, and their paths must not be long."""
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) <= _LONGEST_DIRECTORY else "/tmp"


def _environ() -> dict[str, str]:
    environ = {**os.environ, "LC_ALL": "C"}
    if "GPG_TTY" not in environ and os.isatty(0):
        # The agent asks for a passphrase where the user is.
        environ["GPG_TTY"] = os.ttyname(0)
    return environ
