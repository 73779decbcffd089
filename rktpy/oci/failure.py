"""Errors of the runtime, in the words that callers of runc look for. Hot-path module."""

from __future__ import annotations

from rktpy.errors import RktpyError


class RuntimeFailure(RktpyError):
    """Something that the runtime could not do. ``status`` is 1, as runc's; 255 for a process that ``exec`` could not start."""

    status = 1

    def __init__(self, message: str, status: int = 1) -> None:
        self.status = status
        super().__init__(message)


class NoSuchContainer(RuntimeFailure):
    """No container has this ID."""

    def __init__(self) -> None:
        super().__init__("container does not exist")
