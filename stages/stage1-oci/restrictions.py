"""From an app's isolators to members of its ``config.json``, and the report about them.

What the runtime enforces counts as enforced; what it cannot here is told. The last of several isolators of a name counts, as in
rkt. Source: appc/spec 0.8.11 ``spec/ace.md`` (Isolators); opencontainers/runtime-spec 1.0.2 ``config.md``, ``config-linux.md``.
Hot-path module.
"""

from __future__ import annotations

import errno
import os

from rktpy.errors import InputError, Stage1Error
from rktpy.formats.aci import isolators as names
from rktpy.formats.aci.isolators import (
    CPU,
    AppArmorProfile,
    CPUShares,
    Landlock,
    Memory,
    NoNewPrivileges,
    OOMScoreAdj,
    SeccompRemove,
    SeccompRetain,
    SELinuxContext,
)
from rktpy.formats.stage1 import Enforcement
from rktpy.isolate.capabilities import SYS_RESOURCE, app_capabilities, capability_names
from rktpy.isolate.labels import apparmor_loaded, selinux_active
from rktpy.isolate.plan import shown
from rktpy.isolate.privileges import SWITCHED_OFF
from rktpy.linux.syscalls import capget
from rktpy.pod.limits import OF_POD
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.aci.isolators import Isolator
    from rktpy.isolate.landlock import RestrictWithLandlock
    from rktpy.isolate.pod_app import PodApp
    from rktpy.isolate.root import Root
    from rktpy.isolate.volumes import VolumeMount

#: cpu.cfs_period_us, as systemd and runc have it.
_PERIOD_US = 100_000
_CAPABILITIES = (names.CAPS_RETAIN_NAME, names.CAPS_REMOVE_NAME)
_SECCOMP = (names.SECCOMP_RETAIN_NAME, names.SECCOMP_REMOVE_NAME)
_ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}


class Switches(Record):
    """What the user switched off, why there are no control groups (empty: there are), and whether the pod runs already."""

    no_capabilities: bool = False
    no_seccomp: bool = False
    without_groups: str = ""
    added: bool = False


