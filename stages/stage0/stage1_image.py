"""Which stage1 a pod gets, and how its entry points are found later.

Source: rkt 1.30 ``rkt/stage1hash.go``: one of ``--stage1-{path,url,name,hash,from-dir}``, else the configured image, else the
default. What comes with rktpy is not an image but a package of this program (*bundled*); it is chosen by ``--stage1=NAME``, and
also by the names under which rkt ships the same flavour, where no such image is at hand. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import NotFoundError, RktpyError, StateError, UsageError
from rktpy.formats.stage1 import STAGE1_MANIFEST, EntryPoints
from rktpy.record import Record
from rktpy.stage0.options import FetchOptions, Stage1Choice
from rktpy.stage0.pod_states import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from rktpy.config import Config
    from rktpy.stage0.options import Globals
    from rktpy.stage0.pods import Pod
    from rktpy.store.store import Store

BUNDLED = ("fly", "kvm", "oci", "systemd")
DEFAULT = "systemd"
#: Where distributions put stage1 images; they are trusted like the program itself.
IMAGES_DIR = "/usr/lib/rktpy/stage1-images"

#: rkt's own stage1 images, by name and by file name, and what does the same here.
_RKT_NAMES = {
    "coreos.com/rkt/stage1-fly": "fly",
    "coreos.com/rkt/stage1-coreos": "systemd",
    "coreos.com/rkt/stage1-host": "systemd",
    "coreos.com/rkt/stage1-src": "systemd",
    "coreos.com/rkt/stage1-kvm": "kvm",
}
_RKT_FILES = {
    "stage1-fly.aci": "fly",
    "stage1-coreos.aci": "systemd",
    "stage1-host.aci": "systemd",
    "stage1-src.aci": "systemd",
    "stage1-kvm.aci": "kvm",
}


class Stage1(Record):
    """A chosen stage1: ``bundled`` is the name of one that comes with rktpy, else ``image_id`` is in the store.

    ``oci_runtime`` is what stage1-oci shall use, empty for its own choice.
    """

    bundled: str = ""
    image_id: str = ""
    oci_runtime: str = ""


def choose(g: Globals, store: Store, choice: Stage1Choice) -> Stage1:
    """The stage1 for a new pod; an image is fetched if need be. Raises RktpyError."""
    if choice.oci_runtime:
        if choice.replace(oci_runtime="") not in (Stage1Choice(), Stage1Choice(bundled="oci")):
            raise UsageError("--oci-runtime is for stage1 oci only")
        return Stage1("oci", oci_runtime=choice.oci_runtime)
    if choice.bundled:
        if choice.bundled not in BUNDLED:
            raise UsageError(f"no stage1 named {quoted(choice.bundled)} comes with rktpy (there is: {', '.join(BUNDLED)})")
        return Stage1(choice.bundled, oci_runtime=_configured_runtime(g) if choice.bundled == "oci" else "")
    if choice.path or choice.url:
        bundled = _in_place_of(choice.path)
        if bundled is not None:
            return Stage1(bundled)
        location = choice.url or os.path.abspath(choice.path)
        return _fetched(g, store, location, trusted=_is_trusted(choice.path))
    if choice.hash:
        return _fetched(g, store, choice.hash)
    if choice.name:
        return _named(g, store, choice.name)
    if choice.from_dir:
        return _from_dir(g, store, choice.from_dir)
    return _configured(g, store)


def _fetched(g: Globals, store: Store, reference: str, *, trusted: bool = False, policy: str = "new") -> Stage1:
    from rktpy.stage0.images import find_or_fetch

    if trusted:
        g = g.replace(insecure=g.insecure.replace(image=True))
    image_id = find_or_fetch(g, store, reference, FetchOptions(pull_policy=policy))
    EntryPoints.from_manifest(store.manifest(image_id), f"stage1 image {reference}")
    return Stage1(image_id=image_id)


def _named(g: Globals, store: Store, name: str) -> Stage1:
    bundled = _RKT_NAMES.get(name.partition(":")[0].partition(",")[0])
    if bundled is None:
        return _fetched(g, store, name)
    try:
        return _fetched(g, store, name, policy="never")
    except NotFoundError:
        return Stage1(bundled)


def _from_dir(g: Globals, store: Store, name: str) -> Stage1:
    directory = _configuration(g).paths.stage1_images or IMAGES_DIR
    path = os.path.normpath(os.path.join(directory, name))
    bundled = _in_place_of(path)
    if bundled is not None:
        return Stage1(bundled)
    return _fetched(g, store, path, trusted=_is_trusted(path))


def _configured(g: Globals, store: Store) -> Stage1:
    # Most machines have no such configuration, and every start comes through here.
    if not any(os.path.isdir(f"{directory}/stage1.d") for directory in (g.system_config, g.local_config, g.user_config)):
        return Stage1(DEFAULT)
    settings = _configuration(g).stage1
    if settings.name and settings.version:
        try:
            return _fetched(g, store, f"{settings.name}:{settings.version}", policy="never")
        except NotFoundError:
            if not settings.location:
                bundled = _RKT_NAMES.get(settings.name)
                if bundled is not None:
                    return Stage1(bundled)
                raise
    if settings.location:
        bundled = _in_place_of(settings.location)
        if bundled is not None:
            return Stage1(bundled)
        try:
            return _fetched(g, store, settings.location, trusted=_is_trusted(settings.location))
        except RktpyError as error:
            raise RktpyError("failed to fetch stage1 image") from error
    return Stage1("oci", oci_runtime=settings.oci_runtime) if settings.oci_runtime else Stage1(DEFAULT)


def _configured_runtime(g: Globals) -> str:
    return _configuration(g).stage1.oci_runtime


def _in_place_of(path: str) -> str | None:
    """The bundled stage1 that stands in for one of rkt's image files where that file is not at hand."""
    bundled = _RKT_FILES.get(os.path.basename(path))
    if bundled is None or "://" in path or os.path.exists(path):
        return None
    return bundled


