"""What the pods need of the store."""

from __future__ import annotations

from rktpy.errors import RktpyError
from rktpy.record import Record
from rktpy.stage0.pods import PREPARED, RUNNING, walk


class InUse(Record):
    """``trees``: IDs of the trees that pods have as lower layers; ``needed``: of those, the trees of pods that run or can be run.

    ``images``: IDs of the images of pods that run or can be run.
    """

    trees: frozenset[str]
    needed: frozenset[str]
    images: frozenset[str]


def in_use(data_dir: str) -> InUse:
    """What the pods use of the store.

    Raises :class:`RktpyError` if a pod cannot be read: what it needs is then not known, and must not be removed.
    """
    trees: set[str] = set()
    needed: set[str] = set()
    images: set[str] = set()
    for pod in walk(data_dir):
        try:
            used = [pod.stage1_tree_id]
            apps = pod.app_documents() if pod.exists("pod") else []
            used += [pod.tree_id(app["name"]) for app in apps]
            known = [tree for tree in used if tree]
            trees.update(known)
            if pod.state in (RUNNING, PREPARED):
                needed.update(known)
                images.update([app.get("image", {}).get("id", "") for app in apps])
        except FileNotFoundError:
            # The pod was removed while it was read.
            if pod.refresh() != "gone":
                raise
        except (RktpyError, OSError) as error:
            raise RktpyError(f"cannot tell what pod {pod.uuid} uses") from error
    return InUse(frozenset(trees), frozenset(needed), frozenset(images))


def trees_and_images(data_dir: str) -> tuple[frozenset[str], frozenset[str]]:
    """What garbage collection keeps: the trees that any pod uses, the images of pods that run or can be run, or that a unit is
    pinned to."""
    from rktpy.units.pins import all_pinned

    found = in_use(data_dir)
    return found.trees, found.images | all_pinned(data_dir)
