"""``rktpy run``. Hot-path module."""

from __future__ import annotations

from rktpy.cli.pod_options import pod_options
from rktpy.cli.run_options import run_options
from rktpy.cli.settings import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Prepare and run a pod. Its stage1 takes this process over, or comes back with the pod's exit status."""
    options = run_options(arguments)
    pod = pod_options(arguments)
    g = settings(arguments)
    if arguments.has("pins"):
        from rktpy.units.pins import pinned

        pod = pod.replace(apps=pinned(g.data_dir, arguments.text("pins"), pod.apps))

    from rktpy.stage0 import run as stage0

    return stage0.run(g, pod, options)
