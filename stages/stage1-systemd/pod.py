"""What this stage1 asks of a pod, and what it needs of the host. Hot-path module."""

from __future__ import annotations

import os

from rktpy.errors import Stage1Error
from rktpy.formats import stage1 as names
from rktpy.formats.aci.isolators import APPARMOR_PROFILE_NAME, SELINUX_CONTEXT_NAME
from rktpy.isolate.pod_app import read_file
from rktpy.pod.pod import NameFiles, require_program
from rktpy.stage1.systemd.pod_units import OWN_SERVICES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.isolate.pod_app import PodApp

#: In the pod's root: how apps get their /etc/resolv.conf and /etc/hosts, for those that are added later.
NAMES_FILE = "rkt/names"
_LABELS = (APPARMOR_PROFILE_NAME, SELINUX_CONTEXT_NAME)
_PROGRAMS = ("/usr/lib/systemd", "/lib/systemd")


def check_app(app: PodApp) -> None:
    """Refuse an app that cannot run, before anything is made for it. Raises Stage1Error."""
    if f"{app.name}.service" in OWN_SERVICES:
        raise Stage1Error(f"an app of this stage1 cannot be called {app.name}")
    require_program(app)
    if any(isolator.name in _LABELS for isolator in app.app.isolators):
        from rktpy.isolate.labels import check_labels

        check_labels(app.name, app.app.isolators)


def recorded_names() -> NameFiles:
    """What ``run`` was told about names for all apps of the pod in the working directory. Raises OSError."""
    resolv, hosts = read_file(f"{names.STAGE1_ROOTFS}/{NAMES_FILE}").decode().split()
    return NameFiles(resolv, hosts)


def systemd_programs() -> str:
    """The directory of the host's systemd. Raises Stage1Error."""
    for directory in _PROGRAMS:
        if os.access(f"{directory}/systemd", os.X_OK) and os.access(f"{directory}/systemd-journald", os.X_OK):
            return directory
    raise Stage1Error("no systemd is installed on this host: stage1-systemd runs the host's (try --stage1=fly)")
