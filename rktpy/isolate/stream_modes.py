"""How the streams of an app are connected, by its annotations (rkt 1.30 ``stage1/init/common/app.go``).

``stream`` and ``tty`` can be attached to; with ``logmode=k8s-plain`` what would go to the pod's log goes to
``kubernetes-log-path`` inside ``kubernetes-log-dir`` as well. Hot-path module.
"""

from __future__ import annotations

from rktpy.formats import stage1 as names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.pod import PodManifest
    from rktpy.isolate.pod_app import PodApp

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
