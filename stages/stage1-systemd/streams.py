"""The multiplexer of apps that can be attached to, or whose output goes to a log file of Kubernetes. Hot-path module.

Which apps have one is in :mod:`rktpy.isolate.stream_modes`.
"""

from __future__ import annotations

import os

from rktpy.formats import stage1 as names
from rktpy.isolate.stream_modes import log_file, stream_modes

# Not when it is needed: that may be inside the pod, where there is no Python.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.isolate.pod_app import PodApp

#: In the pod's root: copies of the multiplexer and of what it needs, and where the log directory of Kubernetes is mounted.
PROGRAMS_DIR = "rkt/iomux"
KUBERNETES_LOGS = "rkt/kubernetes/log"


def uses_mux(app: PodApp) -> bool:
    """Whether the app has a multiplexer."""
    return not {"stream", "tty"}.isdisjoint(stream_modes(app).values())


def mux_command(app: PodApp) -> tuple[str, ...]:
    """The command line of the app's multiplexer, in the pod's root."""
    modes = stream_modes(app)
    streams = ("tty",) if "tty" in modes.values() else tuple([name for name, mode in modes.items() if mode == "stream"])
    file = log_file(app)
    log = (f"--cri-log=/{KUBERNETES_LOGS}/{file}",) if file else ()
    return (_python(), "-IS", f"/{PROGRAMS_DIR}/iomux.py", *log, f"/{names.IOMUX_DIR}/{app.name}", *streams)


def _python() -> str:
    """An interpreter that is below the host's /usr, which the pod sees."""
    import sys

    real = os.path.realpath(sys.executable or "")
    return real if real.startswith("/usr/") else "/usr/bin/python3"


def mux_programs() -> dict[str, bytes]:
    """The files that a multiplexer needs, by their names in PROGRAMS_DIR. Raises OSError."""
    here = os.path.dirname(os.path.abspath(__file__))
    formats = os.path.dirname(os.path.abspath(names.__file__))
    files: dict[str, bytes] = {}
    for path in (f"{here}/iomux.py", f"{formats}/cri_line.py"):
        with open(path, "rb", buffering=0) as file:
            files[os.path.basename(path)] = file.readall() or b""
    return files
