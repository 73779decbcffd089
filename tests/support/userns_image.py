"""An image with what a change of owners could break: set-user-ID and file capabilities, hard links, files of other users."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import tarfile
from pathlib import Path

from tests.conftest import need_tool

#: Exits with 0 when it is root by its effective user ID (first letter "u") or may open a raw socket (else).
SOURCE = """
#include <sys/socket.h>
#include <unistd.h>
int main(int argc, char **argv) {
    (void)argc;
    return argv[0][0] == 'u' ? geteuid() != 0 : socket(AF_INET, SOCK_RAW, 1) < 0;
}
"""
CAP_NET_RAW = 13
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << CAP_NET_RAW, 0, 0, 0)


def make_image(directory: Path) -> Path:
    """Write probe.aci into ``directory``."""
    (directory / "probe.c").write_text(SOURCE)
    subprocess.run([need_tool("cc"), "-static", "-O1", "-o", directory / "probe", directory / "probe.c"], check=True)
    probe = (directory / "probe").read_bytes()
    manifest = {
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": "example.com/probe",
        "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}],
        "app": {"exec": ["/plain"], "user": "0", "group": "0"},
    }
    target = directory / "probe.aci"
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:

        def add(name: str, data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0, **pax: str) -> None:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid, info.gid = len(data), mode, uid, gid
            info.pax_headers = pax
            archive.addfile(info, io.BytesIO(data))

        def add_directory(name: str, uid: int = 0) -> None:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, 0o755, uid, uid
            archive.addfile(info)

        add("manifest", json.dumps(manifest).encode())
        for name in ("rootfs", "rootfs/etc", "rootfs/tmp"):
            add_directory(name)
        add_directory("rootfs/home", 1000)
        add("rootfs/etc/secret", b"secret", 0o600)
        add("rootfs/home/file", b"mine", 0o600, 1000, 1001)
        add("rootfs/plain", probe, 0o755)
        add("rootfs/setuid", probe, 0o4755)
        add("rootfs/capable", probe, 0o755, **{"SCHILY.xattr.security.capability": CAPABILITY.decode("ascii")})
        for name in ("link", "home/link"):
            info = tarfile.TarInfo(f"rootfs/{name}")
            info.type, info.linkname = tarfile.LNKTYPE, "rootfs/etc/secret"
            archive.addfile(info)
    return target
