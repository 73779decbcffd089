"""Adding an app to a running mutable pod.

In this order, so that a kill at any instant leaves a pod to which the app can be added again: the app's files, the manifest that
names it, the stage1. What a killed addition has left is removed by the next one, or by ``app rm``. A failure is undone at once.

Locks: the store's prepare lock (shared) until the manifest names the image, then ``pod.lck`` until the stage1 has the app.
Behaviour as rkt 1.30's ``stage0/app_add.go``. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import NotFoundError, RktpyError, StateError, UsageError, innermost
from rktpy.formats.stage1 import (
    APP_NAME,
    APPS_INFO_DIR,
    DEFAULT_PATH,
    ENV_DIR,
    POD_FILE,
    PRIVATE_USERS_FILE,
)
from rktpy.log import debug, note
from rktpy.stage0 import app_files, images, mutable, podmanifest
from rktpy.stage0.app_rm import remove_files, tell_stage1
from rktpy.stage0.crossing import call_app, in_namespace, require_success
from rktpy.stage0.mtab import link_mtab
from rktpy.stage0.overlay import mount_overlay, writable_overlay
from rktpy.stage0.pods import find_pod
from rktpy.stage0.prepare import Writer, image_tree
from rktpy.stage0.replace_file import replace_file
from rktpy.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.pod import RuntimeApp
    from rktpy.stage0.options import AppOptions, Globals
    from rktpy.stage0.podmanifest import Image
    from rktpy.stage0.pods import Pod
    from rktpy.stage0.private_users import UserRange
    from rktpy.store.locks import Lock


def add(g: Globals, uuid: str, options: AppOptions, pod_mounts: tuple[tuple[str, str], ...] = ()) -> str:
    """Add the app that ``options`` describe, of an image that is in the store; returns its name. Raises RktpyError."""
    with find_pod(g.data_dir, uuid, "problem retrieving pod") as pod:
        mutable.require_running(pod)
        store = Store(g.data_dir, create=False)
        try:
            image_id = images.resolve_image(store, options.image)
        except RktpyError as error:
            raise NotFoundError("error finding images") from error
        prepare_lock = store.prepare_lock(exclusive=False)
        lock = None
        try:
            image = podmanifest.load_image(store, image_id)
            lock = mutable.lock_manifest(pod)
            pod.refresh()
            mutable.require_running(pod)
            asked = images.logical_name(options.image)
            return _add(g, store, pod, _runtime_app(options, image, pod_mounts), image, asked, prepare_lock)
        except (RktpyError, OSError) as error:
            raise RktpyError("error adding app to pod") from error
        finally:
            prepare_lock.release()
            if lock is not None:
                lock.release()


def _add(g: Globals, store: Store, pod: Pod, app: RuntimeApp, image: Image, asked: str, prepare_lock: Lock) -> str:
    trust = _decide(g, store, image.id, asked)
    mutable.require_mutable(pod, "cannot add application")
    before = pod.manifest()
    if before.app(app.name) is not None:
        raise UsageError(f"error: multiple apps with name {app.name}")
    manifest = before.replace(apps=(*before.apps, app))
    podmanifest.check_mounts(manifest)
    data = podmanifest.checked(manifest)
    debug("stage0", f"adding app {app.name} to pod {pod.uuid}")
    remove_files(pod, app.name)
    try:
        tree_id = _write_own(pod, store, app.name, image)
        if image.manifest.dependencies and _decide(g, store, image.id, asked) != trust:
            # Dependencies are found by name: what was judged must be what the tree was made of.
            raise StateError("the dependencies of the image have changed meanwhile: try again")
        mutable.write_trust(pod, app.name, trust)
        replace_file(pod, POD_FILE, data)
        prepare_lock.release()
        _hand_over(g, store, pod, app, image, tree_id)
    except BaseException:
        _undo(pod, app.name)
        raise
    store.touch(image.id)
    return app.name


def _decide(g: Globals, store: Store, image_id: str, asked: str) -> list[dict[str, Any]]:
    made = images.decisions(g, store, image_id, asked)
    for decision in made:
        images.require(g, decision)
    return [decision.to_dict() for decision in made]


def _runtime_app(options: AppOptions, image: Image, pod_mounts: tuple[tuple[str, str], ...]) -> RuntimeApp:
    app = podmanifest.runtime_app(options, image, pod_mounts)
    assert app.app is not None
    command = image.manifest.app.exec if image.manifest.app is not None else ()
    command = command if options.exec is None else (options.exec,)
    if options.args and command:
        # Unlike those of run, they take the place of the image's arguments (rkt, for the CRI).
        app = app.replace(app=app.app.replace(exec=(command[0], *options.args)))
    if any(mount.path[:1] != "/" for mount in app.mounts):
        mounts = [mount if mount.path[:1] == "/" else mount.replace(path=f"/{mount.path}") for mount in app.mounts]
        app = app.replace(mounts=tuple(mounts))
    return app


def _write_own(pod: Pod, store: Store, name: str, image: Image) -> str:
    """Write the app's files in the pod's own directory; the ID of the tree below its root, empty when that is a copy."""
    info = f"{APPS_INFO_DIR}/{name}"
    writer = Writer(pod, pod.uses_overlay, _users(pod))
    writer.directory(info)
    writer.file(f"{info}/manifest", image.data)
    if pod.uses_overlay:
        tree_id = image_tree(store, image.id, image.manifest)
        writer.file(f"{info}/treeStoreID", tree_id.encode())
        return tree_id
    # Unpacked where nothing of the pod can reach it, then moved.
    writer.copy(store, image.id, f"{info}/rootfs")
    return ""


def _users(pod: Pod) -> UserRange | None:
    """The range of host IDs that the pod has, None when it is in the host's user namespace."""
    if not pod.exists(PRIVATE_USERS_FILE):
        return None

    from rktpy.stage0.private_users import pod_range

    return pod_range(pod)


