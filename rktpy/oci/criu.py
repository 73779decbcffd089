"""Checkpoint and restore by criu(8), where it is installed."""

from __future__ import annotations

import os

from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.mount_plan import plan_mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.oci.runtime.config import RuntimeConfig
    from rktpy.oci.command_line import Arguments
    from rktpy.oci.container import Container
    from rktpy.oci.create import Request

_SWITCHES = ("tcp-established", "ext-unix-sk", "shell-job", "file-locks", "auto-dedup")


def find_criu() -> str:
    """The program. Raises RuntimeFailure when it is not installed."""
    for directory in os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").split(":"):
        path = f"{directory}/criu"
        if directory and os.access(path, os.X_OK):
            return path
    raise RuntimeFailure("criu is not installed: containers cannot be checkpointed or restored")


def checkpoint_arguments(arguments: Arguments, container: Container, images: str) -> list[str]:
    """criu's arguments for writing the container to ``images``."""
    command = ["pre-dump" if arguments.switch("pre-dump") else "dump", "--tree", str(container.pid)]
    if arguments.switch("leave-running"):
        command.append("--leave-running")
    if arguments.text("parent-path"):
        command += ["--prev-images-dir", arguments.text("parent-path"), "--track-mem"]
    freezer = container.groups.group("freezer")
    if freezer is not None:
        command += ["--freeze-cgroup", freezer.directory]
    for target in bind_targets(container.config(), str(container.state.get("bundle", ""))):
        command += ["--external", f"mnt[{target}]:{target}"]
    root = str(container.state.get("rootfs", ""))
    return [*command, "--root", root, "--images-dir", images, *_common(arguments)]


def _common(arguments: Arguments) -> list[str]:
    if arguments.switch("lazy-pages"):
        raise RuntimeFailure("--lazy-pages needs a page server, which is not supported")
    command = [
        "--manage-cgroups" + (f"={arguments.text('manage-cgroups-mode')}" if arguments.text("manage-cgroups-mode") else "")
    ]
    return command + [f"--{name}" for name in _SWITCHES if arguments.switch(name)]


def bind_targets(config: RuntimeConfig, bundle: str) -> list[str]:
    """Where files of the host are shown in the container: criu has to be told of each."""
    from rktpy.isolate.mount_entries import BindTree
    from rktpy.isolate.mounts import Mkdir

    plan = plan_mounts(config, bundle, lambda mount, _options: Mkdir(mount.destination), bind_devices=False)
    return [one.target for one in plan.mounts if isinstance(one, BindTree)]


def run_criu(criu: str, command: list[str], arguments: Arguments, images: str) -> None:
    """Run it. Raises RuntimeFailure with the place of its log."""
    work = os.path.abspath(arguments.text("work-path") or images)
    os.makedirs(work, 0o700, exist_ok=True)
    log = f"{command[0]}.log"
    argv = [criu, *command, "--work-dir", work, "--log-file", log, "-v4"]
    pid = os.posix_spawn(criu, argv, os.environ)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise RuntimeFailure(f"criu failed: type {command[0]} status {status}; log file: {work}/{log}")


def restore_container(criu: str, arguments: Arguments, request: Request, images: str) -> int:
    """Restore the container of ``request``; its status, or 0 when it is detached. Raises RktpyError, OSError."""
    from rktpy.oci.restoring import Restoring

    restoring = Restoring(request)
    try:
        config = restoring.config
        pid_file = f"{restoring.container.directory}/restored"
        command = ["restore", "--restore-detached", "--restore-sibling", "--root", restoring.root, "--images-dir", images]
        for target in bind_targets(config, request.bundle):
            source = next(one.source for one in config.mounts if one.destination == target)
            command += ["--external", f"mnt[{target}]:{os.path.join(request.bundle, source)}"]
        run_criu(criu, [*command, "--pidfile", pid_file, *_common(arguments)], arguments, images)
        with open(pid_file, encoding="utf-8") as file:
            restoring.adopt(int(file.read()))
    except BaseException:
        restoring.undo()
        raise
    if request.detach:
        return 0
    return restoring.wait()
