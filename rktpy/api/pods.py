"""Pods as messages.

Source: rkt 1.30 ``rkt/api_service.go``. What differs: an app that has ended in a running pod is exited, not running; an app
without an exit status has -1, not 0; a pod that is being deleted after it ran has that state, not none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rktpy.api.images import format_of, key_values
from rktpy.errors import FormatError, RktpyError, innermost
from rktpy.formats.aci.manifest import ImageManifest
from rktpy.formats.api import messages
from rktpy.formats.pod import PodManifest
from rktpy.formats.stage1 import SUBCGROUP_FILE
from rktpy.isolate.holder import children_of
from rktpy.log import note
from rktpy.stage0 import pod_states
from rktpy.stage0.pod_states import quoted

if TYPE_CHECKING:
    from rktpy.formats.pod import RuntimeApp
    from rktpy.stage0.pods import Pod
    from rktpy.store.store import Store

_STATES = {
    pod_states.EMBRYO: "POD_STATE_EMBRYO",
    pod_states.PREPARING: "POD_STATE_PREPARING",
    pod_states.ABORTED_PREPARE: "POD_STATE_ABORTED_PREPARE",
    pod_states.PREPARED: "POD_STATE_PREPARED",
    pod_states.RUNNING: "POD_STATE_RUNNING",
    pod_states.EXITED: "POD_STATE_EXITED",
    pod_states.EXITED_GARBAGE: "POD_STATE_GARBAGE",
    pod_states.EXITED_DELETING: "POD_STATE_DELETING",
    pod_states.GARBAGE: "POD_STATE_GARBAGE",
    pod_states.DELETING: "POD_STATE_DELETING",
}
_WITH_NETWORKS = (pod_states.RUNNING, pod_states.EXITED)
_MOST_32 = (1 << 31) - 1


def pod_message(store: Store, pod: Pod) -> Any:
    """The ``Pod`` of a pod, manifest included. What cannot be read is left out and told on standard error. Raises OSError."""
    message = messages.Pod(
        id=pod.uuid,
        pid=_in_32(pod.pid()),
        state=messages.enum_value(_STATES.get(pod.state, "POD_STATE_UNDEFINED")),
        created_at=pod.created_ns or 0,
        started_at=pod.started_ns or 0,
        gc_marked_at=pod.gc_marked_ns or 0,
    )
    try:
        if pod.has_manifest:
            data = pod.manifest_bytes()
            manifest = PodManifest.from_bytes(data)
            message.manifest = data
            message.annotations.extend(key_values(manifest.annotations))
            message.apps.extend([_app(store, pod, app) for app in manifest.apps])
        if pod.state in _WITH_NETWORKS:
            message.networks.extend([_network(network) for network in pod.networks()])
        if pod.state == pod_states.RUNNING:
            message.cgroup = _cgroup(pod)
    except (RktpyError, OSError) as error:
        note("api-service", f"pod {quoted(pod.uuid)} cannot be read: {innermost(error)}")
    return message


def _app(store: Store, pod: Pod, app: RuntimeApp) -> Any:
    status = pod.app_status(app.name)
    state = "APP_STATE_UNDEFINED"
    if pod.is_after_run or status is not None:
        state = "APP_STATE_EXITED"
    elif pod.state == pod_states.RUNNING:
        state = "APP_STATE_RUNNING"
    image = messages.Image(base_format=format_of(store, app.image.id), id=app.image.id)
    try:
        manifest = ImageManifest.from_bytes(pod.read(f"appsinfo/{app.name}/manifest"))
        image.name, image.version = manifest.name, manifest.label("version") or "latest"
    except (FormatError, OSError) as error:
        note("api-service", f"image manifest of app {quoted(app.name)} of pod {quoted(pod.uuid)}: {innermost(error)}")
    return messages.App(
        name=app.name,
        image=image,
        state=messages.enum_value(state),
        exit_code=_in_32(status),
        annotations=key_values(app.annotations),
    )


def _network(network: dict[str, Any]) -> Any:
    address = str(network.get("ip", ""))
    member = "ipv6" if ":" in address else "ipv4"
    return messages.Network(name=str(network.get("netName", "")), **{member: address})


def _cgroup(pod: Pod) -> str:
    """The pod's cgroup: what stage1 wrote down, else that of the pod's first process; empty while there is none."""
    written = pod.read_optional(SUBCGROUP_FILE)
    if written is not None:
        return "/" + written.decode("utf-8", "replace").strip().lstrip("/")
    pid = pod.recorded_pid()
    if pid is None:
        parent = pod.recorded_parent_pid()
        children = children_of(parent) if parent is not None else []
        if len(children) != 1:
            return ""
        pid = children[0]
    try:
        with open(f"/proc/{pid}/cgroup", "rb", buffering=0) as file:
            lines = file.readall().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    groups = {controllers: group for _number, controllers, group in [line.split(":", 2) for line in lines]}
    # As in rkt systemd's own hierarchy, where there is one; and systemd in the pod moves itself to a group below the pod's.
    return groups.get("name=systemd", groups.get("", "")).removesuffix("/init.scope")


def _in_32(number: int | None) -> int:
    return -1 if number is None or not -_MOST_32 <= number <= _MOST_32 else number
