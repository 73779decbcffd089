"""``rktpy app sandbox``. Hot-path module."""

from __future__ import annotations

from rktpy.cli.pod_arguments import no_arguments
from rktpy.cli.pod_options import stage1_choice
from rktpy.cli.run_options import sandbox_options
from rktpy.cli.settings import settings
from rktpy.formats.aci.types import NameValue
from rktpy.stage0.options import PodOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Run a pod without apps. Its stage1 takes this process over, or comes back with the pod's exit status."""
    no_arguments(arguments)
    pod = PodOptions(
        ports=tuple(arguments.ports),
        annotations=_pairs(arguments, "annotation"),
        user_annotations=_pairs(arguments, "user-annotation"),
        user_labels=_pairs(arguments, "user-label"),
        no_overlay=arguments.switch("no-overlay"),
        stage1=stage1_choice(arguments),
        mutable=True,
    )
    options = sandbox_options(arguments)

    from rktpy.stage0 import run as stage0

    return stage0.run(settings(arguments), pod, options)


def _pairs(arguments: Arguments, name: str) -> tuple[NameValue, ...]:
    return tuple([NameValue(key, value) for key, value in arguments.pairs.get(name, {}).items()])
