"""The image that all runtimes run: busybox, and a program that tells when its first instruction was (``stamp.c``)."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.setting import ROOT

#: The program in the image, and the directory of the host that it writes into.
STAMP = "/stamp"
OUT = "/out"


class StampImage:
    """An OCI layout and the same as a directory. Needs gcc, busybox and umoci."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        program = directory / "stamp"
        subprocess.run(["gcc", "-Os", "-static", "-s", "-o", str(program), str(ROOT / "benchmarks/stamp.c")], check=True)
        subprocess.run(["sh", str(ROOT / "examples/busybox-images.sh"), str(directory)], check=True)
        self.layout = f"{directory}/busybox-oci:1"
        place = directory / "out"
        place.mkdir()
        for source, target in ((program, STAMP), (place, OUT)):
            subprocess.run(["umoci", "insert", "--image", self.layout, str(source), target], check=True, capture_output=True)
        unpacked = directory / "unpacked"
        subprocess.run(["umoci", "unpack", "--image", self.layout, str(unpacked)], check=True, capture_output=True)
        self.rootfs = unpacked / "rootfs"
