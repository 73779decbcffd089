"""``--dry-run``: the bundles that the runtime would get, as text."""

from __future__ import annotations

import os

from rktpy.cgroup.hierarchy import discover
from rktpy.formats import jsondoc
from rktpy.isolate.environment import app_environment
from rktpy.isolate.root import Root
from rktpy.isolate.users import app_user
from rktpy.isolate.volumes import choose_mounts, volume_operations
from rktpy.stage1.oci.app import app_command
from rktpy.stage1.oci.bundle import Membership, app_config
from rktpy.stage1.oci.paths import APPS
from rktpy.stage1.oci.restrictions import Restrictions, Switches, device_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.pod.pod import Pod
    from rktpy.stage1.oci.runtime import Runtime


def print_bundles(pod: Pod, runtime: Runtime) -> None:
    """Write the runtime and each app's ``config.json`` to standard output. Users and programs are looked up without volumes."""
    membership = Membership(0, not pod.own_network, pod.share_ipc)
    without = runtime.without_groups or ("" if discover() else "no control groups are mounted")
    switches = Switches(pod.no_capabilities, pod.no_seccomp, without)
    text = [f"runtime {' '.join([runtime.program, *runtime.arguments])}\n"]
    for app in pod.apps:
        mounts = choose_mounts(app)
        with Root(app.rootfs) as root:
            user = app_user(app, root)
            restrictions = Restrictions(app, user.uid, root, switches, device_rules(mounts))
            config = app_config(
                app,
                user,
                app_command(app, root, restrictions, app.app.exec),
                app_environment(app.name, app.app, user),
                membership,
                restrictions,
                tuple(volume_operations(mounts, app.directory, recursive=True)),
                bundle=f"{APPS}/{app.name}",
                groups="",
                protect=pod.protect_paths,
                terminal=pod.interactive,
            )
        text.append(f"\napp {app.name}:\n{jsondoc.dump_pretty(config)}\n")
        text += [f"{entry}\n" for entry in restrictions.report if entry.outcome != "enforced"]
    os.write(1, "".join(text).encode("utf-8", "surrogateescape"))
