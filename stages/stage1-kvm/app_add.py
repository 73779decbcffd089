"""Entry point ``app/add`` of stage1-kvm: put an app into a running mutable pod, without starting it.

What is a path of the host's is opened here; then a child in the pod's mount namespace puts it into what is shared with the guest,
and the guest is asked to put the app's root together. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import Stage1Error, UsageError, innermost
from rktpy.formats import stage1 as names
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.holder import read_pid
from rktpy.isolate.mounts import AttachTree, Bind
from rktpy.isolate.plan import execute_plan, shown
from rktpy.isolate.root import Root
from rktpy.isolate.volumes import EmptyVolume, check_sources, choose_mounts
from rktpy.linux import constants as c
from rktpy.linux.syscalls import setns
from rktpy.log import set_debug
from rktpy.pod.added_app import add_to_report, find_app, root_descriptor
from rktpy.stage1.kvm.frames import strings
from rktpy.stage1.kvm.guest_plan import Rooted, app_root, cgroup_operations, name_files, volumes
from rktpy.stage1.kvm.limits import app_limits
from rktpy.stage1.kvm.pod import check_app
from rktpy.stage1.kvm.requests import Connection
from rktpy.stage1.kvm.share import SHARE_DIR, check_shareable, remove_places
from rktpy.stage1.kvm.specs import Restricted, app_spec, write_environment
from rktpy.stage1.kvm.started import read_started

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.isolate.pod_app import PodApp
    from rktpy.isolate.volumes import VolumeMount

_BOOLEANS = ("debug", "disable-capabilities-restriction", "disable-paths", "disable-seccomp")


def main(argv: list[str]) -> int:
    """Add an app to the pod in the working directory. Raises RktpyError, OSError."""
    arguments = parse_arguments(argv, _BOOLEANS, ("uuid", "app", "private-users"))
    if arguments.is_set("debug"):
        set_debug(True)
    if arguments.text("private-users"):
        raise UsageError("--private-users: the users of a virtual machine are those of its own kernel, nothing is to be shifted")
    app = find_app(arguments.text("uuid"), arguments.text("app"))
    check_app(app)
    mounts = choose_mounts(app)
    check_sources(app, mounts)
    check_shareable(app, mounts)
    started = read_started()
    root_fd = root_descriptor()
    mark = f"{app.name}.{os.urandom(4).hex()}"
    places = _places(mark, mounts)
    files, score, report = app_limits(app, added=True)
    restricted = Restricted(
        arguments.is_set("disable-capabilities-restriction"), arguments.is_set("disable-seccomp"), started.landlock
    )
    with Root(app.rootfs) if root_fd < 0 else Root.from_descriptor(root_fd, app.rootfs) as root:
        trees = _open_trees(app, mounts, places, f"apps/{mark}", root_fd, root)
        spec, more = app_spec(app, root, restricted, oom_score=score, metadata=started.metadata, added=True)
    _attach(app.name, trees)
    rooted = Rooted(-1, f"apps/{mark}")
    operations = [
        *app_root(app, rooted, protect=not arguments.is_set("disable-paths")),
        *volumes(app, mounts, places),
        *name_files(app, started.contents, hosts_only_if_missing=started.hosts == "default"),
        *cgroup_operations(app, files),
    ]
    variables = [f"{name}={value}" for name, value in spec.environment.items()]
    request = ("add", app.name, strings([strings(words) for words in operations]), spec.streams)
    problem = Connection().ask((*request, "yes" if spec.notifies else "no", strings(variables), spec.data()))
    if problem:
        raise Stage1Error(f"app {app.name}: {problem}")
    write_environment(app, spec)
    add_to_report(app.name, (*report, *more))
    return 0


def _places(mark: str, mounts: tuple[VolumeMount, ...]) -> dict[VolumeMount, str]:
    """Where in the share the volumes of an app that comes later are: by its name and a number that nothing else has, because the
    guest may remember what it has seen in a place."""
    return {mount: f"volumes/{mark}.{number}" for number, mount in enumerate(mounts)}


def _open_trees(
    app: PodApp, mounts: tuple[VolumeMount, ...], places: dict[VolumeMount, str], place: str, root_fd: int, root: Root
) -> list[AttachTree]:
    """Make empty volumes and open all, while the host's paths can be seen. Raises Stage1Error."""
    trees: list[AttachTree] = []
    whole = Bind(app.rootfs, f"/{place}", True)
    trees.append(AttachTree(os.dup(root_fd), app.rootfs, f"/{place}") if root_fd >= 0 else whole.opened())
    for mount in mounts:
        volume, source = mount.volume, mount.volume.source
        deep = volume.kind == "host" and (volume.recursive is None or bool(volume.recursive))
        if volume.kind == "empty":
            source = f"{app.directory}/sharedVolumes/{volume.name}"
            if not os.path.exists(source):
                copied = mount.path if mount.from_image else ""
                made = EmptyVolume(source, volume.mode_bits, volume.uid or 0, volume.gid or 0, copied)
                execute_plan((made,), root)
        try:
            read_only = mount.read_only and volume.kind == "host"
            trees.append(Bind(source, f"/{places[mount]}", deep, read_only).opened())
        except OSError as error:
            raise Stage1Error(f"can't share {shown(source)}") from OSError(error.errno, error.strerror)
    return trees


def _attach(app: str, trees: list[AttachTree]) -> None:
    """Put what is open into the share, in the pod's mount namespace: in a child, because nobody comes back from there."""
    namespace = os.open(f"/proc/{read_pid(names.PID_FILE)}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    directory = os.getcwd()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            setns(namespace, c.CLONE_NEWNS)
            remove_places(f"{directory}/{SHARE_DIR}", app)  # of an addition that was killed
            with Root(f"{directory}/{SHARE_DIR}") as root:
                execute_plan(tuple(trees), root)
            os.write(writer, b"+")
        except Exception as error:
            os.write(writer, innermost(error).encode("utf-8", "surrogateescape")[:4096])
        finally:
            os._exit(0)
    os.close(writer)
    os.close(namespace)
    answer = os.read(reader, 4096)
    os.close(reader)
    os.waitpid(child, 0)
    for tree in trees:
        os.close(tree.tree)
    if answer != b"+":
        raise Stage1Error(answer.decode("utf-8", "surrogateescape") or "the app's files could not be shared")
