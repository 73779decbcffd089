"""Entry point ``run`` of stage1-oci: a pod whose apps are containers of an OCI runtime.

::

    run -> the pod's directory -> control groups -> runtime create, the container of the pod (pause.c)
                                                    networks; runtime start
                                    for each app:   bundle -> conmon -> runtime create
                                                    runtime run, its pre-start handlers
                                                    runtime start
        -> monitor (monitor.c)   ... the apps end, or the pod is stopped ...   -> finish

The container of the pod holds its namespaces; its only process ends when the monitor closes a pipe or dies, and with it
everything of the pod. Beside each app is its conmon. Hot-path module.
"""

from __future__ import annotations

import os
import sys

from rktpy.cgroup.pod import make_pod_groups
from rktpy.cgroup.recorded import CGROUPS_FILE
from rktpy.errors import Stage1Error
from rktpy.formats import jsondoc
from rktpy.formats import stage1 as names
from rktpy.formats.entry_arguments import parse_run
from rktpy.formats.stage1 import write_report
from rktpy.isolate.enforcement import tell
from rktpy.isolate.holder import lock_descriptor
from rktpy.isolate.pod_app import write_file
from rktpy.isolate.volumes import check_sources, choose_mounts
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.log import set_debug
from rktpy.pod.limits import limit_groups
from rktpy.pod.network import connect
from rktpy.pod.pod import load_pod
from rktpy.stage1.oci.app import POST_STOP, PRE_START, Prepared, Surroundings, check_streams, prepare_app
from rktpy.stage1.oci.conmon import conmon_program, create_container
from rktpy.stage1.oci.containers import run_handler, start_container
from rktpy.stage1.oci.ending import end_pod
from rktpy.stage1.oci.paths import FIRST_FAILURE, MONITOR_FILE, NAMES_FILE, SANDBOX
from rktpy.stage1.oci.pod_files import write_pod_files
from rktpy.stage1.oci.restrictions import Switches
from rktpy.stage1.oci.runtime import Runtime, chosen_runtime
from rktpy.stage1.oci.sandbox import create_sandbox, group_path, pause_program, without_groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_BLOCK, pthread_sigmask
    from typing import NoReturn

    from rktpy.cgroup.subtree import Subtree
    from rktpy.isolate.volumes import VolumeMount
    from rktpy.pod.pod import Pod
else:
    from _signal import SIG_BLOCK, pthread_sigmask

#: Those that the monitor takes: HUP, INT, QUIT, USR1 and TERM.
_SIGNALS = (1, 2, 3, 10, 15)
_HERE = os.path.dirname(os.path.abspath(__file__))


def main(argv: list[str]) -> int:
    """Run the pod in the working directory. ``argv`` is without the program's name.

    Returns (0) only after ``--dry-run``, which prints the bundles. Raises RktpyError, OSError; what was made by then is undone.
    """
    _open_streams()
    arguments = parse_run(argv)
    if arguments.is_set("debug"):
        set_debug(True)
    pod = load_pod(arguments)
    if pod.private_users:
        raise Stage1Error("stage1-oci does not support private users (try --stage1=systemd)")
    for app in pod.apps:
        check_streams(app)
    runtime = chosen_runtime()
    if arguments.is_set("dry-run"):
        from rktpy.stage1.oci.dry_run import print_bundles

        print_bundles(pod, runtime)
        return 0
    lock = lock_descriptor()
    conmon_program()
    pause_program()
    monitor_program()
    mounts = [choose_mounts(app) for app in pod.apps]
    for app, chosen in zip(pod.apps, mounts, strict=True):
        check_sources(app, chosen)
    try:
        _launch(pod, runtime, mounts, lock)
    except BaseException:
        end_pod()
        raise


