"""The apps that a stage1 runs: read from the pod directory, which is the working directory, and from nothing else.

Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import Stage1Error
from rktpy.formats import stage1 as names
from rktpy.formats.aci.manifest import App, ImageManifest
from rktpy.formats.pod import PodManifest, RuntimeApp

_LARGEST_MANIFEST = 16 << 20


class PodApp:
    """One app of a pod, with what its image says."""

    __slots__ = ("_image", "app", "directory", "manifest", "runtime", "uuid")

    def __init__(self, directory: str, uuid: str, manifest: PodManifest, runtime: RuntimeApp) -> None:
        self.directory = directory
        self.uuid = uuid
        self.manifest = manifest
        self.runtime = runtime
        self._image: ImageManifest | None = None
        self.app: App = runtime.app or self.image.app or App()

    @property
    def name(self) -> str:
        """The app's name."""
        return self.runtime.name

    @property
    def image(self) -> ImageManifest:
        """The manifest of the app's image. Raises FormatError or OSError."""
        if self._image is None:
            self._image = ImageManifest.from_bytes(read_file(f"{names.APPS_INFO_DIR}/{self.runtime.name}/manifest"))
        return self._image

    def load_image(self) -> None:
        """Read the image's manifest now: later the pod's directory may be out of reach."""
        self._image = self.image

    def take_image(self, other: PodApp) -> None:
        """Use what another object for the same app has read."""
        self._image = other.image

    @property
    def from_docker(self) -> bool:
        """Whether the image was converted from a Docker or OCI image, whose volumes start with the image's content."""
        return self.image.annotation(names.DOCKER_REPOSITORY) is not None

    @property
    def speaks_notify(self) -> bool:
        """Whether the app speaks sd_notify(3), by the pod's annotation for it or else by its image's."""
        said = self.runtime.annotation(names.SUPPORTS_NOTIFY)
        return (self.image.annotation(names.SUPPORTS_NOTIFY) if said is None else said) == "true"

    @property
    def rootfs(self) -> str:
        """The absolute path of the app's root."""
        return f"{self.directory}/{names.app_rootfs(self.runtime.name)}"


def load_apps(uuid: str) -> tuple[PodManifest, tuple[PodApp, ...]]:
    """Read the pod in the working directory. Raises Stage1Error, FormatError, OSError."""
    manifest = PodManifest.from_bytes(read_file(names.POD_FILE))
    directory = os.getcwd()
    return manifest, tuple([PodApp(directory, uuid, manifest, runtime) for runtime in manifest.apps])


def load_only_app(uuid: str) -> PodApp:
    """The app of the pod in the working directory. Raises Stage1Error when it has not exactly one, FormatError, OSError."""
    _manifest, apps = load_apps(uuid)
    if len(apps) != 1:
        raise Stage1Error("fly only supports 1 application per Pod for now")
    return apps[0]


def read_file(path: str) -> bytes:
    """A small file of the pod directory."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, _LARGEST_MANIFEST + 1)
        if len(data) > _LARGEST_MANIFEST:
            raise Stage1Error(f"{path} is larger than {_LARGEST_MANIFEST} bytes")
        return data
    finally:
        os.close(fd)


def write_file(path: str, content: bytes, mode: int = 0o644) -> None:
    """Replace a small file of the pod directory; a reader sees the old one or the whole new one."""
    temporary = f"{path}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)
    os.rename(temporary, path)


def append_file(path: str, text: str) -> None:
    """Add to a small file that is there, in one write. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("utf-8", "surrogateescape"))
    finally:
        os.close(fd)
