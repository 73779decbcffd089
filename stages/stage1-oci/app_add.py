"""Entry point ``app/add`` of stage1-oci: an app for a running mutable pod gets its root and its bundle. Hot-path module."""

from __future__ import annotations

import os

from rktpy.cgroup.recorded import recorded_groups
from rktpy.cgroup.subtree import Subtree
from rktpy.formats import jsondoc
from rktpy.formats import stage1 as names
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.formats.stage1 import read_report, write_report
from rktpy.isolate.holder import read_pid
from rktpy.isolate.pod_app import PodApp, read_file
from rktpy.isolate.volumes import check_sources, choose_mounts
from rktpy.linux import constants as c
from rktpy.linux.syscalls import move_mount
from rktpy.log import set_debug
from rktpy.pod.added_app import add_to_report, find_app, named_app, root_descriptor
from rktpy.pod.pod import NameFiles, require_program
from rktpy.stage1.oci.app import Surroundings, check_streams, prepare_app
from rktpy.stage1.oci.bundle import Membership
from rktpy.stage1.oci.inside import in_pod
from rktpy.stage1.oci.paths import NAMES_FILE
from rktpy.stage1.oci.restrictions import Switches
from rktpy.stage1.oci.runtime import Runtime
from rktpy.stage1.oci.sandbox import group_path, without_groups

_BOOLEANS = ("debug", "disable-capabilities-restriction", "disable-paths", "disable-seccomp")


def main(argv: list[str]) -> int:
    """Add an app to the pod in the working directory. Raises RktpyError, OSError."""
    arguments = parse_arguments(argv, _BOOLEANS, ("uuid", "app", "private-users"))
    if arguments.is_set("debug"):
        set_debug(True)
    app = find_app(arguments.text("uuid"), named_app(arguments.text("app")))
    require_program(app)
    check_streams(app)
    app.load_image()
    root_fd = root_descriptor()
    mounts = choose_mounts(app)
    check_sources(app, mounts)
    groups = recorded_groups() or Subtree()
    runtime = Runtime.load()
    switches = Switches(
        arguments.is_set("disable-capabilities-restriction"),
        arguments.is_set("disable-seccomp"),
        without_groups(runtime, groups),
        added=True,
    )
    around = _surroundings(app, group_path(groups), switches, protect=not arguments.is_set("disable-paths"))

    def inside() -> bytes:
        os.umask(0o022)
        if root_fd >= 0:
            move_mount(root_fd, "", c.AT_FDCWD, app.rootfs, c.MOVE_MOUNT_F_EMPTY_PATH)
        return write_report(prepare_app(app, mounts, around).report)

    add_to_report(app.name, read_report(in_pod(inside)))
    return 0


def _surroundings(app: PodApp, groups: str, switches: Switches, *, protect: bool) -> Surroundings:
    """What ``run`` wrote down for apps that come later. Raises FormatError, OSError."""
    recorded = jsondoc.parse_object(read_file(NAMES_FILE), NAMES_FILE)
    return Surroundings(
        Membership(read_pid(names.PID_FILE), bool(recorded["shareNetwork"]), bool(recorded["shareIPC"])),
        f"{app.directory}/{names.STAGE1_ROOTFS}",
        NameFiles(str(recorded["resolv"]), str(recorded["hosts"])),
        bool(recorded["hasResolv"]),
        groups,
        switches,
        protect,
    )
