"""Volumes of the app, as operations.

Which volume goes where is decided as rkt does it: the mounts of the runtime app first; then mount points of the app without a
mount get the volume of their name, or an empty volume that is made for them. Deeper targets come after shallower ones.

Whether a host volume that does not say is bound with its sub-mounts is up to the stage1: as in rkt, fly does not and the others
do. A volume that is a mount point which the host shares stays shared with it, so that what the app mounts there shows up on the
host. Unlike rkt, no mount of the host is made shared that is not. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import Stage1Error
from rktpy.formats.pod import Volume
from rktpy.isolate.host_mounts import host_namespace, shared_mounts
from rktpy.isolate.mounts import Bind
from rktpy.isolate.plan import Operation, shown
from rktpy.isolate.root import Root
from rktpy.log import debug, note
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.isolate.pod_app import PodApp

SHARED_VOLUMES = "sharedVolumes"


class VolumeMount(Record):
    """A volume at a place. ``from_image``: an empty volume that starts with what the image has there, as Docker does it."""

    volume: Volume
    path: str
    read_only: bool = False
    from_image: bool = False


class EmptyVolume(Operation):
    """The directory of an empty volume; ``copy_from`` names the place in the image whose content and owner it takes over."""

    path: str
    mode: int
    uid: int
    gid: int
    copy_from: str = ""

    def describe(self) -> str:
        copied = f" from the image's {shown(self.copy_from)}" if self.copy_from else ""
        return f"make the volume {shown(self.path)}{copied}"

    def execute(self, root: Root) -> None:
        shared = os.path.dirname(self.path)
        try:
            os.mkdir(shared)
        except FileExistsError:
            pass
        os.chmod(shared, 0o755)
        os.mkdir(self.path, 0o700)
        if self.copy_from:
            try:
                source = root.open(self.copy_from, os.O_RDONLY | os.O_DIRECTORY)
            except (FileNotFoundError, NotADirectoryError):
                pass  # the image declares a volume that it has no directory for
            else:
                from rktpy.isolate.copy_tree import copy_tree

                try:
                    copy_tree(source, self.path)
                finally:
                    os.close(source)
                return
        os.chown(self.path, self.uid, self.gid)
        os.chmod(self.path, self.mode)


def choose_mounts(pod: PodApp) -> tuple[VolumeMount, ...]:
    """Which volume goes where. Raises :class:`Stage1Error` for a mount whose volume is missing or whose target is the root."""
    by_name = {volume.name: volume for volume in pod.manifest.volumes}
    points = {point.name: point for point in pod.app.mount_points}
    chosen: list[VolumeMount] = []
    taken: set[str] = set()
    for mount in pod.runtime.mounts:
        volume = mount.app_volume or by_name.get(mount.volume)
        if volume is None:
            raise Stage1Error(f"could not find volume {shown(mount.volume)}")
        point = points.get(mount.volume)
        path = _target(mount.path, mount.volume)
        taken.add(path)
        chosen.append(VolumeMount(volume, path, _read_only(volume, point is not None and point.read_only)))
    for point in pod.app.mount_points:
        path = _target(point.path, point.name)
        if path in taken:
            continue
        taken.add(path)
        volume = by_name.get(point.name)
        if volume is None:
            note(
                "stage1",
                f'warning: no volume specified for mount point {shown(point.name)}, implicitly creating an "empty" volume',
            )
            volume = Volume(f"{pod.name}-{point.name}", "empty", mode="0755", uid=0, gid=0)
            chosen.append(VolumeMount(volume, path, point.read_only, pod.from_docker))
        else:
            chosen.append(VolumeMount(volume, path, _read_only(volume, point.read_only)))
    for volume in pod.manifest.volumes:
        if all(mount.volume is not volume for mount in chosen):
            debug("stage1", f"skipping unused volume {shown(volume.name)}")
    chosen.sort(key=lambda mount: mount.path.count("/"))
    return tuple(chosen)


def check_sources(app: PodApp, mounts: tuple[VolumeMount, ...]) -> None:
    """Refuse host volumes that are not there, with systemd-nspawn's status, which is rkt's then. Raises Stage1Error."""
    for mount in mounts:
        if mount.volume.kind == "host":
            try:
                os.stat(mount.volume.source)
            except OSError as error:
                raise Stage1Error(f"app {app.name}: can't find the source of volume {shown(mount.volume.name)}", 1) from error


def volume_operations(mounts: tuple[VolumeMount, ...], directory: str, *, recursive: bool = False) -> list[Operation]:
    """What puts the volumes of a pod in ``directory`` in place. ``recursive`` is for host volumes that do not say it."""
    operations: list[Operation] = []
    made: set[str] = set()
    shared: frozenset[str] = shared_mounts() if any(mount.volume.kind == "host" for mount in mounts) else frozenset()
    host = host_namespace() if shared else ""
    for mount in mounts:
        volume = mount.volume
        source = volume.source
        if volume.kind == "empty":
            source = f"{directory}/{SHARED_VOLUMES}/{volume.name}"
            if source not in made:
                made.add(source)
                copied = mount.path if mount.from_image else ""
                operations.append(EmptyVolume(source, volume.mode_bits, volume.uid or 0, volume.gid or 0, copied))
        namespace = host if volume.kind == "host" and os.path.realpath(source) in shared else ""
        deep = recursive if volume.recursive is None and volume.kind == "host" else bool(volume.recursive)
        operations.append(Bind(source, mount.path, deep, mount.read_only, namespace))
    return operations


def _target(path: str, volume: str) -> str:
    clean = os.path.normpath(f"/{path}")
    clean = "/" + clean.lstrip("/")
    if clean == "/":
        raise Stage1Error(f"can't mount volume {shown(volume)} over the root of the app")
    return clean


def _read_only(volume: Volume, wanted_by_image: bool) -> bool:
    """What the volume says; what the image's mount point says when the volume says nothing."""
    says = any(name.casefold() == "readonly" for name in volume.to_dict())
    return volume.read_only if says else wanted_by_image
