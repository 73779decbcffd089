"""The multiplexer of apps that can be attached to, or whose output goes to a log file of Kubernetes. Hot-path module.

Modes of streams by annotation (rkt 1.30 ``stage1/init/common/app.go``): ``stream`` and ``tty`` can be attached to; with
``logmode=k8s-plain`` what would go to the journal goes to ``kubernetes-log-path`` inside ``kubernetes-log-dir`` as well.
"""

from __future__ import annotations

import os

from rktpy.formats import stage1 as names

# Not when it is needed: that may be inside the pod, where there is no Python.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.pod import PodManifest
    from rktpy.isolate.pod_app import PodApp

#: In the pod's root: copies of the multiplexer and of what it needs, and where the log directory of Kubernetes is mounted.
PROGRAMS_DIR = "rkt/iomux"
KUBERNETES_LOGS = "rkt/kubernetes/log"
_STREAMS = (("stdin", names.STDIN), ("stdout", names.STDOUT), ("stderr", names.STDERR))
_PLAIN = "k8s-plain"


def kubernetes_log_dir(manifest: PodManifest) -> str:
    """The host's directory for log files, empty when the pod wants none."""
    if manifest.annotation(names.LOG_MODE) != _PLAIN:
        return ""
    return manifest.annotation(names.KUBERNETES_LOG_DIR) or ""


def log_file(app: PodApp) -> str:
    """The app's log file, relative to that directory, empty when it has none. Raises FormatError."""
    path = app.runtime.annotation(names.KUBERNETES_LOG_PATH) or ""
    if not path or not kubernetes_log_dir(app.manifest):
        return ""
    from rktpy.formats.cri_log import log_file_name

    return log_file_name(path)


def stream_mode(app: PodApp, name: str, annotation: str) -> str:
    """``null``, ``tty``, ``stream`` or ``journal``."""
    mode = app.runtime.annotation(annotation) or ""
    if mode in ("null", "tty", "stream"):
        return mode
    if name == "stdin":
        return "null"
    return "stream" if log_file(app) else "journal"


def stream_modes(app: PodApp) -> dict[str, str]:
    """The modes of an app's streams by name. Those that can be attached to are all the terminal if one is."""
    modes = {name: stream_mode(app, name, annotation) for name, annotation in _STREAMS}
    if "tty" in modes.values():
        return {name: "tty" if mode == "stream" else mode for name, mode in modes.items()}
    return modes


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
