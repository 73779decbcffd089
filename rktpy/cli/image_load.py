"""``rktpy image load``."""

from __future__ import annotations

from posix import geteuid

from rktpy.cli.image_ids import fetched_id
from rktpy.cli.output import out
from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.stage0.options import FetchOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Take images from a file and print their IDs, when all are there."""
    if len(arguments.args) != 1:
        raise ArgumentsError("wants one file")
    # Only root can give files their owners; others load, and the first run renders.
    render = arguments.switch("render") and geteuid() == 0
    options = FetchOptions(progress="none", platform=arguments.text("platform"), render=render)
    g = settings(arguments)

    from rktpy.stage0.load import load
    from rktpy.store.store import Store

    with Store(g.data_dir) as store:
        ids = load(g, store, arguments.args[0], options, arguments.text("name"))
    for image_id in ids:
        out(fetched_id(image_id, full=arguments.switch("full")))
    return 0
