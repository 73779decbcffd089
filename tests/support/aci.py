"""ACIs made for a test, by Python's own tarfile: not by the code under test."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any


def make_aci(
    target: Path,
    name: str,
    files: dict[str, bytes | str | None],
    *,
    labels: dict[str, str] | None = None,
    exec: list[str] | None = None,
    app: dict[str, Any] | None = None,
    **members: Any,
) -> Path:
    """Write an ACI with ``files`` (absolute path -> content, or the path of a host file to copy with mode 0755).

    ``exec`` and ``app`` make the app section, ``members`` are further members of the manifest. Gives ``target``.
    """
    everything = {"version": "1", **(labels or {}), "os": "linux", "arch": "amd64"}
    manifest: dict[str, Any] = {
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": name,
        "labels": [{"name": n, "value": v} for n, v in everything.items()],
        **members,
    }
    if exec or app:
        manifest["app"] = {"exec": exec or ["/bin/sh"], "user": "0", "group": "0", **(app or {})}
    with tarfile.open(target, "w:gz") as archive:
        _add(archive, "manifest", json.dumps(manifest).encode())
        directory = tarfile.TarInfo("rootfs")
        directory.type = tarfile.DIRTYPE
        directory.mode = 0o755
        archive.addfile(directory)
        for path, content in files.items():
            if isinstance(content, bytes):
                _add(archive, "rootfs" + path, content)
            else:
                assert content is not None
                _add(archive, "rootfs" + path, Path(content).read_bytes(), 0o755)
    return target


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = mode
    archive.addfile(info, io.BytesIO(data))
