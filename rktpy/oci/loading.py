"""Loading modules in portions: those that a process needs when it needs them, two processes at the same time.

Without a bundle (see :mod:`rktpy.oci.bundle`) modules are imported one by one, and this does nothing. Hot-path module.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_loader: Callable[[str], None] | None = None


def set_loader(loader: Callable[[str], None]) -> None:
    """Use ``loader``, which takes the name of a portion."""
    global _loader
    _loader = loader


def load_more(portion: str) -> None:
    """Load ``child`` (what the first process needs) or ``parent`` (what the runtime needs meanwhile)."""
    if _loader is not None:
        _loader(portion)


def launched() -> bool:
    """Whether the launcher has started us, from where nobody can write to the interpreter (``launch.c``)."""
    return "rktpy_unwritable" in sys._xoptions
