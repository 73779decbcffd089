"""Pods whose apps change while they run: opening one for a change, and changing its manifest.

Whoever adds or removes an app holds ``pod.lck`` meanwhile; the pod's own lock is its processes'. The manifest is replaced by
rename(2), so that ``list`` and ``status`` need no lock. Nothing is synced: a running pod does not outlive a power failure.

Messages as in rkt 1.30's ``rkt/app_*.go`` and ``pkg/pod/sandbox.go``. Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import NotFoundError, StateError, UsageError
from rktpy.formats import jsondoc
from rktpy.formats.aci.types import ac_name_problem
from rktpy.formats.stage1 import POD_FILE, POD_LOCK_FILE
from rktpy.stage0 import podmanifest
from rktpy.stage0.pod_states import RUNNING, quoted
from rktpy.stage0.prepare import TRUST_FILE
from rktpy.stage0.run import replace_file
from rktpy.store.locks import acquire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.pod import PodManifest
    from rktpy.stage0.pods import Pod
    from rktpy.store.locks import Lock


def require_running(pod: Pod) -> None:
    """Refuse a pod that does not run, or whose supervisor cannot be talked to yet. Raises StateError."""
    if pod.state != RUNNING:
        raise StateError(f"pod {quoted(pod.uuid)} isn't currently running")
    if not pod.is_ready:
        raise StateError(f"supervisor for pod {quoted(pod.uuid)} is not yet ready")


def check_app_name(name: str) -> None:
    """Refuse what cannot be the name of an app. Raises UsageError."""
    problem = ac_name_problem(name)
    if problem:
        raise UsageError(f"invalid app name {quoted(name)}: {problem}")


def lock_manifest(pod: Pod) -> Lock:
    """Wait until nobody else changes the pod's apps. The lock is a context manager. Raises StoreError."""
    return acquire(f"{pod.path}/{POD_LOCK_FILE}", exclusive=True)


def manifest_of(pod: Pod, purpose: str) -> PodManifest:
    """The present manifest. ``purpose`` begins the message: ``cannot add application``. Raises StateError, FormatError."""
    manifest = pod.manifest()
    if not pod.is_mutable:
        raise StateError(f"{purpose}: immutable pod")
    return manifest


def require_app(pod: Pod, name: str, purpose: str) -> None:
    """Refuse a name that no app of the mutable pod has. Raises StateError, NotFoundError."""
    if manifest_of(pod, purpose).app(name) is None:
        raise NotFoundError(f"error: nonexistent app {quoted(name)}")


def write_manifest(pod: Pod, manifest: PodManifest) -> None:
    """Replace the manifest; ``pod.lck`` is held. Raises RktpyError, OSError."""
    replace_file(pod, POD_FILE, podmanifest.checked(manifest))


def write_trust(pod: Pod, app: str, decisions: list[dict[str, Any]] | None) -> None:
    """Put the decisions about an app's images into the pod's ``trust`` file, or with None take them out.

    Raises FormatError, OSError.
    """
    document: dict[str, Any] = jsondoc.parse_object(pod.read_optional(TRUST_FILE) or b"{}", "trust decision of the pod")
    apps: dict[str, Any] = document.setdefault("apps", {})
    if decisions is not None:
        apps[app] = decisions
    elif apps.pop(app, None) is None:
        return
    replace_file(pod, TRUST_FILE, jsondoc.dump(document))
