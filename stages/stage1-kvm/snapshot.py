"""A snapshot of a booted, empty guest: what a pod's machine starts from instead of booting.

::

    <data>/stage1-kvm/snapshots/<key>/{memory,devices}

Taken of a machine that has spoken to nobody yet: its kernel has found its channel and loaded its file systems, and has no driver
for disks and networks, so that it finds those of the pod when it is told to load one. It knows no secret of any pod, and what a
kernel must not share with another one it gets from the host before the first app: randomness (credited, and the generators seeded
anew), the clock, its name. Only root can read or change it. A pod's machine gets a copy of the memory.

``key`` is made of all it depends on: the guest, the machine's shape, QEMU, and the host's kernel and processor. Hot-path module.
"""

from __future__ import annotations

import os
from _sha512 import sha512
from errno import ENXIO

from rktpy.log import debug
from rktpy.record import Record
from rktpy.stage1.kvm.machine import qemu_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage1.kvm.guest import Guest
    from rktpy.stage1.kvm.machine import Shape

_LAYOUT = "1"
#: Snapshots that are kept; the ones that were used last.
_MOST = 6
_PAGE = 4096
_PIECE = 1 << 20


class Snapshot(Record):
    """Open files: the memory, and the state of the devices with its length."""

    memory: int
    devices: int
    landlock: int = 0

    def close(self) -> None:
        """Close the files."""
        os.close(self.memory)
        os.close(self.devices)


def snapshot_key(guest: Guest, shape: Shape) -> str:
    """The name of the snapshot for a guest in a machine of this shape."""
    program = os.stat(qemu_program())
    host = os.uname()
    text = (
        f"{_LAYOUT} {guest.key} {shape.text()} {program.st_size} {program.st_mtime_ns} {program.st_ino} "
        f"{host.release} {host.version} {host.machine} {_processor()}"
    )
    return sha512(text.encode()).hexdigest()[:32]


def _processor() -> str:
    with open("/proc/cpuinfo", "rb", buffering=0) as file:
        head = file.read(4096).partition(b"\n\n")[0]
    wanted = (b"model name", b"flags", b"microcode")
    return b" ".join([line for line in head.splitlines() if line.startswith(wanted)]).decode("ascii", "replace")


def open_snapshot(cache: str, key: str) -> Snapshot | None:
    """The snapshot, None when there is none. Raises OSError."""
    directory = f"{cache}/snapshots/{key}"
    try:
        memory = os.open(f"{directory}/memory", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        devices = os.open(f"{directory}/devices", os.O_RDONLY | os.O_CLOEXEC)
        landlock = int(os.readlink(f"{directory}/landlock"))
        os.utime(directory)
    except OSError:
        os.close(memory)
        return None
    return Snapshot(memory, devices, landlock)


def copy_memory(source: int, target: int) -> None:
    """Copy what a file of a machine's memory holds, not its holes. Raises OSError."""
    end = os.fstat(source).st_size
    at = 0
    while at < end:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == ENXIO:
                return
            raise
        stop = os.lseek(source, at, os.SEEK_HOLE)
        os.lseek(target, at, os.SEEK_SET)
        while at < stop:
            done = os.sendfile(target, source, at, min(stop - at, 64 << 20))
            if not done:
                return
            at += done


def save(cache: str, key: str, memory: int, devices: int, landlock: int) -> None:
    """Keep a snapshot: ``memory`` is the file of a machine that stands still, ``devices`` a file with their state. Raises
    OSError."""
    from rktpy.linux.remove_tree import remove_tree

    top = f"{cache}/snapshots"
    os.makedirs(top, 0o700, exist_ok=True)
    _forget_old(top)
    temporary = f"{top}/{key}.{os.getpid()}"
    os.mkdir(temporary, 0o700)
    try:
        fd = os.open(f"{temporary}/memory", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _copy_used(memory, fd)
        finally:
            os.close(fd)
        os.lseek(devices, 0, os.SEEK_SET)
        with open(f"{temporary}/devices", "xb") as file:
            while chunk := os.read(devices, _PIECE):
                file.write(chunk)
        os.symlink(str(landlock), f"{temporary}/landlock")
        try:
            os.rename(temporary, f"{top}/{key}")
        except OSError:
            if not os.path.isdir(f"{top}/{key}"):
                raise
    finally:
        if os.path.isdir(temporary):
            remove_tree(temporary)


def _copy_used(source: int, target: int) -> None:
    """Copy memory without pages that are zero."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    zero = bytes(_PIECE)
    page = bytes(_PAGE)
    for at in range(0, size, _PIECE):
        data = os.pread(source, _PIECE, at)
        if data == zero[: len(data)]:
            continue
        start = 0
        while start < len(data):
            if data[start : start + _PAGE] == page:
                start += _PAGE
                continue
            stop = start
            while stop < len(data) and data[stop : stop + _PAGE] != page:
                stop += _PAGE
            os.pwrite(target, data[start:stop], at + start)
            start = stop


def _forget_old(top: str) -> None:
    """Remove the snapshots that were not used for the longest time."""
    from rktpy.linux.remove_tree import remove_tree

    found: list[tuple[int, str]] = []
    for name in os.listdir(top):
        try:
            found.append((os.stat(f"{top}/{name}").st_mtime_ns, name))
        except FileNotFoundError:
            continue
    for _used, name in sorted(found, reverse=True)[_MOST - 1 :]:
        debug("stage1", f"removing the snapshot {name}")
        remove_tree(f"{top}/{name}")
