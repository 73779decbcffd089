"""Entry point ``run`` of stage1-fly: one app, in a root and a mount namespace of its own, in the host's other namespaces.

Fly is for apps that are part of the host: as in rkt they keep all privileges of the caller unless the manifest says
otherwise. No capability, no system call and no path is withheld by default; every isolator that is there is enforced, or
reported as not enforced in the pod's ``enforcement`` file and on stderr, and refused with ``--strict``.

The contract (rkt's stage1 implementors' guide): the working directory is the pod's, the arguments end with its UUID,
RKT_LOCK_FD is the descriptor that holds its lock. On success :func:`main` does not return: the process becomes the app, so
that the app's exit status is the pod's. What was made is::

    mount namespace of our own, a slave of the host's
        the app's root (an overlay that stage0 mounted, or a directory bound onto itself)
            /dev /proc /sys    the host's, with their sub-mounts
            /tmp               tmpfs
            volumes, /etc/resolv.conf, /etc/hosts
    pod directory
        rkt/env/<app>, rkt/supervisor-status below the stage1's rootfs; enforcement; cgroups, subcgroup; pgid; pid (last)

The lock. rkt leaves the locked descriptor of the pod directory to the app, and so must we: a lock on a directory lives as
long as an open descriptor of it, and nobody else stays. An app with the host's privileges gains nothing by it. For one that
runs as another user the directory's mode (0750) keeps the pod's files closed, and stage0 takes the lock through a detached
mount of the pod directory (rktpy.isolate.detached), whose ``..`` leads nowhere. All other descriptors above 2 are closed at
execve.

Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import Stage1Error
from rktpy.formats import stage1 as names
from rktpy.formats.aci.isolators import APPARMOR_PROFILE_NAME, SELINUX_CONTEXT_NAME
from rktpy.formats.aci.types import parse_uuid
from rktpy.formats.entry_arguments import DNS_MODES, Arguments, parse_pairs, parse_run
from rktpy.formats.stage1 import Enforcement, write_report
from rktpy.isolate.become import LARGEST_FD, become, default_signals
from rktpy.isolate.enforcement import tell
from rktpy.isolate.environment import app_environment, environment_file
from rktpy.isolate.executable import find_executable
from rktpy.isolate.holder import lock_descriptor
from rktpy.isolate.host_mounts import has_own_mount_namespace
from rktpy.isolate.labels import check_labels, set_labels
from rktpy.isolate.mounts import Bind, BindRoot, OwnMountNamespace, PivotRoot, RemountReadonly, Tmpfs, WriteFile
from rktpy.isolate.plan import Operation, describe_plan, execute_plan, shown
from rktpy.isolate.pod_app import PodApp, load_only_app, write_file
from rktpy.isolate.process import Credentials, WorkingDirectory
from rktpy.isolate.root import Root
from rktpy.isolate.users import app_user
from rktpy.isolate.volumes import choose_mounts, volume_operations
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.log import note, set_debug
from rktpy.stage1.fly.limits import (
    apply_cgroup,
    apply_oom_score,
    read_isolators,
    report_options,
)
from rktpy.stage1.fly.readiness import notify_environment, notify_mount, passed_sockets, say_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.isolate.users import User


def main(argv: list[str]) -> int:
    """Run the pod in the working directory. ``argv`` is without the program's name.

    Returns (0) only after ``--dry-run``, which prints the plan. Raises RktpyError; what is mounted by then goes away with the
    process.
    """
    arguments = parse_run(argv)
    uuid = parse_uuid(arguments.rest[0])
    if arguments.is_set("debug"):
        set_debug(True)
    if arguments.is_set("mutable"):
        raise Stage1Error("stage1-fly does not support mutable pods")
    if arguments.text("private-users"):
        raise Stage1Error("stage1-fly does not support private users")
    pod = load_only_app(uuid)
    if not pod.app.exec:
        raise Stage1Error(
            f'image {shown(pod.runtime.image.name or pod.runtime.image.id)} has an empty "exec" (try --exec=BINARY)'
        )
    root = Root(pod.rootfs)
    mounts = mount_plan(pod, arguments)
    if arguments.is_set("dry-run"):
        _dry_run(pod, root, arguments, mounts)
        return 0
    lock_fd = lock_descriptor()

    wanted, report = read_isolators(pod)
    report += report_options(arguments, pod)
    for label, name in ((wanted.apparmor, APPARMOR_PROFILE_NAME), (wanted.selinux, SELINUX_CONTEXT_NAME)):
        if label:
            check_labels(pod.name, (*pod.manifest.isolators, *pod.app.isolators))
            report.append(Enforcement(name, pod.name))
    subtree = None
    if wanted.needs_cgroup:
        subtree, limited = apply_cgroup(wanted, pod)
        report += limited
    if wanted.oom_score_adj is not None:
        report.append(apply_oom_score(wanted.oom_score_adj, pod.name))
    # The caller's umask is the app's; the directories that mounts need are for every user of the image.
    umask = os.umask(0o022)
    execute_plan(mounts, root)
    os.umask(umask)
    user = app_user(pod, root)
    privileges, entries = privileges_of(pod, user, arguments, root)
    report += entries
    tell(report, strict=arguments.is_set("strict"))
    if subtree is not None:
        subtree.enter()

    sockets, told = passed_sockets(pod)
    environment = {**app_environment(pod.name, pod.app, user), **notify_environment(pod), **told}
    search = next((variable.value for variable in pod.app.environment if variable.name == "PATH"), None)
    directory = pod.app.working_directory or "/"
    program = find_executable(root, pod.app.exec[0], search, directory)
    handlers = [
        (find_executable(root, handler.exec[0], search, directory), handler.exec)
        for handler in pod.app.event_handlers
        if handler.name == "pre-start" and handler.exec
    ]
    _write_files(pod, environment, report)
    set_labels(wanted.apparmor, wanted.selinux)
    _null_streams(pod)
    ready = say_ready(pod)
    execute_plan((PivotRoot(), WorkingDirectory(directory)), root)
    for handler, handler_argv in handlers:
        _run_handler(handler, handler_argv, environment)
    ready()
    become(program, pod.app.exec, environment, privileges, root, lock_fd, sockets)


def _dry_run(pod: PodApp, root: Root, arguments: Arguments, mounts: tuple[Operation, ...]) -> None:
    """Print the plan on stdout."""
    _wanted, report = read_isolators(pod)
    privileges, entries = privileges_of(pod, app_user(pod, root), arguments, root)
    plan = (*mounts, PivotRoot(), WorkingDirectory(pod.app.working_directory or "/"), *privileges)
    lines = describe_plan(plan) + f"execute {' '.join(map(shown, pod.app.exec))}\n"
    for entry in (*report, *report_options(arguments, pod), *entries):
        if entry.outcome != "enforced":
            lines += f"{entry}\n"
    os.write(1, lines.encode("utf-8", "backslashreplace"))


def mount_plan(pod: PodApp, arguments: Arguments) -> tuple[Operation, ...]:
    """What is mounted for the app, in order. Raises Stage1Error or UsageError."""
    modes = parse_pairs(arguments.text("dns-conf-mode"), DNS_MODES, "dns-conf-mode")
    operations: list[Operation] = [
        OwnMountNamespace(not has_own_mount_namespace()),
        BindRoot(),
        Bind("/dev", "/dev", recursive=True),
        Bind("/proc", "/proc", recursive=True),
        Bind("/sys", "/sys", recursive=True),
        Tmpfs("/tmp", "mode=1777"),
        *volume_operations(choose_mounts(pod), pod.directory),
        *notify_mount(pod),
    ]
    stage1 = f"{pod.directory}/{names.STAGE1_ROOTFS}"
    if modes["resolv"] == "host":
        operations.append(Bind("/etc/resolv.conf", "/etc/resolv.conf", read_only=True))
    elif modes["resolv"] == "stage0" and os.path.exists(f"{stage1}/{names.RESOLV_CONF}"):
        operations.append(Bind(f"{stage1}/{names.RESOLV_CONF}", "/etc/resolv.conf"))
    if modes["hosts"] == "host":
        operations.append(Bind("/etc/hosts", "/etc/hosts", read_only=True))
    elif modes["hosts"] == "stage0":
        operations.append(Bind(f"{stage1}/{names.HOSTS}", "/etc/hosts"))
    else:
        operations.append(WriteFile("/etc/hosts", "127.0.0.1 localhost localdomain\n"))
    if pod.runtime.read_only_root_fs:
        operations.append(RemountReadonly("/"))
    return tuple(operations)


def privileges_of(
    pod: PodApp, user: User, arguments: Arguments, root: Root
) -> tuple[tuple[Operation, ...], tuple[Enforcement, ...]]:
    """What gives the app its privileges (the caller's, but for what isolators take away), and the report about isolators."""
    if not pod.app.isolators:
        return (Credentials(user.uid, user.gid, user.groups),), ()
    from rktpy.isolate.privileges import Restrictions, app_privileges

    restrictions = Restrictions(
        default_capabilities=False,
        default_seccomp=False,
        no_capabilities=arguments.is_set("disable-capabilities-restriction"),
        no_seccomp=arguments.is_set("disable-seccomp"),
    )
    privileges = app_privileges(pod.name, pod.app.isolators, user, restrictions, root)
    return privileges.operations, privileges.report


def _write_files(pod: PodApp, environment: dict[str, str], report: list[Enforcement]) -> None:
    """What the contract wants in the pod directory. ``pid`` is last: it says that the pod has started."""
    rkt = f"{names.STAGE1_ROOTFS}/rkt"
    for directory in (rkt, f"{names.STAGE1_ROOTFS}/{names.STATUS_DIR}", f"{names.STAGE1_ROOTFS}/{names.ENV_DIR}"):
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:
            pass
    write_file(f"{names.STAGE1_ROOTFS}/{names.ENV_DIR}/{pod.name}", environment_file(environment), 0o600)
    write_file(names.REPORT_FILE, write_report(tuple(report)))
    write_file(names.PGID_FILE, str(os.getpgrp()).encode())
    write_file(names.PID_FILE, str(os.getpid()).encode())
    try:
        os.symlink("ready", f"{names.STAGE1_ROOTFS}/{names.READY_FILE}")
    except FileExistsError:
        pass


def _null_streams(pod: PodApp) -> None:
    """Connect the streams that the pod manifest wants empty to /dev/null."""
    for fd, annotation in enumerate((names.STDIN, names.STDOUT, names.STDERR)):
        if pod.runtime.annotation(annotation) == "null":
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            os.dup2(null, fd)
            os.close(null)


def _run_handler(program: str, argv: tuple[str, ...], environment: dict[str, str]) -> None:
    """Run an event handler as root in the app's root and wait for it. Raises Stage1Error when it fails."""
    child = os.fork()
    if child == 0:
        status = 127
        try:
            syscalls.close_range(3, LARGEST_FD, c.CLOSE_RANGE_CLOEXEC)
            default_signals()
            os.execve(program, [program, *argv[1:]], environment)
        except OSError as error:
            note("stage1", f"can't execute {shown(program)}: {(error.strerror or '').lower()}")
        finally:
            os._exit(status)
    _pid, status = os.waitpid(child, 0)
    if status != 0:
        code = os.waitstatus_to_exitcode(status)
        how = f"was killed by signal {-code}" if code < 0 else f"failed with status {code}"
        raise Stage1Error(f"pre-start event handler {shown(program)} {how}")
