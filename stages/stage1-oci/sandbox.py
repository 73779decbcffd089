"""The container that holds a pod's namespaces. Hot-path module."""

from __future__ import annotations

import os

from rktpy.errors import Stage1Error
from rktpy.formats.aci.isolators import SYSCTL_NAME, Sysctl
from rktpy.formats.stage1 import Enforcement
from rktpy.linux.syscalls import pidfd_open
from rktpy.record import Record
from rktpy.stage1.oci.bundle import Membership, sandbox_config, write_bundle
from rktpy.stage1.oci.paths import OCI, SANDBOX, SANDBOX_BUNDLE
from rktpy.stage1.oci.runtime import Runtime, absolute, call, execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cgroup.subtree import Subtree
    from rktpy.pod.pod import Pod

_HERE = os.path.dirname(os.path.abspath(__file__))


class Sandbox(Record):
    """The pod's first process: its ID and pidfd, ``keep``, the pipe that it lives by, and the report about kernel parameters."""

    pid: int
    pidfd: int
    keep: int
    membership: Membership
    report: tuple[Enforcement, ...]


def pause_program() -> str:
    """The path of the static program that is a pod's first process. Raises Stage1Error when it was not built."""
    path = f"{_HERE}/pause"
    if not os.access(path, os.X_OK):
        raise Stage1Error(f"{path} is missing: rktpy was installed without a C compiler (try --stage1=fly)")
    return path


def group_path(groups: Subtree) -> str:
    """The path of the pod's control groups in their hierarchies, as ``linux.cgroupsPath`` begins; empty without any."""
    for group in groups.groups:
        return f"{group.path}/{group.leaf}" if group.leaf else group.path
    return ""


def without_groups(runtime: Runtime, groups: Subtree) -> str:
    """Why apps have no control groups of their own; empty when they have."""
    if runtime.without_groups or groups.groups:
        return runtime.without_groups
    return groups.problems[0].reason if groups.problems else "the pod has no control groups"


def create_sandbox(pod: Pod, runtime: Runtime, groups: Subtree) -> Sandbox:
    """Make the container of the pod in the working directory; it is not started yet. Raises RktpyError, OSError."""
    membership = Membership(0, not pod.own_network, pod.share_ipc)
    sysctl, report = _sysctl(pod)
    os.makedirs(f"{SANDBOX_BUNDLE}/rootfs", 0o755, exist_ok=True)
    path = group_path(groups)
    config = sandbox_config(pod.uuid, pod.hostname, membership, pause_program(), f"{path}/{SANDBOX}" if path else "", sysctl)
    write_bundle(SANDBOX_BUNDLE, config)
    pid_file = f"{OCI}/sandbox.pid"
    reader, keep = os.pipe2(os.O_CLOEXEC)
    try:
        command = runtime.command("create", "--bundle", absolute(SANDBOX_BUNDLE), "--pid-file", absolute(pid_file), SANDBOX)
        _create(command, reader, groups if runtime.without_groups else None)
    except BaseException:
        os.close(keep)
        raise
    finally:
        os.close(reader)
    with open(pid_file, "rb", buffering=0) as file:
        pid = int(file.read(32))
    return Sandbox(pid, pidfd_open(pid, 0), keep, membership.replace(pid=pid), report)


def _create(command: list[str], stdin: int, groups: Subtree | None) -> None:
    if groups is None:
        call(command, stdin=stdin)
        return
    # The runtime leaves its containers in the groups that it is in itself.
    child = os.fork()
    if child == 0:
        groups.enter()
        execute(command, stdin=stdin, stderr=os.dup(2))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise Stage1Error(f"{os.path.basename(command[0])} could not make the pod's container (status {status})")


def _sysctl(pod: Pod) -> tuple[dict[str, str], tuple[Enforcement, ...]]:
    """The kernel parameters of the pod by the names that sysctl(8) gives them."""
    values: dict[str, str] = {}
    report: list[Enforcement] = []
    for isolator in pod.manifest.isolators:
        if isinstance(isolator.parsed, Sysctl):
            from rktpy.isolate.sysctl import IPC, NET, UTS, plan_sysctls

            own = {UTS: True, NET: pod.own_network, IPC: not pod.share_ipc}
            operations, entries = plan_sysctls(isolator.parsed, frozenset([name for name, is_own in own.items() if is_own]))
            values.update({operation.path.replace("/", "."): operation.value for operation in operations})
            report += entries
            if operations:
                report.insert(0, Enforcement(SYSCTL_NAME))
    return values, tuple(report)
