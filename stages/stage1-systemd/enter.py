"""Entry point ``enter`` of stage1-systemd: one more process in a running app, with what the app has and not more.

The command runs in the app's mount namespace and root, in the pod's other namespaces, in the app's control groups, with its
user and groups, capabilities, system call filter, no-new-privileges, labels and environment; on a terminal of the pod's where
ours is one. This process stays outside and waits. Nothing of ours is open in the command, and from the moment it is inside, its
process cannot be traced by processes of the pod (CVE-2019-10144, -10145 and -10147 were rkt's failures to do these things). The
interpreter that goes inside was executed from where nothing can write to it (:mod:`rktpy.isolate.unwritable`).
Hot-path module.
"""

from __future__ import annotations

import fcntl
import os

from rktpy.cgroup.hierarchy import discover
from rktpy.cgroup.joining import join_groups
from rktpy.errors import StateError, UsageError, innermost
from rktpy.formats import stage1 as names
from rktpy.formats.aci import isolators as iso
from rktpy.formats.aci.isolators import AppArmorProfile, SELinuxContext
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.become import become
from rktpy.isolate.entering import SwitchedOff, take_oom_score
from rktpy.isolate.environment import app_environment
from rktpy.isolate.executable import find_executable
from rktpy.isolate.holder import Holder, open_holder, read_pid
from rktpy.isolate.plan import shown
from rktpy.isolate.pod_app import load_apps, read_file
from rktpy.isolate.privileges import Restrictions, app_privileges
from rktpy.isolate.root import Root
from rktpy.isolate.unwritable import execute_unwritable, is_unwritable
from rktpy.isolate.users import app_user
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.log import debugging, note, set_debug
from rktpy.stage1.systemd.app_process import open_app
from rktpy.stage1.systemd.pod_process import first_process, open_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_IGN, SIGTERM, SIGWINCH, signal
    from typing import NoReturn

    from rktpy.isolate.pod_app import PodApp
else:
    from _signal import SIG_IGN, SIGTERM, SIGWINCH, signal

_HERE = os.path.dirname(os.path.abspath(__file__))
#: The pod's namespaces, and those that an app has of its own.
_POD_NAMESPACES = (("ipc", c.CLONE_NEWIPC), ("uts", c.CLONE_NEWUTS), ("net", c.CLONE_NEWNET), ("cgroup", c.CLONE_NEWCGROUP))
_FLAGS = os.O_RDONLY | os.O_CLOEXEC
_TIOCSCTTY = 0x540E
_FORWARDED = (1, 2, 3, 15)  # HUP, INT, QUIT, TERM
_SIGWINCH = 28


def main(argv: list[str]) -> int:
    """Run a command in an app of the pod in the working directory; returns its exit status, or 128 and the signal that ended it.

    ``argv`` is ``--pid=N --appname=A -- COMMAND ARGS``. Raises RktpyError or OSError.
    """
    arguments = parse_arguments(argv, ("debug",), ("pid", "appname"))
    if arguments.is_set("debug"):
        set_debug(True)
    if not arguments.rest:
        raise UsageError("no command given")
    if not is_unwritable():
        execute_unwritable(["-IS", f"{_HERE}/enter", *(["--debug"] if debugging() else []), *argv])
    app = _app(arguments.text("appname"))
    monitor = open_holder(read_pid(names.PPID_FILE))
    if monitor is None:
        raise StateError("no process of the pod is running")
    with monitor, open_app(app.name) as process:
        return _run(Entrance(app, first_process(arguments.text("pid")), process), arguments.rest)


def _app(name: str) -> PodApp:
    _manifest, apps = load_apps("")
    for app in apps:
        if app.name == name or (not name and len(apps) == 1):
            return app
    raise UsageError(f"app {shown(name)} is not in the pod")


class Entrance:
    """What has to be open before the first step into the pod. Raises StateError when the app ends meanwhile."""

    def __init__(self, app: PodApp, first: int, process: Holder) -> None:
        self.app = app
        self.first = first
        self.namespaces = [(os.open(f"/proc/{first}/ns/{name}", _FLAGS), kind) for name, kind in _POD_NAMESPACES]
        self.processes = os.open(f"/proc/{first}/ns/pid", _FLAGS)
        self.mounts = os.open(f"/proc/{process.pid}/ns/mnt", _FLAGS)
        self.root = Root(f"/proc/{process.pid}/root")
        self.groups = discover(process.pid)
        self.users = open_user_namespace(first)
        if os.readlink(f"/proc/{process.pid}/ns/user") != os.readlink(f"/proc/{first}/ns/user"):
            raise StateError(f"process {process.pid} of app {app.name} has left the pod's user namespace")
        with open(f"/proc/{process.pid}/oom_score_adj", "rb", buffering=0) as file:
            self.score = file.read(16)
        if not process.alive():  # then all that was opened may be another process's
            raise StateError(f"app {app.name} is not running")


