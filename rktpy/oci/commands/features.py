"""``features``: what the runtime can do, by the features document of the runtime specification."""

from __future__ import annotations

import os

from rktpy.formats.jsondoc import dump_pretty
from rktpy.oci.command_line import Arguments
from rktpy.oci.features import features_document


def run(arguments: Arguments) -> int:
    """Print the document; 0."""
    del arguments
    os.write(1, (dump_pretty(features_document(), "    ") + "\n").encode())
    return 0
