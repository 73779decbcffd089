"""What ``image list`` shows.

Hot-path module.
"""

from __future__ import annotations

from posix import listdir, stat

from rktpy.errors import NotFoundError, StoreError
from rktpy.record import Record
from rktpy.store.lookup import image_ids, sound_records
from rktpy.store.paths import is_tree_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.store.paths import Layout

# Above so many images asking the index is faster than reading every record, see ``lookup``.
LIST_BY_INDEX_FROM = 200


class ImageFacts(Record):
    """One line of the listing. Times are nanoseconds since the epoch.

    ``size`` is in bytes: of the image as it is stored and of the trees that were rendered for it, as rkt adds them up.
    ``version`` is the image's label of that name, empty if it has none.
    """

    id: str
    name: str
    size: int
    import_time: int
    last_used: int
    version: str = ""


def last_used(layout: Layout, image_id: str) -> int:
    """When an image was last used or imported: the mtime of its record. Raises NotFoundError, StoreError."""
    try:
        return stat(layout.image(image_id)).st_mtime_ns
    except FileNotFoundError:
        raise NotFoundError(f"image {image_id} is not in the store") from None
    except OSError as error:
        raise StoreError(f"cannot examine image {image_id}") from error


def list_images(layout: Layout) -> list[ImageFacts]:
    """All images by import time, oldest first. Images with a damaged record are left out (``image check`` names them)."""
    ids = image_ids(layout)
    rows = None
    if len(ids) >= LIST_BY_INDEX_FROM:
        from rktpy.store.index import all_images

        rows = all_images(layout)
    if rows is None:
        rows = [
            (record.id, record.name, record.size, record.import_time, record.label("version") or "")
            for record in sound_records(layout, ids)
        ]
    facts: list[ImageFacts] = []
    images = layout.images
    rendered = _rendered(layout, ids)
    for image_id, name, size, import_time, version in rows:
        try:
            used = stat(f"{images}/{image_id}").st_mtime_ns
        except OSError:
            # Removed meanwhile.
            continue
        facts.append(ImageFacts(image_id, name, size + rendered.get(image_id, 0), import_time, used, version))
    facts.sort(key=lambda image: (image.import_time, image.id))
    return facts


def _rendered(layout: Layout, ids: list[str]) -> dict[str, int]:
    """By image, the size of the trees rendered for it."""
    try:
        names = listdir(layout.trees)
    except OSError:
        return {}
    sizes: dict[str, int] = {}
    if names:
        from rktpy.store.tree_ready import tree_id
        from rktpy.store.tree_size import size_of

        # Nearly all trees are of one image, and their names tell which; so the file that says so need not be read.
        alone = {tree_id([image_id]): image_id for image_id in ids}
        for name in names:
            if is_tree_id(name):
                image_id = alone.get(name) or _image_of(layout, name)
                sizes[image_id] = sizes.get(image_id, 0) + size_of(layout, name)
    return sizes


def _image_of(layout: Layout, tree: str) -> str:
    from rktpy.store.trees import image_of

    return image_of(layout, tree)