def _configuration(g: Globals) -> Config:
    from rktpy.config import load_config

    return load_config(g.system_config, g.local_config, g.user_config)


def _is_trusted(path: str) -> bool:
    """Whether a file lies where only the system's administrator and packages can put it."""
    return bool(path) and os.path.abspath(path).startswith(IMAGES_DIR + "/")


def bundled_manifest(name: str) -> bytes:
    """The image manifest of a bundled stage1. Raises OSError."""
    with open(bundled_program(name, "manifest"), "rb") as file:
        return file.read()


def offered(store: Store, stage1: Stage1) -> EntryPoints:
    """What a chosen stage1 offers, before there is a pod. Raises NotFoundError, FormatError, OSError."""
    from rktpy.formats.aci.manifest import ImageManifest

    if stage1.image_id:
        return EntryPoints.from_manifest(store.manifest(stage1.image_id))
    return EntryPoints.from_manifest(ImageManifest.from_bytes(bundled_manifest(stage1.bundled), "stage1 manifest"))


def bundled_program(name: str, path: str) -> str:
    """The absolute path of a program of a bundled stage1, which its manifest names by ``path``."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return f"{package}/stage1/{name}/{path}"


def entry_points(pod: Pod) -> EntryPoints:
    """What the pod's stage1 offers. Raises StateError when its manifest is not there, FormatError."""
    from rktpy.formats.aci.manifest import ImageManifest

    data = pod.read_optional(STAGE1_MANIFEST)
    if data is None:
        raise StateError(f"the stage1 manifest of pod {quoted(pod.uuid)} is missing")
    return EntryPoints.from_manifest(ImageManifest.from_bytes(data, "stage1 manifest"))


def bundled_module(name: str, entry_point: str) -> ModuleType:
    """The module of a bundled stage1's entry point, which is called as in the contract with ``_`` for ``/`` and ``-``: ``run``,
    ``enter``, ``stop``, ``gc``, ``attach``, ``app_add``, ``app_rm``, ``app_start``, ``app_stop``. Raises StateError."""
    if name not in BUNDLED:
        raise StateError(f"the pod was made for stage1 {quoted(name)}, which does not come with this rktpy")
    module: ModuleType = __import__(f"rktpy.stage1.{name}.{entry_point}", None, None, ("main",))
    return module
