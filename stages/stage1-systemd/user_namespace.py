"""Pods whose root is not the host's: files that are given to the pod's root, and becoming it.

The pod's directory belongs to the host's root and nobody else may look into it. The pod's root may pass through it, to reach
its own files by a descriptor; the directories above it stay closed. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.formats import stage1 as names
from rktpy.isolate.mounts import Bind
from rktpy.isolate.pod_app import PodApp
from rktpy.isolate.root import Root
from rktpy.isolate.userns import BecomeNamespaceRoot
from rktpy.isolate.volumes import SHARED_VOLUMES
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.stage1.systemd.app_root import volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.user_range import UserRange
    from rktpy.isolate.mounts import AttachTree
    from rktpy.isolate.plan import Operation
    from rktpy.isolate.volumes import VolumeMount
    from rktpy.pod.pod import Pod

    #: Open volumes by app and target.
    Trees = dict[tuple[str, str], AttachTree]


def give_files(users: UserRange) -> None:
    """Give the pod's own root, in the working directory, to the pod's root user; the apps' roots have the right owners already.

    Raises OSError.
    """
    owner = users.shift
    os.chmod(".", 0o751)
    os.chmod(names.STAGE1_DIR, 0o751)
    try:
        os.mkdir(SHARED_VOLUMES, 0o755)
    except FileExistsError:
        pass
    os.chown(SHARED_VOLUMES, owner, owner)
    apps = f"{names.STAGE1_ROOTFS}/{names.STAGE2_DIR}"
    for directory, children, files in os.walk(names.STAGE1_ROOTFS):
        os.chown(directory, owner, owner)
        for file in files:
            os.chown(f"{directory}/{file}", owner, owner, follow_symlinks=False)
        if directory.rpartition("/")[0] == apps:
            children.clear()


def open_alone(pod: Pod, mounts: list[tuple[VolumeMount, ...]]) -> Trees:
    """The volumes of the host that come without what is mounted below them, to be opened before the user namespace is made.

    ``mounts`` are the volumes of each app. Raises OSError.
    """
    trees: Trees = {}
    for app, chosen in zip(pod.apps, mounts, strict=True):
        for operation in volumes(app, chosen):
            if isinstance(operation, Bind) and not operation.recursive and not operation.source.startswith(f"{pod.directory}/"):
                # What the kernel does to all mounts of a namespace when it gives others a copy (mount_namespaces(7)).
                opened = operation.replace(namespace="").opened()
                syscalls.mount_setattr(opened.tree, "", c.AT_EMPTY_PATH, 0, 0, c.MS_SLAVE, 0)
                trees[app.name, operation.target] = opened
    return trees


def enter_user_namespace(
    pod: Pod, mounts: list[tuple[VolumeMount, ...]], alone: Trees
) -> tuple[Pod, dict[str, tuple[Operation, ...]]]:
    """Become the root of the user namespace that this process was cloned into. ``mounts`` are the volumes of each app.

    Returns the pod with paths that lead through descriptors, and for each app what puts its volumes in place: those of the host
    are open already, because the pod's root may not be able to reach them; those in ``alone`` since before this namespace was
    made, because the kernel shows nobody in it what a mount hides. Raises RktpyError, OSError.
    """
    for app in pod.apps:
        app.load_image()
    here = f"/proc/self/fd/{os.open('.', os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)}"
    apps = tuple([_moved(app, here) for app in pod.apps])
    opened: dict[str, tuple[Operation, ...]] = {}
    for app, chosen in zip(apps, mounts, strict=True):
        operations: list[Operation] = []
        for operation in volumes(app, chosen):
            if isinstance(operation, Bind) and not operation.source.startswith(f"{here}/"):
                operation = alone.get((app.name, operation.target)) or operation.replace(namespace="").opened()
            operations.append(operation)
        opened[app.name] = tuple(operations)
    with Root("/") as root:
        BecomeNamespaceRoot().execute(root)
    # The kernel takes these away from a process that changes its user.
    syscalls.prctl(c.PR_SET_DUMPABLE, 1, 0, 0, 0)
    syscalls.prctl(c.PR_SET_PDEATHSIG, c.SIGKILL, 0, 0, 0)
    return pod.replace(directory=here, apps=apps), opened


def _moved(app: PodApp, directory: str) -> PodApp:
    moved = PodApp(directory, app.uuid, app.manifest, app.runtime)
    moved.take_image(app)
    return moved
