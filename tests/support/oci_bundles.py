"""Bundles, and the runtime that is tested on them: ours, or the one that RKTPY_OCI_RUNTIME names (runc, crun)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, SYSTEM_PYTHON

APPLETS = (
    "sh cat ls id true false sleep mount umount ps env pwd stat readlink touch mkdir kill tty hostname grep head wc dd chmod ln "
    "test echo uname nice unshare mknod sysctl rm cut ip seq"
)
CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]


def own_runtime() -> list[str]:
    """The command of the checkout's rktpy-oci."""
    program = str(ROOT / "rktpy/oci/rktpy-oci")
    return [program] if os.path.exists(SYSTEM_PYTHON) else [sys.executable, "-IS", program]


class Runtime:
    """A low-level runtime with a root directory of its own."""

    def __init__(self, directory: Path) -> None:
        named = os.environ.get("RKTPY_OCI_RUNTIME")
        self.command = named.split() if named else own_runtime()
        self.root = directory / "state"
        self.ours = named is None
        self.started: set[str] = set()

    def argv(self, *args: str) -> list[str]:
        """The whole command line."""
        return [*self.command, "--root", str(self.root), *args]

    def __call__(
        self, *args: str, status: int | None = 0, timeout: float = 30, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; ``status`` is the exit status that is wanted, ``None`` for any."""
        if args[0] in ("create", "run") and "--bundle" in args:
            _keep_apart(Path(args[args.index("--bundle") + 1]), args[-1])
        options.setdefault("stdin", subprocess.DEVNULL)
        done: subprocess.CompletedProcess[str] = subprocess.run(
            self.argv(*args), capture_output=True, text=True, timeout=timeout, check=False, **options
        )
        if status is not None:
            assert done.returncode == status, f"{args} gave {done.returncode}\nstdout: {done.stdout}\nstderr: {done.stderr}"
        return done

    def create(self, bundle: Bundle, name: str, *flags: str) -> None:
        """``create`` with the streams that the container's processes keep."""
        self.started.add(name)
        _keep_apart(bundle.path, name)
        with open(bundle.path / "output", "wb") as output:
            subprocess.run(
                self.argv("create", "--bundle", str(bundle.path), *flags, name),
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=30,
            )

    def run(self, bundle: Bundle, name: str = "one", *, status: int | None = 0, **options: Any) -> str:
        """``run`` in the foreground; what the container wrote to standard output."""
        self.started.add(name)
        return self("run", "--bundle", str(bundle.path), name, status=status, **options).stdout

    def state(self, name: str) -> dict[str, Any]:
        """The state document."""
        document: dict[str, Any] = json.loads(self("state", name).stdout)
        return document

    def wait_for(self, name: str, status: str, patience: float = 10) -> dict[str, Any]:
        """Wait until the container has a status."""
        deadline = time.monotonic() + patience
        while True:
            state = self.state(name)
            if state["status"] == status:
                return state
            assert time.monotonic() < deadline, f"{name} is {state['status']}, not {status}"
            time.sleep(0.01)

    def clean(self) -> None:
        """Delete what tests left."""
        for name in sorted(self.started):
            self("delete", "--force", name, status=None)


def _keep_apart(bundle: Path, name: str) -> None:
    """Give a container that asks for no control groups its own: tests that run at the same time call theirs by the same names."""
    try:
        config = json.loads((bundle / "config.json").read_text())
        config["linux"].setdefault("cgroupsPath", f"/oci-tests-{os.getpid()}/{name}")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return  # a bundle that is meant to be wrong
    (bundle / "config.json").write_text(json.dumps(config))


class Bundle:
    """A bundle with busybox; change ``config``, then use it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rootfs = path / "rootfs"
        (self.rootfs / "bin").mkdir(parents=True)
        busybox = shutil.which("busybox") or "/bin/busybox"
        shutil.copy(busybox, self.rootfs / "bin/busybox")
        for applet in APPLETS.split():
            (self.rootfs / "bin" / applet).symlink_to("busybox")
        for name in ("proc", "sys", "dev", "tmp", "etc"):
            (self.rootfs / name).mkdir()
        self.config: dict[str, Any] = example()

    def __call__(self, script: str, **process: Any) -> Bundle:
        """Let the container run a shell script; write the configuration."""
        self.config["process"]["args"] = ["/bin/sh", "-c", script]
        self.config["process"].update(process)
        return self.write()

    def write(self) -> Bundle:
        """Write the configuration."""
        (self.path / "config.json").write_text(json.dumps(self.config))
        return self

    @property
    def linux(self) -> dict[str, Any]:
        """The section."""
        section: dict[str, Any] = self.config["linux"]
        return section

    def namespace(self, kind: str, path: str | None = None, *, remove: bool = False) -> None:
        """Add, replace or remove a namespace."""
        others = [one for one in self.linux["namespaces"] if one["type"] != kind]
        if not remove:
            others.append({"type": kind} if path is None else {"type": kind, "path": path})
        self.linux["namespaces"] = others

    def mount(self, destination: str, kind: str, source: str, *options: str, **more: Any) -> None:
        """Add a mount."""
        self.config["mounts"].append(
            {"destination": destination, "type": kind, "source": source, "options": list(options), **more}
        )


def example() -> dict[str, Any]:
    """A configuration as engines write them."""
    harmless = ["nosuid", "noexec", "nodev"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/true"],
            "env": ["PATH=/bin", "HOME=/"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "hostname": "container",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            },
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*harmless, "mode=1777", "size=65536k"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*harmless, "ro"]},
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": name} for name in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
        },
    }
