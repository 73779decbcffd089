"""``rktpy version``. Hot-path module."""

from __future__ import annotations

import sys
from posix import uname

from rktpy import __version__
from rktpy.cli.output import out
from rktpy.log import note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments

_APPC_VERSION = "0.8.11"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}
# What an installation may have or lack, and the module that brings it.
_FEATURES = (
    ("API", ("grpc",)),
    ("CEXT", ("rktpy", "linux", "_sys")),
    ("ISAL", ("isal",)),
    ("SDJOURNAL", ("systemd",)),
    ("ZSTD", ("pyzstd",)),
)


def run(arguments: Arguments) -> int:
    """Print the versions, the platform and the features."""
    for argument in arguments.args:
        note("version", f'ignoring argument "{argument}"')
    machine = uname().machine
    out(
        f"rktpy Version: {__version__}\n"
        f"appc Version: {_APPC_VERSION}\n"
        f"Python Version: {'.'.join(map(str, sys.version_info[:3]))}\n"
        f"Python OS/Arch: {sys.platform}/{_MACHINES.get(machine, machine)}\n"
        f"Features: {' '.join([_sign(path) + name for name, path in _FEATURES])}"
    )
    return 0


def _sign(path: tuple[str, ...]) -> str:
    """``+`` if the module can be found, looked for without importing it."""
    directories = sys.path
    for depth in range(1, len(path) + 1):
        found = None
        for finder in sys.meta_path:
            found = finder.find_spec(".".join(path[:depth]), None if depth == 1 else directories)
            if found is not None:
                break
        if found is None:
            return "-"
        directories = found.submodule_search_locations or []
    return "+"
