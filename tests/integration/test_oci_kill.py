"""A runtime that is killed while it makes a container: ``delete`` finds all of it, and nothing waits for ever."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from rktpy.cgroup.hierarchy import discover
from tests.support.oci_bundles import Bundle, Runtime

pytestmark = pytest.mark.root


def processes_of(bundle: Bundle) -> list[int]:
    """Processes that have the bundle's output open: those of the container, before and after they are its program."""
    found: list[int] = []
    output = os.stat(bundle.path / "output")
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.path.samestat(os.stat(f"/proc/{name}/fd/1"), output):
                    found.append(int(name))
            except OSError:
                continue
    return found


@pytest.mark.parametrize("users", [False, True], ids=["plain", "users"])
def test_killed_at_any_moment(runtime: Runtime, bundle: Bundle, users: bool) -> None:
    if not runtime.ours:
        pytest.skip("about ours")
    bundle.linux["cgroupsPath"] = "/oci-killed"
    if users:
        bundle.namespace("user")
        bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    bundle("sleep 60")
    runtime.started.add("one")
    for attempt in range(16):
        with open(bundle.path / "output", "wb") as output:
            process = subprocess.Popen(
                runtime.argv("create", "--bundle", str(bundle.path), "one"),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            time.sleep(0.008 + attempt * 0.004)
            process.kill()
            process.wait()
        runtime("delete", "--force", "one")
        assert not (runtime.root / "one").exists()
        left = [one.mount for one in discover() if Path(f"{one.mount}/oci-killed").exists()]
        assert left == [], f"killed after {8 + attempt * 4} ms"
        deadline = time.monotonic() + 5
        while processes_of(bundle) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert processes_of(bundle) == []
