"""When a failed request is worth another attempt, and how long to wait before it."""

from __future__ import annotations

import random
import socket
import time

from rktpy.errors import FetchError, describe
from rktpy.fetch import limits
from rktpy.fetch.wire import Headers, Truncated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: Answers after which the same request may succeed.
TRANSIENT = frozenset((408, 429, 500, 502, 503, 504))


class ConnectionFailed(FetchError):
    """A server could not be reached, or went away.

    ``certificate`` is true when its certificate was not accepted: a definite answer, unlike the others.
    """

    def __init__(self, message: str, certificate: bool = False) -> None:
        self.certificate = certificate
        super().__init__(message)


class Retry:
    """Counts the failures of one request and waits between the attempts: twice as long each time, with jitter.

    ``pause`` waits so many seconds, and raises when the request is not wanted any more.
    """

    def __init__(self, what: str, pause: Callable[[float], None], attempts: int = limits.ATTEMPTS) -> None:
        self._what = what
        self._pause = pause
        self._attempts = attempts
        self._failures = 0
        self._total = 0

    def advanced(self) -> None:
        """Something has arrived since the last failure: count from the start, up to a limit that never resets."""
        self._failures = 0

    def after_error(self, error: Exception) -> None:
        """Wait before another attempt. Raises :class:`ConnectionFailed` when there should be none."""
        certificate = is_certificate_error(error)
        if certificate or not is_transient(error) or not self._again():
            raise ConnectionFailed(f"{self._what}: {reason(error)}", certificate) from None
        self._wait(0.0)

    def after_status(self, status: int, headers: Headers) -> bool:
        """Whether to ask again after this answer; waits before it says so."""
        if status not in TRANSIENT:
            return False
        wanted = retry_after(headers.get("retry-after"))
        if wanted > limits.RETRY_AFTER_MOST or not self._again():
            return False
        self._wait(wanted)
        return True

    def _again(self) -> bool:
        self._failures += 1
        self._total += 1
        return self._failures < self._attempts and self._total <= limits.RESUMPTIONS

    def _wait(self, at_least: float) -> None:
        pause = min(limits.BACKOFF * 2 ** (self._failures - 1), limits.BACKOFF_MOST)
        self._pause(max(at_least, pause * random.uniform(0.5, 1.0)))


def retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110 section 10.2.3); 0 when it is absent or unreadable."""
    if not value:
        return 0.0
    if value.isascii() and value.isdecimal():
        return float(value[:12])
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0


def is_certificate_error(error: Exception) -> bool:
    """Whether the peer's certificate was refused (by its class name, so that plain http needs no TLS library)."""
    return type(error).__name__ == "SSLCertVerificationError"


def is_transient(error: Exception) -> bool:
    """Whether a connection error may go away by itself."""
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, (ConnectionError, TimeoutError, Truncated)):
        return True
    # What is left of TLS errors: an end of stream is a lost connection, the rest says that the peer speaks something else.
    return isinstance(error, OSError) and (type(error).__name__ == "SSLEOFError" or not type(error).__name__.startswith("SSL"))


def reason(error: Exception) -> str:
    """A connection error in a few words."""
    if is_certificate_error(error):
        return f"the server's certificate is not accepted: {getattr(error, 'verify_message', error)}"
    name = type(error).__name__
    if name.startswith("SSL"):
        return f"TLS failed: {str(getattr(error, 'reason', None) or error).lower().replace('_', ' ')}"
    if isinstance(error, TimeoutError):
        return "timed out"
    return describe(error)
