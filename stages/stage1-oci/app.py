"""Making an app of a pod ready to run: its volumes, its bundles, its container with conmon beside it. Hot-path module."""

from __future__ import annotations

import os
import stat

from rktpy.errors import Stage1Error
from rktpy.formats import stage1 as names
from rktpy.formats.stage1 import Enforcement
from rktpy.isolate.environment import app_environment, environment_file
from rktpy.isolate.executable import check_executable, find_executable
from rktpy.isolate.mounts import Bind, WorldWritable
from rktpy.isolate.plan import execute_plan, shown
from rktpy.isolate.pod_app import read_file, write_file
from rktpy.isolate.root import Root
from rktpy.isolate.users import app_user
from rktpy.isolate.volumes import volume_operations
from rktpy.linux import constants as c
from rktpy.linux.syscalls import move_mount
from rktpy.record import Record
from rktpy.stage1.oci.bundle import Membership, app_config, write_bundle
from rktpy.stage1.oci.paths import APPS, VOLUMES
from rktpy.stage1.oci.restrictions import Restrictions, Switches, device_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.isolate.plan import Operation
    from rktpy.isolate.pod_app import PodApp
    from rktpy.isolate.volumes import VolumeMount
    from rktpy.pod.pod import NameFiles

#: Where an app that Landlock restricts finds the program that does it (rktpy/isolate/confine.c).
_CONFINE = "/dev/.rktpy-confine"
PRE_START, POST_STOP = "pre-start", "post-stop"


class Surroundings(Record):
    """What the apps of a pod have in common.

    ``pod_root`` is the path of the stage1's root; ``groups`` the path of the pod's control groups, empty for none; ``has_resolv``
    says that the networks gave name servers.
    """

    membership: Membership
    pod_root: str
    names: NameFiles
    has_resolv: bool
    groups: str
    switches: Switches
    protect: bool = True


class Prepared(Record):
    """An app whose bundles are written: those of its event handlers, and the report about its isolators."""

    app: PodApp
    handlers: tuple[tuple[str, str], ...]
    terminal: bool
    report: tuple[Enforcement, ...]

    def handler_bundles(self, kind: str) -> list[str]:
        """The bundles of the event handlers of a kind, in their order."""
        return [directory for name, directory in self.handlers if name == kind]


def prepare_app(app: PodApp, mounts: tuple[VolumeMount, ...], around: Surroundings, *, terminal: bool = False) -> Prepared:
    """Make the app's volumes and write its bundles, relative to the working directory. Raises RktpyError, OSError."""
    with Root(app.rootfs) as root:
        operations = [
            _staged(app, number, one) for number, one in enumerate(volume_operations(mounts, app.directory, recursive=True))
        ]
        execute_plan(tuple([operation for operation in operations if not isinstance(operation, Bind)]), root)
        execute_plan((WorldWritable("/tmp"),), root)
        _check_directory(app, root, mounts)
        user = app_user(app, root)
        environment = app_environment(app.name, app.app, user)
        write_file(f"{names.STAGE1_ROOTFS}/{names.ENV_DIR}/{app.name}", environment_file(environment), 0o600)
        environment.update(metadata_variable())
        restrictions = Restrictions(app, user.uid, root, around.switches, device_rules(mounts))
        volumes = (*operations, *_name_files(app, root, around), *_confine(restrictions))
        commands = [("", app_command(app, root, restrictions, app.app.exec))]
        if around.switches.added:
            # It is somebody's call to tell, unlike the later start.
            check_executable(root, find_program(app, root, app.app.exec[0]))
        for handler in app.app.event_handlers:
            if handler.exec:
                commands.append((handler.name, app_command(app, root, restrictions, handler.exec)))
    handlers: list[tuple[str, str]] = []
    for kind, command in commands:
        directory = f"{APPS}/{app.name}"
        if kind:
            directory = f"{directory}/{kind}/{len(handlers)}"
            handlers.append((kind, directory))
        config = app_config(
            app,
            user,
            command,
            environment,
            around.membership,
            restrictions,
            volumes,
            bundle=directory,
            groups=f"{around.groups}/{app.name}{'.handler' if kind else ''}" if around.groups else "",
            protect=around.protect,
            terminal=terminal and not kind,
        )
        write_bundle(directory, config)
    return Prepared(app, tuple(handlers), terminal, tuple(restrictions.report))


