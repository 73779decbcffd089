"""Preparing a pod: everything that a stage1 needs is written into the pod's directory (see ``pods`` for what is where).

Flags, images and manifest are looked at before anything is created, so a wrong command line changes nothing. A pod that is killed
half-way stays behind as an aborted prepare, for gc. Behaviour as rkt's ``rkt/prepare.go`` and ``stage0/run.go``. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import ImageGone, NotFoundError, RktpyError, StateError
from rktpy.formats import stage1 as contract
from rktpy.log import debug, note
from rktpy.stage0 import images, overlay, podmanifest, pods, stage1_image
from rktpy.stage0.pod_files import TRUST_FILE
from rktpy.stage0.pod_states import quoted
from rktpy.store.dependencies import order
from rktpy.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.aci.manifest import ImageManifest
    from rktpy.formats.pod import PodManifest
    from rktpy.formats.user_range import UserRange
    from rktpy.stage0.options import Globals, PodOptions
    from rktpy.stage0.podmanifest import Image
    from rktpy.stage0.pods import Pod
    from rktpy.stage0.stage1_image import Stage1
    from rktpy.trust.decision import Decision

BUNDLED_FILE = "stage1-bundled"
#: Marks a pod that refuses to start with less isolation than it asks for.
STRICT_FILE = "strict"

_DIRECTORY_MODE = 0o750
_FILE_MODE = 0o640


def prepare(g: Globals, options: PodOptions) -> str:
    """Prepare a pod for ``run-prepared``; returns its UUID. Raises RktpyError, OSError."""
    podmanifest.check_options(options)
    with (
        Store(g.data_dir) as store,
        create(g, store, options, stage1_image.choose(g, store, options.stage1)) as pod,
    ):
        _sync(pod)
        pod.to_prepared()
        return pod.uuid


def create(g: Globals, store: Store, options: PodOptions, stage1: Stage1, *, uuid_file: str = "", to_run: bool = False) -> Pod:
    """A pod in state preparing with all its files, locked by this process; its UUID in ``uuid_file`` as soon as it has one.

    ``options`` have been checked. ``to_run`` says that this process will also run the pod. Raises RktpyError, OSError. What this
    writes is not synced.
    """
    if options.private_users:
        from rktpy.stage0.private_users import check_supported

        check_supported()
    for attempts_left in (2, 1, 0):
        try:
            image_ids = [images.find_or_fetch(g, store, app.image, options.fetch, app.signature) for app in options.apps]
        except ImageGone:
            # Somebody removed it between the moment it was found or fetched and the decision about it.
            if not attempts_left:
                raise
            continue
        asked = [] if options.pod_manifest else [images.logical_name(app.image) for app in options.apps]
        use_overlay = not options.no_overlay and _overlay_works(g.data_dir)
        with store.prepare_lock(exclusive=False):
            try:
                manifest, found = _load(store, options, image_ids)
            except NotFoundError:
                # Somebody removed an image before we had the lock that keeps it.
                if options.pod_manifest or not attempts_left:
                    raise
                continue
            names = [app.name for app in manifest.apps]
            data = podmanifest.checked(manifest)
            trust = _decide(g, store, names, found, asked, show=True)
            pod = pods.create(g.data_dir, detached=to_run)
            try:
                if uuid_file:
                    _save_uuid(uuid_file, pod.uuid)
                users = _reserve_users(g, pod) if options.private_users else None
                if users is not None and use_overlay:
                    use_overlay = _mapping_works(store, users)
                writer = Writer(pod, use_overlay, users)
                writer.stage1(store, stage1)
                writer.directory(contract.APPS_INFO_DIR)
                for name, image in zip(names, found, strict=True):
                    writer.app(store, name, image)
                if any(image.manifest.dependencies for image in found) and _decide(g, store, names, found, asked) != trust:
                    # Dependencies are found by name: what was judged must be what the tree was made of.
                    raise StateError("the dependencies of an image have changed while the pod was prepared: try again")
                writer.pod(data, trust, strict=options.strict)
            except OSError as error:
                pod.close()
                raise RktpyError("error setting up stage0") from error
            except BaseException:
                pod.close()
                raise
            return pod
    raise NotFoundError("the images were removed again and again while the pod was prepared")


def _load(store: Store, options: PodOptions, image_ids: list[str]) -> tuple[PodManifest, list[Image]]:
    """The pod manifest and the images of its apps. Raises NotFoundError and what building a manifest raises."""
    if options.pod_manifest:
        return podmanifest.from_file(options.pod_manifest, store)
    found = [podmanifest.load_image(store, image_id) for image_id in image_ids]
    return podmanifest.from_options(options, found), found


def _save_uuid(path: str, uuid: str) -> None:
    try:
        pods.write_uuid_file(path, uuid)
    except OSError as error:
        raise RktpyError("error saving pod UUID to file") from error


def _reserve_users(g: Globals, pod: Pod) -> UserRange:
    from rktpy.stage0.private_users import reserve_range

    return reserve_range(g.data_dir, pod.fileno())


def _mapping_works(store: Store, users: UserRange) -> bool:
    problem = overlay.why_not_mapped((store.layout.trees, store.layout.blobs), users)
    if problem:
        debug("stage0", f"disabling overlay support for the user namespace: {quoted(problem)}")
    return not problem


def _overlay_works(data_dir: str) -> bool:
    problem = overlay.why_not(data_dir)
    if problem:
        note("stage0", f"disabling overlay support: {quoted(problem)}")
    return not problem


def _decide(g: Globals, store: Store, names: list[str], found: list[Image], asked: list[str], *, show: bool = False) -> bytes:
    """Judge the apps' images, ``asked`` for by these references (empty for IDs; none at all in a pod manifest)."""
    made: dict[str, list[Decision]] = {}
    for at, (name, image) in enumerate(zip(names, found, strict=True)):
        made[name] = images.decisions(g, store, image.id, asked[at] if asked else "")
        for decision in made[name]:
            images.require(g, decision)
        if show:
            images.explain(g, made[name])
    return images.trust_document(made)


