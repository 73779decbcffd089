"""What conmon starts when an app with post-stop handlers has ended: it runs them, and only then says how the app ended.

Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import Stage1Error, UsageError
from rktpy.formats import stage1 as names
from rktpy.isolate.pod_app import read_file, write_file
from rktpy.log import note
from rktpy.stage1.oci.containers import run_handler
from rktpy.stage1.oci.paths import APPS, ENDED
from rktpy.stage1.oci.runtime import Runtime


def main(argv: list[str]) -> int:
    """Run the post-stop handlers of an app of the pod in the working directory, named by ``argv``. Raises RktpyError, OSError."""
    if len(argv) != 1:
        raise UsageError("is started by conmon")
    (app,) = argv
    status = read_file(f"{ENDED}/{app}")
    runtime = Runtime.load()
    handlers = f"{APPS}/{app}/post-stop"
    try:
        for number in sorted(os.listdir(handlers)):
            run_handler(runtime, app, f"{handlers}/{number}")
    except (Stage1Error, OSError) as error:
        note("stage1", str(error))
    finally:
        write_file(f"{names.STAGE1_ROOTFS}/{names.STATUS_DIR}/{app}", status)
    return 0
