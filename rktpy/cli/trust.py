"""``rktpy trust``."""

from __future__ import annotations

from rktpy.cli.output import out
from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.errors import FetchError, RktpyError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments

_UNBOUNDED = """aborting due to implicit unbounded trust (root domain)
Please provide a specific domain prefix to trust:
    rktpy trust --prefix "example.com/foo" [KEY]
Otherwise, trust at the root domain (not recommended) must be explicitly requested:
    rktpy trust --root KEY"""


def run(arguments: Arguments) -> int:
    """Add keys to the keystore."""
    prefix = arguments.text("prefix")
    root = arguments.switch("root")
    keys = tuple(arguments.args)
    if not prefix and not root:
        if keys:
            raise UsageError(_UNBOUNDED)
        raise ArgumentsError("wants --prefix or --root")
    if prefix and root:
        raise UsageError("--root and --prefix usage mutually exclusive")
    scheme, separator, _rest = prefix.partition("://")
    if separator:
        raise UsageError(f"--prefix must not contain a URL scheme, omit {scheme}://")
    from rktpy.trust.keystore import is_scope

    if prefix and not is_scope(prefix):
        raise UsageError(f"{prefix!r} is not an image name prefix")
    if root and not keys:
        raise UsageError("--root wants the file or URL of a key: there is nothing to discover")

    from rktpy.stage0.trust_keys import add_keys, discover_keys

    g = settings(arguments)
    allow_http = arguments.switch("insecure-allow-http")
    if not keys:
        try:
            keys = discover_keys(g, prefix, allow_http=allow_http)
        except RktpyError as error:
            raise FetchError("error determining key location") from error
    add_keys(
        g,
        keys,
        prefix,
        skip_review=arguments.switch("skip-fingerprint-review"),
        allow_http=allow_http,
        say=out,
        ask=_ask if _is_terminal() else None,
    )
    return 0


def _is_terminal() -> bool:
    from posix import isatty

    return isatty(0)


def _ask() -> bool:
    """Ask until there is an answer; the end of the input is a no."""
    import sys

    while True:
        out("Are you sure you want to trust this key (yes/no)?")
        answer = sys.stdin.readline()
        if not answer or answer.strip().lower() in ("n", "no"):
            return False
        if answer.strip().lower() in ("y", "yes"):
            return True
        out("Please enter 'yes' or 'no'")