def _run(entrance: Entrance, command: list[str]) -> int:
    master = terminal = -1
    if os.isatty(0) and os.isatty(1):
        from rktpy.isolate.raw_terminal import copy_window_size
        from rktpy.stage1.systemd.terminal import open_terminal

        master, terminal = open_terminal(f"/proc/{entrance.first}/root")
        copy_window_size(0, terminal)
    syscalls.setns(entrance.processes, c.CLONE_NEWPID)  # for our children
    pid, pidfd = syscalls.clone3(0, -1)
    if pid == 0:
        try:
            _enter(entrance, command, terminal)
        except Exception as error:
            note("enter", innermost(error))
        finally:
            os._exit(254)
    if terminal >= 0:
        os.close(terminal)
        _attend(master, pidfd)
    else:
        _forward_signals(pidfd)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else 128 - status


def _attend(master: int, pidfd: int) -> None:
    from rktpy.isolate.raw_terminal import RawTerminal, copy_window_size
    from rktpy.stage1.systemd.terminal import pump

    signal(SIGWINCH, lambda _number, _frame: copy_window_size(0, master))
    for number in _FORWARDED:
        signal(number, lambda got, _frame: syscalls.pidfd_send_signal(pidfd, got, 0))
    with RawTerminal(0):
        pump(master, pidfd)


def _forward_signals(pidfd: int) -> None:
    """The command gets what is sent to us; the terminal's signals reach it by its process group."""
    for number in _FORWARDED:
        if number == SIGTERM or not os.isatty(0):
            signal(number, lambda got, _frame: syscalls.pidfd_send_signal(pidfd, got, 0))
        else:
            signal(number, SIG_IGN)


def _enter(entrance: Entrance, command: list[str], terminal: int) -> NoReturn:
    app, root = entrance.app, entrance.root
    syscalls.prctl(c.PR_SET_DUMPABLE, 0, 0, 0, 0)
    user = app_user(app, root)
    environment = app_environment(app.name, app.app, user)
    environment.update(_metadata())
    program = find_executable(root, command[0], environment.get("PATH"), "/")
    off = SwitchedOff(app.name)
    # Everything is imported and computed here: inside there is no Python.
    restrictions = Restrictions(no_capabilities=off.capabilities, no_seccomp=off.seccomp)
    privileges = app_privileges(app.name, app.app.isolators, user, restrictions)
    join_groups(entrance.groups)
    take_oom_score(entrance.score)
    _labels(app)
    if entrance.users >= 0:
        syscalls.setns(entrance.users, c.CLONE_NEWUSER)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    for namespace, kind in entrance.namespaces:
        syscalls.setns(namespace, kind)
    syscalls.setns(entrance.mounts, c.CLONE_NEWNS)
    os.fchdir(root.fd)
    os.chroot(".")
    if terminal >= 0:
        os.setsid()
        for fd in (0, 1, 2):
            os.dup2(terminal, fd)
        fcntl.ioctl(0, _TIOCSCTTY, 0)
        environment.setdefault("TERM", os.environ.get("TERM", "vt220"))
    become(program, tuple(command), environment, privileges.operations, root)


def _metadata() -> dict[str, str]:
    """Where the metadata service is, as the app's unit has it."""
    try:
        text = read_file(f"{names.STAGE1_ROOTFS}/{names.METADATA_FILE}").decode()
    except FileNotFoundError:
        return {}
    return {names.METADATA_URL: text.strip().partition("=")[2]}


def _labels(app: PodApp) -> None:
    """Let execve(2) give the command the app's labels. Raises OSError."""
    from rktpy.isolate.labels import selinux_active, set_labels

    parsed = {isolator.name: isolator.parsed for isolator in app.app.isolators}
    profile, context = parsed.get(iso.APPARMOR_PROFILE_NAME), parsed.get(iso.SELINUX_CONTEXT_NAME)
    set_labels(
        profile.profile if isinstance(profile, AppArmorProfile) else "",
        str(context) if isinstance(context, SELinuxContext) and selinux_active() else "",
    )
