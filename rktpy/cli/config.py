"""``rktpy config``."""

from __future__ import annotations

from rktpy.cli.output import out_json
from rktpy.cli.pod_arguments import no_arguments
from rktpy.errors import ConfigError, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Print the configuration as JSON."""
    no_arguments(arguments)

    from rktpy.config import load_config

    try:
        # Each part is read when it is asked for.
        config = load_config(arguments.text("system-config"), arguments.text("local-config"), arguments.text("user-config"))
        document = config.to_dict()
    except (ConfigError, FormatError, OSError) as error:
        raise ConfigError("cannot get configuration") from error
    out_json(document, pretty=arguments.switch("pretty-print"))
    return 0
