"""``rktpy cat-manifest``."""

from __future__ import annotations

from rktpy.cli import pod_arguments
from rktpy.cli.output import out_json
from rktpy.cli.settings import settings
from rktpy.errors import RktpyError
from rktpy.stage0.pods import find_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Print the manifest of a pod."""
    prefix = pod_arguments.one(arguments)
    with find_pod(settings(arguments).data_dir, prefix, "problem retrieving pod") as pod:
        try:
            document = pod.manifest_document()
        except OSError as error:
            raise RktpyError("cannot read the pod manifest") from error
    out_json(document, pretty=arguments.switch("pretty-print"))
    return 0
