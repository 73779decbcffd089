"""Isolators that concern the whole pod: those in the pod manifest, and those of apps that only a pod can be limited by.

A pod's limit bounds what its apps may have together: it is set on the pod's own control groups, above those that systemd makes
for the apps. Block I/O and traffic are limited for the pod as a whole; where several apps share it, the report says so. Source:
appc/spec 0.8.11 ``spec/ace.md`` (Isolators). Hot-path module.
"""

from __future__ import annotations

from rktpy.cgroup.limits import Limits, set_limits
from rktpy.formats.aci import isolators as names
from rktpy.formats.aci.isolators import CPU, BlockBandwidth, BlockIOPS, CPUShares, Memory, NetworkBandwidth, Sysctl, last_of_each
from rktpy.formats.stage1 import Enforcement
from rktpy.net.pod_bandwidth import SHARED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cgroup.subtree import Subtree
    from rktpy.pod.pod import Pod

#: Isolators of an app that are put into force on the pod.
OF_POD = (names.BLOCK_BANDWIDTH_NAME, names.BLOCK_IOPS_NAME, names.NETWORK_BANDWIDTH_NAME)
_LIMITS = {
    "memory": names.MEMORY_NAME,
    "cpu": names.CPU_NAME,
    "cpu_shares": names.CPU_SHARES_NAME,
    "block_bandwidth": names.BLOCK_BANDWIDTH_NAME,
    "block_iops": names.BLOCK_IOPS_NAME,
}
_ON_PODS = (Memory, CPU, CPUShares, BlockBandwidth, BlockIOPS, NetworkBandwidth, Sysctl)


def limit_groups(pod: Pod, groups: Subtree) -> list[Enforcement]:
    """Set the pod's limits on its control groups; the report about them."""
    wanted = _wanted(pod)
    limits = Limits(**{limit: value for limit, (value, _app) in wanted.items()})
    report: list[Enforcement] = []
    for outcome in set_limits(groups, limits, pod.directory):
        app = wanted[outcome.limit][1]
        result, reason = outcome.outcome, outcome.reason
        if app and len(pod.apps) > 1 and result == "enforced":
            result, reason = "changed", SHARED
        report.append(Enforcement(_LIMITS[outcome.limit], app, result, reason))
    for isolator in pod.manifest.isolators:
        if not isinstance(isolator.parsed, _ON_PODS):
            reason = "it counts for an app, not for a pod" if isolator.parsed else "unknown isolator"
            report.append(Enforcement(isolator.name, "", "ignored", reason))
    return report


def _wanted(pod: Pod) -> dict[str, tuple[int, str]]:
    """The least of each limit, and the app that asks for it (empty: the pod)."""
    wanted: dict[str, tuple[int, str]] = {}

    def add(limit: str, value: int | None, app: str) -> None:
        if value is not None and (limit not in wanted or value < wanted[limit][0]):
            wanted[limit] = (value, app)

    for isolator in last_of_each(pod.manifest.isolators):
        parsed = isolator.parsed
        if isinstance(parsed, Memory):
            add("memory", parsed.limit, "")
        elif isinstance(parsed, CPU):
            add("cpu", parsed.limit, "")
        elif isinstance(parsed, CPUShares):
            add("cpu_shares", parsed.value, "")
    sources = [("", pod.manifest.isolators), *[(app.name, app.app.isolators) for app in pod.apps]]
    for name, isolators in sources:
        for isolator in last_of_each(isolators):
            if isinstance(isolator.parsed, BlockBandwidth):
                add("block_bandwidth", isolator.parsed.limit, name)
            elif isinstance(isolator.parsed, BlockIOPS):
                add("block_iops", isolator.parsed.limit, name)
    return wanted


def set_pod_sysctls(pod: Pod) -> list[Enforcement]:
    """Write the pod's kernel parameters; the calling process is in its namespaces. The report about them."""
    report: list[Enforcement] = []
    for isolator in pod.manifest.isolators:
        if isinstance(isolator.parsed, Sysctl):
            from rktpy.isolate.sysctl import IPC, NET, USER, UTS, plan_sysctls, set_sysctls

            own = {UTS: True, NET: pod.own_network, IPC: not pod.share_ipc, USER: bool(pod.private_users)}
            operations, entries = plan_sysctls(isolator.parsed, frozenset([name for name, is_own in own.items() if is_own]))
            report += [*set_sysctls(operations), *entries]
    return report
