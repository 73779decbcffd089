"""What the pod's first process does before it is systemd: put the pod's root and the apps' together, write the apps' units.

It runs in the pod's namespaces, beside the parent, which connects the networks meanwhile, and tells the parent over a pipe what
it did (:class:`Message`). Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.cgroup.subtree import write
from rktpy.errors import Stage1Error, innermost
from rktpy.formats import stage1 as names
from rktpy.formats.aci.isolators import Landlock, SeccompRemove, SeccompRetain, SELinuxContext
from rktpy.formats.stage1 import Enforcement, write_report
from rktpy.isolate.capabilities import app_capabilities, capability_mask
from rktpy.isolate.environment import app_environment, environment_file
from rktpy.isolate.executable import check_executable, find_executable
from rktpy.isolate.labels import selinux_active
from rktpy.isolate.mounts import Bind, PivotRoot
from rktpy.isolate.plan import execute_plan
from rktpy.isolate.pod_app import append_file, write_file
from rktpy.isolate.process import SetCaps
from rktpy.isolate.root import Root
from rktpy.isolate.stream_modes import kubernetes_log_dir, log_file
from rktpy.isolate.users import app_user
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.log import debug, debugging
from rktpy.pod.limits import set_pod_sysctls
from rktpy.record import Record
from rktpy.stage1.systemd.app_root import app_root, name_files, volume_devices, volumes
from rktpy.stage1.systemd.app_units import AppUnit, app_units, environment_report
from rktpy.stage1.systemd.pod_paths import UNITS_DIR
from rktpy.stage1.systemd.pod_root import pod_root
from rktpy.stage1.systemd.pod_units import TARGET
from rktpy.stage1.systemd.resources import Machine, Settings
from rktpy.stage1.systemd.streams import KUBERNETES_LOGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from rktpy.cgroup.subtree import Subtree
    from rktpy.isolate.plan import Operation
    from rktpy.isolate.pod_app import PodApp
    from rktpy.isolate.users import User
    from rktpy.isolate.volumes import VolumeMount
    from rktpy.pod.pod import Pod
    from rktpy.stage1.systemd.launch import Console, Pipes
    from rktpy.stage1.systemd.user_namespace import Trees

#: What systemd-nspawn(1) leaves to a container by default: loading modules, raw I/O, the clock and the like are not among it.
_SYSTEMD_NEEDS = (
    "AUDIT_CONTROL AUDIT_WRITE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID IPC_OWNER KILL LEASE LINUX_IMMUTABLE MKNOD "
    "NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_NICE "
    "SYS_PTRACE SYS_RESOURCE SYS_TTY_CONFIG"
)
_LARGEST_FD = 2**32 - 1
_ENVIRONMENT = {
    "container": "rktpy",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SYSTEMD_UNIT_PATH": f"/{UNITS_DIR}",
    # Generators and their environment are for whole machines; a path that is not there leaves them out.
    "SYSTEMD_GENERATOR_PATH": "/rkt/no-generators",
    "SYSTEMD_ENVIRONMENT_GENERATOR_PATH": "/rkt/no-generators",
    "NOTIFY_SOCKET": "/rkt/notify",
}


def become_systemd(
    pod: Pod,
    mounts: list[tuple[VolumeMount, ...]],
    alone: Trees,
    programs: str,
    groups: Subtree,
    console: Console,
    pipes: Pipes,
) -> NoReturn:
    """Set everything up, report to the parent, wait for its word, execute systemd. What goes wrong is told to the parent.

    ``mounts`` are the volumes of each app, ``alone`` those that had to be opened before.
    """
    try:
        _become_systemd(pod, mounts, alone, programs, groups, console, pipes)
    except Exception as error:
        pipes.failed(innermost(error), error.status if isinstance(error, Stage1Error) else 254)
    finally:
        os._exit(254)


def _become_systemd(
    pod: Pod,
    mounts: list[tuple[VolumeMount, ...]],
    alone: Trees,
    programs: str,
    groups: Subtree,
    console: Console,
    pipes: Pipes,
) -> None:
    syscalls.prctl(c.PR_SET_PDEATHSIG, c.SIGKILL, 0, 0, 0)
    pipes.wait()  # ends this process if the parent has died before the signal was asked for
    for group in groups.groups:
        if group.version == 1:
            # A thread that moves itself needs no lock that the whole machine waits for (cgroup_procs_write_start in the kernel);
            # the group of v2 is the one that we were cloned into.
            write(f"{group.entrance}/tasks", "0")
    syscalls.unshare(c.CLONE_NEWCGROUP)
    syscalls.sethostname(pod.hostname)
    os.umask(0o022)
    opened: dict[str, tuple[Operation, ...]] = {}
    if pod.users is not None:
        from rktpy.stage1.systemd.user_namespace import enter_user_namespace

        pod, opened = enter_user_namespace(pod, mounts, alone)
    with Root(pod.root) as root:
        own = pod_root(
            groups.groups,
            terminal=console.path,
            console=console.path if pod.debug and not pod.interactive else "",
            protect=pod.protect_paths,
            sharing=pod.sharing,
        )
        logs = kubernetes_log_dir(pod.manifest)
        if logs:
            own += (Bind(logs, f"/{KUBERNETES_LOGS}"),)
        execute_plan(own, root)
        machine = pod_machine(groups, no_capabilities=pod.no_capabilities, no_seccomp=pod.no_seccomp)
        report = set_pod_sysctls(pod)
        roots: list[Root] = []
        restricted = Restricted(machine, pod.mutable, pod.interactive, pod.watchdog_usec)
        for app, chosen in zip(pod.apps, mounts, strict=True):
            roots.append(Root(app.rootfs))
            execute_plan(app_root(app, pod.root, pod.sharing, interactive=pod.interactive), roots[-1])
            execute_plan(opened.get(app.name) or volumes(app, chosen), roots[-1])
            report += set_up_units(pod.root, app, roots[-1], restricted, volume_devices(chosen))
        pipes.report(write_report(tuple(report)))
        has_resolv = pipes.wait() == b"r"
        for app, one in zip(pod.apps, roots, strict=True):
            execute_plan(name_files(app, pod.root, pod.names, has_resolv=has_resolv), one)
            one.close()
        execute_plan((PivotRoot(), *_own_capabilities(pod)), root)
    _execute(pod, programs)


def _own_capabilities(pod: Pod) -> tuple[Operation, ...]:
    """What the pod's systemd keeps: what it needs itself and what its apps ask for. Apps of a mutable pod are not known yet."""
    if pod.mutable or pod.no_capabilities:
        return ()
    mask = capability_mask(tuple(_SYSTEMD_NEEDS.split())).mask
    for app in pod.apps:
        mask |= app_capabilities(app.app.isolators).mask
    return (SetCaps(mask),)


