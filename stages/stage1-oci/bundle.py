"""An app of a pod as an OCI runtime wants it: the ``config.json`` of a bundle. Pure but for what it looks up in the app's root.

Every container joins the namespaces of the pod's first one by path. The devices, the kernel's files and the protected paths are
those that an app has under stage1-systemd. Source: opencontainers/runtime-spec 1.0.2 ``config.md``, ``config-linux.md``.
Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.formats import jsondoc
from rktpy.formats import stage1 as names
from rktpy.isolate.mounts import Bind
from rktpy.isolate.pod_app import write_file
from rktpy.isolate.protected_paths import HIDDEN_PROC, HIDDEN_SYS, READ_ONLY_PROC
from rktpy.record import Record
from rktpy.stage1.oci.paths import SANDBOX, SHM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.isolate.plan import Operation
    from rktpy.isolate.pod_app import PodApp
    from rktpy.isolate.users import User
    from rktpy.stage1.oci.restrictions import Restrictions

VERSION = "1.0.2"
_NAMESPACES = (("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"))
_HIDDEN = ["nosuid", "noexec", "nodev"]


class Membership(Record):
    """The namespaces of the pod: its first process, and which ones are the host's instead."""

    pid: int
    share_network: bool = False
    share_ipc: bool = False

    def namespaces(self) -> list[dict[str, str]]:
        """``linux.namespaces`` of an app's container."""
        joined = [{"type": kind, "path": f"/proc/{self.pid}/ns/{file}"} for kind, file in self._kinds()]
        return [*joined, {"type": "mount"}, {"type": "cgroup"}]

    def made(self) -> list[dict[str, str]]:
        """``linux.namespaces`` of the pod's own container."""
        return [*[{"type": kind} for kind, _file in self._kinds()], {"type": "mount"}]

    def _kinds(self) -> list[tuple[str, str]]:
        left_out = {"network"} if self.share_network else set[str]()
        if self.share_ipc:
            left_out.add("ipc")
        return [(kind, file) for kind, file in _NAMESPACES if kind not in left_out]


def sandbox_config(
    uuid: str, hostname: str, membership: Membership, pause: str, groups: str, sysctl: dict[str, str]
) -> dict[str, Any]:
    """The container that holds the pod's namespaces; ``pause`` is the path of its program on the host. Its root is ``rootfs``.

    ``groups`` is the path of its control groups, empty for none.
    """
    config: dict[str, Any] = {
        "ociVersion": VERSION,
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/pause"],
            "env": [f"PATH={names.DEFAULT_PATH}"],
            "cwd": "/",
            "noNewPrivileges": True,
            "capabilities": {name: [] for name in ("bounding", "effective", "permitted", "inheritable", "ambient")},
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": hostname,
        "mounts": [
            *_kernel_mounts(network=membership.share_network),
            {"destination": "/pause", "type": "bind", "source": pause, "options": ["bind", "ro"]},
        ],
        "linux": {
            "namespaces": membership.made(),
            "maskedPaths": _masked(),
            "readonlyPaths": _read_only(),
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
        "annotations": of_sandbox("sandbox", uuid, "sandbox"),
    }
    if sysctl:
        config["linux"]["sysctl"] = sysctl
    if groups:
        config["linux"]["cgroupsPath"] = groups
    return config


def app_config(
    app: PodApp,
    user: User,
    argv: tuple[str, ...],
    environment: dict[str, str],
    membership: Membership,
    restrictions: Restrictions,
    volumes: tuple[Operation, ...],
    *,
    bundle: str,
    groups: str,
    protect: bool = True,
    terminal: bool = False,
) -> dict[str, Any]:
    """The container of an app, or with another ``argv`` of one of its event handlers, for the directory ``bundle`` of the pod.

    Paths in the pod's directory are relative to the bundle, because JSON cannot hold every path of a host. ``argv`` begins with a
    path inside the root. ``volumes`` are mounted in their order after what every app has.
    """
    process: dict[str, Any] = {
        "terminal": terminal,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "args": list(argv),
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": app.app.working_directory or "/",
        **restrictions.process,
    }
    linux: dict[str, Any] = {
        "namespaces": membership.namespaces(),
        "resources": restrictions.resources,
        "devices": [{"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 0o666, "uid": 0, "gid": 0}],
        **restrictions.linux,
    }
    if protect:
        linux["maskedPaths"] = _masked()
        linux["readonlyPaths"] = _read_only()
    if groups:
        linux["cgroupsPath"] = groups
    return {
        "ociVersion": VERSION,
        "process": process,
        "root": {"path": in_pod(names.app_rootfs(app.name), bundle), "readonly": app.runtime.read_only_root_fs},
        "mounts": [
            *_kernel_mounts(network=membership.share_network),
            {"destination": "/dev/shm", "type": "bind", "source": in_pod(SHM, bundle), "options": ["bind", "rw", *_HIDDEN]},
            *[_bind_mount(one, app.directory, bundle) for one in volumes if isinstance(one, Bind)],
        ],
        "linux": linux,
        "annotations": of_sandbox("container", app.uuid, app.name),
    }


def of_sandbox(kind: str, uuid: str, name: str) -> dict[str, str]:
    """What tells a runtime that runs whole pods in one sandbox (runsc, kata) to which one a container belongs.

    The names are those of containerd's CRI and of CRI-O, which these runtimes read.
    """
    return {
        "io.kubernetes.cri.container-type": kind,
        "io.kubernetes.cri.sandbox-id": SANDBOX,
        "io.kubernetes.cri-o.ContainerType": kind,
        "io.kubernetes.cri-o.SandboxID": SANDBOX,
        "io.rktpy.pod": uuid,
        "io.rktpy.app": name,
    }


def write_bundle(directory: str, config: dict[str, Any]) -> None:
    """Make the directory of a bundle and its ``config.json``. Raises FormatError, OSError."""
    os.makedirs(directory, 0o700, exist_ok=True)
    write_file(f"{directory}/config.json", jsondoc.dump(config), 0o600)


def _kernel_mounts(*, network: bool) -> list[dict[str, Any]]:
    sys = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_HIDDEN, "ro"]}
    if network:
        # A new sysfs shows the network namespace of who mounts it; only in one's own it may be mounted.
        sys = {"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", *_HIDDEN, "ro"]}
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": _HIDDEN},
        sys,
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
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": _HIDDEN},
    ]


def in_pod(path: str, bundle: str) -> str:
    """A path of the pod's directory as seen from the directory of a bundle."""
    return f"{'../' * (bundle.count('/') + 1)}{path}"


def _bind_mount(operation: Bind, directory: str, bundle: str) -> dict[str, Any]:
    options = ["rbind" if operation.recursive else "bind", "ro" if operation.read_only else "rw"]
    options.append("rshared" if operation.namespace else "rprivate")
    source = operation.source
    if source.startswith(f"{directory}/"):
        source = in_pod(source.removeprefix(f"{directory}/"), bundle)
    return {"destination": operation.target, "type": "bind", "source": source, "options": options}


def _masked() -> list[str]:
    return [*[f"/proc/{name}" for name in HIDDEN_PROC], *[f"/sys/{name}" for name in HIDDEN_SYS]]


def _read_only() -> list[str]:
    return [f"/proc/{name}" for name in READ_ONLY_PROC]
