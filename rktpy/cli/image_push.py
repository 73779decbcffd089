"""``rktpy image push``."""

from __future__ import annotations

from rktpy.cli.output import out
from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Push a stored image to a registry and print its name there."""
    if len(arguments.args) != 2:
        raise ArgumentsError("wants an image and where to push it to, docker://HOST/NAME[:TAG]")
    text, target = arguments.args
    g = settings(arguments)

    from rktpy.stage0.images import resolve_image
    from rktpy.stage0.push import push
    from rktpy.store.store import Store

    with Store(g.data_dir) as store:
        image_id = resolve_image(store, text)
        signatures = arguments.switch("with-signatures")
        out(push(g, store, image_id, target, signatures=signatures, progress=arguments.text("progress")))
    return 0
