"""Kernel parameters of a pod (``os/unix/sysctl``): those that belong to namespaces that the pod has for itself.

Which parameter belongs to which namespace is the kernel's ``admin-guide/sysctl``, network_namespaces(7), ipc_namespaces(7),
uts_namespaces(7). All others are the whole machine's and are never written. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import describe
from rktpy.formats.aci.isolators import SYSCTL_NAME
from rktpy.formats.stage1 import Enforcement
from rktpy.isolate.plan import Operation, shown
from rktpy.isolate.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.aci.isolators import Sysctl

#: Names of namespaces that a pod may have for itself.
NET, IPC, UTS, USER = "net", "ipc", "uts", "user"

_IPC = frozenset(
    (
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/msg_next_id",
        "kernel/sem",
        "kernel/sem_next_id",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_next_id",
        "kernel/shm_rmid_forced",
    )
)
_PREFIXES = (("net/", NET), ("fs/mqueue/", IPC), ("user/max_", USER))
_LIMIT = 1 << 12


class SetSysctl(Operation):
    """Write a parameter in the namespaces of the calling process, through its /proc. ``path`` is relative to /proc/sys."""

    path: str
    value: str

    def describe(self) -> str:
        return f"set the kernel parameter {shown(self.path)} to {shown(self.value)}"

    def execute(self, root: Root | None = None) -> None:
        fd = os.open(f"/proc/sys/{self.path}", os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.write(fd, self.value.encode("utf-8", "surrogateescape"))
        finally:
            os.close(fd)


def sysctl_path(key: str) -> str:
    """The path of a parameter below /proc/sys, empty when ``key`` is none (sysctl(8)).

    Components are separated by dots or by slashes, whichever comes first; the other sign stands for itself in a component, and a
    slash among dots for a dot (``net.ipv4.conf.eth0/100.forwarding``).
    """
    dot, slash = key.find("."), key.find("/")
    path = key if slash >= 0 and (dot < 0 or slash < dot) else key.translate({ord("."): "/", ord("/"): "."})
    parts = path.split("/")
    if len(parts) < 2 or "\0" in key or len(key) > _LIMIT or any(part in ("", ".", "..") for part in parts):
        return ""
    return path


def namespace_of(path: str) -> str:
    """The namespace that a parameter belongs to, empty for one of the whole machine."""
    if path in _IPC:
        return IPC
    if path in ("kernel/domainname", "kernel/hostname"):
        return UTS
    for prefix, namespace in _PREFIXES:
        if path.startswith(prefix):
            return namespace
    return ""


def plan_sysctls(values: Sysctl, own: frozenset[str]) -> tuple[tuple[SetSysctl, ...], tuple[Enforcement, ...]]:
    """The operations for those parameters that belong to the namespaces ``own``, and entries for those that are left alone.

    The operations are for a process in these namespaces; see :func:`set_sysctls`.
    """
    operations: list[SetSysctl] = []
    report: list[Enforcement] = []
    for key, value in values.values:
        path = sysctl_path(key)
        namespace = namespace_of(path)
        if not path:
            reason = f"{shown(key)} is no kernel parameter"
        elif path == "kernel/hostname":
            reason = f"{key}: the name of the pod is set by --hostname"
        elif not namespace:
            reason = f"{key} belongs to the whole machine"
        elif namespace not in own:
            reason = f"{key}: the pod has no {namespace} namespace of its own"
        elif len(value) > _LIMIT or "\0" in value:
            reason = f"{key}: the value is no line of text"
        else:
            operations.append(SetSysctl(path, value))
            continue
        report.append(Enforcement(SYSCTL_NAME, "", "ignored", reason))
    return tuple(operations), tuple(report)


def set_sysctls(operations: tuple[SetSysctl, ...]) -> tuple[Enforcement, ...]:
    """Execute the operations; an entry for each that the kernel refuses, and one that says that the others are in force."""
    report: list[Enforcement] = []
    for operation in operations:
        try:
            operation.execute()
        except OSError as error:
            reason = f"{operation.path}: {describe(OSError(error.errno, error.strerror))}"
            report.append(Enforcement(SYSCTL_NAME, "", "ignored", reason))
    if len(report) < len(operations):
        report.insert(0, Enforcement(SYSCTL_NAME))
    return tuple(report)
