"""Which pods are registered, and under which tokens.

rkt keeps this in memory only and forgets it at a restart. Here a pod that registers has its token in its own directory
(:mod:`rktpy.stage0.metadata`), so :meth:`Registrations.rebuild` finds the running ones again. A registration goes when the pod is
unregistered, and also when the pod's directory is gone, should nobody have said so. Pods of other data directories are known
only by what they say.
"""

from __future__ import annotations

import os
import threading

from rktpy.errors import NotFoundError, RktpyError, UsageError, innermost
from rktpy.formats.aci.manifest import ImageManifest
from rktpy.formats.pod import PodManifest
from rktpy.formats.stage1 import APPS_INFO_DIR
from rktpy.log import note
from rktpy.stage0.metadata import registered_token
from rktpy.stage0.pod_states import STATES, pods_dir, quoted
from rktpy.stage0.pods import RUNNING, Pod, walk

_TOKEN_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
# 128 bits in base64 take 22 characters; rkt and rktpy write them in hexadecimal, with 32.
_TOKEN_LENGTH = range(22, 257)


class Registration:
    """One registered pod: its manifest, and the image manifests of its apps by the apps' names."""

    __slots__ = ("apps", "is_ours", "manifest", "token", "uuid")

    def __init__(self, uuid: str, token: str, manifest: PodManifest, *, is_ours: bool) -> None:
        self.uuid = uuid
        self.token = token
        self.manifest = manifest
        self.is_ours = is_ours
        self.apps: dict[str, ImageManifest] = {}


def check_token(token: str, uuid: str) -> None:
    """Refuse a token that could be guessed (appc/spec: at least 128 bits, and not the pod's UUID). Raises UsageError."""
    if len(token) not in _TOKEN_LENGTH or not _TOKEN_CHARACTERS.issuperset(token):
        raise UsageError("token must have 22 to 256 letters, digits, - or _")
    if token.replace("-", "").lower() == uuid.replace("-", ""):
        raise UsageError("token must not be the UUID")


class Registrations:
    """All registered pods. Every method may be called from any thread."""

    def __init__(self, data_dir: str) -> None:
        self._data_dir = data_dir
        self._lock = threading.Lock()
        self._by_uuid: dict[str, Registration] = {}
        self._by_token: dict[str, Registration] = {}

    def add_pod(self, uuid: str, token: str, manifest: PodManifest) -> None:
        """Register a pod; an earlier registration of it, with its token, is void. Raises UsageError for a bad token."""
        check_token(token, uuid)
        self._put(Registration(uuid, token, manifest, is_ours=self._is_here(uuid)))

    def _put(self, registration: Registration) -> None:
        with self._lock:
            holder = self._by_token.get(registration.token)
            if holder is not None and holder.uuid != registration.uuid:
                raise UsageError("token is another pod's")
            self._forget(registration.uuid)
            self._by_uuid[registration.uuid] = registration
            self._by_token[registration.token] = registration

    def add_app(self, uuid: str, app: str, manifest: ImageManifest) -> None:
        """Add an app to a registered pod. Raises NotFoundError."""
        with self._lock:
            registration = self._by_uuid.get(uuid)
            if registration is None:
                raise NotFoundError("pod not found")
            registration.apps[app] = manifest

    def remove(self, uuid: str) -> None:
        """Unregister a pod. Raises NotFoundError."""
        with self._lock:
            if not self._forget(uuid):
                raise NotFoundError("pod not found")

    def find(self, token: str) -> Registration | None:
        """The pod that a token belongs to, None when there is none (any more)."""
        with self._lock:
            registration = self._by_token.get(token)
        if registration is not None and registration.is_ours and not self._is_here(registration.uuid):
            self._drop(registration)
            return None
        return registration

    def drop_gone(self) -> None:
        """Forget the pods whose directories are gone."""
        with self._lock:
            ours = [registration for registration in self._by_uuid.values() if registration.is_ours]
        for registration in ours:
            if not self._is_here(registration.uuid):
                self._drop(registration)

    def rebuild(self) -> int:
        """Register the running pods that registered with an earlier service; their number. Bad ones are told and left out."""
        count = 0
        for pod in walk(self._data_dir, ("run",)):
            if pod.state != RUNNING:
                continue
            try:
                count += self._restore(pod)
            except (RktpyError, OSError) as error:
                note("metadata-service", f"could not register pod {quoted(pod.uuid)} again: {innermost(error)}")
        return count

    def _restore(self, pod: Pod) -> bool:
        token = registered_token(pod)
        if not token:
            return False
        check_token(token, pod.uuid)
        registration = Registration(pod.uuid, token, pod.manifest(), is_ours=True)
        for app in registration.manifest.apps:
            registration.apps[app.name] = ImageManifest.from_bytes(pod.read(f"{APPS_INFO_DIR}/{app.name}/manifest"))
        self._put(registration)
        return True

    def _drop(self, registration: Registration) -> None:
        with self._lock:
            # It may have been registered anew meanwhile.
            if self._by_uuid.get(registration.uuid) is registration:
                self._forget(registration.uuid)

    def _forget(self, uuid: str) -> bool:
        registration = self._by_uuid.pop(uuid, None)
        if registration is None:
            return False
        del self._by_token[registration.token]
        return True

    def _is_here(self, uuid: str) -> bool:
        base = pods_dir(self._data_dir)
        # In the order in which pods move, so one that moves meanwhile is found all the same.
        return any(os.path.isdir(f"{base}/{directory}/{uuid}") for directory in STATES)
