"""``rktpy trust explain``."""

from __future__ import annotations

from rktpy.cli.output import out, out_json
from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.stage0 import images
from rktpy.store.store import Store
from rktpy.trust.decision import ACCEPTED, Decision
from rktpy.trust.explanation import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Show the decisions about stored images; the status is 254 unless all are accepted."""
    if not arguments.args:
        raise ArgumentsError("wants images")
    g = settings(arguments)
    store = Store(g.data_dir, create=False)
    made: list[Decision] = []
    for text in arguments.args:
        name = images.logical_name(text)
        # By its layout or archive, too, which other commands read anew.
        record = store.find_by_reference(name) if name else None
        image_id = images.resolve_image(store, text) if record is None else record.id
        made += images.decisions(g, store, image_id, name)
    form = arguments.text("format")
    if form:
        out_json([decision.to_dict() for decision in made], pretty=form == "json-pretty")
    else:
        for decision in made:
            out(tree(decision))
    return 0 if all(decision.verdict == ACCEPTED for decision in made) else 254
