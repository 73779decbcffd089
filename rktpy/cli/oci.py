"""``rktpy oci``: the low-level runtime's own command line. Hot-path module."""

from __future__ import annotations

from rktpy.oci.main import main

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Do what the words after ``oci`` say, and give the exit status."""
    return main(arguments.args)
