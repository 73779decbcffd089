"""Pod directories made by hand for stage1-fly, with a busybox root; its entry points are run as a foreign stage0 runs them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

ENTRY_POINTS = Path(__file__).resolve().parent.parent.parent / "stages/stage1-fly"
UUID = "6f6a2bd6-31f4-4ad0-b9ab-6a2a4c1b8f13"
IMAGE_ID = "sha512-" + "0" * 128
APPLETS = (
    "sh",
    "cat",
    "ls",
    "sleep",
    "id",
    "env",
    "touch",
    "true",
    "false",
    "mkdir",
    "mount",
    "stat",
    "readlink",
    "nice",
    "ulimit",
)


def make_rootfs(rootfs: Path) -> None:
    """A root file system of busybox-static with two users and a hostile symlink or two."""
    for name in ("bin", "etc", "root", "work", "var"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy2(shutil.which("busybox") or "/bin/busybox", rootfs / "bin/busybox")
    for applet in APPLETS:
        (rootfs / "bin" / applet).symlink_to("busybox")
    (rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/srv/web:/bin/ash\n")
    (rootfs / "etc/group").write_text("root:x:0:\nwww:x:1001:\nlogs:x:2002:web,other\n")
    (rootfs / "out").symlink_to("../../../../../../../../..")
    (rootfs / "etc/resolv.conf").symlink_to("/run/resolv/stub.conf")


def make_pod(
    directory: Path,
    app: dict[str, Any] | None = None,
    *,
    runtime: dict[str, Any] | None = None,
    pod: dict[str, Any] | None = None,
    image_annotations: dict[str, str] | None = None,
) -> Path:
    """Write a pod directory; ``app``, ``runtime`` and ``pod`` are merged into the manifest's objects."""
    directory.mkdir(parents=True, mode=0o750)
    make_rootfs(directory / "stage1/rootfs/opt/stage2/app/rootfs")
    section = {"exec": ["/bin/true"], "user": "0", "group": "0", **(app or {})}
    entry = {"name": "app", "image": {"id": IMAGE_ID, "name": "example.test/app"}, "app": section, **(runtime or {})}
    document = {"acKind": "PodManifest", "acVersion": "0.8.11", "apps": [entry], **(pod or {})}
    (directory / "pod").write_text(json.dumps(document))
    info = directory / "appsinfo/app"
    info.mkdir(parents=True)
    annotations = [{"name": name, "value": value} for name, value in (image_annotations or {}).items()]
    image = {
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": "example.test/app",
        "annotations": annotations,
        "app": section,
    }
    (info / "manifest").write_text(json.dumps(image))
    return directory


def shell(script: str) -> dict[str, Any]:
    """An app section that runs a shell script."""
    return {"exec": ["/bin/sh", "-c", script]}


def start(pod: Path, *args: str, **options: Any) -> subprocess.Popen[str]:
    """Execute ``run`` in the pod directory, which is locked for it."""
    lock = os.open(pod, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return subprocess.Popen(
            [str(ENTRY_POINTS / "run"), *args, UUID],
            cwd=pod,
            env={"RKT_LOCK_FD": str(lock), "PATH": "/usr/bin:/bin", "SECRET": "of the caller"},
            pass_fds=(lock,),
            text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )
    finally:
        os.close(lock)


def run(pod: Path, *args: str, timeout: float = 20) -> tuple[int, str, str]:
    """Run the pod to its end: exit status, stdout, stderr."""
    process = start(pod, *args)
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def entry_point(pod: Path, name: str, *args: str, timeout: float = 20) -> tuple[int, str, str]:
    """Execute another entry point in the pod directory: exit status, stdout, stderr."""
    done = subprocess.run(
        [str(ENTRY_POINTS / name), *args],
        cwd=pod,
        env={},
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr
