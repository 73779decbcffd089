"""``exec``. Hot-path module."""

from __future__ import annotations

import os
import sys

from rktpy.oci.command_line import Arguments
from rktpy.oci.loading import launched, load_more


def run(arguments: Arguments) -> int:
    """Run another process in a container; its status, 0 with ``--detach``. Raises RktpyError, OSError.

    Processes of the container can look at ours while it goes in: not at a file of the host's that they could write to.
    """
    if not launched() and os.geteuid() == 0 and not _is_unwritable():
        from rktpy.isolate.unwritable import execute_unwritable

        execute_unwritable(["-IS", os.path.abspath(sys.argv[0]), *sys.argv[1:]])
    load_more("exec")
    from rktpy.oci.exec_process import execute

    return execute(arguments)


def _is_unwritable() -> bool:
    from rktpy.isolate.unwritable import is_unwritable

    return is_unwritable()
