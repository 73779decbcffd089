"""``rktpy image list``. Hot-path module."""

from __future__ import annotations

from rktpy.cli.image_ids import shown_id
from rktpy.cli.output import out, out_json
from rktpy.cli.pod_arguments import no_arguments
from rktpy.cli.settings import settings
from rktpy.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rktpy.cli.parse import Arguments
    from rktpy.store.listing import ImageFacts

_TITLES = {"id": "ID", "name": "NAME", "size": "SIZE", "importtime": "IMPORT TIME", "lastused": "LAST USED"}
_KEYS: dict[str, Callable[[ImageFacts], str | int]] = {
    "name": lambda image: _name(image),
    "importtime": lambda image: image.import_time,
    "lastused": lambda image: image.last_used,
    "size": lambda image: image.size,
}


def run(arguments: Arguments) -> int:
    """Print the stored images as a table or as JSON."""
    no_arguments(arguments)
    images = Store(settings(arguments).data_dir, create=False).list_images()
    # Sorted by the last field first: sorting keeps the order of equals.
    for field in reversed(_fields(arguments.text("sort"))):
        images.sort(key=_KEYS[field], reverse=arguments.text("order") == "desc")
    form = arguments.text("format")
    if form:
        out_json([_document(image) for image in images], pretty=form == "json-pretty")
        return 0
    fields = _fields(arguments.text("fields"))
    full = arguments.switch("full")
    lines = [_line(image, fields, full) for image in images]
    if not arguments.switch("no-legend"):
        lines.insert(0, "\t".join([_TITLES[field] for field in fields]))
    if lines:
        from rktpy.cli.tabular import align

        out(align("\n".join(lines)))
    return 0


def _fields(text: str) -> list[str]:
    return text.lower().split(",") if text else []


def _name(image: ImageFacts) -> str:
    return f"{image.name}:{image.version}" if image.version else image.name


def _document(image: ImageFacts) -> dict[str, object]:
    return {
        "id": shown_id(image.id, full=True),
        "name": _name(image),
        "import_time": image.import_time,
        "last_used_time": image.last_used,
        "size": image.size,
    }


def _line(image: ImageFacts, fields: list[str], full: bool) -> str:
    cells: list[str] = []
    for field in fields:
        if field == "id":
            cells.append(shown_id(image.id, full=full))
        elif field == "name":
            cells.append(_name(image))
        elif field == "size":
            cells.append(_size(image.size, full))
        else:
            cells.append(_time(image.import_time if field == "importtime" else image.last_used, full))
    return "\t".join(cells)


def _size(size: int, full: bool) -> str:
    if full:
        return str(size)
    from rktpy.cli.sizes import binary_size

    return binary_size(size)


def _time(when_ns: int, full: bool) -> str:
    from rktpy.cli import times

    return times.exact(when_ns) if full else times.distance(when_ns)
