"""Isolators and options that concern the whole pod: what fly can enforce, and the report about all the others.

Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.cgroup.recorded import CGROUPS_FILE
from rktpy.errors import describe
from rktpy.formats import stage1 as names
from rktpy.formats.aci import isolators as iso
from rktpy.formats.aci.isolators import (
    CPU,
    AppArmorProfile,
    BlockBandwidth,
    BlockIOPS,
    CPUShares,
    Memory,
    OOMScoreAdj,
    SELinuxContext,
)
from rktpy.formats.stage1 import Enforcement
from rktpy.isolate.labels import selinux_active
from rktpy.isolate.pod_app import write_file
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cgroup.subtree import Subtree
    from rktpy.formats.aci.isolators import Isolator
    from rktpy.formats.entry_arguments import Arguments
    from rktpy.isolate.pod_app import PodApp


_REASONS = {
    iso.NETWORK_BANDWIDTH_NAME: "the app uses the host's network",
    iso.SYSCTL_NAME: "the app shares the host's namespaces, a change would be the host's",
}
_PRIVILEGES = frozenset(
    (
        iso.CAPS_RETAIN_NAME,
        iso.CAPS_REMOVE_NAME,
        iso.NO_NEW_PRIVILEGES_NAME,
        iso.SECCOMP_RETAIN_NAME,
        iso.SECCOMP_REMOVE_NAME,
        iso.LANDLOCK_NAME,
    )
)

#: Fields of Wanted that control groups put into force, with the isolators that they come from.
_LIMITS = {
    "memory": iso.MEMORY_NAME,
    "cpu": iso.CPU_NAME,
    "cpu_shares": iso.CPU_SHARES_NAME,
    "block_bandwidth": iso.BLOCK_BANDWIDTH_NAME,
    "block_iops": iso.BLOCK_IOPS_NAME,
}


class Wanted(Record):
    """What the isolators ask for. Memory in bytes, CPU in thousandths of a core, block I/O per second."""

    memory: int | None = None
    cpu: int | None = None
    cpu_shares: int | None = None
    oom_score_adj: int | None = None
    apparmor: str = ""
    selinux: str = ""
    block_bandwidth: int | None = None
    block_iops: int | None = None

    @property
    def needs_cgroup(self) -> bool:
        return any(getattr(self, name) is not None for name in _LIMITS)


def read_isolators(pod: PodApp) -> tuple[Wanted, list[Enforcement]]:
    """What the pod's and the app's isolators ask for, and entries for those that fly does not enforce.

    The last of several isolators counts, as in rkt; a limit of the pod bounds the app's.
    """
    report: list[Enforcement] = []
    mine = _last(pod.app.isolators, pod.name, report)
    bounds = _last(pod.manifest.isolators, "", report)
    memory = _least(mine.memory, bounds.memory)
    cpu = _least(mine.cpu, bounds.cpu)
    shares = mine.cpu_shares if mine.cpu_shares is not None else bounds.cpu_shares
    score = mine.oom_score_adj if mine.oom_score_adj is not None else bounds.oom_score_adj
    bandwidth = _least(mine.block_bandwidth, bounds.block_bandwidth)
    iops = _least(mine.block_iops, bounds.block_iops)
    labels = (mine.apparmor or bounds.apparmor, mine.selinux or bounds.selinux)
    return Wanted(memory, cpu, shares, score, *labels, bandwidth, iops), report


def _least(first: int | None, second: int | None) -> int | None:
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)


def _last(isolators: tuple[Isolator, ...], app: str, report: list[Enforcement]) -> Wanted:
    memory: int | None = None
    cpu: int | None = None
    shares: int | None = None
    score: int | None = None
    bandwidth: int | None = None
    iops: int | None = None
    apparmor = selinux = ""
    for one in isolators:
        parsed = one.parsed
        if isinstance(parsed, Memory):
            memory = parsed.limit
        elif isinstance(parsed, CPU):
            cpu = parsed.limit
        elif isinstance(parsed, CPUShares):
            shares = parsed.value
        elif isinstance(parsed, OOMScoreAdj):
            score = parsed.value
        elif isinstance(parsed, BlockBandwidth):
            bandwidth = parsed.limit
        elif isinstance(parsed, BlockIOPS):
            iops = parsed.limit
        elif isinstance(parsed, AppArmorProfile):
            apparmor = parsed.profile
        elif isinstance(parsed, SELinuxContext):
            if selinux_active():
                selinux = str(parsed)
            else:
                report.append(Enforcement(one.name, app, "ignored", "SELinux is not active on this machine"))
        elif one.name not in _PRIVILEGES or not app:
            reason = "it counts for an app, not for a pod" if one.name in _PRIVILEGES else "unknown isolator"
            report.append(Enforcement(one.name, app, "ignored", _REASONS.get(one.name, reason)))
            continue
        if isinstance(parsed, (Memory, CPU)) and parsed.request is not None and parsed.request != parsed.limit:
            outcome = "ignored" if parsed.limit is None else "changed"
            report.append(Enforcement(one.name, app, outcome, "the request reserves nothing, only a limit is set"))
    return Wanted(memory, cpu, shares, score, apparmor, selinux, bandwidth, iops)


def report_options(arguments: Arguments, pod: PodApp) -> list[Enforcement]:
    """Entries for arguments and pod settings that fly, being in the host's namespaces, cannot honour."""
    report: list[Enforcement] = []

    def ignored(option: str, reason: str, app: str = "") -> None:
        report.append(Enforcement(option, app, "ignored", reason))

    # "default" is what stage0 says when the user said nothing.
    networks = [name for name in arguments.text("net").split(",") if name not in ("", "host", "default")]
    if networks:
        ignored("--net", f"the app uses the host's network, not {', '.join(networks)}")
    if arguments.text("hostname"):
        ignored("--hostname", "the app has the host's name")
    if arguments.text("mds-token"):
        ignored("--mds-register", "stage1-fly tells the app no metadata service")
    if arguments.text("ipc") not in ("", "auto", "parent"):
        ignored("--ipc", "the app shares the host's IPC namespace")
    ports = {port.name: port for port in pod.app.ports}
    for exposed in pod.manifest.ports:
        inside = exposed.pod_port or ports.get(exposed.name)
        if inside is None or inside.port != exposed.host_port or exposed.host_ip is not None:
            ignored("--port", f"the app uses the host's network, port {exposed.host_port} is not forwarded to {exposed.name}")
    for annotation, option in ((names.STDIN, "--stdin"), (names.STDOUT, "--stdout"), (names.STDERR, "--stderr")):
        mode = pod.runtime.annotation(annotation)
        if mode not in (None, "", "interactive", "null"):
            ignored(option, f"the app has the caller's stream, mode {mode} is not offered", pod.name)
    for handler in pod.app.event_handlers:
        if handler.name == "post-stop":
            ignored("post-stop", "nothing of stage1-fly is left when the app ends", pod.name)
    return report


