"""Pods whose apps change while they run: opening one for a change, and changing what is written of its apps.

Whoever adds or removes an app holds ``pod.lck`` meanwhile; the pod's own lock is its processes'. The manifest is replaced by
rename(2), so that ``list`` and ``status`` need no lock. Nothing is synced: a running pod does not outlive a power failure.

The manifest is handled as the JSON document that it is; who adds an app has validated it. Messages as in rkt 1.30's
``rkt/app_*.go`` and ``pkg/pod/sandbox.go``. Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import NotFoundError, StateError, UsageError
from rktpy.formats import jsondoc
from rktpy.formats.aci.types import ac_name_problem
from rktpy.formats.stage1 import POD_FILE, POD_LOCK_FILE
from rktpy.stage0.pod_files import TRUST_FILE, objects_in
from rktpy.stage0.pod_states import RUNNING, quoted
from rktpy.stage0.replace_file import replace_file
from rktpy.store.locks import acquire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.stage0.pods import Pod
    from rktpy.store.locks import Lock


def require_running(pod: Pod) -> None:
    """Refuse a pod that does not run, or whose supervisor cannot be talked to yet. Raises StateError."""
    if pod.state != RUNNING:
        raise StateError(f"pod {quoted(pod.uuid)} isn't currently running")
    if not pod.is_ready:
        raise StateError(f"supervisor for pod {quoted(pod.uuid)} is not yet ready")


def require_mutable(pod: Pod, purpose: str) -> None:
    """Refuse a pod whose apps do not change. ``purpose`` begins the message: ``cannot add application``. Raises StateError."""
    if not pod.is_mutable:
        raise StateError(f"{purpose}: immutable pod")


def check_app_name(name: str) -> None:
    """Refuse what cannot be the name of an app. Raises UsageError."""
    problem = ac_name_problem(name)
    if problem:
        raise UsageError(f"invalid app name {quoted(name)}: {problem}")


def lock_manifest(pod: Pod) -> Lock:
    """Wait until nobody else changes the pod's apps. The lock is a context manager. Raises StoreError."""
    return acquire(f"{pod.path}/{POD_LOCK_FILE}", exclusive=True)


def has_app(pod: Pod, name: str) -> bool:
    """Whether the manifest has such an app now. Raises FormatError, OSError."""
    return any(app.get("name") == name for app in objects_in(_document(pod).get("apps")))


def require_app(pod: Pod, name: str, purpose: str) -> None:
    """Refuse a name that no app of the mutable pod has. Raises StateError, NotFoundError."""
    require_mutable(pod, purpose)
    if not has_app(pod, name):
        raise NotFoundError(f"error: nonexistent app {quoted(name)}")


def forget_app(pod: Pod, name: str) -> None:
    """Take an app out of the manifest and of the trust decisions; ``pod.lck`` is held. Raises FormatError, OSError."""
    write_trust(pod, name, None)
    document = _document(pod)
    apps = objects_in(document.get("apps"))
    kept = [app for app in apps if app.get("name") != name]
    if len(kept) != len(apps):
        document["apps"] = kept
        replace_file(pod, POD_FILE, jsondoc.dump(document))


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


def _document(pod: Pod) -> dict[str, Any]:
    return jsondoc.parse_object(pod.read(POD_FILE), "pod manifest")