def _hand_over(g: Globals, store: Store, pod: Pod, app: RuntimeApp, image: Image, tree_id: str) -> None:
    """Give the app its root, mark it as created, and tell the stage1."""
    lower = f"{store.tree_path(tree_id)}/rootfs" if tree_id else ""
    foreign = pod.bundled_stage1 is None
    users = _users(pod)

    def place(pod_fd: int, base: str) -> None:
        directory = app_files.make_app_directory(pod_fd, base, app.name, image.data)
        try:
            if not tree_id:
                os.rename(f"{APPS_INFO_DIR}/{app.name}/rootfs", "rootfs", src_dir_fd=pod_fd, dst_dir_fd=directory)
                link_mtab(directory, "rootfs", users)
            else:
                os.mkdir("rootfs", 0o755, dir_fd=directory)
                if foreign:
                    # The working directory is the pod's, in its mount namespace.
                    mount_overlay(pod_fd, tree_id, lower, f"/proc/self/fd/{directory}/rootfs", app.name, users)
                    link_mtab(directory, "rootfs", users)
        finally:
            os.close(directory)
        if foreign:
            environment = app_files.make_directory(pod_fd, f"{base}/{ENV_DIR}")
            try:
                app_files.write_at(environment, app.name, _environment(app), 0o600)
            finally:
                os.close(environment)
        app_files.mark_created(pod_fd, base, app.name)

    in_namespace(pod, place)
    root = -1
    if tree_id and not foreign:
        root = writable_overlay(pod.fileno(), tree_id, lower, app.name, users, pod.path)
        os.set_inheritable(root, True)
    try:
        if root >= 0:
            link_mtab(root, ".", users)
        require_success(call_app(pod, "app_add", app.name, _arguments(g, pod, app.name), root_fd=root), "app_add")
    finally:
        if root >= 0:
            os.close(root)


def _arguments(g: Globals, pod: Pod, name: str) -> list[str]:
    arguments = [f"--debug={'true' if g.debug else 'false'}", f"--uuid={pod.uuid}", f"--app={name}"]
    if pod.bundled_stage1 is None:
        # rkt's own take no more.
        return arguments
    for flag, wanted in (
        ("--disable-capabilities-restriction", g.insecure.capabilities),
        ("--disable-paths", g.insecure.paths),
        ("--disable-seccomp", g.insecure.seccomp),
    ):
        if wanted:
            arguments.append(flag)
    users = pod.read_optional(PRIVATE_USERS_FILE)
    if users:
        arguments.append(f"--private-users={users.decode().strip()}")
    return arguments


def _environment(app: RuntimeApp) -> bytes:
    """The content of ``rkt/env/<app>``, which stage0 writes for a foreign stage1."""
    values = {"PATH": DEFAULT_PATH, "SHELL": "/bin/sh", "USER": "root", "LOGNAME": "root", "HOME": "/root"}
    for pair in app.app.environment if app.app is not None else ():
        values[pair.name] = pair.value
    values[APP_NAME] = app.name
    return "".join([f"{name}={value}\n" for name, value in values.items()]).encode("utf-8", "surrogateescape")


def _undo(pod: Pod, name: str) -> None:
    """Take an addition back that failed. What cannot be taken back is told; ``app rm`` can try again."""
    try:
        if mutable.has_app(pod, name):
            try:
                tell_stage1(pod, name, debug=False)
            except (RktpyError, OSError) as error:
                debug("stage0", f"stage1 could not remove app {name}: {innermost(error)}")
        remove_files(pod, name)
        mutable.forget_app(pod, name)
    except (RktpyError, OSError) as error:
        note("stage0", f"app {name} could not be removed again: {innermost(error)}")
