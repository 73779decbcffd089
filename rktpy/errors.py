"""The error tree, grouped by who is at fault.

Every error that a user may see is a :class:`RktpyError`. Its text is one line in lower case that names the thing and what was
wanted. ``__main__`` prints it once and picks the exit status; nothing else in the program calls ``sys.exit``.

Hot-path module: imports nothing.
"""

from __future__ import annotations


class RktpyError(Exception):
    """Base of all errors that rktpy reports.

    ``status`` is the exit status of the process (254 for our own failures, as rkt). Chain causes with ``raise ... from``:
    without ``--debug`` only ``message: innermost cause`` is shown, with it the whole chain.
    """

    status = 254


class UsageError(RktpyError):
    """The caller's command line or argument is wrong."""


class InputError(RktpyError):
    """A document, image, archive or configuration that we were handed is wrong."""


class FormatError(InputError):
    """A document breaks its specification.

    ``what`` names the document, ``path`` is the JSON path of the offending value (``apps[0].app.exec``; empty for the
    document itself), ``problem`` says what is wrong with it.
    """

    def __init__(self, what: str, path: str, problem: str) -> None:
        self.what = what
        self.path = path
        self.problem = problem
        super().__init__(f"{what}: {path}: {problem}" if path else f"{what}: {problem}")


class ArchiveError(InputError):
    """A tar archive or compressed stream is malformed, hostile or over a limit."""


class DigestMismatch(InputError):
    """Bytes do not have the digest or size that was promised for them."""


class ConfigError(InputError):
    """A configuration file of rktpy or of a tool that it reads is wrong."""


class NotFoundError(RktpyError):
    """What was asked for does not exist."""


class ImageGone(NotFoundError):
    """An image whose whole ID is known is not in the store: most often, not any more."""


class AmbiguousError(RktpyError):
    """A name or prefix matches more than one thing."""


class FetchError(RktpyError):
    """A remote or local source could not deliver."""


class HTTPError(FetchError):
    """An HTTP answer that is not a success. ``code`` is the HTTP status."""

    def __init__(self, message: str, code: int) -> None:
        self.code = code
        super().__init__(message)


class TrustError(RktpyError):
    """An image was not accepted by the trust policy.

    ``decision`` is the :class:`rktpy.trust.decision.Decision` with all that was looked at, where there was one.
    """

    def __init__(self, message: str, decision: object = None) -> None:
        self.decision = decision
        super().__init__(message)


class TrustRejected(TrustError):
    """The policy was evaluated and refuses the image."""


class TrustUndecided(TrustError):
    """The policy could not be evaluated, which is never an acceptance."""


class StoreError(RktpyError):
    """The store is damaged, full, read-only or of an unknown version."""


class NetworkError(RktpyError):
    """A network could not be set up or taken down."""


class StateError(RktpyError):
    """A pod is not in the state that the operation needs."""


class Stage1Error(RktpyError):
    """A stage1 entry point failed or breaks the contract. ``status`` may carry its own exit status."""

    def __init__(self, message: str, status: int = 254) -> None:
        self.status = status
        super().__init__(message)


class NotEnforced(RktpyError):
    """An isolator or option cannot be honoured here, and strictness was asked for."""


def innermost(error: BaseException) -> str:
    """The one-line text of ``error``: its message and, if it has one, that of the innermost cause."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if cause is error:
        return describe(error)
    return f"{describe(error)}: {describe(cause)}"


def chain(error: BaseException) -> str:
    """The whole chain of causes, one per line, indented the way rkt prints it with ``--debug``."""
    lines = [describe(error)]
    depth = 1
    cause = error.__cause__
    while cause is not None:
        lines.append("  " * depth + "└─" + describe(cause))
        depth += 1
        cause = cause.__cause__
    return "\n".join(lines)


def describe(error: BaseException) -> str:
    """One error without its causes. An OSError reads ``path: reason`` instead of Python's bracketed form."""
    if isinstance(error, OSError) and error.strerror:
        name = error.filename
        if isinstance(name, bytes):
            name = name.decode("utf-8", "backslashreplace")
        return f"{name}: {error.strerror.lower()}" if name else error.strerror.lower()
    return str(error) or type(error).__name__
