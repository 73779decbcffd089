"""From an app's isolators to settings of its unit, and the report about them.

What systemd has a setting for, it enforces; the pod's own groups are made so that it can (see ``cgroup.pod``). The last of
several isolators counts, as in rkt. Source: appc/spec 0.8.11 ``spec/ace.md`` (Isolators), systemd.resource-control(5),
systemd.exec(5). Hot-path module.
"""

from __future__ import annotations

from rktpy.cgroup.limits import shares_to_weight
from rktpy.errors import Stage1Error
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
from rktpy.isolate.privileges import SWITCHED_OFF
from rktpy.linux.syscalls import capget
from rktpy.pod.limits import OF_POD
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.aci.isolators import Isolator
    from rktpy.isolate.landlock import RestrictWithLandlock
    from rktpy.isolate.pod_app import PodApp
    from rktpy.isolate.root import Root

    Setting = tuple[str, str]

#: systemd takes no quota under a thousandth of a second in a tenth.
_LEAST_CPU = 10
_CAPABILITIES = (names.CAPS_RETAIN_NAME, names.CAPS_REMOVE_NAME)


class Machine(Record):
    """What the pod can use: the version of the hierarchy of each controller that is there, and what the user switched off."""

    controllers: dict[str, int]
    no_capabilities: bool = False
    no_seccomp: bool = False
    selinux: bool = False


