"""``--dry-run``: what would be done for a pod, as text."""

from __future__ import annotations

import os

from rktpy.isolate.plan import describe_plan, shown
from rktpy.isolate.root import Root
from rktpy.stage1.kvm.guest import cache_directory, guest
from rktpy.stage1.kvm.guest_plan import Rooted, app_root, cgroup_operations, early_operations, name_files, pod_operations, volumes
from rktpy.stage1.kvm.limits import app_limits, machine_size
from rktpy.stage1.kvm.machine import Backends, Shape, command, disks_for
from rktpy.stage1.kvm.share import Shares
from rktpy.stage1.kvm.specs import Restricted, app_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.isolate.volumes import VolumeMount
    from rktpy.stage1.kvm.guest_plan import Operation
    from rktpy.stage1.kvm.pod import Pod

_SECRET = ("entropy",)
#: What the guest of a Landlock of this version can do is what Debian 12's kernel can.
_LANDLOCK = 2


def print_plan(pod: Pod, mounts: list[tuple[VolumeMount, ...]]) -> None:
    """Write the machine, the operations in its guest and the report to standard output. The guest is built if it is not there."""
    found = guest(cache_directory(pod.directory), pod.settings.kernel)
    size, report = machine_size(pod)
    networks = 0
    if not pod.networks.none:
        from rktpy.net.selection import choose_networks

        networks = len(choose_networks(pod.networks, pod.local_config))
    shares = Shares()
    places = {mount: shares.place(mount) for chosen in mounts for mount in chosen if mount.volume.kind == "host"}
    accelerator = "tcg" if pod.settings.accelerator == "auto" else pod.settings.accelerator
    shape = Shape(
        accelerator, size.memory, size.cpus, 0 if pod.mutable else disks_for(len(pod.apps)), networks, bool(places) or pod.mutable
    )
    backends = Backends(-1, networks=(-1,) * networks)
    text = [f"{' '.join(command(shape, found, backends, memory_file='/memory'))}\n", describe_plan(shares.operations())]
    text.append(_shown([*early_operations(), *pod_operations(pod, found, shape)]))
    made: set[str] = set()
    for index, (app, chosen) in enumerate(zip(pod.apps, mounts, strict=True)):
        files, score, said = app_limits(app)
        operations = [
            *app_root(app, Rooted(-1, f"apps/{app.name}.0") if pod.mutable else Rooted(1 + index), protect=pod.protect_paths),
            *volumes(app, chosen, places, made),
            *name_files(app, {"hosts": b""}, hosts_only_if_missing=pod.names.hosts == "default"),
            *cgroup_operations(app, files),
        ]
        with Root(app.rootfs) as root:
            restricted = Restricted(pod.no_capabilities, pod.no_seccomp, _LANDLOCK)
            spec, more = app_spec(app, root, restricted, oom_score=score, interactive=pod.interactive)
        report += [*said, *more]
        text.append(f"\napp {app.name}:\n{_shown(operations)}")
        for key, value in zip(spec.pairs[::2], spec.pairs[1::2], strict=True):
            text.append(f"{_word(key)} {_word(value)}\n")
    text += [f"{entry}\n" for entry in report if entry.outcome != "enforced"]
    os.write(1, "".join(text).encode("utf-8", "surrogateescape"))


def _shown(operations: list[Operation]) -> str:
    lines: list[str] = []
    for operation in operations:
        words = [_word(word) for word in operation]
        if operation[0] not in _SECRET:
            lines.append(f"{' '.join(words)}\n")
    return "".join(lines)


def _word(word: str | bytes) -> str:
    if not isinstance(word, str):
        return f"({len(word)} bytes)"
    return word if word.replace("_", "a").replace("-", "a").isalnum() else shown(word)
