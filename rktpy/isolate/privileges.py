"""From an app's isolators to what is done to its process, and what has to be reported about them.

Source of the rules: appc/spec 0.8.11 ``spec/ace.md`` (Isolators), rkt 1.30 for what it adds (no-new-privileges is forced for
a user that is not root when a filter is active). Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.aci import isolators as names
from rktpy.formats.aci.isolators import Landlock, NoNewPrivileges, SeccompRemove, SeccompRetain
from rktpy.formats.stage1 import Enforcement
from rktpy.isolate.capabilities import SETPCAP, SYS_ADMIN, app_capabilities, asks_for_capabilities
from rktpy.isolate.plan import Operation
from rktpy.isolate.process import Credentials, NoNewPrivs, Seccomp, SetCaps
from rktpy.linux.syscalls import capget
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.aci.isolators import Isolator
    from rktpy.isolate.root import Root
    from rktpy.isolate.users import User

#: What is put in an entry's ``reason`` when the user switched the protection off by name; strictness does not refuse that.
SWITCHED_OFF = "switched off by the user"


class Restrictions(Record):
    """Which protections apply. ``default_*``: also to an app that has no isolator for it; ``no_*``: the user switched it off."""

    default_capabilities: bool = True
    default_seccomp: bool = True
    no_capabilities: bool = False
    no_seccomp: bool = False


class Privileges(Record):
    """What an app's process may do: operations in the order they have to be executed, and the report about their isolators."""

    operations: tuple[Operation, ...]
    report: tuple[Enforcement, ...] = ()


def app_privileges(
    app: str, isolators: tuple[Isolator, ...], user: User, restrictions: Restrictions, root: Root | None = None
) -> Privileges:
    """Decide the privileges of the app called ``app`` that runs as ``user``.

    Reads the capabilities of the calling process, and looks in ``root``, if it is given, for paths that isolators name. Raises
    FormatError or InputError for a set that makes no sense.
    """
    report: list[Enforcement] = []
    operations: list[Operation] = []
    for one in isolators:
        if isinstance(one.parsed, Landlock):
            _landlock(app, one.parsed, root, operations, report)
    asked_caps = asks_for_capabilities(isolators)
    if asked_caps or restrictions.default_capabilities:
        _capabilities(app, isolators, restrictions, operations, report)
    operations.append(Credentials(user.uid, user.gid, user.groups))

    filters = [one for one in isolators if isinstance(one.parsed, (SeccompRetain, SeccompRemove))]
    no_new_privileges = False
    for one in isolators:
        if isinstance(one.parsed, NoNewPrivileges):
            no_new_privileges = no_new_privileges or one.parsed.value
            report.append(Enforcement(one.name, app))
    seccomp: Seccomp | None = None
    if filters or restrictions.default_seccomp:
        if restrictions.no_seccomp:
            report += [Enforcement(one.name, app, "ignored", SWITCHED_OFF) for one in filters]
        else:
            from rktpy.isolate.seccomp import compile_isolators

            compiled = compile_isolators(filters[0] if filters else None)
            if filters:
                report.append(Enforcement(filters[0].name, app, "changed" if compiled.problem else "enforced", compiled.problem))
            if compiled.program:
                seccomp = Seccomp(compiled.program, compiled.summary)
    if seccomp is not None and (user.uid != 0 or not capget()[0] >> SYS_ADMIN & 1):
        no_new_privileges = True  # else the kernel refuses the filter
    if no_new_privileges:
        operations.append(NoNewPrivs())
    if seccomp is not None:
        operations.append(seccomp)
    return Privileges(tuple(operations), tuple(report))


def _landlock(app: str, wanted: Landlock, root: Root | None, operations: list[Operation], report: list[Enforcement]) -> None:
    from rktpy.isolate.landlock import landlock_abi, plan_landlock

    operation, entry = plan_landlock(app, wanted, landlock_abi(), root)
    report.append(entry)
    if operation is None:
        return
    if not operations and not capget()[0] >> SYS_ADMIN & 1:
        operations.append(NoNewPrivs())  # else the kernel refuses
    operations.append(operation)


def _capabilities(
    app: str,
    isolators: tuple[Isolator, ...],
    restrictions: Restrictions,
    operations: list[Operation],
    report: list[Enforcement],
) -> None:
    asked = list(dict.fromkeys([one.name for one in isolators if one.name in (names.CAPS_RETAIN_NAME, names.CAPS_REMOVE_NAME)]))
    if restrictions.no_capabilities:
        report += [Enforcement(name, app, "ignored", SWITCHED_OFF) for name in asked]
        return
    if not capget()[0] >> SETPCAP & 1:
        report += [Enforcement(name, app, "ignored", "this process lacks CAP_SETPCAP") for name in asked]
        return
    wanted = app_capabilities(isolators)
    operations.append(SetCaps(wanted.mask))
    problem = f"unknown capabilities {', '.join(wanted.unknown)}" if wanted.unknown else ""
    report += [Enforcement(name, app, "changed" if problem else "enforced", problem) for name in asked]
