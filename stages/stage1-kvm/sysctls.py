"""Kernel parameters of a pod (``os/unix/sysctl``): the kernel is the pod's own, so that all of them can be set. Hot-path
module."""

from __future__ import annotations

from rktpy.formats.aci.isolators import SYSCTL_NAME, Sysctl
from rktpy.formats.stage1 import Enforcement
from rktpy.isolate.sysctl import sysctl_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage1.kvm.guest_plan import Operation
    from rktpy.stage1.kvm.pod import Pod

_LIMIT = 1 << 12


def sysctl_operations(pod: Pod) -> tuple[list[Operation], list[Enforcement]]:
    """What writes the parameters in the guest, and the report. One that the kernel refuses ends the start."""
    operations: list[Operation] = []
    report: list[Enforcement] = []
    for isolator in pod.manifest.isolators:
        if not isinstance(isolator.parsed, Sysctl):
            continue
        for key, value in isolator.parsed.values:
            path = sysctl_path(key)
            if not path:
                report.append(Enforcement(SYSCTL_NAME, "", "ignored", f"{key} is no kernel parameter"))
            elif path == "kernel/hostname":
                report.append(Enforcement(SYSCTL_NAME, "", "ignored", f"{key}: the name of the pod is set by --hostname"))
            elif len(value) > _LIMIT or "\0" in value:
                report.append(Enforcement(SYSCTL_NAME, "", "ignored", f"{key}: the value is no line of text"))
            else:
                operations.append(("set", f"/proc/sys/{path}", value))
        if operations:
            report.insert(0, Enforcement(SYSCTL_NAME))
    return operations, report
