"""Loading what a process will need while it is in the container, before it goes there.

In the container's root our files are not to be found, and what is found there in their place must not be loaded: it would run
with the runtime's rights. So all modules are loaded by the runtime, and the process that it clones cannot load any. Hot-path
module.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.oci.setup import Setup


def preload(setup: Setup) -> None:
    """Load the modules that the process of ``setup`` needs."""
    process, config = setup.process, setup.config
    linux = config.linux if config is not None else None
    names: list[str] = []
    if process.rlimits:
        names.append("rktpy.isolate.rlimits")
    if process.no_new_privileges:
        names.append("rktpy.isolate.process")
    if process.terminal:
        names.append("rktpy.oci.terminal")
    if process.io_priority is not None or process.scheduler is not None or any(process.exec_cpu_affinity):
        names.append("rktpy.isolate.scheduling")
    if process.apparmor_profile or process.selinux_label:
        names.append("rktpy.isolate.labels")
    if config is not None and linux is not None:
        if linux.personality or linux.memory_policy is not None:
            names.append("rktpy.isolate.scheduling")
        if linux.sysctl:
            names.append("rktpy.isolate.sysctl")
        if "createContainer" in config.hooks or "startContainer" in config.hooks:
            names += ["rktpy.oci.hooks", "time"]
        if linux.rootfs_propagation in ("shared", "rshared"):
            names.append("rktpy.cgroup.hierarchy")
        if any(one.kind in ("cgroup", "cgroup2") for one in config.mounts):
            names.append("rktpy.oci.cgroup_mounts")
        if any("tmpcopyup" in one.options for one in config.mounts):
            names.append("rktpy.isolate.copy_tree")
    for name in names:
        __import__(name)


def forbid_imports() -> None:
    """From here on nothing is loaded from files any more. For a process that goes into a container."""
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
