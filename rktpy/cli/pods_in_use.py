"""What the pods need of the store."""

from __future__ import annotations

from rktpy.errors import RktpyError
from rktpy.stage0.pods import PREPARED, RUNNING, walk


def trees_and_images(data_dir: str, *, exited: bool = True) -> tuple[set[str], set[str]]:
    """The IDs of the trees that pods have as lower layers, and of the images of pods that run or can be run.

    Without ``exited`` the pods that have exited do not count for the trees either: ``image rm`` may take their images away.
    Raises :class:`RktpyError` if a pod cannot be read: what it needs is then not known, and must not be removed.
    """
    trees: set[str] = set()
    images: set[str] = set()
    for pod in walk(data_dir):
        if not exited and pod.is_finished:
            continue
        try:
            stage1 = pod.stage1_tree_id
            if stage1:
                trees.add(stage1)
            for app in pod.app_documents() if pod.exists("pod") else ():
                tree = pod.tree_id(app["name"])
                if tree:
                    trees.add(tree)
                if pod.state in (RUNNING, PREPARED):
                    images.add(app.get("image", {}).get("id", ""))
        except FileNotFoundError:
            # The pod was removed while it was read.
            if pod.refresh() != "gone":
                raise
        except (RktpyError, OSError) as error:
            raise RktpyError(f"cannot tell what pod {pod.uuid} uses") from error
    return trees, images
