"""The order in which an ACI and its dependencies are laid over each other.

Source: appc/spec 0.8.11, ``spec/ace.md`` (Filesystem Setup): dependencies in list order, depth first, then the image itself on
top. An image that is reached on two ways is laid down twice, each time filtered by the whitelists of the images on that way (the
reference implementation takes whitelists from siblings by mistake; the rule in the text is followed here).

Hot-path module: an app that is already rendered needs this order to know its tree's ID.
"""

from __future__ import annotations

from rktpy.errors import ImageGone, InputError, NotFoundError
from rktpy.formats.aci.manifest import ImageManifest
from rktpy.record import Record
from rktpy.store import lookup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rktpy.formats.aci.manifest import Dependency
    from rktpy.store.paths import Layout

# A chain of diamonds doubles the number of steps with each image, so a few dozen small images could ask for billions.
MAX_STEPS = 4096
MAX_DEPTH = 100


class Step(Record):
    """One image to be laid down, and the path whitelists that its files must pass: its own and those of all images above."""

    image_id: str
    whitelists: tuple[tuple[str, ...], ...]


class MissingDependency(NotFoundError):
    """A dependency is not in the store. ``dependency`` says which, so that it can be fetched."""

    def __init__(self, dependency: Dependency, image_id: str) -> None:
        self.dependency = dependency
        super().__init__(f"dependency {describe(dependency)} of image {image_id} is not in the store")


def describe(dependency: Dependency) -> str:
    """``name,label=value`` of a dependency, as one would ask for it, and the ID if it is fixed."""
    text = ",".join([dependency.image_name, *[f"{label.name}={label.value}" for label in dependency.labels]])
    return f"{text} ({dependency.image_id})" if dependency.image_id else text


def find(layout: Layout, dependency: Dependency, image_id: str) -> str:
    """The stored image that a dependency of ``image_id`` means. Raises :class:`MissingDependency`."""
    if dependency.image_id:
        # rkt's IDs have half of the digits, so an ID is a prefix.
        try:
            found = lookup.read_record(layout, lookup.resolve_id(layout, dependency.image_id))
        except NotFoundError:
            raise MissingDependency(dependency, image_id) from None
    else:
        record = lookup.find_by_name(layout, dependency.image_name, dependency.labels)
        if record is None:
            raise MissingDependency(dependency, image_id)
        found = record
    if found.format != "aci":
        raise InputError(f"dependency {describe(dependency)} of image {image_id} is not an ACI")
    return found.id


def read_manifest(layout: Layout, image_id: str) -> ImageManifest:
    """An image's manifest. Raises NotFoundError, FormatError."""
    try:
        return ImageManifest.from_bytes(lookup.read_file(layout.manifest(image_id)))
    except FileNotFoundError:
        raise ImageGone(f"image {image_id} is not in the store") from None


def order(layout: Layout, image_id: str) -> list[Step]:
    """The steps to lay down ``image_id``, bottom first; its own is the last.

    Raises :class:`MissingDependency`, :class:`InputError` for a cycle or for more than MAX_STEPS steps.
    """
    steps: list[Step] = []
    for step in _walk(layout, image_id, (), (), {}):
        if len(steps) == MAX_STEPS:
            raise InputError(f"image {image_id} and its dependencies need more than {MAX_STEPS} layers")
        steps.append(step)
    return steps


def _walk(
    layout: Layout,
    image_id: str,
    above: tuple[str, ...],
    whitelists: tuple[tuple[str, ...], ...],
    known: dict[str, tuple[tuple[str, ...], list[str]]],
) -> Iterator[Step]:
    if image_id in above:
        circle = " -> ".join([*above[above.index(image_id) :], image_id])
        raise InputError(f"image dependencies form a cycle: {circle}")
    if len(above) == MAX_DEPTH:
        raise InputError(f"dependencies of image {above[0]} are nested too deeply")
    if image_id not in known:
        manifest = read_manifest(layout, image_id)
        below = [find(layout, dependency, image_id) for dependency in manifest.dependencies]
        known[image_id] = (manifest.path_whitelist, below)
    whitelist, below = known[image_id]
    if whitelist:
        whitelists = (*whitelists, whitelist)
    for dependency_id in below:
        yield from _walk(layout, dependency_id, (*above, image_id), whitelists, known)
    yield Step(image_id, whitelists)
