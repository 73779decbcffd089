"""Removing a pod for good: what outlives its processes, then its files.

The pod is in ``exited-garbage`` or ``garbage`` and locked by the caller. The order lets a later run finish what a killed one
began: stage1's gc (networks, cgroups), leftover mounts, the files; the stage1 manifest, by which the gc entry point is found,
goes among the last. Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import RktpyError, StateError, innermost
from rktpy.formats.stage1 import NET_INFO_FILE, NETNS_FILE, PID_FILE, PPID_FILE, STAGE1_MANIFEST, STAGE1_ROOTFS, SUBCGROUP_FILE
from rktpy.linux.remove_tree import remove_tree
from rktpy.log import note
from rktpy.stage0 import mounts
from rktpy.stage0.entrypoints import call
from rktpy.stage0.pod_states import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage0.options import Globals
    from rktpy.stage0.pods import Pod

#: What a stage1 writes down before it makes it. A pod that seems never to have run and has one of these did run: its move to
#: ``run`` was lost with the power.
_TRACES = (PID_FILE, PPID_FILE, SUBCGROUP_FILE, NETNS_FILE, NET_INFO_FILE)


class Deleter:
    """Removes pods, one after the other."""

    def __init__(self, g: Globals) -> None:
        self._g = g

    def delete(self, pod: Pod) -> None:
        """Remove a pod. Raises RktpyError, OSError when something of it could not be removed; it can be tried again then."""
        if pod.directory not in ("exited-garbage", "garbage"):
            raise StateError(f"non-garbage pod {quoted(pod.uuid)} (status {quoted(pod.state)}), skipped")
        self._unregister(pod)
        ran = pod.directory == "exited-garbage" or any(pod.exists(name) for name in _TRACES)
        if ran and pod.exists(STAGE1_MANIFEST):
            self._stage1_gc(pod)
        try:
            mounts.unmount_below(pod.fileno(), pod.path)
        except (RktpyError, OSError) as error:
            raise RktpyError(f"GC of leftover mounts for pod {quoted(pod.uuid)} failed") from error
        try:
            # The large part first: if it fails, the manifests are still there and it can be tried again.
            remove_tree(f"{pod.path}/overlay")
            remove_tree(f"{pod.path}/{STAGE1_ROOTFS}")
            remove_tree(pod.path)
        except OSError as error:
            raise RktpyError(f"unable to remove pod {quoted(pod.uuid)}") from error

    def _unregister(self, pod: Pod) -> None:
        if not pod.exists("mds-registered"):
            return
        from rktpy.stage0.metadata import unregister

        try:
            unregister(pod)
        except RktpyError as error:
            note("stage0", f"warning: could not unregister pod with metadata service: {innermost(error)}")

    def _stage1_gc(self, pod: Pod) -> None:
        arguments = ["--debug"] if self._g.debug else []
        try:
            if self._g.local_config and self._knows_local_config(pod):
                arguments += ["--local-config", self._g.local_config]
            call(self._g, pod, "gc", [*arguments, pod.uuid])
        except (RktpyError, OSError) as error:
            # As rkt: a stage1 that is broken or gone must not make its pods immortal.
            note("gc", f"problem performing stage1 GC on {quoted(pod.uuid)}: {innermost(error)}")

    def _knows_local_config(self, pod: Pod) -> bool:
        from rktpy.formats.stage1 import GC_LOCAL_CONFIG_SINCE

        if pod.bundled_stage1 is not None:
            return True
        from rktpy.stage0.stage1_image import entry_points

        return entry_points(pod).interface_version >= GC_LOCAL_CONFIG_SINCE
