"""``rktpy fetch``."""

from __future__ import annotations

from posix import geteuid

from rktpy.cli import images
from rktpy.cli.image_ids import fetched_id
from rktpy.cli.output import out
from rktpy.cli.pull import fetch_options
from rktpy.cli.settings import settings
from rktpy.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Fetch images and print their IDs, when all have come."""
    apps = images.of(arguments).apps()
    if not apps:
        raise UsageError("must provide at least one image")
    # Only root can give files their owners; others fetch, and the first run renders.
    options = fetch_options(arguments, render=arguments.switch("render") and geteuid() == 0)
    g = settings(arguments)

    from rktpy.stage0 import images as stored
    from rktpy.store.store import Store

    with Store(g.data_dir) as store:
        ids = [stored.find_or_fetch(g, store, app.image, options, app.signature) for app in apps]
        if g.explain:
            for app, image_id in zip(apps, ids, strict=True):
                stored.explain(g, stored.decisions(g, store, image_id, stored.logical_name(app.image)))
    for image_id in ids:
        out(fetched_id(image_id, full=arguments.switch("full")))
    return 0
