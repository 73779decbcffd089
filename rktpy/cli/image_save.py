"""``rktpy image save``."""

from __future__ import annotations

from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Write stored images with their signatures to one file."""
    if not arguments.args:
        raise ArgumentsError("wants at least one image")
    output = arguments.text("output")
    if not output:
        raise ArgumentsError("wants --output=FILE")
    g = settings(arguments)

    from rktpy.stage0.save import save
    from rktpy.store.store import Store

    with Store(g.data_dir, create=False) as store:
        save(
            store,
            list(arguments.args),
            output,
            signatures=arguments.switch("with-signatures"),
            overwrite=arguments.switch("overwrite"),
        )
    return 0