def image_tree(store: Store, image_id: str, manifest: ImageManifest) -> str:
    """The ID of an image's tree, rendered now if it is not there. One that is there costs no import of what renders."""
    ids = [step.image_id for step in order(store.layout, image_id)] if manifest.dependencies else [image_id]
    tree_id = store.tree_id(ids)
    return tree_id if store.tree_ready(tree_id) else store.ensure_tree(image_id)


class Writer:
    """Writes the files of one pod. Paths are relative to the pod's directory."""

    def __init__(self, pod: Pod, use_overlay: bool, users: UserRange | None) -> None:
        self._pod = pod
        self._fd = pod.fileno()
        self._overlay = use_overlay
        self._users = users

    def directory(self, path: str) -> None:
        """Make a directory."""
        os.mkdir(path, _DIRECTORY_MODE, dir_fd=self._fd)

    def file(self, path: str, data: bytes = b"", mode: int = _FILE_MODE) -> None:
        """Write a file that is not there yet."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(path, flags, mode, dir_fd=self._fd)
        try:
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)

    def stage1(self, store: Store, stage1: Stage1) -> None:
        """The stage1's manifest and root."""
        self.directory(contract.STAGE1_DIR)
        if stage1.bundled:
            self.file(contract.STAGE1_MANIFEST, stage1_image.bundled_manifest(stage1.bundled))
            self.file(BUNDLED_FILE, stage1.bundled.encode())
            if stage1.oci_runtime:
                self.file(contract.OCI_RUNTIME_FILE, os.fsencode(stage1.oci_runtime))
            self.directory(contract.STAGE1_ROOTFS)
            return
        self.file(contract.STAGE1_MANIFEST, store.manifest_bytes(stage1.image_id))
        self.file(contract.STAGE1_TREE_FILE, image_tree(store, stage1.image_id, store.manifest(stage1.image_id)).encode())
        if self._overlay:
            self.directory(contract.STAGE1_ROOTFS)
        else:
            self.copy(store, stage1.image_id, contract.STAGE1_ROOTFS)

    def app(self, store: Store, name: str, image: Image) -> None:
        """An app's image manifest and root."""
        debug("stage0", f"Loading image {image.id}")
        info = f"{contract.APPS_INFO_DIR}/{name}"
        self.directory(info)
        self.file(f"{info}/manifest", image.data)
        if self._overlay:
            self.file(f"{info}/{contract.APP_TREE_FILE}", image_tree(store, image.id, image.manifest).encode())
            return
        app_dir = contract.app_dir(name)
        os.makedirs(f"{self._pod.path}/{app_dir}", _DIRECTORY_MODE, exist_ok=True)
        self.file(f"{app_dir}/manifest", image.data)
        self.copy(store, image.id, contract.app_rootfs(name))

    def copy(self, store: Store, image_id: str, path: str) -> None:
        """Unpack an image, with what it depends on, into a directory that is not there yet."""
        target = f"{self._pod.path}/{path}"
        store.render(image_id, target, rootfs_only=True)
        if self._users is not None:
            from rktpy.isolate.shift_tree import shift_tree

            shift_tree(target, self._users)

    def pod(self, manifest: bytes, trust: bytes, *, strict: bool) -> None:
        """The pod's own files; the one that dates the pod comes last."""
        self.file(contract.POD_LOCK_FILE, mode=0o600)
        self.file(contract.POD_FILE, manifest)
        self.file(TRUST_FILE, trust)
        if self._overlay:
            self.file(contract.OVERLAY_PREPARED_FILE)
        if strict:
            self.file(STRICT_FILE)
        self.file(contract.POD_CREATED_FILE)


def _sync(pod: Pod) -> None:
    """Write the pod's files out, before its state says that it is prepared."""
    if not pod.uses_overlay:
        # Copied roots: as many files as the images have.
        from rktpy.linux.syscalls import syncfs

        syncfs(pod.fileno())
        return
    for _path, _names, files, fd in os.fwalk(".", dir_fd=pod.fileno(), follow_symlinks=False):
        for name in files:
            file = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=fd)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        os.fsync(fd)
