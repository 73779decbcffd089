"""The identity of pods: HMAC-SHA512 over the pod's UUID and a content, by a key that only this service has.

The key lies in the run-time directory, so that signatures outlive a restart of the service (rkt's do not); like the pods it is
gone after a restart of the machine. The lock on its file is also what makes the service the only one.

Source: appc/spec 0.8.11 ``spec/ace.md`` (Identity Endpoint), rkt 1.30 ``rkt/metadata_service.go``.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hmac
import os
import stat

from rktpy.errors import StateError, UsageError

KEY_FILE = "/run/rktpy/metadata-svc.key"
_KEY_BYTES = 64


class Identity:
    """Signs in the name of pods, and tells whether a signature is a pod's."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, uuid: str, content: bytes) -> str:
        """The signature of a pod (its UUID in canonical form) under ``content``, in base64."""
        return base64.b64encode(self._digest(uuid, content)).decode()

    def verify(self, uuid: str, content: bytes, signature: str) -> bool:
        """Whether ``signature`` is what :meth:`sign` gives. Raises UsageError when it is not base64."""
        try:
            found = base64.b64decode(signature.replace("\r", "").replace("\n", "").encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            raise UsageError("not base64") from None
        return hmac.compare_digest(found, self._digest(uuid, content))

    def _digest(self, uuid: str, content: bytes) -> bytes:
        return hmac.digest(self._key, bytes.fromhex(uuid.replace("-", "")) + content, "sha512")


class KeyFile:
    """The file with the key, locked while this object lives."""

    def __init__(self, path: str = KEY_FILE) -> None:
        """Open, lock and read the file; make it with a new key if it has none.

        Raises StateError when another service holds the lock or others could have read the key, OSError.
        """
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            self.key = self._read(path)
        except BaseException:
            os.close(self._fd)
            raise

    def _read(self, path: str) -> bytes:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError("another metadata service is running") from None
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise StateError(f"{path}: must be a file that is the service's own and nobody else's to read")
        key = os.read(self._fd, _KEY_BYTES + 1)
        if len(key) != _KEY_BYTES:
            key = os.urandom(_KEY_BYTES)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, key, 0)
        return key

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._fd)
