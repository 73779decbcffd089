"""Entry point ``run`` of stage1-kvm: the pod's machine, and the process that attends to it until it ends.

This process starts QEMU and goes on as the pod's monitor::

    rktpy run                     holds the pod's lock; ``pid`` names it
        qemu-system-x86_64        in namespaces, control groups and as a user of its own
            (the guest)           init (PID 1), the apps
        virtiofsd                 if the pod has volumes of the host's, or its apps can be changed

Whatever outlives a process is written down first: ``cgroups`` and ``subcgroup``, ``net-info.json``, then ``pid``, which says that
the pod has started. When this process dies, the kernel kills QEMU (PR_SET_PDEATHSIG); ``gc`` does the rest.

The contract is rktpy-stage1(7). Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.cgroup.pod import make_pod_groups
from rktpy.cgroup.recorded import CGROUPS_FILE
from rktpy.formats import stage1 as names
from rktpy.formats.entry_arguments import parse_run
from rktpy.formats.stage1 import write_report
from rktpy.isolate.enforcement import tell
from rktpy.isolate.holder import lock_descriptor
from rktpy.isolate.pod_app import write_file
from rktpy.isolate.root import Root
from rktpy.isolate.volumes import check_sources, choose_mounts
from rktpy.log import debug, set_debug
from rktpy.stage1.kvm.accelerator import choose_accelerator
from rktpy.stage1.kvm.booting import Wanted, boot, kill
from rktpy.stage1.kvm.confined import user_of
from rktpy.stage1.kvm.disks import MACHINE_DIR, open_disk, open_image
from rktpy.stage1.kvm.finish import finish
from rktpy.stage1.kvm.guest import cache_directory, guest
from rktpy.stage1.kvm.guest_plan import CGROUPS, NAMES, Rooted, app_root, cgroup_operations, name_files, pod_operations, volumes
from rktpy.stage1.kvm.limits import Size, app_limits, machine_size
from rktpy.stage1.kvm.machine import MOST_DISKS, Shape, disks_for
from rktpy.stage1.kvm.monitor import Monitor
from rktpy.stage1.kvm.network import connect, make_cards, name_contents, write_hosts
from rktpy.stage1.kvm.pod import load_pod
from rktpy.stage1.kvm.pod_log import AppLog, PodLog, journal_directory
from rktpy.stage1.kvm.specs import Restricted, app_spec, write_environment
from rktpy.stage1.kvm.started import Started, write_started
from rktpy.stage1.kvm.sysctls import sysctl_operations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cgroup.subtree import Subtree
    from rktpy.formats.stage1 import Enforcement
    from rktpy.isolate.mounts import Bind
    from rktpy.isolate.pod_app import PodApp
    from rktpy.isolate.volumes import VolumeMount
    from rktpy.stage1.kvm.booting import Machine
    from rktpy.stage1.kvm.guest import Guest
    from rktpy.stage1.kvm.guest_plan import Operation
    from rktpy.stage1.kvm.network import Connected
    from rktpy.stage1.kvm.pod import Pod

#: Seconds that the guest may take for what it is asked for before the first app.
_SET_UP = 60.0
_DIRECTORIES = (
    "etc",
    "rkt",
    names.STATUS_DIR,
    names.ENV_DIR,
    names.IOMUX_DIR,
    "opt",
    names.STAGE2_DIR,
    "var",
    "var/log",
    "var/log/journal",
)


def main(argv: list[str]) -> int:
    """Run the pod in the working directory; the pod's exit status. ``argv`` is without the program's name.

    ``--dry-run`` prints the plan. Raises RktpyError, OSError; what was made by then is undone.
    """
    arguments = parse_run(argv)
    if arguments.is_set("debug"):
        set_debug(True)
    _fill_standard_streams()
    pod = load_pod(arguments)
    mounts = [choose_mounts(app) for app in pod.apps]
    for app, chosen in zip(pod.apps, mounts, strict=True):
        check_sources(app, chosen)
    if arguments.is_set("dry-run"):
        from rktpy.stage1.kvm.dry_run import print_plan

        print_plan(pod, mounts)
        return 0
    lock_descriptor()
    try:
        return _Run(pod, mounts).run()
    finally:
        finish()


class _Run:
    def __init__(self, pod: Pod, mounts: list[tuple[VolumeMount, ...]]) -> None:
        self._pod = pod
        self._mounts = mounts
        self._cache = cache_directory(pod.directory)
        self._printed = bytearray()
        self._size = Size(0, 0)
        #: Apps that come later cannot have a disk, and many cannot either: their roots are shared.
        self._shared_roots = pod.mutable or len(pod.apps) >= MOST_DISKS
        #: Where in the share volumes are.
        self._places: dict[VolumeMount, str] = {}

    def run(self) -> int:
        pod = self._pod
        os.umask(0o022)
        found = guest(self._cache, pod.settings.kernel)
        user = user_of(pod.uuid)
        accelerator = choose_accelerator(self._cache, found, pod.settings.accelerator, user)
        size, report = machine_size(pod)
        self._size = size
        self._write_directories()
        groups = make_pod_groups(pod.uuid, before=_write_groups)
        self._limit(groups, size.cpu_limit, report)
        cards = make_cards(pod)
        socket = self._share(groups)
        disks = 0 if self._shared_roots else disks_for(len(pod.apps))
        shape = Shape(accelerator, size.memory, size.cpus, disks, len(cards.taps), socket >= 0)
        debug("stage1", f"a machine {shape.text()} with kernel {found.kernel}")
        files: list[tuple[int, bool]] = []
        if not self._shared_roots:
            files = [(open_disk(self._cache, pod.settings.disk), False)]
            files += [(open_image(self._cache, app), True) for app in pod.apps]
        wanted = Wanted(
            found, shape, user, groups, tuple(files), cards.taps, socket, throttle=(size.block_bandwidth, size.block_iops)
        )
        machine = boot(self._cache, wanted, snapshot=pod.settings.snapshot)
        try:
            for fd in (*[fd for fd, _read_only in files], *([socket] if socket >= 0 else [])):
                os.close(fd)
            connected = connect(pod, cards)
            cards.close()
            return self._attend(machine, found, shape, connected, report)
        finally:
            kill(machine.pid, machine.pidfd)

    def _attend(self, machine: Machine, found: Guest, shape: Shape, connected: Connected, report: list[Enforcement]) -> int:
        pod = self._pod
        log = PodLog(journal_directory(pod.machine_id), pod.machine_id, pod.hostname, self._printed)
        monitor = Monitor(pod, machine, self._printed)
        contents = name_contents(pod.names.resolv, pod.names.hosts, has_resolv=connected.has_resolv)
        sysctls, entries = sysctl_operations(pod)
        report += [*entries, *connected.report]
        operations: list[Operation] = [
            *pod_operations(pod, found, shape),
            *connected.operations,
            *sysctls,
            *[("write", "", f"{NAMES}/{name}", data, str(0o644)) for name, data in contents.items()],
            *[("set", f"{CGROUPS}/{file}", value) for file, value in self._size.group],
        ]
        restricted = Restricted(pod.no_capabilities, pod.no_seccomp, machine.landlock)
        made: set[str] = set()
        write_started(Started(machine.landlock, connected.metadata, pod.names.resolv, pod.names.hosts, connected.has_resolv))
        monitor.log = log
        specs: list[bytes] = []
        for index, (app, chosen) in enumerate(zip(pod.apps, self._mounts, strict=True)):
            files, score, said = app_limits(app)
            operations += app_root(
                app, Rooted(-1, f"apps/{app.name}.0") if self._shared_roots else Rooted(1 + index), protect=pod.protect_paths
            )
            operations += volumes(app, chosen, self._places, made)
            operations += name_files(app, contents, hosts_only_if_missing=pod.names.hosts == "default")
            operations += cgroup_operations(app, files)
            with Root(app.rootfs) as root:
                spec, more = app_spec(
                    app, root, restricted, oom_score=score, interactive=pod.interactive, metadata=connected.metadata
                )
            report += [*said, *more]
            write_environment(app, spec)
            monitor.add(app.name, spec, AppLog(app, log))
            specs.append(spec.data())
        write_file(names.REPORT_FILE, write_report(tuple(report)))
        tell(report, strict=pod.strict)
        machine.channel.operate(operations, _SET_UP)
        for state, data in zip(monitor.apps.values(), specs, strict=True):
            machine.channel.call("a", data, _SET_UP, state.id)
        if pod.interactive:
            from rktpy.stage1.kvm.terminal import Terminal

            monitor.terminal = Terminal(next(iter(monitor.apps.values())).id)
        from rktpy.stage1.kvm.control import Server

        monitor.control = Server(monitor)
        write_file(names.PID_FILE, str(os.getpid()).encode())
        for name in monitor.apps:
            monitor.start(name)
        if not monitor.apps:
            monitor.tell_ready()
        try:
            return monitor.run()
        finally:
            log.close()

    def _write_directories(self) -> None:
        pod = self._pod
        # The pod's directory above stays closed to others.
        for directory in (*_DIRECTORIES, f"var/log/journal/{pod.machine_id}"):
            _make_directory(f"{names.STAGE1_ROOTFS}/{directory}", 0o755)
        _make_directory(MACHINE_DIR, 0o700)
        write_hosts(pod)

    def _share(self, groups: Subtree) -> int:
        """Share what is the host's with the guest: the socket for that, -1 when there is nothing. Raises RktpyError, OSError."""
        pod = self._pod
        if not self._shared_roots and not any(mount.volume.kind == "host" for mounts in self._mounts for mount in mounts):
            return -1
        from rktpy.isolate.mounts import Bind
        from rktpy.stage1.kvm.share import Shares, check_shareable, make_share, serve, share

        shares = Shares()
        for app, mounts in zip(pod.apps, self._mounts, strict=True):
            check_shareable(app, mounts)
            for mount in mounts:
                if mount.volume.kind == "host":
                    self._places[mount] = shares.place(mount)
        make_share()
        share(shares.operations())
        if self._shared_roots:
            for app, mounts in zip(pod.apps, self._mounts, strict=True):
                share((Bind(app.rootfs, f"/apps/{app.name}.0", True), *self._empty_volumes(app, mounts)))
        return serve(groups)

    def _empty_volumes(self, app: PodApp, mounts: tuple[VolumeMount, ...]) -> tuple[Bind, ...]:
        """The empty volumes of a mutable pod's app: made in the pod's directory, shared from there."""
        from rktpy.isolate.mounts import Bind
        from rktpy.isolate.plan import execute_plan
        from rktpy.isolate.volumes import SHARED_VOLUMES, EmptyVolume

        operations: list[Bind] = []
        for mount in mounts:
            volume = mount.volume
            if volume.kind != "empty":
                continue
            source = f"{app.directory}/{SHARED_VOLUMES}/{volume.name}"
            self._places[mount] = f"empty/{volume.name}"
            if not os.path.exists(source):
                copied = mount.path if mount.from_image else ""
                with Root(app.rootfs) as root:
                    made = EmptyVolume(source, volume.mode_bits, volume.uid or 0, volume.gid or 0, copied)
                    execute_plan((made,), root)
                operations.append(Bind(source, f"/empty/{volume.name}"))
        return tuple(operations)

    def _limit(self, groups: Subtree, cpu: int | None, report: list[Enforcement]) -> None:
        """What all of the machine may use of the processors; the guest limits each app for itself."""
        if cpu is None:
            return
        from rktpy.cgroup.limits import Limits, set_limits
        from rktpy.formats.aci.isolators import CPU_NAME
        from rktpy.formats.stage1 import Enforcement

        for outcome in set_limits(groups, Limits(cpu=cpu), self._pod.directory):
            if outcome.outcome != "enforced":
                report.append(Enforcement(CPU_NAME, "", outcome.outcome, outcome.reason))


def _fill_standard_streams() -> None:
    """Where our caller has closed one, a file of ours must not take its number: QEMU would take that for its own."""
    while (fd := os.open("/dev/null", os.O_RDWR)) < 3:
        os.set_inheritable(fd, True)
    os.close(fd)


def _make_directory(path: str, mode: int) -> None:
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        pass


def _write_groups(groups: Subtree) -> None:
    write_file(CGROUPS_FILE, os.fsencode(groups.to_text()))
    if groups.groups:
        write_file(names.SUBCGROUP_FILE, os.fsencode(groups.groups[0].path))
