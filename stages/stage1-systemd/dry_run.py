"""``--dry-run``: what would be done for a pod, as text."""

from __future__ import annotations

import os

from rktpy.isolate.labels import selinux_active
from rktpy.isolate.plan import describe_plan
from rktpy.isolate.root import Root
from rktpy.stage1.systemd.app_root import app_mounts, app_root, name_files, volume_devices, volumes
from rktpy.stage1.systemd.app_units import app_units, start_units
from rktpy.stage1.systemd.first_process import Restricted, app_unit, program_finder
from rktpy.stage1.systemd.host_units import host_units
from rktpy.stage1.systemd.pod import systemd_programs
from rktpy.stage1.systemd.pod_root import pod_root
from rktpy.stage1.systemd.pod_units import pod_units
from rktpy.stage1.systemd.resources import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.pod.pod import Pod


def print_plan(pod: Pod) -> None:
    """Write the operations and units of a pod to standard output. Users and programs are looked up without the volumes."""
    from rktpy.cgroup.hierarchy import discover

    machine = Machine(
        {name: hierarchy.version for hierarchy in discover() for name in hierarchy.controllers},
        pod.no_capabilities,
        pod.no_seccomp,
        selinux_active(),
    )
    text = [describe_plan(pod_root((), terminal="a new terminal", console="", protect=pod.protect_paths, sharing=pod.sharing))]
    units, others = host_units(pod.watchdog_usec, tuple([app.name for app in pod.apps]))
    units.update(pod_units(systemd_programs(), tuple([unit for app in pod.apps for unit in start_units(app)]), others))
    for app in pod.apps:
        mounts = app_mounts(app)
        with Root(app.rootfs) as root:
            spec, report = app_unit(
                app, root, Restricted(machine, pod.mutable, pod.interactive, pod.watchdog_usec), volume_devices(mounts)
            )
            units.update(app_units(spec, program_finder(app, root)))
        plan = (
            *app_root(app, pod.root, pod.sharing, interactive=pod.interactive),
            *volumes(app, mounts),
            *name_files(app, pod.root, pod.names, has_resolv=False),
        )
        text.append(f"\napp {app.name}:\n{describe_plan(plan)}")
        text += [f"{entry}\n" for entry in report if entry.outcome != "enforced"]
    text += [f"\n# {name}\n{content}" for name, content in units.items()]
    os.write(1, "".join(text).encode("utf-8", "surrogateescape"))
