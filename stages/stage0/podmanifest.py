"""The manifest of a new pod: from images and flags, or from a file that the user wrote.

The result is complete, so that a stage1 needs nothing but the pod's directory: images by ID, every app with its app section,
every mount with a volume. Behaviour and messages as rkt's stage0/run.go and common/networking/ports.go. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import NotFoundError, RktpyError, UsageError
from rktpy.formats import jsondoc
from rktpy.formats.aci.types import AC_VERSION, NameValue, ac_name_problem, app_name_of, is_image_id, with_value
from rktpy.formats.pod import ExposedPort, Mount, PodManifest, RuntimeApp, RuntimeImage
from rktpy.formats.stage1 import MUTABLE, STDERR, STDIN, STDOUT
from rktpy.record import Record
from rktpy.stage0.app_settings import merge_environment, override_app, read_env_file
from rktpy.stage0.pod_files import objects_in
from rktpy.stage0.pod_states import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from rktpy.formats.aci.manifest import ImageManifest, Port
    from rktpy.stage0.options import AppOptions, PodOptions
    from rktpy.store.store import Store

_LARGEST_MANIFEST = 16 << 20
_ARCHITECTURES = {
    # What a kernel of this machine type runs, in appc's words.
    "x86_64": ("amd64", "i386"),
    "i686": ("i386",),
    "aarch64": ("aarch64", "armv7l", "armv6l"),
    "armv7l": ("armv7l", "armv6l"),
    "armv6l": ("armv6l",),
    "ppc64le": ("ppc64le",),
    "ppc64": ("ppc64",),
    "s390x": ("s390x",),
}


class Image(Record):
    """An image of a pod: its ID and its manifest as the store keeps it."""

    id: str
    manifest: ImageManifest
    data: bytes


def load_image(store: Store, image_id: str) -> Image:
    """An image's manifest from the store, with what the pod needs of it checked. Raises RktpyError."""
    from rktpy.formats.aci.manifest import ImageManifest

    data = store.manifest_bytes(image_id)
    manifest = ImageManifest.from_bytes(data, f"manifest of image {image_id}")
    system, architecture = manifest.label("os"), manifest.label("arch")
    if not system:
        raise UsageError("missing os label in the image manifest")
    if not architecture:
        raise UsageError("missing arch label in the image manifest")
    if system != "linux":
        raise UsageError(f"bad os {quoted(system)} (must be one of: [linux])")
    machine = os.uname().machine
    known = _ARCHITECTURES.get(machine)
    if known is not None and architecture not in known:
        raise UsageError(f"bad arch {quoted(architecture)} for linux (this machine runs: [{' '.join(known)}])")
    return Image(image_id, manifest, data)


def check_options(options: PodOptions) -> None:
    """Refuse combinations of flags that make no sense, before anything is fetched. Raises UsageError with rkt's messages."""
    if options.pod_manifest:
        if (
            options.apps
            or options.volumes
            or options.mounts
            or options.ports
            or options.fetch.pull_policy in ("never", "update")
            or options.inherit_env
            or options.environment
            or options.env_files
        ):
            raise UsageError("conflicting flags set with --pod-manifest (see --help)")
        return
    if not options.apps and not options.mutable:
        raise UsageError("must provide at least one image or specify the pod manifest")
    volumes = {volume.name for volume in options.volumes}
    for mounts in (options.mounts, *[app.mounts for app in options.apps]):
        for volume, target in mounts:
            if volume not in volumes:
                raise UsageError(f"dangling mount point {quoted(target)}: volume {quoted(volume)} not found")


def from_options(options: PodOptions, images: list[Image]) -> PodManifest:
    """The manifest for the apps of a command line; ``images`` are those of ``options.apps``, in order.

    Raises UsageError, FormatError.
    """
    files: list[NameValue] = []
    for path in options.env_files:
        try:
            files.extend(read_env_file(path))
        except OSError as error:
            raise UsageError(f"cannot read environment file {quoted(path)}") from error
    inherited = os.environ if options.inherit_env else None
    apps: list[RuntimeApp] = []
    for app_options, image in zip(options.apps, images, strict=True):
        app = runtime_app(app_options, image, options.mounts, inherited=inherited, files=files, pod=options.environment)
        if any(other.name == app.name for other in apps):
            raise UsageError(f"error: multiple apps with name {app.name} (give one of them another --name)")
        apps.append(app)
    annotations: tuple[NameValue, ...] = (NameValue(MUTABLE, "true" if options.mutable else "false"),)
    for pair in options.annotations:
        if pair.name != MUTABLE:
            annotations = with_value(annotations, pair.name, pair.value)
    manifest = PodManifest(
        AC_VERSION,
        tuple(apps),
        options.volumes,
        annotations=annotations,
        ports=options.ports,
        user_annotations={pair.name: pair.value for pair in options.user_annotations},
        user_labels={pair.name: pair.value for pair in options.user_labels},
    )
    check_mounts(manifest)
    check_ports(manifest)
    return manifest