def _open_streams() -> None:
    """Open what the caller has closed of the standard streams, or pipes to the runtime would take their numbers."""
    while (fd := os.open("/dev/null", os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def monitor_program() -> str:
    """The path of the monitor. Raises Stage1Error when it was not built."""
    path = f"{_HERE}/monitor"
    if not os.access(path, os.X_OK):
        raise Stage1Error(f"{path} is missing: rktpy was installed without a C compiler (try --stage1=fly)")
    return path


def _launch(pod: Pod, runtime: Runtime, mounts: list[tuple[VolumeMount, ...]], lock: int) -> NoReturn:
    os.umask(0o022)
    write_pod_files(pod)
    runtime.save()
    groups = make_pod_groups(pod.uuid, before=_write_groups)
    report = limit_groups(pod, groups)
    # Orphans of the runtimes' and conmons' are this process's: it becomes the monitor, which waits for them.
    syscalls.prctl(c.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    sandbox = create_sandbox(pod, runtime, groups)
    report += sandbox.report
    connected = connect(pod, sandbox.pid)
    report += connected.report
    start_container(runtime, SANDBOX)
    around = Surroundings(
        sandbox.membership,
        pod.root,
        pod.names,
        connected.has_resolv,
        group_path(groups),
        Switches(pod.no_capabilities, pod.no_seccomp, without_groups(runtime, groups)),
        pod.protect_paths,
    )
    write_file(NAMES_FILE, jsondoc.dump(_for_later(around)))
    prepared = [prepare_app(app, chosen, around, terminal=pod.interactive) for app, chosen in zip(pod.apps, mounts, strict=True)]
    for app in prepared:
        report += app.report
    write_file(names.REPORT_FILE, write_report(tuple(report)))
    tell(report, strict=pod.strict)
    terminal = -1
    for one in prepared:
        _run_handlers(runtime, one)
        create_container(runtime, one.app.name, groups, terminal=one.terminal, post_stop=bool(one.handler_bundles(POST_STOP)))
        if one.terminal:
            from rktpy.stage1.oci.terminal import attach

            terminal = attach(one.app.name)
    for one in prepared:
        start_container(runtime, one.app.name)
    # From here on a signal is for the monitor, which finds it when it is there.
    pthread_sigmask(SIG_BLOCK, _SIGNALS)
    write_file(MONITOR_FILE, str(os.getpid()).encode())
    write_file(names.PID_FILE, str(sandbox.pid).encode())
    _ready()
    _become_monitor(pod, sandbox.pidfd, sandbox.keep, terminal, lock)


def _run_handlers(runtime: Runtime, app: Prepared) -> None:
    """Run what has to be done before the app is started; one that fails is the app's failure. Raises Stage1Error."""
    try:
        for directory in app.handler_bundles(PRE_START):
            run_handler(runtime, app.app.name, directory)
    except Stage1Error as error:
        write_file(names.status_file(app.app.name), str(error.status).encode())
        raise


def _write_groups(groups: Subtree) -> None:
    write_file(CGROUPS_FILE, os.fsencode(groups.to_text()))
    if groups.groups:
        write_file(names.SUBCGROUP_FILE, os.fsencode(groups.groups[0].path))


def _for_later(around: Surroundings) -> dict[str, object]:
    """What apps that are added later have to know."""
    return {
        "resolv": around.names.resolv,
        "hosts": around.names.hosts,
        "hasResolv": around.has_resolv,
        "shareNetwork": around.membership.share_network,
        "shareIPC": around.membership.share_ipc,
    }


def _become_monitor(pod: Pod, pidfd: int, keep: int, terminal: int, lock: int) -> NoReturn:
    """Execute the monitor, which has nothing open but what it needs. Raises Stage1Error, OSError."""
    program = monitor_program()
    python = [sys.executable or "/usr/bin/python3", "-IS"]
    debug = ["--debug"] if pod.debug else []
    arguments = [
        program,
        str(pidfd),
        str(keep),
        f"{names.STAGE1_ROOTFS}/{names.STATUS_DIR}",
        names.OCI_LOGS,
        "0" if pod.mutable else str(len(pod.apps)),
        FIRST_FAILURE,
        str(terminal),
        "--",
        *[*python, f"{_HERE}/halt", *debug],
        "--",
        *[*python, f"{_HERE}/finish", *debug, pod.uuid],
    ]
    syscalls.close_range(3, 2**32 - 1, c.CLOSE_RANGE_CLOEXEC)
    for fd in (pidfd, keep, terminal, lock):
        if fd >= 0:
            os.set_inheritable(fd, True)
    os.execv(program, arguments)


def _ready() -> None:
    """Say that the pod is ready, to those who wait for it here and to the service manager that started us."""
    try:
        os.symlink("ready", f"{names.STAGE1_ROOTFS}/{names.READY_FILE}")
    except FileExistsError:
        pass
    from rktpy.linux.service_manager import notify

    notify("READY=1")
