"""Running a command inside an app of a running pod, by the pod's stage1. Hot-path module."""

from __future__ import annotations

import os

from rktpy.errors import RktpyError, StateError, UsageError
from rktpy.isolate.holder import children_of
from rktpy.log import debug, note
from rktpy.stage0 import stage1_image
from rktpy.stage0.pod_states import RUNNING, quoted
from rktpy.stage0.pods import find_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage0.options import Globals
    from rktpy.stage0.pods import Pod


def enter(g: Globals, uuid: str, app: str | None, command: tuple[str, ...]) -> int:
    """Run ``command`` in ``app`` (None: the only one) of a running pod. The process becomes the stage1's enter program.

    Returns the exit status if a bundled stage1 comes back. Raises RktpyError.
    """
    pod = find_pod(g.data_dir, uuid, "problem retrieving pod")
    if pod.state != RUNNING:
        raise StateError(f"pod {quoted(pod.uuid)} isn't currently running")
    try:
        pid = container_pid(pod)
    except (RktpyError, OSError) as error:
        raise StateError(f"unable to determine the pid for pod {quoted(pod.uuid)}") from error
    arguments = [f"--pid={pid}", f"--appname={choose_app(pod, app, 'enter')}", "--", *command]
    os.fchdir(pod.fileno())
    bundled = pod.bundled_stage1
    if bundled is not None:
        module = stage1_image.bundled_module(bundled, "enter")
        debug("stage0", f"Calling enter of stage1 {bundled} {arguments}")
        status: int = module.main(arguments)
        return status
    from rktpy.stage0.entrypoints import enter_program

    program = enter_program(g, pod)
    debug("stage0", f"Execing {[program, *arguments]}")
    try:
        os.execv(program, [program, *arguments])
    except OSError as error:
        raise RktpyError("error execing enter") from error


def choose_app(pod: Pod, app: str | None, command: str) -> str:
    """The app that is meant: ``app``, or the pod's only one. Raises UsageError."""
    names = pod.app_names()
    if app is not None:
        if app not in names:
            raise UsageError(f"app {app} is not present in pod")
        return app
    if not names:
        raise UsageError("unable to determine app name: pod contains zero apps")
    if len(names) > 1:
        note(command, "pod contains multiple apps:")
        for name in names:
            note(command, f"\t{name}")
        raise UsageError(f'unable to determine app name: specify app using "rktpy {command} --app= ..."')
    return names[0]


def container_pid(pod: Pod) -> int:
    """The process in the host's view that is the pod's first: the one in ``pid``, or the only child of the one in ``ppid``.

    Waits while the pod is just starting. Raises StateError when it ends meanwhile or has several.
    """
    from rktpy.stage0.wait import wait_pid

    while True:
        pid = pod.recorded_pid()
        if pid is not None:
            return pid
        parent = pod.recorded_parent_pid()
        if parent is not None:
            children = children_of(parent)
            if len(children) > 1:
                raise StateError(f"too many children of pid {parent}")
            if children:
                return children[0]
        if not wait_pid(pod):
            raise StateError(f"pod {pod.uuid} is not running anymore")
