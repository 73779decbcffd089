"""What ``status`` and ``list`` show of a pod, as documents.

The JSON is that of rkt 1.30's ``api/v1/json.go``, all times in ns since the epoch. Reads the few small files that are needed and
no more, because ``list`` does so for every pod. Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import RktpyError
from rktpy.stage0.pod_states import ABORTED_PREPARE, EMBRYO, EXITED, EXITED_DELETING, EXITED_GARBAGE, PREPARED, PREPARING, RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.stage1 import Enforcement
    from rktpy.stage0.pods import Pod

#: The members of a network in net-info.json that are shown, in order.
_NETWORK = ("netName", "netConf", "pluginPath", "ifName", "ip", "args", "mask")
_APP_STATES = {EMBRYO: "unknown", PREPARING: "unknown", ABORTED_PREPARE: "unknown", PREPARED: "created", RUNNING: "running"}


def pod_document(pod: Pod) -> dict[str, Any]:
    """The document of one pod that ``status --format=json`` and ``list --format=json`` print.

    Raises RktpyError or OSError when a file of the pod cannot be read.
    """
    document: dict[str, Any] = {"name": pod.uuid, "state": pod.state}
    networks = pod.networks()
    if networks:
        document["networks"] = [{name: network.get(name, "") for name in _NETWORK} for network in networks]
    created, started = pod.created_ns, pod.started_ns
    if pod.has_manifest:
        manifest = pod.manifest_document()
        apps = app_documents(pod)
        if apps:
            document["app_names"] = [app["name"] for app in apps]
            document["apps"] = apps
    else:
        manifest = {}
    if created is not None:
        document["created_at"] = created
    if started is not None:
        document["started_at"] = started
    for name, member in (("user_annotations", "userAnnotations"), ("user_labels", "userLabels")):
        if manifest.get(member):
            document[name] = manifest[member]
    weak = _not_enforced(pod)
    if weak:
        # Not rkt's: what the pod asked for and did not get.
        document["not_enforced"] = [entry.to_dict() for entry in weak]
    return document


def app_documents(pod: Pod) -> list[dict[str, Any]]:
    """The documents of the pod's apps, as ``app status --format=json`` prints one. Raises RktpyError or OSError."""
    if not pod.has_manifest:
        return []
    manifest, created, started = pod.manifest_document(), pod.created_ns, pod.started_ns
    return [_app_document(pod, manifest, app, created, started) for app in pod.app_documents()]


def app_lines(app: dict[str, Any], format_time: Any) -> list[str]:
    """The lines ``key=value`` that ``app status`` prints for an app's document."""
    lines = [f"{name}={app[name]}" for name in ("name", "state", "image_id")]
    lines.extend(f"{name}={format_time(app[name])}" for name in ("created_at", "started_at", "finished_at") if name in app)
    if "exit_code" in app:
        lines.append(f"exit_code={app['exit_code']}")
    if "mounts" in app:
        mounts = [
            f"{one['host_path']}:{one['container_path']}:(read_only:{'true' if one['read_only'] else 'false'})"
            for one in app["mounts"]
        ]
        lines.append(f"mounts={','.join(mounts)}")
    for name in ("user_annotations", "user_labels"):
        if name in app:
            lines.append(f"{name}={','.join([f'{key}:{value}' for key, value in app[name].items()])}")
    return lines


def _not_enforced(pod: Pod) -> list[Enforcement]:
    return [entry for entry in pod.report() if entry.outcome != "enforced"]


def _app_document(
    pod: Pod, manifest: dict[str, Any], entry: dict[str, Any], created: int | None, started: int | None
) -> dict[str, Any]:
    name: str = entry["name"]
    app: dict[str, Any] = {"name": name, "state": "unknown"}
    if pod.is_mutable:
        _state_in_mutable_pod(app, pod)
    else:
        _state_in_immutable_pod(app, pod, created, started)
    app["image_id"] = entry.get("image", {}).get("id", "")
    mounts = _mounts(manifest, entry)
    if mounts:
        app["mounts"] = mounts
    settings: dict[str, Any] = entry.get("app") or {}
    for member, key in (("user_annotations", "userAnnotations"), ("user_labels", "userLabels")):
        if settings.get(key):
            app[member] = settings[key]
    return app


