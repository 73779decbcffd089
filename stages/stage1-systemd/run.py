"""Entry point ``run`` of stage1-systemd: the pod's namespaces, its systemd, and outside of them the monitor that waits for it.

This process clones the pod's first process into new namespaces and becomes the monitor (``monitor.c``)::

    rktpy run -> monitor          host's namespaces; holds the pod's lock; ends when the pod ends, by becoming ``finish``
        systemd (PID 1)           mount, pid, net, ipc, uts and cgroup namespace of the pod
            systemd-journald
            <app>.service ...     each in a mount namespace of its own, with the app's root and nothing else

The clone puts the pod's and the apps' roots together (:mod:`rktpy.stage1.systemd.first_process`) while this process connects
the networks. Whatever outlives a process is written down first: ``cgroups`` and ``subcgroup``, ``net-info.json``, then
``ppid``, which says that the pod has started. When this process or the monitor dies, the kernel kills the pod
(PR_SET_PDEATHSIG); ``gc`` does the rest.

The contract is rktpy-stage1(7). Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.cgroup.pod import make_pod_groups
from rktpy.cgroup.recorded import CGROUPS_FILE
from rktpy.formats import stage1 as names
from rktpy.formats.entry_arguments import parse_run
from rktpy.formats.stage1 import read_report, write_report
from rktpy.isolate.enforcement import tell
from rktpy.isolate.holder import lock_descriptor
from rktpy.isolate.pod_app import write_file
from rktpy.isolate.volumes import check_sources
from rktpy.linux import constants as c
from rktpy.linux.syscalls import clone3
from rktpy.log import set_debug
from rktpy.pod.end import clean_up
from rktpy.pod.limits import limit_groups
from rktpy.pod.network import connect
from rktpy.pod.pod import load_pod
from rktpy.stage1.systemd.app_root import app_mounts
from rktpy.stage1.systemd.app_units import start_units
from rktpy.stage1.systemd.first_process import become_systemd
from rktpy.stage1.systemd.launch import Pipes, become_monitor, console_mode, monitor_program, open_console, open_ends
from rktpy.stage1.systemd.machine import register
from rktpy.stage1.systemd.pod import check_app, systemd_programs
from rktpy.stage1.systemd.pod_files import write_pod_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rktpy.cgroup.subtree import Subtree
    from rktpy.isolate.volumes import VolumeMount
    from rktpy.pod.pod import Pod
    from rktpy.stage1.systemd.user_namespace import Trees


def main(argv: list[str]) -> int:
    """Run the pod in the working directory. ``argv`` is without the program's name.

    Returns (0) only after ``--dry-run``, which prints the plan. Raises RktpyError, OSError; what was made by then is undone.
    """
    arguments = parse_run(argv)
    if arguments.is_set("debug"):
        set_debug(True)
    pod = load_pod(arguments)
    for app in pod.apps:
        check_app(app)
    if arguments.is_set("dry-run"):
        from rktpy.stage1.systemd.dry_run import print_plan

        print_plan(pod)
        return 0
    lock = lock_descriptor()
    monitor_program()
    mounts = [app_mounts(app) for app in pod.apps]
    for app, chosen in zip(pod.apps, mounts, strict=True):
        check_sources(app, chosen)
    try:
        _launch(pod, mounts, lock)
    except BaseException:
        clean_up()
        raise


def _launch(pod: Pod, mounts: list[tuple[VolumeMount, ...]], lock: int) -> NoReturn:
    programs = systemd_programs()
    os.umask(0o022)  # also for what systemd looks at: it takes no FIFO of another mode
    write_pod_files(pod, programs, tuple([unit for app in pod.apps for unit in start_units(app)]))
    mode = console_mode(pod)
    groups = make_pod_groups(pod.uuid, before=_write_groups)
    limited = limit_groups(pod, groups)
    console = open_console(interactive=pod.interactive)
    ends = open_ends(pod.root, groups)
    users = pod.users
    alone: Trees = {}
    if users is not None:
        # Before the clone: in a user namespace of its own the child may not be allowed to read our modules.
        from rktpy.stage1.systemd.user_namespace import give_files, open_alone

        give_files(users)
        alone = open_alone(pod, mounts)
        groups.give(users.shift, users.shift)
        os.fchown(console.terminal, users.shift, users.shift)
    pipes = Pipes()
    flags = c.CLONE_NEWNS | c.CLONE_NEWPID | c.CLONE_NEWUTS
    if not pod.share_ipc:
        flags |= c.CLONE_NEWIPC
    if pod.own_network:
        flags |= c.CLONE_NEWNET
    if users is not None:
        flags |= c.CLONE_NEWUSER
    into = unified_directory(groups)
    pid, pidfd = clone3(flags, into)
    if pid == 0:
        pipes.in_child()
        become_systemd(pod, mounts, alone, programs, groups, console, pipes)
    pipes.in_parent()
    if users is not None:
        from rktpy.isolate.userns import write_id_maps

        write_id_maps(pid, users)
    pipes.say(b"g")
    register(pod, pid)
    connected = connect(pod, pid)
    report = (*read_report(pipes.read_report()), *limited, *connected.report)
    write_file(names.REPORT_FILE, write_report(report))
    tell(report, strict=pod.strict)
    write_file(names.PPID_FILE, str(os.getpid()).encode())
    pipes.say(b"r" if connected.has_resolv else b"-")
    become_monitor(pod, pid, pidfd, console, ends, lock, mode)


def unified_directory(groups: Subtree) -> int:
    """The open v2 group, into which the pod's first process is cloned; -1 when there is none. Raises OSError."""
    for group in groups.groups:
        if group.version == 2:
            return os.open(group.entrance, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return -1


def _write_groups(groups: Subtree) -> None:
    write_file(CGROUPS_FILE, os.fsencode(groups.to_text()))
    if groups.groups:
        write_file(names.SUBCGROUP_FILE, os.fsencode(groups.groups[0].path))
