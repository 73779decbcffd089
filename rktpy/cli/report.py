"""Errors for the user, on standard error. Hot-path module."""

from __future__ import annotations

from rktpy.errors import chain, innermost
from rktpy.log import debugging, note


def report(prefix: str, error: BaseException) -> None:
    """Print an error: its message and innermost cause, or with ``--debug`` the whole chain."""
    note(prefix, chain(error) if debugging() else innermost(error))
