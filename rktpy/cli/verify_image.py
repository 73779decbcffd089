"""``rktpy verify-image``: the verdict of the trust policy, for containerd's image verifier plugin.

The plugin calls ``-name NAME -digest DIGEST -stdin-media-type TYPE`` with a descriptor on standard input; the status 0 lets the
image in, any other refuses it, and standard output tells why (containerd ``docs/image-verification.md``).
"""

from __future__ import annotations

import sys

from rktpy.cli.output import out
from rktpy.cli.settings import settings
from rktpy.errors import RktpyError, UsageError, innermost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments
    from rktpy.formats.oci.descriptor import Descriptor

DESCRIPTOR_TYPE = "application/vnd.oci.descriptor.v1+json"
_MOST = 64 << 10


def run(arguments: Arguments) -> int:
    """Judge an image that is about to be pulled."""
    from rktpy.trust.explanation import printable

    try:
        if arguments.args:
            raise UsageError("takes no arguments besides its flags")
        name, digest = arguments.text("name"), arguments.text("digest")
        if not name or not digest:
            raise UsageError("must be told --name and --digest")
        descriptor = _descriptor(arguments.text("stdin-media-type"))

        from rktpy.stage0.verify_image import verify_image
        from rktpy.trust.decision import ACCEPTED

        decisions = verify_image(settings(arguments), name, digest, descriptor)
    except RktpyError as error:
        # The caller shows standard output as the reason; the program's own report goes to standard error.
        out(printable(f"refused: {innermost(error)}"))
        raise
    if arguments.switch("explain"):
        from rktpy.stage0.explain import show

        show(decisions)
    for decision in decisions:
        if decision.verdict != ACCEPTED:
            out(printable(f"refused: {decision.reason}"))
            return 254
    out(printable(f"accepted: {decisions[0].reason}"))
    return 0


def _descriptor(media_type: str) -> Descriptor | None:
    if not media_type:
        return None
    if media_type != DESCRIPTOR_TYPE:
        raise UsageError(f"cannot read {media_type!r} from standard input, only {DESCRIPTOR_TYPE}")
    from rktpy.formats import jsondoc
    from rktpy.formats.oci.descriptor import Descriptor

    what = "descriptor on standard input"
    data = sys.stdin.buffer.read(_MOST + 1)
    if len(data) > _MOST:
        raise UsageError(f"{what} is larger than {_MOST} bytes")
    return Descriptor.from_dict(jsondoc.parse_object(data, what), what, "")
