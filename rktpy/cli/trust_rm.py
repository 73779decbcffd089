"""``rktpy trust rm``."""

from __future__ import annotations

from rktpy.cli.output import out
from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.errors import UsageError
from rktpy.stage0.images import keystore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Take keys out of the keystore."""
    prefix = arguments.text("prefix")
    root = arguments.switch("root")
    if not arguments.args or bool(prefix) == root:
        raise ArgumentsError("wants --prefix or --root, and fingerprints")
    store = keystore(settings(arguments))
    for text in arguments.args:
        # As people copy it from a listing or from gpg.
        fingerprint = "".join(text.split()).lower().removeprefix("0x")
        if len(fingerprint) != 40 or fingerprint.strip("0123456789abcdef"):
            raise UsageError(f"{text!r} is not a whole fingerprint (40 hexadecimal digits)")
        done = store.remove(fingerprint, prefix)
        scope = f'prefix "{prefix}"' if prefix else "all images"
        out(f"{'Masked' if done.masked else 'Removed'} key {fingerprint} for {scope} at {done.path}")
    return 0
