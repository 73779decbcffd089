"""Entry point ``enter`` of stage1-fly: one more process in a running pod, with what the app has and not more.

The process gets the app's mount namespace and root, control groups, user and groups, capabilities, system call filter,
no-new-privileges, AppArmor profile and environment. Nothing of ours stays open in it: every descriptor above 2 is closed at
execve(2), and from the moment it is inside, the process cannot be traced by processes of the app's user. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.cgroup.hierarchy import discover
from rktpy.cgroup.joining import join_groups
from rktpy.errors import StateError, UsageError
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.become import become
from rktpy.isolate.entering import SwitchedOff, take_oom_score
from rktpy.isolate.environment import app_environment
from rktpy.isolate.executable import find_executable
from rktpy.isolate.holder import Holder, open_holder
from rktpy.isolate.labels import set_labels
from rktpy.isolate.plan import shown
from rktpy.isolate.pod_app import PodApp, load_only_app
from rktpy.isolate.privileges import Restrictions, app_privileges
from rktpy.isolate.root import Root
from rktpy.isolate.users import app_user
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.log import set_debug
from rktpy.stage1.fly.limits import read_isolators

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(argv: list[str]) -> int:
    """Enter the pod in the working directory; on success does not return.

    ``argv`` is ``--pid=N --appname=A -- COMMAND ARGS``. Raises RktpyError or OSError.
    """
    arguments = parse_arguments(argv, ("debug",), ("pid", "appname"))
    if arguments.is_set("debug"):
        set_debug(True)
    pid = arguments.text("pid")
    if not pid.isascii() or not pid.isdigit() or len(pid) > 10:
        raise UsageError(f"--pid {shown(pid)} is not a process ID")
    if not arguments.rest:
        raise UsageError("no command given")
    pod = load_only_app("")
    name = arguments.text("appname")
    if name and name != pod.name:
        raise UsageError(f"app {shown(name)} is not in the pod")
    holder = open_holder(int(pid))
    if holder is None:
        raise StateError(f"process {pid} is not the pod's")
    with holder:
        _enter(holder, pod, arguments.rest)


def _enter(holder: Holder, pod: PodApp, command: list[str]) -> NoReturn:
    namespace = os.open(f"/proc/{holder.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    root = Root(f"/proc/{holder.pid}/root")
    groups = discover(holder.pid)
    with open(f"/proc/{holder.pid}/oom_score_adj", "rb", buffering=0) as file:
        score = file.read(16)
    if not holder.alive():  # then all that was read may be another process's
        raise StateError(f"process {holder.pid} is not the pod's")
    user = app_user(pod, root)
    environment = app_environment(pod.name, pod.app, user)
    program = find_executable(root, command[0], environment["PATH"], "/")
    off = SwitchedOff(pod.name)
    restrictions = Restrictions(False, False, off.capabilities, off.seccomp)
    privileges = app_privileges(pod.name, pod.app.isolators, user, restrictions)
    join_groups(groups)
    take_oom_score(score)
    wanted = read_isolators(pod)[0]
    set_labels(wanted.apparmor, wanted.selinux)
    syscalls.prctl(c.PR_SET_DUMPABLE, 0, 0, 0, 0)
    syscalls.setns(namespace, c.CLONE_NEWNS)
    os.fchdir(root.fd)
    os.chroot(".")
    become(program, tuple(command), environment, privileges.operations, root)