def apply_cgroup(wanted: Wanted, pod: PodApp) -> tuple[Subtree, list[Enforcement]]:
    """Make the pod's control groups and set the limits. They are written down in the pod directory before they are made."""
    from rktpy.cgroup.limits import Limits, apply_limits

    def before(subtree: Subtree) -> None:
        write_file(CGROUPS_FILE, os.fsencode(subtree.to_text()))
        write_file(names.SUBCGROUP_FILE, os.fsencode(subtree.groups[0].path))

    limits = Limits(**{name: getattr(wanted, name) for name in _LIMITS})
    # The disk that the app's root is on; the pod's directory is on it too, unlike an overlay, which is on none.
    subtree, outcomes = apply_limits(f"rktpy-{pod.uuid}", limits, before=before, directory=pod.directory)
    report = [Enforcement(_LIMITS[one.limit], pod.name, one.outcome, one.reason) for one in outcomes]
    return subtree, report


def apply_oom_score(value: int, app: str) -> Enforcement:
    """Set this process's oom_score_adj. Lowering it needs CAP_SYS_RESOURCE; without it the present one stays."""
    try:
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(str(value).encode())
    except OSError as error:
        reason = "this process lacks CAP_SYS_RESOURCE" if isinstance(error, PermissionError) else describe(error)
        return Enforcement(iso.OOM_SCORE_ADJ_NAME, app, "ignored", reason)
    return Enforcement(iso.OOM_SCORE_ADJ_NAME, app)