class Restricted(Record):
    """How an app is confined: by what the machine has, as the app of a mutable pod or not, on the pod's terminal or not; and how
    often it shall say that it is alive."""

    machine: Machine
    mutable: bool = False
    interactive: bool = False
    watchdog_usec: int = 0


def pod_machine(groups: Subtree | None, *, no_capabilities: bool, no_seccomp: bool) -> Machine:
    """What apps of a pod with these control groups can be limited by."""
    controllers = {name: group.version for group in (groups.groups if groups else ()) for name in group.controllers}
    return Machine(controllers, no_capabilities, no_seccomp, selinux_active())


def preload(app: PodApp) -> None:
    """Import what :func:`set_up_units` imports only when ``app`` needs it, for a caller that goes where there is no Python."""
    modules = ["seccomp_names"]
    for isolator in app.app.isolators:
        if isinstance(isolator.parsed, (Landlock, SELinuxContext)):
            modules.append("landlock")
        elif isinstance(isolator.parsed, (SeccompRetain, SeccompRemove)):
            modules.append("syscall_table")
    for name in modules:
        __import__(f"rktpy.isolate.{name}")
    log_file(app)  # which says what it needs by importing it


def set_up_units(pod_root: str, app: PodApp, root: Root, restricted: Restricted, devices: tuple[str, ...]) -> list[Enforcement]:
    """Write the units of an app, whose root is complete, into the pod's root. Raises RktpyError, OSError."""
    spec, report = app_unit(app, root, restricted, devices)
    if restricted.mutable:
        # It is somebody's call to tell, unlike the later start, which waits for no execve(2).
        check_executable(root, spec.program)
    _add_accounts(pod_root, spec.user)
    for name, text in app_units(spec, program_finder(app, root)).items():
        write_file(f"{pod_root}/{UNITS_DIR}/{name}", text.encode("utf-8", "surrogateescape"))
    write_file(f"{pod_root}/{names.ENV_DIR}/{app.name}", environment_file(spec.environment), 0o600)
    return report


