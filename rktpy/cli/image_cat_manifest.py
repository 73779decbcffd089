"""``rktpy image cat-manifest``."""

from __future__ import annotations

from rktpy.cli.output import out_json
from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.formats import jsondoc
from rktpy.stage0.images import resolve_image
from rktpy.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Print the manifest by which an image is run."""
    if len(arguments.args) != 1:
        raise ArgumentsError("wants one image")
    store = Store(settings(arguments).data_dir, create=False)
    document = jsondoc.parse_object(store.manifest_bytes(resolve_image(store, arguments.args[0])), "image manifest")
    out_json(document, pretty=arguments.switch("pretty-print"))
    return 0