class Settings:
    """The settings of one app's unit while they are collected, and the report."""

    def __init__(self, app: PodApp, machine: Machine, uid: int, root: Root, *, added: bool = False) -> None:
        """``added`` says that the pod runs already, so that only the app itself can be limited."""
        self.lines: list[Setting] = []
        #: What the app's processes do to themselves first, because systemd has no setting for it.
        self.restriction: RestrictWithLandlock | None = None
        #: The SELinux context that they get; empty for that of the pod's systemd.
        self.context = ""
        self._root = root
        self.report: list[Enforcement] = []
        self._app = app
        self._machine = machine
        self._uid = uid
        self._by_name: dict[str, Isolator] = {isolator.name: isolator for isolator in app.app.isolators}
        self._capabilities()
        self._seccomp()
        for isolator in self._by_name.values():
            if isolator.name not in OF_POD:
                self._one(isolator)
            elif added:
                self._ignore(isolator.name, "it limits whole pods, and this one runs already")

    def _set(self, name: str, *lines: Setting, changed: str = "") -> None:
        self.lines += lines
        self.report.append(Enforcement(name, self._app.name, "changed" if changed else "enforced", changed))

    def _ignore(self, name: str, reason: str) -> None:
        self.report.append(Enforcement(name, self._app.name, "ignored", reason))

    def _one(self, isolator: Isolator) -> None:
        name, parsed = isolator.name, isolator.parsed
        if isinstance(parsed, Memory):
            self._limited(name, "memory", parsed, ("MemoryMax", str(parsed.limit)))
        elif isinstance(parsed, CPU):
            limit = parsed.limit or 0
            quota = max(limit, _LEAST_CPU)
            changed = "" if quota == limit else "the least quota is a hundredth of a core"
            self._limited(name, "cpu", parsed, ("CPUQuota", f"{quota // 10}.{quota % 10}%"), changed)
        elif isinstance(parsed, CPUShares):
            version = self._machine.controllers.get("cpu")
            if version is None:
                self._ignore(name, "no cpu control group is mounted")
            elif version == 1:
                self._set(name, ("CPUShares", str(parsed.value)))
            else:
                self._set(name, ("CPUWeight", str(shares_to_weight(parsed.value))))
        elif isinstance(parsed, OOMScoreAdj):
            self._oom_score(name, parsed.value)
        elif isinstance(parsed, NoNewPrivileges):
            self.report.append(Enforcement(name, self._app.name))
        elif isinstance(parsed, SELinuxContext):
            if self._machine.selinux:
                # Not systemd's SELinuxContext=: for the systemd of a pod, which sees no policy, there is no SELinux.
                self.context = str(parsed)
                self._set(name)
            else:
                self._ignore(name, "SELinux is not active on this machine")
        elif isinstance(parsed, AppArmorProfile):
            self._set(name, ("AppArmorProfile", parsed.profile))
        elif isinstance(parsed, Landlock):
            self._landlock(parsed)
        elif parsed is None:
            self._ignore(name, "unknown isolator")
        elif name not in (*_CAPABILITIES, names.SECCOMP_RETAIN_NAME, names.SECCOMP_REMOVE_NAME):
            self._ignore(name, "stage1-systemd does not limit this")

    def _limited(self, name: str, controller: str, parsed: Memory | CPU, line: Setting, changed: str = "") -> None:
        if parsed.limit is None:
            self._ignore(name, "the request reserves nothing, only a limit is set")
        elif controller not in self._machine.controllers:
            self._ignore(name, f"no {controller} control group is mounted")
        else:
            if parsed.request is not None and parsed.request != parsed.limit:
                changed = "the request reserves nothing, only a limit is set"
            self._set(name, line, changed=changed)

    def _oom_score(self, name: str, value: int) -> None:
        with open("/proc/self/oom_score_adj", "rb", buffering=0) as file:
            present = int(file.read(16))
        if value < present and not capget()[0] >> SYS_RESOURCE & 1:
            self._ignore(name, "this process lacks CAP_SYS_RESOURCE")
        else:
            self._set(name, ("OOMScoreAdjust", str(value)))

    def _landlock(self, wanted: Landlock) -> None:
        from rktpy.isolate.landlock import landlock_abi, plan_landlock

        operation, entry = plan_landlock(self._app.name, wanted, landlock_abi(), self._root)
        self.report.append(entry)
        if operation is None:
            return
        self.restriction = operation
        # Else a process that is not the machine's administrator may not restrict itself.
        self.lines.append(("NoNewPrivileges", "yes"))

    def _capabilities(self) -> None:
        asked = [name for name in _CAPABILITIES if name in self._by_name]
        if self._machine.no_capabilities:
            for name in asked:
                self._ignore(name, SWITCHED_OFF)
            return
        wanted = app_capabilities(self._app.app.isolators)
        has = capget()[1]
        self.lines.append(("CapabilityBoundingSet", " ".join(capability_names(wanted.mask & has))))
        missing = capability_names(wanted.mask & ~has) if asked else ()
        problem = f"unknown capabilities {', '.join(wanted.unknown)}" if wanted.unknown else ""
        if missing:
            problem = f"this process lacks {', '.join(missing)}"
        for name in asked:
            self.report.append(Enforcement(name, self._app.name, "changed" if problem else "enforced", problem))

    def _seccomp(self) -> None:
        asked = [isolator for isolator in self._app.app.isolators if isinstance(isolator.parsed, (SeccompRetain, SeccompRemove))]
        no_new_privileges = any(
            isinstance(isolator.parsed, NoNewPrivileges) and isolator.parsed.value for isolator in self._app.app.isolators
        )
        if self._machine.no_seccomp:
            for isolator in asked:
                self._ignore(isolator.name, SWITCHED_OFF)
        elif self._filter(asked[0] if asked else None) and self._uid:
            no_new_privileges = True  # as in rkt: the filter must not be a way to trip a set-user-ID program
        if no_new_privileges:
            self.lines.append(("NoNewPrivileges", "yes"))

    def _filter(self, isolator: Isolator | None) -> bool:
        """The lines of a system call filter; whether there is one."""
        from rktpy.isolate.seccomp_names import DEFAULT_SET, expand

        parsed = SeccompRetain((DEFAULT_SET,)) if isolator is None else isolator.parsed
        assert isinstance(parsed, (SeccompRetain, SeccompRemove))
        retain = isinstance(parsed, SeccompRetain)
        calls, everything, unknown = expand(parsed.set)
        if everything and not retain:
            raise Stage1Error("seccomp: removing all system calls leaves nothing that could run")
        if retain and not (everything or calls):
            # systemd would take an empty list for no filter.
            raise Stage1Error("seccomp: retaining no system calls leaves nothing that could run")
        if isolator is not None:
            problem = f"unknown system calls {', '.join(unknown)}" if unknown else ""
            self._set(isolator.name, changed=problem)
        if everything or not (retain or calls):
            return False
        # Programs for i386 run, filtered; x32 is refused, as by stage1-fly. systemd makes one filter for each that may run, which
        # is one of the costliest things in the start of an app.
        self.lines.append(("SystemCallArchitectures", "native x86"))
        self.lines.append(("SystemCallFilter", f"{'' if retain else '~'}{' '.join(sorted(calls))}"))
        if parsed.errno:
            self.lines.append(("SystemCallErrorNumber", parsed.errno))
        return True
