"""``spec``."""

from __future__ import annotations

import os

from rktpy.formats.jsondoc import dump_pretty
from rktpy.oci.command_line import Arguments
from rktpy.oci.example import example
from rktpy.oci.failure import RuntimeFailure


def run(arguments: Arguments) -> int:
    """Write config.json; 0. Raises RuntimeFailure, OSError."""
    directory = arguments.text("bundle") or "."
    rootless = arguments.switch("rootless") or arguments.text("rootless") == "true"
    path = os.path.join(directory, "config.json")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise RuntimeFailure("file config.json exists. Remove it first") from None
    try:
        os.write(fd, dump_pretty(example(rootless=rootless)).encode())
    finally:
        os.close(fd)
    return 0
