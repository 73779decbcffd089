"""Entry point ``app/add`` of stage1-systemd: put an app into a running mutable pod, without starting it.

What is a path of the host's is opened here; then a child in the pod's namespaces attaches it there, puts the app's root
together and writes the app's units. systemd reads them when the app is started. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.cgroup.recorded import recorded_groups
from rktpy.errors import Stage1Error
from rktpy.formats import stage1 as names
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.formats.stage1 import read_report, write_report
from rktpy.isolate.mounts import AttachTree, Bind
from rktpy.isolate.plan import execute_plan
from rktpy.isolate.root import Root
from rktpy.linux import constants as c
from rktpy.linux.syscalls import move_mount
from rktpy.log import set_debug
from rktpy.pod.added_app import add_to_report, find_app, named_app, root_descriptor
from rktpy.pod.pod import Sharing
from rktpy.stage1.systemd.app_root import app_mounts, app_root, name_files, volume_devices, volumes
from rktpy.stage1.systemd.first_process import Restricted, pod_machine, preload, set_up_units
from rktpy.stage1.systemd.inside import in_pod
from rktpy.stage1.systemd.pod import check_app, recorded_names
from rktpy.stage1.systemd.pod_files import write_mux_programs
from rktpy.stage1.systemd.streams import uses_mux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.isolate.plan import Operation

_BOOLEANS = ("debug", "disable-capabilities-restriction", "disable-paths", "disable-seccomp")


def main(argv: list[str]) -> int:
    """Add an app to the pod in the working directory. Raises RktpyError, OSError."""
    arguments = parse_arguments(argv, _BOOLEANS, ("uuid", "app", "private-users"))
    if arguments.is_set("debug"):
        set_debug(True)
    name = named_app(arguments.text("app"))
    app = find_app(arguments.text("uuid"), name)
    check_app(app)
    app.load_image()
    rootfs = f"/{names.STAGE2_DIR}/{name}/rootfs"
    root_fd = root_descriptor()
    mounts = app_mounts(app)
    with Root(app.rootfs) if root_fd < 0 else Root.from_descriptor(root_fd, app.rootfs) as root:
        volume_trees = _open_volumes(volumes(app, mounts), root)
    groups = recorded_groups()
    restricted = Restricted(
        pod_machine(
            groups,
            no_capabilities=arguments.is_set("disable-capabilities-restriction"),
            no_seccomp=arguments.is_set("disable-seccomp"),
        ),
        mutable=True,
    )
    wanted, sharing = recorded_names(), Sharing(bool(arguments.text("private-users")))
    devices = volume_devices(mounts)

    preload(app)
    if uses_mux(app):
        write_mux_programs(names.STAGE1_ROOTFS)

    def inside() -> bytes:
        os.umask(0o022)
        if root_fd >= 0:
            move_mount(root_fd, "", c.AT_FDCWD, rootfs, c.MOVE_MOUNT_F_EMPTY_PATH)
        with Root(rootfs) as root:
            execute_plan(app_root(app, "", sharing), root)
            execute_plan(volume_trees, root)
            report = set_up_units("", app, root, restricted, devices)
            execute_plan(name_files(app, "", wanted, has_resolv=_has_name_servers()), root)
        return write_report(tuple(report))

    add_to_report(name, read_report(in_pod(inside)))
    return 0


def _open_volumes(operations: tuple[Operation, ...], root: Root) -> tuple[AttachTree, ...]:
    """Make empty volumes and open all, while the host's paths can be seen. Raises Stage1Error."""
    opened: list[AttachTree] = []
    for operation in operations:
        if isinstance(operation, Bind):
            try:
                opened.append(operation.opened())
            except OSError as error:
                raise Stage1Error(f"can't {operation.describe()}") from OSError(error.errno, error.strerror)
        else:
            execute_plan((operation,), root)
    return tuple(opened)


def _has_name_servers() -> bool:
    """Whether the networks gave name servers when the pod was started."""
    try:
        return os.stat(f"/{names.RESOLV_CONF}").st_size > 0
    except FileNotFoundError:
        return False
