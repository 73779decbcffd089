"""Making simple-signing signatures with GnuPG (containers-signature(5)).

Cold-path module.
"""

from __future__ import annotations

import os
import subprocess

from rktpy.errors import FormatError, RktpyError
from rktpy.formats.openpgp_message import check_signed_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.trust.simple_signing import Claims


def sign(claims: Claims, key: str, home: str = "") -> bytes:
    """A signed message with the ``claims``, as it is put into a lookaside storage.

    ``key`` is a fingerprint, key ID or user ID of a secret key, as gpg's ``--local-user`` takes it; ``home`` its GnuPG directory
    (the user's own if empty). A passphrase is asked for by gpg's agent. Raises :class:`RktpyError` when gpg cannot sign.
    """
    argv = ["gpg", *([f"--homedir={home}"] if home else []), "--quiet", "--yes", "--local-user", key, "--output", "-", "--sign"]
    try:
        done = subprocess.run(argv, input=claims.to_bytes(), capture_output=True, check=False, env=_environ())
    except OSError as error:
        raise RktpyError("cannot run gpg to sign an image") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
        raise RktpyError(f"cannot sign with key {key!r}: {said.removeprefix('gpg: ') or 'gpg failed'}")
    try:
        check_signed_message(done.stdout, f"signature by {key}")
    except FormatError as error:
        raise RktpyError(f"cannot sign with key {key!r}") from error
    return done.stdout


def _environ() -> dict[str, str]:
    # The agent asks for a passphrase where the user is.
    environ = dict(os.environ)
    if "GPG_TTY" not in environ and os.isatty(0):
        environ["GPG_TTY"] = os.ttyname(0)
    return environ
