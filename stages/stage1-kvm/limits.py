"""From isolators to the size of the machine and to limits in it, and the report about them.

Memory and processors of the apps size the machine; each app's own limit is one of its control group in the guest. Block I/O is
limited by QEMU, for the pod as a whole; the network by its plugins. The last of several isolators counts, as in rkt; a limit of
the pod bounds what its apps have together. Source: appc/spec 0.8.11 ``spec/ace.md`` (Isolators). Hot-path module.
"""

from __future__ import annotations

from rktpy.cgroup.limits import setting
from rktpy.errors import Stage1Error
from rktpy.formats.aci import isolators as names
from rktpy.formats.aci.isolators import (
    CPU,
    AppArmorProfile,
    BlockBandwidth,
    BlockIOPS,
    CPUShares,
    Landlock,
    Memory,
    NetworkBandwidth,
    OOMScoreAdj,
    Sysctl,
    last_of_each,
)
from rktpy.formats.stage1 import Enforcement
from rktpy.isolate.plan import shown
from rktpy.record import Record
from rktpy.stage1.kvm.machine import MOST_DISKS, memory_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.isolate.pod_app import PodApp
    from rktpy.stage1.kvm.pod import Pod
    from rktpy.stage1.kvm.settings import Settings

_MEGABYTE = 1 << 20
_MOST_CPUS = 64
_REQUEST = "the request reserves nothing, only a limit is set"
_SHARED = "it counts for all apps of the pod together"
_PRIVILEGES = frozenset(
    (
        names.CAPS_RETAIN_NAME,
        names.CAPS_REMOVE_NAME,
        names.NO_NEW_PRIVILEGES_NAME,
        names.SECCOMP_RETAIN_NAME,
        names.SECCOMP_REMOVE_NAME,
        names.LANDLOCK_NAME,
    )
)


class Size(Record):
    """Of a machine: memory in MiB, processors, the share of a processor (thousandths, None: no limit) that all of it may use, and
    block I/O per second (None: no limit). ``group`` are limits of all apps together, as files of a control group in the guest."""

    memory: int
    cpus: int
    cpu_limit: int | None = None
    block_bandwidth: int | None = None
    block_iops: int | None = None
    group: tuple[tuple[str, str], ...] = ()


