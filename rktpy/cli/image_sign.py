"""``rktpy image sign``."""

from __future__ import annotations

from rktpy.cli.output import out
from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments

_SECOND = 10**9


def run(arguments: Arguments) -> int:
    """Sign an image and tell where the signatures went."""
    if len(arguments.args) != 1:
        raise ArgumentsError("wants one image")
    g = settings(arguments)

    from rktpy.stage0.sign import TYPES, SignOptions, sign
    from rktpy.store.store import Store

    kinds = tuple(dict.fromkeys([word for word in arguments.text("type").split(",") if word]))
    for kind in kinds:
        if kind not in TYPES:
            raise UsageError(f"--type: {kind!r} is none of {', '.join(TYPES)}")
    options = SignOptions(
        types=kinds,
        key=arguments.text("key"),
        local_user=arguments.text("local-user"),
        passphrase_file=arguments.text("passphrase-file"),
        certificates=arguments.text("certificates"),
        reference=arguments.text("reference"),
        output=arguments.text("output"),
        overwrite=arguments.switch("overwrite"),
        lookaside=arguments.text("lookaside"),
        expiry=arguments.duration("expiry") // _SECOND,
        predicate=arguments.text("predicate"),
        predicate_type=arguments.text("predicate-type"),
        timestamp_url=arguments.text("timestamp-url"),
        push=arguments.switch("push"),
    )
    with Store(g.data_dir) as store:
        for line in sign(g, store, arguments.args[0], options):
            out(line)
    return 0