class Restrictions:
    """Members of ``process``, ``linux`` and ``linux.resources``; ``landlock`` is what a program in the app's root does.

    Raises Stage1Error, InputError for isolators that make no sense.
    """

    def __init__(self, app: PodApp, uid: int, root: Root, switches: Switches, devices: list[dict[str, Any]]) -> None:
        self.process: dict[str, Any] = {}
        self.linux: dict[str, Any] = {}
        tun = {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rwm"}
        self.resources: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}, tun, *devices]}
        self.landlock: RestrictWithLandlock | None = None
        self.report: list[Enforcement] = []
        self._app = app
        self._uid = uid
        self._root = root
        self._switches = switches
        self._by_name: dict[str, Isolator] = {isolator.name: isolator for isolator in app.app.isolators}
        self._set_capabilities()
        self._set_seccomp()
        for isolator in self._by_name.values():
            if isolator.name not in OF_POD:
                self._one(isolator)
            elif switches.added:
                self._tell(isolator.name, "ignored", "it limits whole pods, and this one runs already")

    def _tell(self, name: str, outcome: str = "enforced", reason: str = "") -> None:
        self.report.append(Enforcement(name, self._app.name, outcome, reason))

    def _one(self, isolator: Isolator) -> None:
        name, parsed = isolator.name, isolator.parsed
        if isinstance(parsed, Memory):
            if self._limited(name, parsed):
                self.resources["memory"] = {"limit": parsed.limit}
        elif isinstance(parsed, CPU):
            if self._limited(name, parsed):
                quota = max((parsed.limit or 0) * _PERIOD_US // 1000, 1000)  # of the kernel, in microseconds
                self.resources.setdefault("cpu", {}).update(quota=quota, period=_PERIOD_US)
        elif isinstance(parsed, CPUShares):
            if self._switches.without_groups:
                self._tell(name, "ignored", self._switches.without_groups)
            else:
                self.resources.setdefault("cpu", {}).update(shares=parsed.value)
                self._tell(name)
        elif isinstance(parsed, OOMScoreAdj):
            self._oom_score(name, parsed.value)
        elif isinstance(parsed, NoNewPrivileges):
            self._tell(name)
        elif isinstance(parsed, SELinuxContext):
            if selinux_active():
                self.process["selinuxLabel"] = str(parsed)
                self._tell(name)
            else:
                self._tell(name, "ignored", "SELinux is not active on this machine")
        elif isinstance(parsed, AppArmorProfile):
            if not apparmor_loaded(parsed.profile):
                raise Stage1Error(f"app {self._app.name}: AppArmor profile {shown(parsed.profile)} is not loaded")
            self.process["apparmorProfile"] = parsed.profile
            self._tell(name)
        elif isinstance(parsed, Landlock):
            self._set_landlock(parsed)
        elif parsed is None:
            self._tell(name, "ignored", "unknown isolator")
        elif name not in (*_CAPABILITIES, *_SECCOMP):
            self._tell(name, "ignored", "stage1-oci does not limit this")

    def _limited(self, name: str, parsed: Memory | CPU) -> bool:
        if parsed.limit is None:
            self._tell(name, "ignored", "the request reserves nothing, only a limit is set")
        elif self._switches.without_groups:
            self._tell(name, "ignored", self._switches.without_groups)
        elif parsed.request is not None and parsed.request != parsed.limit:
            self._tell(name, "changed", "the request reserves nothing, only a limit is set")
            return True
        else:
            self._tell(name)
            return True
        return False

    def _oom_score(self, name: str, value: int) -> None:
        with open("/proc/self/oom_score_adj", "rb", buffering=0) as file:
            present = int(file.read(16))
        if value < present and not capget()[0] >> SYS_RESOURCE & 1:
            self._tell(name, "ignored", "this process lacks CAP_SYS_RESOURCE")
        else:
            self.process["oomScoreAdj"] = value
            self._tell(name)

    def _set_landlock(self, wanted: Landlock) -> None:
        from rktpy.isolate.landlock import landlock_abi, plan_landlock

        operation, entry = plan_landlock(self._app.name, wanted, landlock_abi(), self._root)
        self.report.append(entry)
        if operation is not None:
            self.landlock = operation
            # Else a process that is not the machine's administrator may not restrict itself.
            self.process["noNewPrivileges"] = True

    def _set_capabilities(self) -> None:
        asked = [name for name in _CAPABILITIES if name in self._by_name]
        has = capget()[1]
        if self._switches.no_capabilities:
            for name in asked:
                self._tell(name, "ignored", SWITCHED_OFF)
            granted = list(capability_names(has))
        else:
            wanted = app_capabilities(self._app.app.isolators)
            granted = list(capability_names(wanted.mask & has))
            missing = capability_names(wanted.mask & ~has) if asked else ()
            problem = f"unknown capabilities {', '.join(wanted.unknown)}" if wanted.unknown else ""
            if missing:
                problem = f"this process lacks {', '.join(missing)}"
            for name in asked:
                self._tell(name, "changed" if problem else "enforced", problem)
        # A process of another user than root has none in effect, as under systemd.
        effective = granted if self._uid == 0 else []
        sets = {"bounding": granted, "effective": effective, "permitted": effective, "inheritable": [], "ambient": []}
        self.process["capabilities"] = sets

    def _set_seccomp(self) -> None:
        asked = [isolator for isolator in self._by_name.values() if isinstance(isolator.parsed, (SeccompRetain, SeccompRemove))]
        no_new_privileges = any(
            isinstance(isolator.parsed, NoNewPrivileges) and isolator.parsed.value for isolator in self._app.app.isolators
        )
        if self._switches.no_seccomp:
            for isolator in asked:
                self._tell(isolator.name, "ignored", SWITCHED_OFF)
        elif self._filter(asked[0] if asked else None) and self._uid:
            no_new_privileges = True  # as in rkt: the filter must not be a way to trip a set-user-ID program
        if no_new_privileges:
            self.process["noNewPrivileges"] = True

    def _filter(self, isolator: Isolator | None) -> bool:
        """Whether there is a system call filter."""
        from rktpy.isolate.seccomp_names import DEFAULT_SET, expand
        from rktpy.isolate.seccomp_sets import ALWAYS

        parsed = SeccompRetain((DEFAULT_SET,)) if isolator is None else isolator.parsed
        assert isinstance(parsed, (SeccompRetain, SeccompRemove))
        retain = isinstance(parsed, SeccompRetain)
        calls, everything, unknown = expand(parsed.set)
        if everything and not retain:
            raise Stage1Error("seccomp: removing all system calls leaves nothing that could run")
        if retain and not (everything or calls):
            raise Stage1Error("seccomp: retaining no system calls leaves nothing that could run")
        if isolator is not None:
            problem = f"unknown system calls {', '.join(unknown)}" if unknown else ""
            self._tell(isolator.name, "changed" if problem else "enforced", problem)
        if everything or not calls:
            return False
        if retain:
            calls = calls | set(ALWAYS.split())
        deny: dict[str, Any] = {"action": "SCMP_ACT_KILL_PROCESS"}
        if parsed.errno:
            number = getattr(errno, parsed.errno, None)
            if number is None:
                raise InputError(f"seccomp: {parsed.errno} is no errno of Linux")
            deny = {"action": "SCMP_ACT_ERRNO", "errnoRet": number}
        rule = {"names": sorted(calls), "action": "SCMP_ACT_ALLOW"} if retain else {"names": sorted(calls), **deny}
        profile: dict[str, Any] = {
            "defaultAction": deny["action"] if retain else "SCMP_ACT_ALLOW",
            "architectures": _ARCHITECTURES.get(os.uname().machine, []),
            "syscalls": [rule],
        }
        if retain and "errnoRet" in deny:
            profile["defaultErrnoRet"] = deny["errnoRet"]
        self.linux["seccomp"] = profile
        return True


def device_rules(mounts: tuple[VolumeMount, ...]) -> list[dict[str, Any]]:
    """Rules of ``linux.resources.devices`` that let an app use the device nodes among its volumes."""
    import stat

    rules: list[dict[str, Any]] = []
    for mount in mounts:
        if mount.volume.kind != "host":
            continue
        try:
            status = os.stat(mount.volume.source)
        except OSError:
            continue
        kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
        if kind:
            rule = {"allow": True, "type": kind, "major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}
            rules.append({**rule, "access": "rwm"})
    return rules
