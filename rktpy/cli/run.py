"""``rktpy run``. Hot-path module."""

from __future__ import annotations

from rktpy.cli.pod_options import pod_options
from rktpy.cli.run_options import check_ports, run_options
from rktpy.cli.settings import settings
from rktpy.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Prepare and run a pod. The stage1 takes this process over, so this comes back only with an error."""
    options = run_options(arguments)
    check_ports(arguments)
    pod = pod_options(arguments)
    if options.interactive and len(pod.apps) > 1:
        raise UsageError("interactive option only supports one image")

    from rktpy.stage0 import run as stage0

    stage0.run(settings(arguments), pod, options)