def runtime_app(
    options: AppOptions,
    image: Image,
    pod_mounts: tuple[tuple[str, str], ...] = (),
    *,
    inherited: Mapping[str, str] | None = None,
    files: Iterable[NameValue] = (),
    pod: Iterable[NameValue] = (),
) -> RuntimeApp:
    """The entry of one app in a pod manifest: what its image says, with its flags applied.

    ``inherited``, ``files`` and ``pod`` are environments as :func:`merge_environment` takes them. Raises UsageError, FormatError.
    """
    manifest = image.manifest
    name = options.name or app_name_of(manifest.name)
    problem = ac_name_problem(name)
    if problem:
        raise UsageError(f"invalid app name format: {problem}")
    if manifest.app is None and not options.exec:
        raise UsageError(f"error: image {image.id} has no app section and --exec argument is not provided")
    annotations: tuple[NameValue, ...] = ()
    for pair in options.annotations:
        annotations = with_value(annotations, pair.name, pair.value)
    for key, mode in ((STDIN, options.stdin), (STDOUT, options.stdout), (STDERR, options.stderr)):
        if mode:
            annotations = with_value(annotations, key, mode)
    app = override_app(manifest.app, options)
    environment = merge_environment(app.environment, inherited=inherited, files=files, pod=pod, app=options.environment)
    if environment != app.environment:
        app = app.replace(environment=environment)
    return RuntimeApp(
        name,
        RuntimeImage(image.id, manifest.name, manifest.labels),
        app,
        options.readonly_rootfs,
        merge_mounts(options.mounts, pod_mounts, options.mount_volumes),
        annotations,
    )


def merge_mounts(
    app: tuple[tuple[str, str], ...], pod: tuple[tuple[str, str], ...], with_volumes: tuple[Mount, ...] = ()
) -> tuple[Mount, ...]:
    """The mounts of an app, its own before those for all apps; of several with one path the first counts."""
    mounts: dict[str, Mount] = {}
    own = [Mount(volume, target) for volume, target in app]
    for mount in (*own, *with_volumes, *[Mount(volume, target) for volume, target in pod]):
        mounts.setdefault(os.path.normpath(mount.path), mount)
    return tuple(mounts.values())


def from_file(path: str, store: Store) -> tuple[PodManifest, list[Image]]:
    """The manifest in a user's file, completed, and the images of its apps in order.

    Images are named by ID (a unique prefix will do) or, without an ID, by name and labels; they must be in the store. Raises
    RktpyError.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST_MANIFEST)
    except OSError as error:
        raise UsageError("error reading pod manifest") from error
    document = jsondoc.parse_object(data, PodManifest.WHAT)
    manifest = PodManifest.from_dict(document) if _fill_ids(document, store) else PodManifest.from_bytes(data)
    images: list[Image] = []
    apps: list[RuntimeApp] = []
    for app in manifest.apps:
        image = _stored_image(store, app.image.id)
        if image.id != app.image.id:
            app = app.replace(image=app.image.replace(id=image.id))
        if app.app is None:
            if image.manifest.app is None:
                raise UsageError("no app section in the pod manifest or the image manifest")
            app = app.replace(app=image.manifest.app)
        images.append(image)
        apps.append(app)
    if any(new is not old for new, old in zip(apps, manifest.apps, strict=True)):
        manifest = manifest.replace(apps=tuple(apps))
    if not manifest.apps:
        raise UsageError("pod must contain at least one application")
    check_mounts(manifest)
    check_ports(manifest)
    return manifest, images


def _fill_ids(document: dict[str, Any], store: Store) -> bool:
    """Put the ID of the stored image where an app names its image only by name. What is malformed is left for the parser."""
    filled = False
    for image in objects_in([app.get("image") for app in objects_in(document.get("apps"))]):
        if image.get("id") or not isinstance(image.get("name"), str):
            continue
        wanted = RuntimeImage.from_dict({**image, "id": "sha512-00"}, PodManifest.WHAT)
        record = store.find_by_name(wanted.name or "", wanted.labels)
        if record is None:
            raise NotFoundError(f"image {quoted(wanted.name or '')} is not in the store")
        image["id"] = record.id
        filled = True
    return filled


def _stored_image(store: Store, image_id: str) -> Image:
    try:
        return load_image(store, image_id if is_image_id(image_id) else store.resolve_id(image_id))
    except NotFoundError as error:
        raise NotFoundError("error getting the image manifest from store") from error


def check_mounts(manifest: PodManifest) -> None:
    """Refuse mounts of unknown volumes. Raises UsageError.

    Mount points without a volume are left to stage1, which knows what it can offer.
    """
    volumes = {volume.name for volume in manifest.volumes}
    for app in manifest.apps:
        for mount in app.mounts:
            if mount.app_volume is None and mount.volume not in volumes:
                raise UsageError(f"could not find volume {mount.volume}")
            if not mount.path.startswith("/"):
                raise UsageError(
                    f"mount of volume {mount.volume} in app {app.name}: {quoted(mount.path)} is not an absolute path"
                )


def check_ports(manifest: PodManifest) -> None:
    """Match the host's ports with those of the apps. Raises UsageError: unknown or ambiguous name, or taken twice."""
    taken: list[tuple[str, int, str, int]] = []
    for exposed in manifest.ports:
        port = exposed.pod_port or _find_port(manifest, exposed)
        host_ip = exposed.host_ip or "0.0.0.0"
        for protocol, number, address, pod_port in taken:
            if (protocol, number) == (port.protocol, exposed.host_port) and (
                address == host_ip or "0.0.0.0" in (address, host_ip)
            ):
                raise UsageError(f"port {port.protocol}-{host_ip}:{exposed.host_port} already mapped to pod port {pod_port}")
        taken.append((port.protocol, exposed.host_port, host_ip, port.port))


def _find_port(manifest: PodManifest, exposed: ExposedPort) -> Port:
    found: Port | None = None
    for app in manifest.apps:
        for port in app.app.ports if app.app is not None else ():
            if port.name == exposed.name:
                if found is not None:
                    raise UsageError(f"port name {quoted(exposed.name)} defined multiple apps")
                found = port
    if found is None:
        raise UsageError(f"port name {quoted(exposed.name)} could not be found in any apps")
    return found


def checked(manifest: PodManifest) -> bytes:
    """The bytes of the manifest, read back once so that nothing invalid is written. Raises RktpyError."""
    try:
        return manifest.to_bytes()
    except RktpyError as error:
        raise UsageError("error marshalling pod manifest") from error
