"""``rktpy trust list``."""

from __future__ import annotations

from rktpy.cli.output import out, out_json
from rktpy.cli.settings import settings
from rktpy.cli.tabular import align
from rktpy.cli.times import exact
from rktpy.cli.usage import ArgumentsError
from rktpy.stage0.trust_store import list_keys
from rktpy.trust.explanation import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Print the trusted keys."""
    if len(arguments.args) > 1:
        raise ArgumentsError("wants one name at most")
    keys = list_keys(settings(arguments), arguments.args[0] if arguments.args else "")
    form = arguments.text("format")
    if form:
        out_json([key.to_dict() for key in keys], pretty=form == "json-pretty")
        return 0
    lines = [] if arguments.switch("no-legend") else ["FINGERPRINT\tSCOPE\tEXPIRES\tUSER\tFILE"]
    for key in keys:
        state = key.problem or (exact(key.expires * 1_000_000_000) if key.expires else "never")
        user = printable("; ".join(key.identities))
        lines.append(f"{key.fingerprint}\t{key.prefix or 'root'}\t{state}\t{user}\t{key.path}")
    if lines:
        out(align("\n".join(lines)))
    return 0