def _state_in_immutable_pod(app: dict[str, Any], pod: Pod, created: int | None, started: int | None) -> None:
    """Apps that come and go with the pod have its times."""
    status = pod.app_status(app["name"])
    app["state"] = "exited" if status is not None else _APP_STATES.get(pod.state, "exited")
    if created is not None:
        app["created_at"] = created
    if started is not None:
        app["started_at"] = started
    finished = pod.app_finished_ns(app["name"]) if status is not None else None
    if finished is None:
        finished = pod.gc_marked_ns
    if finished is not None:
        app["finished_at"] = finished
    if status is not None:
        app["exit_code"] = status


def _state_in_mutable_pod(app: dict[str, Any], pod: Pod) -> None:
    """Each app has its own times: the mtimes of ``rkt/status/<app>-created``, ``<app>-started`` and ``<app>``."""
    name: str = app["name"]
    created = pod.app_created_ns(name)
    started = None if created is None else pod.app_started_ns(name)
    finished = None if started is None else pod.app_finished_ns(name)
    if created is not None:
        app["state"], app["created_at"] = "created", created
    if started is not None:
        app["state"], app["started_at"] = "running", started
    if finished is not None:
        status = pod.app_status(name)
        app["state"], app["finished_at"] = "exited", finished
        # A status that cannot be read: stage1 was killed while it wrote it.
        app["exit_code"] = 1 if status is None else status
    elif pod.is_after_run:
        # Killed with the pod.
        app["state"] = "exited"
        marked = pod.gc_marked_ns
        if marked is not None:
            app["finished_at"] = marked


def _mounts(manifest: dict[str, Any], entry: dict[str, Any]) -> list[dict[str, Any]]:
    mounts = entry.get("mounts")
    if not mounts:
        return []
    entries: list[dict[str, Any]] = manifest.get("volumes") or []
    volumes = {volume.get("name"): volume for volume in entries}
    shown: list[dict[str, Any]] = []
    for mount in mounts:
        volume: dict[str, Any] = mount.get("appVolume") or volumes.get(mount.get("volume")) or {}
        shown.append(
            {
                "name": mount.get("volume", ""),
                "container_path": mount.get("path", ""),
                "host_path": volume.get("source", ""),
                "read_only": bool(volume.get("readOnly", False)),
            }
        )
    return shown


def status_lines(pod: Pod, format_time: Any) -> list[str]:
    """The lines ``key=value`` that ``status`` prints. ``format_time`` turns ns since the epoch into text."""
    lines = [f"state={pod.state}"]
    created = pod.created_ns
    if created is not None:
        lines.append(f"created={format_time(created)}")
    started = pod.started_ns
    if started is not None:
        lines.append(f"started={format_time(started)}")
    if pod.state in (RUNNING, EXITED):
        lines.append(f"networks={network_text(pod.networks())}")
    if pod.state not in (RUNNING, EXITED, EXITED_GARBAGE, EXITED_DELETING, "deleting"):
        return lines
    pid = pod.pid()
    if pid is not None:
        lines.append(f"pid={pid}")
    lines.append(f"exited={'true' if pod.state in (EXITED, EXITED_GARBAGE) else 'false'}")
    if pod.state != RUNNING and pod.has_manifest:
        lines.extend(f"app-{name}={status}" for name, status in pod.app_statuses().items())
    lines.extend(f"not-enforced={entry}" for entry in _not_enforced(pod))
    return lines


def network_text(networks: list[dict[str, Any]]) -> str:
    """Networks as ``list`` and ``status`` show them: ``name:ip4=address`` joined by commas."""
    return ", ".join(f"{network.get('netName', '')}:ip4={network.get('ip', '')}" for network in networks)


def image_name(pod: Pod, app: dict[str, Any]) -> str:
    """Name and version of an app's image, from the pod manifest's entry or else from the image manifest kept with the pod.

    Raises RktpyError when neither can be read.
    """
    image: dict[str, Any] = app.get("image") or {}
    name = image.get("name")
    labels = image.get("labels")
    if not name:
        try:
            manifest = pod.image_manifest(app["name"])
        except OSError as error:
            raise RktpyError(f"pod {pod.uuid} ImageManifest could not be loaded") from error
        name = manifest.get("name", "")
        labels = manifest.get("labels")
    for label in labels or ():
        if label.get("name") == "version":
            return f"{name}:{label.get('value')}"
    return str(name)
