"""Starting a machine: from its kernel, or from a snapshot of one that has booted, which is made first if there is none.

Hot-path module.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socketpair
from time import monotonic

from rktpy.errors import RktpyError, Stage1Error, innermost
from rktpy.log import debug, note
from rktpy.record import Record
from rktpy.stage1.kvm import confined
from rktpy.stage1.kvm.channel import Channel
from rktpy.stage1.kvm.machine import Backends, command
from rktpy.stage1.kvm.snapshot import copy_memory, open_snapshot, snapshot_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cgroup.subtree import Subtree
    from rktpy.stage1.kvm.guest import Guest
    from rktpy.stage1.kvm.machine import Shape
    from rktpy.stage1.kvm.snapshot import Snapshot

#: Seconds a kernel may take to our first process: an emulated one on a busy machine is slow.
BOOT_TIMEOUT = 60.0
#: The memory is in a file, and stays out of the stream.
_WITHOUT_MEMORY = [{"capability": "x-ignore-shared", "state": True}]


class Wanted(Record):
    """What is to be started: the guest in a machine of a shape, for a pod, with the files (descriptor, read-only) of its
    disks and its network's taps; ``share`` is the socket of what serves the host's files."""

    guest: Guest
    shape: Shape
    user: int
    groups: Subtree | None = None
    disks: tuple[tuple[int, bool], ...] = ()
    taps: tuple[int, ...] = ()
    share: int = -1
    debug: bool = False
    quiet: bool = False
    throttle: tuple[int | None, int | None] = (None, None)


class Machine(Record):
    """A machine that runs: QEMU's process, the channel, the version of Landlock, and whether it was restored."""

    pid: int
    pidfd: int
    channel: Channel
    landlock: int
    restored: bool


def boot(cache: str, wanted: Wanted, *, snapshot: bool) -> Machine:
    """Start a machine. With ``snapshot`` from one, unless it cannot be used. Raises RktpyError, OSError."""
    if snapshot and not wanted.shape.shared and not wanted.debug:
        try:
            kept = _snapshot(cache, wanted)
        except (RktpyError, OSError) as error:
            note("stage1", f"no snapshot of the guest: {innermost(error)}")
        else:
            try:
                return _restore(wanted, kept)
            finally:
                kept.close()
    return _cold(wanted)


def probe(wanted: Wanted, timeout: float) -> None:
    """Boot a machine and end it. Raises Stage1Error when that does not work in ``timeout`` seconds, OSError."""
    machine = _cold(wanted, timeout)
    kill(machine.pid, machine.pidfd)
    os.close(machine.channel.fd)


def _cold(wanted: Wanted, timeout: float = BOOT_TIMEOUT) -> Machine:
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    place = confined.make_place(wanted.user, wanted.shape.memory)
    backends = Backends(theirs.fileno(), wanted.disks, wanted.taps, wanted.share, throttle=wanted.throttle)
    pid, pidfd = _start(wanted, place, backends)
    place.close()
    theirs.close()
    channel = Channel(ours.detach())
    try:
        greeting = channel.hello(timeout)
    except BaseException:
        kill(pid, pidfd)
        os.close(channel.fd)
        raise
    return Machine(pid, pidfd, channel, greeting.landlock, False)


def _start(wanted: Wanted, place: confined.Place, backends: Backends) -> tuple[int, int]:
    line = command(wanted.shape, wanted.guest, backends, memory_file=confined.MEMORY_FILE, debug=wanted.debug)
    descriptors = [backends.channel, *[fd for fd, _read_only in backends.disks], *backends.networks]
    descriptors += [fd for fd in (backends.share, backends.qmp) if fd >= 0]
    return confined.start(
        line, place, os.path.dirname(wanted.guest.kernel), tuple(descriptors), wanted.groups, quiet=wanted.quiet
    )


