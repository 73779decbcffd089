"""systemd-nspawn as a peer: the host's systemd on a root like that of our pods, with the same units around the apps.

Its services are confined by their root only, as whoever writes such units would have it, or as our apps are by default.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from benchmarks.stamp_image import OUT, STAMP
from rktpy.isolate.capabilities import app_capabilities, capability_names
from rktpy.isolate.mounts import Bind, Symlink
from rktpy.isolate.seccomp_names import DEFAULT_SET, expand
from rktpy.stage1.systemd.pod import systemd_programs
from rktpy.stage1.systemd.pod_root import host_programs
from rktpy.stage1.systemd.pod_units import APPS, TARGET, journald_conf, pod_units
from rktpy.stage1.systemd.unit_text import unit

_ENVIRONMENT = {
    "SYSTEMD_UNIT_PATH": "/etc/systemd/system",
    "SYSTEMD_GENERATOR_PATH": "/no-generators",
    "SYSTEMD_ENVIRONMENT_GENERATOR_PATH": "/no-generators",
}


def _confinement() -> list[tuple[str, str]]:
    """What our stage1 writes into the unit of an app without isolators, and the process that it runs after an app."""
    return [
        ("CapabilityBoundingSet", " ".join(capability_names(app_capabilities(()).mask))),
        ("SystemCallFilter", " ".join(sorted(expand((DEFAULT_SET,))[0]))),
        ("DevicePolicy", "closed"),
        ("ExecStopPost", "+/bin/true"),
        ("RootDirectoryStartOnly", "yes"),
    ]


class Nspawn:
    """A root directory to boot, whose apps run in ``rootfs`` and end or stay."""

    def __init__(
        self,
        directory: Path,
        rootfs: Path,
        out: Path,
        apps: int,
        *,
        stay: bool = False,
        confined: bool = False,
        prefix: str = "app",
    ) -> None:
        self.directory = directory
        self.rootfs = rootfs
        self.out = out
        self.journal = directory / "var/log/journal" / uuid.uuid4().hex
        for name in ("usr", "etc/systemd/system", "rkt", "dev", "proc", "sys", "run", "tmp", "apps", "out"):
            (directory / name).mkdir(parents=True)
        self.journal.mkdir(parents=True)
        self._binds: list[str] = []
        for operation in host_programs():
            if isinstance(operation, Symlink):
                (directory / operation.target.lstrip("/")).symlink_to(operation.to)
            elif isinstance(operation, Bind):
                self._binds.append(f"--bind-ro={operation.target}")
        etc = directory / "etc"
        (etc / "machine-id").write_text(f"{self.journal.name}\n")
        (etc / "os-release").write_text("ID=benchmark\n")
        (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (etc / "group").write_text("root:x:0:\ntty:x:5:\n")
        (etc / "systemd/journald.conf").write_text(journald_conf(lines=False, debug=False))
        names = [f"{prefix}{number}" for number in range(apps)]
        units = pod_units(systemd_programs(), tuple([f"{name}.service" for name in names]))
        units.update({f"{name}.service": self._service(name, stay=stay, confined=confined) for name in names})
        for name, text in units.items():
            (etc / "systemd/system" / name).write_text(text)

    def _service(self, name: str, *, stay: bool, confined: bool) -> str:
        needs = f"{APPS} systemd-journald.socket"
        return unit(
            (
                "Unit",
                (
                    ("DefaultDependencies", "no"),
                    ("Requires", needs),
                    ("After", f"{needs} systemd-journald.service"),
                    ("Conflicts", "shutdown.target"),
                    ("Before", "shutdown.target"),
                    ("FailureAction", "exit"),
                ),
            ),
            (
                "Service",
                (
                    ("Type", "exec"),
                    ("RootDirectory", "/apps"),
                    ("MountAPIVFS", "yes"),
                    ("BindPaths", OUT),
                    ("ExecStart", f"{STAMP} {OUT}/{name}{' stay' if stay else ''}"),
                    *(_confinement() if confined else []),
                ),
            ),
        )

    def argv(self) -> list[str]:
        """The command line."""
        options = ["--quiet", "--keep-unit", "--register=no", "--private-network", "--link-journal=no"]
        options += ["--resolv-conf=off", "--timezone=off", f"--directory={self.directory}", f"--machine={self.directory.name}"]
        options += [*self._binds, f"--bind={self.rootfs}:/apps", f"--bind={self.out}:{OUT}"]
        options += [f"--setenv={name}={value}" for name, value in _ENVIRONMENT.items()]
        return ["systemd-nspawn", *options, "--boot", "--", f"--unit={TARGET}", "--show-status=no", "--log-target=journal"]

    def clear(self) -> None:
        """Start with an empty journal, as a new pod does."""
        for file in self.journal.iterdir():
            file.unlink()