def _add_accounts(pod_root: str, user: User) -> None:
    """Give the IDs of an app names in the pod's root: systemd runs nothing as somebody it cannot find."""
    append_file(f"{pod_root}/etc/passwd", f"app{user.uid}:x:{user.uid}:{user.gid}:::\n")
    groups = dict.fromkeys((user.gid, *user.groups))
    append_file(f"{pod_root}/etc/group", "".join([f"app{gid}:x:{gid}:\n" for gid in groups]))


def app_unit(app: PodApp, root: Root, restricted: Restricted, devices: tuple[str, ...]) -> tuple[AppUnit, list[Enforcement]]:
    """What the units of an app are made of, and the report about its isolators. Raises RktpyError."""
    user = app_user(app, root)
    environment = app_environment(app.name, app.app, user)
    program = program_finder(app, root)(app.app.exec[0])
    settings = Settings(app, restricted.machine, user.uid, root, added=restricted.mutable)
    lines = tuple(settings.lines)
    spec = AppUnit(
        app,
        user,
        environment,
        program,
        lines,
        restricted.mutable,
        restricted.interactive,
        devices,
        settings.restriction,
        restricted.watchdog_usec,
        settings.context,
    )
    return spec, [*settings.report, *environment_report(app.name, environment)]


def program_finder(app: PodApp, root: Root) -> Callable[[str], str]:
    """What finds an executable in the app's root by its name. It raises NotFoundError."""
    search = next((variable.value for variable in app.app.environment if variable.name == "PATH"), None)
    directory = app.app.working_directory or "/"
    return lambda program: find_executable(root, program, search, directory)


def _execute(pod: Pod, programs: str) -> NoReturn:
    level = "debug" if debugging() else "err"
    arguments = [
        f"{programs}/systemd",
        f"--unit={TARGET}",
        "--show-status=no",
        "--default-standard-output=journal",
        f"--log-level={level}",
        f"--log-target={'console' if debugging() else 'journal'}",
    ]
    environment = dict(_ENVIRONMENT)
    listen = int(os.environ.get("LISTEN_FDS", "0")) if os.environ.get("LISTEN_FDS", "").isdigit() else 0
    if listen:
        # Sockets of a unit that runs us: systemd gives them to the pod's socket units that listen on the same addresses.
        environment.update(LISTEN_FDS=str(listen), LISTEN_PID="1", LISTEN_FDNAMES=os.environ.get("LISTEN_FDNAMES", ""))
        for fd in range(3, 3 + listen):
            os.set_inheritable(fd, True)
    syscalls.close_range(3 + listen, _LARGEST_FD, c.CLOSE_RANGE_CLOEXEC)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    debug("stage1", f"execing {arguments}")
    try:
        os.execve(arguments[0], arguments, environment)
    except OSError as error:
        raise Stage1Error(f"can't execute the host's {arguments[0]}") from error
