"""Entry point ``export`` of stage1-kvm: an app's root as its pod has left it, as a tar stream on standard output.

What the apps wrote is on the pod's disk, a file system that they may have spoiled: the host does not mount it. A machine with
nothing else in it does, even after the pod's was killed, and sends what it finds.
"""

from __future__ import annotations

import os

from rktpy.errors import NotFoundError, Stage1Error
from rktpy.formats.aci.types import parse_uuid
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.plan import shown
from rktpy.isolate.pod_app import load_apps
from rktpy.linux import constants as c
from rktpy.log import set_debug
from rktpy.stage1.kvm.accelerator import choose_accelerator
from rktpy.stage1.kvm.booting import Wanted, boot, kill
from rktpy.stage1.kvm.confined import user_of
from rktpy.stage1.kvm.disks import DISK_FILE, open_image
from rktpy.stage1.kvm.guest import cache_directory, guest
from rktpy.stage1.kvm.guest_plan import SCRATCH
from rktpy.stage1.kvm.machine import Shape, memory_for
from rktpy.stage1.kvm.settings import load_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage1.kvm.booting import Machine

_STREAM = 1
_MOUNT = "/export"
_TIMEOUT = 60.0
_SILENCE = 60.0


def has_root(pod_fd: int) -> bool:
    """Whether the roots of the pod's apps are on a disk of its machine's."""
    try:
        os.stat(DISK_FILE, dir_fd=pod_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def main(argv: list[str]) -> int:
    """Write the tar of ``--app`` of the pod in the working directory to standard output. Raises RktpyError, OSError."""
    arguments = parse_arguments(argv, ("debug",), ("local-config", "app", "root"))
    if arguments.is_set("debug"):
        set_debug(True)
    uuid = parse_uuid(arguments.rest[0])
    name = arguments.text("app")
    _manifest, apps = load_apps(uuid)
    app = next((one for one in apps if one.name == name), None)
    if app is None:
        raise NotFoundError(f"app {shown(name)} is not in the pod")
    settings = load_settings(arguments.text("local-config"))
    cache = cache_directory(os.getcwd())
    found = guest(cache, settings.kernel)
    user = user_of(uuid)
    accelerator = choose_accelerator(cache, found, settings.accelerator, user)
    disks = [
        (os.open(DISK_FILE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW), False),
        (open_image(cache, app, arguments.text("root")), True),
    ]
    machine = boot(
        cache,
        Wanted(found, Shape(accelerator, memory_for(settings.memory)), user, disks=tuple(disks)),
        snapshot=settings.snapshot,
    )
    try:
        lower, upper, work = "/images/root", f"{SCRATCH}/apps/{name}/upper", f"{SCRATCH}/apps/{name}/work"
        machine.channel.operate(
            [
                *[("module", f"/modules/{file}", "") for file in found.later["block"]],
                ("mount", "", "disk:disk0", SCRATCH, "ext4", str(c.MS_NOSUID | c.MS_NODEV), "noinit_itable"),
                ("mount", "", "disk:disk1", lower, "erofs", str(c.MS_RDONLY), ""),
                ("mkdir", "", upper, str(0o755), "0", "0", "once"),
                ("mkdir", "", work, str(0o700), "0", "0", "once"),
                ("mount", "", "overlay", _MOUNT, "overlay", "0", f"lowerdir={lower},upperdir={upper},workdir={work}"),
            ],
            _TIMEOUT,
        )
        _copy(machine)
    finally:
        kill(machine.pid, machine.pidfd)
    return 0


def _copy(machine: Machine) -> None:
    """Have the guest send, and write what comes. Raises Stage1Error, OSError."""
    from time import monotonic

    answers: list[str | None] = []
    channel = machine.channel
    channel.request("t", _MOUNT.encode(), answers.append, _STREAM)
    while not answers:
        channel.wait(monotonic() + _SILENCE)
        for frame in channel.receive():
            if frame.kind == "D":
                data = frame.data
                while data:
                    data = data[os.write(1, data) :]
    if answers[0] is not None:
        raise Stage1Error(f"in the virtual machine: {answers[0]}")
