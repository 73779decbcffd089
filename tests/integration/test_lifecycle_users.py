"""Copied roots of pods that are prepared for a user namespace belong to the pod's range of IDs."""

from __future__ import annotations

import json
import os
import stat
import struct
from pathlib import Path

import pytest

from rktpy.formats.user_range import UserRange
from rktpy.isolate.shift_tree import shift_tree, unshift_capability
from tests.conftest import Rktpy

pytestmark = pytest.mark.root

USERS = UserRange(65536)


def test_prepared_root_is_shifted(rktpy: Rktpy, busybox_images: Path) -> None:
    rktpy("--insecure-options=image", "fetch", str(busybox_images / "busybox.aci"))
    image = "example.com/busybox"
    uuid = rktpy("--insecure-options=image", "prepare", "--stage1=fly", "--private-users", "--no-overlay", image).stdout.strip()
    pod = rktpy.data / "pods/prepared" / uuid
    users = UserRange.parse((pod / "private-users-prepared").read_text())
    rootfs = pod / "stage1/rootfs/opt/stage2/busybox/rootfs"
    for path in (rootfs, rootfs / "bin", rootfs / "bin/busybox", rootfs / "bin/sh"):
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == (users.shift, users.shift)
    # The manifest of the pod still names the IDs inside.
    assert json.loads((pod / "pod").read_text())["apps"][0]["app"]["user"] in ("root", "0")
    # fly has no user namespaces, and says so instead of running the app with the host's IDs.
    done = rktpy("run-prepared", uuid, status=254)
    assert "private users" in done.stderr


def access_list(uid: int) -> bytes:
    """rwx for the owner and the user ``uid``, nothing for others, as the kernel writes it."""
    anybody = 0xFFFFFFFF
    entries = ((0x01, 7, anybody), (0x02, 7, uid), (0x04, 5, anybody), (0x10, 7, anybody), (0x20, 0, anybody))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_shift_keeps_modes_links_and_capabilities(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    file = root / "d" / "f"
    file.write_text("x")
    os.chown(file, 10, 20)
    os.chmod(file, 0o6755)
    os.link(file, root / "hard")
    (root / "soft").symlink_to("/etc/passwd")
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    program = root / "program"
    program.write_text("")
    os.setxattr(program, "security.capability", capability)
    os.setxattr(root / "d", "system.posix_acl_access", access_list(10))
    os.mknod(root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    before = os.stat("/etc/passwd")
    shift_tree(str(root), USERS)
    assert (file.stat().st_uid, file.stat().st_gid, file.stat().st_mode & 0o7777) == (65546, 65556, 0o6755)
    assert (root / "hard").stat().st_ino == file.stat().st_ino and file.stat().st_nlink == 2
    assert (root / "soft").lstat().st_uid == 65536 and os.stat("/etc/passwd").st_uid == before.st_uid
    shifted = os.getxattr(program, "security.capability")
    assert shifted == struct.pack("<IIIIII", 0x03000001, 1 << 10, 0, 0, 0, 65536)  # of the pod's root, not the host's
    assert unshift_capability(shifted, USERS) == capability
    assert os.getxattr(root / "d", "system.posix_acl_access") == access_list(65546)
    assert (root / "null").stat().st_uid == 65536 and root.stat().st_uid == 65536 and (root / "d").stat().st_gid == 65536


def test_registration_needs_a_service_before_anything_else(rktpy: Rktpy) -> None:
    done = rktpy("--insecure-options=image", "run", "--mds-register", "example.com/x", status=254)
    assert "could not reach the metadata service" in done.stderr and not rktpy.data.exists()