def _staged(app: PodApp, number: int, operation: Operation) -> Operation:
    """A volume that is read-only with all that is mounted below it, which the specification has no words for before 1.1.

    It is bound into the pod's directory first, where it can be made so.
    """
    if not (isinstance(operation, Bind) and operation.recursive and operation.read_only):
        return operation
    place = f"{VOLUMES}/{app.name}/{number}"
    os.makedirs(os.path.dirname(place), 0o700, exist_ok=True)
    if os.path.isdir(operation.source):
        os.makedirs(place, exist_ok=True)
    else:
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    tree = operation.opened().tree
    try:
        move_mount(tree, "", c.AT_FDCWD, place, c.MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree)
    return operation.replace(source=f"{app.directory}/{place}")


def metadata_variable() -> dict[str, str]:
    """Where the metadata service is, if the pod in the working directory is registered there."""
    try:
        text = read_file(f"{names.STAGE1_ROOTFS}/{names.METADATA_FILE}").decode()
    except FileNotFoundError:
        return {}
    return {names.METADATA_URL: text.strip().partition("=")[2]}


def check_streams(app: PodApp) -> None:
    """Refuse streams and log files that only stage1-systemd has. Raises Stage1Error."""
    for annotation in (names.STDIN, names.STDOUT, names.STDERR):
        mode = app.runtime.annotation(annotation)
        if mode in ("tty", "stream"):
            raise Stage1Error(f"app {app.name}: stage1-oci has no streams to attach to ({annotation}={mode})")
    if app.runtime.annotation(names.KUBERNETES_LOG_PATH) and app.manifest.annotation(names.KUBERNETES_LOG_DIR):
        raise Stage1Error(f"app {app.name}: stage1-oci keeps logs in the pod's directory only ({names.KUBERNETES_LOG_PATH})")


def _check_directory(app: PodApp, root: Root, mounts: tuple[VolumeMount, ...]) -> None:
    """A working directory that is not there is an error (appc/spec 0.8.11 ``spec/aci.md``); a runtime would make it."""
    directory = os.path.normpath(f"/{app.app.working_directory or ''}").replace("//", "/")
    status = root.stat(directory)
    mounted = any(f"{directory}/".startswith(f"{mount.path}/") for mount in mounts)
    if not mounted and (status is None or not stat.S_ISDIR(status.st_mode)):
        raise Stage1Error(f"app {app.name}: working directory {shown(directory)} is no directory", 200)


def find_program(app: PodApp, root: Root, name: str) -> str:
    """The path inside the app's root of a program of the app's. Raises NotFoundError."""
    search = next((variable.value for variable in app.app.environment if variable.name == "PATH"), None)
    return find_executable(root, name, search, app.app.working_directory or "/")


def app_command(app: PodApp, root: Root, restrictions: Restrictions, argv: tuple[str, ...]) -> tuple[str, ...]:
    """What the container executes for a command of the app's. Raises NotFoundError."""
    program = find_program(app, root, argv[0])
    command = (program, *argv[1:])
    if restrictions.landlock is None:
        return command
    from rktpy.isolate.landlock import confined

    return confined(restrictions.landlock, _CONFINE, program, command)


def _confine(restrictions: Restrictions) -> tuple[Operation, ...]:
    if restrictions.landlock is None:
        return ()
    from rktpy.isolate.landlock import confine_program

    return (Bind(confine_program(), _CONFINE, read_only=True),)


def _name_files(app: PodApp, root: Root, around: Surroundings) -> tuple[Operation, ...]:
    """The files with names that the app gets from the host or the pod."""
    pod_root, wanted = around.pod_root, around.names
    operations: list[Operation] = [Bind(f"{pod_root}/etc/hostname", "/etc/hostname")]
    if wanted.resolv == "host":
        operations.append(Bind("/etc/resolv.conf", "/etc/resolv.conf", read_only=True))
    elif wanted.resolv == "stage0" or (wanted.resolv == "default" and around.has_resolv):
        operations.append(Bind(f"{pod_root}/{names.RESOLV_CONF}", "/etc/resolv.conf"))
    if wanted.hosts == "host":
        operations.append(Bind("/etc/hosts", "/etc/hosts", read_only=True))
    elif wanted.hosts == "stage0":
        operations.append(Bind(f"{pod_root}/{names.HOSTS}", "/etc/hosts"))
    elif root.stat("/etc/hosts") is None:
        operations.append(Bind(f"{pod_root}/{names.HOSTS_FALLBACK}", "/etc/hosts"))
    return tuple(operations)
