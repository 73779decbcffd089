"""Where transports report what arrives. The way it is shown is chosen by :func:`rktpy.fetch.progress_output.open_progress`."""

from __future__ import annotations


class Progress:
    """Silent; base of the ones that show something. Methods may be called from several threads.

    ``item`` identifies a transfer (a digest or URL); sizes are bytes, ``size`` is None while unknown.
    """

    def begin(self, item: str, label: str, size: int | None, done: int = 0) -> None:
        """A transfer starts, with ``done`` bytes there already. ``label`` is its short name for people."""

    def advance(self, item: str, done: int, size: int | None = None) -> None:
        """There are now ``done`` bytes of it; ``size`` if it has become known meanwhile."""

    def end(self, item: str, outcome: str) -> None:
        """It is over: ``done``, ``exists`` (no transfer was needed) or ``failed``."""

    def close(self) -> None:
        """Nothing more will be reported."""
