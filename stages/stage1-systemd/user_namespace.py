"""Pods whose root is not the host's: files that are given to the pod's root, and becoming it.

The pod's directory belongs to the host's root and nobody else may look into it. The pod's root may pass through it, to reach
its own files by a descriptor; the directories above it stay closed. Hot-path module.
"""

from __future__ import annotations

import os
from errno import EINVAL

from rktpy.errors import Stage1Error
from rktpy.formats import stage1 as names
from rktpy.isolate.mounts import Bind
from rktpy.isolate.plan import shown
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
    from rktpy.isolate.plan import Operation
    from rktpy.isolate.volumes import VolumeMount
    from rktpy.stage1.systemd.pod import Pod


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


def enter_user_namespace(pod: Pod, mounts: list[tuple[VolumeMount, ...]]) -> tuple[Pod, dict[str, tuple[Operation, ...]]]:
    """Become the root of the user namespace that this process was cloned into. ``mounts`` are the volumes of each app.

    Returns the pod with paths that lead through descriptors, and for each app what puts its volumes in place: those of the host
    are open already, because the pod's root may not be able to reach them. Raises RktpyError, OSError.
    """
    for app in pod.apps:
        app.load_image()
    here = f"/proc/self/fd/{os.open('.', os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)}"
    apps = tuple([_moved(app, here) for app in pod.apps])
    opened: dict[str, tuple[Operation, ...]] = {}
    for app, chosen in zip(apps, mounts, strict=True):
        operations = volumes(app, chosen)
        opened[app.name] = tuple([_opened(operation, here) for operation in operations])
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


def _opened(operation: Operation, here: str) -> Operation:
    if isinstance(operation, Bind) and not operation.source.startswith(f"{here}/"):
        try:
            return operation.replace(namespace="").opened()
        except OSError as error:
            if error.errno != EINVAL or operation.recursive:
                raise
            # The kernel shows nobody but the host's root what a mount hides (mount_namespaces(7)).
            problem = "has mounts below it, which a pod with users of its own cannot leave out (try recursive=true)"
            raise Stage1Error(f"{shown(operation.source)} {problem}") from None
    return operation
