"""GnuPG with an empty, private home: no key, option or trust of the user takes part, and nothing is left behind.

Cold-path module.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile

from rktpy.errors import TrustUndecided

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

#: Time limit of one call in seconds; gpg needs some milliseconds.
_LIMIT = 60
# What a verdict depends on is named here. --ignore-time-conflict: whether a signature lies in the future is asked of the clock at
# every start, and not of the clock of the day on which GnuPG was asked.
_OPTIONS = (
    "--no-options",
    "--batch",
    "--no-tty",
    "--quiet",
    "--no-autostart",
    "--trust-model=always",
    "--no-auto-key-retrieve",
    "--no-auto-key-locate",
    "--no-auto-check-trustdb",
    "--ignore-time-conflict",
    "--disable-dirmngr",
)


class GpgHome:
    """A home that lives as long as the context. Every method raises TrustUndecided when GnuPG cannot be run."""

    def __init__(self) -> None:
        self._home = ""

    def __enter__(self) -> Self:
        try:
            self._home = tempfile.mkdtemp(prefix="rktpy-gpg-")
        except OSError as error:
            raise TrustUndecided("cannot run gpg to verify a signature") from error
        return self

    def __exit__(self, *_error: object) -> None:
        shutil.rmtree(self._home, ignore_errors=True)

    def import_keys(self, data: bytes) -> None:
        """Take in public keys. What GnuPG does not take is missing from :meth:`listing`."""
        self._run("--import", data=data)

    def take_over(self, keyring: bytes) -> None:
        """Have the keys of another home, by its :meth:`keyring`."""
        try:
            with open(self._keyring_path, "wb") as file:
                file.write(keyring)
        except OSError as error:
            raise TrustUndecided("cannot run gpg to verify a signature") from error

    def keyring(self) -> bytes:
        """GnuPG's own file with the keys that were imported; empty if there is none."""
        try:
            with open(self._keyring_path, "rb") as file:
                return file.read()
        except OSError:
            return b""

    @property
    def _keyring_path(self) -> str:
        return os.path.join(self._home, "pubring.kbx")

    def listing(self) -> str:
        """The keys in this home, as ``--with-colons`` has them."""
        return self._run("--with-colons", "--fixed-list-mode", "--with-subkey-fingerprint", "--list-keys")[0].decode(
            "utf-8", "replace"
        )

    def open_signed(self, message: bytes, limit: int) -> tuple[bytes, str]:
        """What is in a signed message (at most ``limit`` bytes of it), and the status lines about its signature."""
        return self._run(f"--max-output={limit}", "--decrypt", data=message)

    def _run(self, *arguments: str, data: bytes = b"") -> tuple[bytes, str]:
        """Standard output and the status lines. An exit status is no answer: keys and signatures are judged by what is said."""
        status = os.path.join(self._home, "status")
        argv = ["gpg", f"--homedir={self._home}", f"--status-file={status}", *_OPTIONS, *arguments]
        try:
            done = subprocess.run(
                argv, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_LIMIT, check=False
            )
            with open(status, "rb") as file:
                return done.stdout, file.read().decode("utf-8", "replace")
        except (OSError, subprocess.SubprocessError) as error:
            raise TrustUndecided("cannot run gpg to verify a signature") from error
