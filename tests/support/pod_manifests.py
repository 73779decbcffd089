"""Pods by manifest, for what no flag can ask for: isolators of the pod, of an app, event handlers, ports."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tests.support.pods import BUSYBOX

#: The host's Python in an app: volumes for a pod manifest, mounts for its apps.
PYTHON = "/usr/bin/python3"
_HOSTS = (("usr", "/usr", "/usr"), ("lib", "/usr/lib", "/lib"), ("lib64", "/usr/lib64", "/lib64"))


def isolators(**values: Any) -> list[dict[str, Any]]:
    """Isolators by the names in appc; ``__`` stands for a slash and ``_`` for a dash."""
    return [{"name": name.replace("__", "/").replace("_", "-"), "value": value} for name, value in values.items()]


def app(script: str, name: str = "busybox", *, image: str = BUSYBOX, **members: Any) -> dict[str, Any]:
    """An app that runs a shell script; ``mounts`` and ``annotations`` belong to the pod's entry, other members to the app."""
    entry: dict[str, Any] = {
        member: members.pop(member) for member in ("mounts", "annotations", "readOnlyRootFS") if member in members
    }
    section = {"exec": ["/bin/sh", "-c", script], "user": "0", "group": "0", **members}
    return {"name": name, "image": {"name": image}, "app": section, **entry}


def with_python(directory: Path, *apps: dict[str, Any], **members: Any) -> str:
    """As :func:`pod_of`, with the host's Python in each app."""
    volumes = [{"name": name, "kind": "host", "source": source, "readOnly": True} for name, source, _target in _HOSTS]
    for one in apps:
        one["mounts"] = [*one.get("mounts", []), *[{"volume": name, "path": target} for name, _source, target in _HOSTS]]
    return pod_of(directory, *apps, **{**members, "volumes": [*members.get("volumes", []), *volumes]})


def pod_of(directory: Path, *apps: dict[str, Any], **members: Any) -> str:
    """Write the manifest of a pod; the flag that names it."""
    path = directory / f"pod-{time.monotonic_ns()}.json"
    path.write_text(json.dumps({"acVersion": "0.8.11", "acKind": "PodManifest", "apps": list(apps), **members}))
    return f"--pod-manifest={path}"