def machine_size(pod: Pod) -> tuple[Size, list[Enforcement]]:
    """The size of the pod's machine, and the report about the isolators that concern the whole pod."""
    settings, report = pod.settings, list[Enforcement]()
    bounds = _limits(pod.manifest.isolators)
    for isolator in last_of_each(pod.manifest.isolators):
        _of_pod(isolator.name, isolator.parsed, report)
    memory = bounds.memory if bounds.memory is not None else sum([_memory(app, settings) for app in pod.apps])
    if pod.mutable and bounds.memory is None:
        memory = max(memory, settings.memory << 20)
    own = [_limits(app.app.isolators).cpu for app in pod.apps]
    total = bounds.cpu
    if total is None and own and not pod.mutable and None not in own:
        total = sum([one for one in own if one is not None])
    cpus = settings.cpus or 1
    if total is not None:
        cpus = min(max(1, -(-total // 1000)), _MOST_CPUS)
    group = [
        (one.file, one.value)
        for limit, value in (("memory", bounds.memory), ("cpu", bounds.cpu), ("cpu_shares", bounds.cpu_shares))
        if value is not None
        for one in (setting(limit, value, 2),)
    ]
    blocks = [(app.name, _limits(app.app.isolators)) for app in pod.apps]
    bandwidth = _least([("", bounds.block_bandwidth), *[(name, one.block_bandwidth) for name, one in blocks]])
    iops = _least([("", bounds.block_iops), *[(name, one.block_iops) for name, one in blocks]])
    for name, found in ((names.BLOCK_BANDWIDTH_NAME, bandwidth), (names.BLOCK_IOPS_NAME, iops)):
        if found is not None and (pod.mutable or len(pod.apps) >= MOST_DISKS):
            report.append(Enforcement(name, found[1], "ignored", "the roots of the pod's apps are on no disk of the machine's"))
        elif found is not None:
            shared = found[1] and len(pod.apps) > 1
            report.append(Enforcement(name, found[1], "changed" if shared else "enforced", _SHARED if shared else ""))
    return Size(
        memory_for(-(-memory // _MEGABYTE)),
        cpus,
        total,
        bandwidth[0] if bandwidth else None,
        iops[0] if iops else None,
        tuple(group),
    ), report


class Limits(Record):
    """What isolators ask for: bytes, thousandths of a processor, I/O per second."""

    memory: int | None = None
    cpu: int | None = None
    cpu_shares: int | None = None
    block_bandwidth: int | None = None
    block_iops: int | None = None


def _limits(isolators: tuple[names.Isolator, ...]) -> Limits:
    found: dict[str, int | None] = {}
    for isolator in isolators:
        parsed = isolator.parsed
        if isinstance(parsed, Memory):
            found["memory"] = parsed.limit
        elif isinstance(parsed, CPU):
            found["cpu"] = parsed.limit
        elif isinstance(parsed, CPUShares):
            found["cpu_shares"] = parsed.value
        elif isinstance(parsed, BlockBandwidth):
            found["block_bandwidth"] = parsed.limit
        elif isinstance(parsed, BlockIOPS):
            found["block_iops"] = parsed.limit
    return Limits(**found)


def _memory(app: PodApp, settings: Settings) -> int:
    limit = _limits(app.app.isolators).memory
    return settings.memory << 20 if limit is None else limit


def _least(values: list[tuple[str, int | None]]) -> tuple[int, str] | None:
    found: tuple[int, str] | None = None
    for app, value in values:
        if value is not None and (found is None or value < found[0]):
            found = (value, app)
    return found


def _of_pod(name: str, parsed: object, report: list[Enforcement]) -> None:
    if isinstance(parsed, (Memory, CPU)):
        if parsed.limit is None:
            report.append(Enforcement(name, "", "ignored", _REQUEST))
        elif parsed.request is not None and parsed.request != parsed.limit:
            report.append(Enforcement(name, "", "changed", _REQUEST))
        else:
            report.append(Enforcement(name))
    elif isinstance(parsed, CPUShares):
        report.append(Enforcement(name))
    elif not isinstance(parsed, (BlockBandwidth, BlockIOPS, NetworkBandwidth, Sysctl)):
        report.append(Enforcement(name, "", "ignored", "it counts for an app, not for a pod" if parsed else "unknown isolator"))


def app_limits(app: PodApp, *, added: bool = False) -> tuple[list[tuple[str, str]], str, list[Enforcement]]:
    """Files of the app's control group with their values, its oom_score_adj (empty: as it is), and the report. ``added`` says
    that the machine runs already, so that its size stays. Raises Stage1Error."""
    files: list[tuple[str, str]] = []
    score = ""
    report: list[Enforcement] = []

    def say(name: str, outcome: str = "enforced", reason: str = "") -> None:
        report.append(Enforcement(name, app.name, outcome, reason))

    for isolator in last_of_each(app.app.isolators):
        name, parsed = isolator.name, isolator.parsed
        if isinstance(parsed, (Memory, CPU)):
            if parsed.limit is None:
                say(name, "ignored", _REQUEST)
                continue
            one = setting("memory" if isinstance(parsed, Memory) else "cpu", parsed.limit, 2)
            files.append((one.file, one.value))
            reason = one.changed
            if parsed.request is not None and parsed.request != parsed.limit:
                reason = _REQUEST
            say(name, "changed" if reason else "enforced", reason)
        elif isinstance(parsed, CPUShares):
            one = setting("cpu_shares", parsed.value, 2)
            files.append((one.file, one.value))
            say(name)
        elif isinstance(parsed, OOMScoreAdj):
            score = str(parsed.value)
            say(name)
        elif isinstance(parsed, AppArmorProfile):
            raise Stage1Error(f"app {app.name}: AppArmor profile {shown(parsed.profile)} is not loaded in the virtual machine")
        elif isinstance(parsed, (BlockBandwidth, BlockIOPS, NetworkBandwidth)):
            if added:
                say(name, "ignored", "it limits whole pods, and this one runs already")
        elif name == names.SELINUX_CONTEXT_NAME:
            say(name, "ignored", "the kernel of the virtual machine has no SELinux policy")
        elif name not in _PRIVILEGES and not isinstance(parsed, Landlock):
            say(name, "ignored", "stage1-kvm does not limit this" if parsed else "unknown isolator")
    return files, score, report