def _restore(wanted: Wanted, kept: Snapshot) -> Machine:
    from rktpy.stage1.kvm.qmp import Monitor

    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    control, monitor_end = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    incoming, feed = os.pipe2(os.O_CLOEXEC)
    place = confined.make_place(wanted.user, wanted.shape.memory)
    backends = Backends(
        theirs.fileno(), wanted.disks, wanted.taps, qmp=monitor_end.fileno(), incoming=True, throttle=wanted.throttle
    )
    pid, pidfd = _start(wanted, place, backends)
    theirs.close()
    monitor_end.close()
    channel = Channel(ours.detach())
    try:
        # Beside QEMU, which starts meanwhile; it looks at its memory when it has the state of the devices.
        copy_memory(kept.memory, place.memory)
        monitor = Monitor(control, BOOT_TIMEOUT)
        monitor.call("migrate-set-capabilities", capabilities=_WITHOUT_MEMORY)
        monitor.give("state", incoming)
        os.close(incoming)
        monitor.call("migrate-incoming", uri="fd:state")
        _feed(kept.devices, feed)
        os.close(feed)
        place.close()
    except BaseException:
        kill(pid, pidfd)
        os.close(channel.fd)
        raise
    finally:
        control.close()
    return Machine(pid, pidfd, channel, kept.landlock, True)


def _feed(source: int, target: int) -> None:
    os.lseek(source, 0, os.SEEK_SET)
    try:
        while data := os.read(source, 1 << 20):
            while data:
                data = data[os.write(target, data) :]
    except BrokenPipeError:
        raise Stage1Error("qemu does not take the snapshot") from None


def _snapshot(cache: str, wanted: Wanted) -> Snapshot:
    key = snapshot_key(wanted.guest, wanted.shape)
    kept = open_snapshot(cache, key)
    if kept is None:
        _make(cache, key, wanted)
        kept = open_snapshot(cache, key)
        if kept is None:
            raise Stage1Error("it was not kept")
    return kept


def _make(cache: str, key: str, wanted: Wanted) -> None:
    """Boot an empty machine of the wanted shape and keep its state. One process does that, others wait for it."""
    import fcntl

    from rktpy.stage1.kvm.qmp import Monitor
    from rktpy.stage1.kvm.snapshot import save

    os.makedirs(f"{cache}/snapshots", 0o700, exist_ok=True)
    lock = os.open(f"{cache}/snapshots.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(f"{cache}/snapshots/{key}/landlock"):
            return
        debug("stage1", f"making a snapshot of a machine {wanted.shape.text()}")
        began = monotonic()
        devices = os.memfd_create("devices", os.MFD_CLOEXEC)
        ours, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        control, monitor_end = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        place = confined.make_place(wanted.user, wanted.shape.memory)
        taps = _idle_taps(wanted.shape.networks)
        backends = Backends(theirs.fileno(), networks=taps, qmp=monitor_end.fileno())
        line = command(wanted.shape, wanted.guest, backends, memory_file=confined.MEMORY_FILE)
        descriptors = (theirs.fileno(), monitor_end.fileno(), *taps)
        pid, pidfd = confined.start(line, place, os.path.dirname(wanted.guest.kernel), descriptors, wanted.groups)
        theirs.close()
        monitor_end.close()
        channel = Channel(ours.fileno())
        try:
            greeting = channel.hello(BOOT_TIMEOUT)
            monitor = Monitor(control, BOOT_TIMEOUT)
            monitor.call("migrate-set-capabilities", capabilities=_WITHOUT_MEMORY)
            monitor.give("state", devices)
            monitor.call("migrate", uri="fd:state")
            while True:
                status = monitor.call("query-migrate").get("status")
                if status == "completed":
                    break
                if status not in ("setup", "active", "device"):
                    raise Stage1Error(f"qemu: migration ended as {str(status)[:100]}")
            save(cache, key, place.memory, devices, greeting.landlock)
        finally:
            kill(pid, pidfd)
            place.close()
            ours.close()
            control.close()
            for fd in (devices, *taps):
                os.close(fd)
        debug("stage1", f"made a snapshot in {int((monotonic() - began) * 1000)} ms")
    finally:
        os.close(lock)


def _idle_taps(count: int) -> tuple[int, ...]:
    """Network cards of a machine that is connected to nothing."""
    if not count:
        return ()
    from rktpy.net.namespace import new_namespace
    from rktpy.net.tap import open_tap

    namespace = new_namespace()
    try:
        return tuple([open_tap(namespace, f"tap{number}") for number in range(count)])
    finally:
        os.close(namespace)


def kill(pid: int, pidfd: int) -> None:
    """End QEMU and wait for it."""
    from rktpy.linux.constants import SIGKILL
    from rktpy.linux.syscalls import pidfd_send_signal

    try:
        pidfd_send_signal(pidfd, SIGKILL, 0)
    except ProcessLookupError:
        pass
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
    os.close(pidfd)
