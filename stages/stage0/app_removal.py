"""Removing the files of an app that its stage1 has let go of. As in ``app_files``, no link is followed. Hot-path module."""

from __future__ import annotations

import os

from rktpy.formats.stage1 import APPS_INFO_DIR, ENV_DIR, IOMUX_DIR, OVERLAY_DIR, STAGE2_DIR, STATUS_DIR
from rktpy.linux.remove_tree import remove_tree
from rktpy.stage0.app_files import open_directory, remove_names
from rktpy.stage0.overlay import layer_dirs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage0.pods import Pod


def remove_from_root(pod_fd: int, base: str, app: str) -> None:
    """Remove what is below the stage1's root; what is not there is no error. Raises OSError."""
    for directory in (STAGE2_DIR, IOMUX_DIR):
        try:
            fd = open_directory(pod_fd, f"{base}/{directory}")
        except FileNotFoundError:
            continue
        try:
            remove_tree(app, dir_fd=fd)
        finally:
            os.close(fd)
    remove_names(pod_fd, f"{base}/{STATUS_DIR}", (f"{app}-started", app, f"{app}-created"))
    remove_names(pod_fd, f"{base}/{ENV_DIR}", (app,))


def remove_own(pod: Pod, app: str) -> None:
    """Remove what the pod's own directory has of an app: changes, information. What is not there is no error. Raises OSError.

    The information goes last, because it tells where the changes are.
    """
    tree_id = pod.tree_id(app)
    if tree_id and "/" not in tree_id and tree_id != pod.stage1_tree_id:
        layers = layer_dirs(tree_id, app)
        for path in layers:
            if pod.exists(path):
                remove_tree(path, dir_fd=pod.fileno())
        # Another app of the same image may still have its own there.
        for path in (*[path.rpartition("/")[0] for path in layers], f"{OVERLAY_DIR}/{tree_id}"):
            try:
                os.rmdir(path, dir_fd=pod.fileno())
            except OSError:
                pass
    remove_tree(f"{APPS_INFO_DIR}/{app}", dir_fd=pod.fileno())
