"""The flags that say how images are fetched. Hot-path module."""

from __future__ import annotations

from rktpy.errors import UsageError
from rktpy.stage0.options import FetchOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def fetch_options(arguments: Arguments, *, render: bool = False) -> FetchOptions:
    """The record for stage0. Raises :class:`UsageError` when the flags contradict one another."""
    policy = arguments.text("pull-policy")
    store_only, no_store = arguments.switch("store-only"), arguments.switch("no-store")
    if store_only and no_store:
        raise UsageError("both --store-only and --no-store specified")
    if store_only:
        policy = "never"
    if no_store:
        policy = "update"
    return FetchOptions(policy, arguments.text("progress"), arguments.text("platform"), render)
