"""The virtual machine as QEMU's command line describes it (qemu(1), ``system/i386/microvm`` of QEMU's documentation).

``microvm`` has no PCI, no firmware but a stub, and of devices only what is named here: no graphics, no USB, no network card
and no disk that the pod does not have. Disks have names for the guest to tell them apart by, network cards their hardware
address. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import NotFoundError
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage1.kvm.guest import Guest

PROGRAM = "qemu-system-x86_64"
_PATHS = ("/usr/bin", "/usr/local/bin", "/usr/libexec")
#: What the kernel and our first process need beside the apps, in MiB.
OVERHEAD = 80
#: The smallest machine; larger ones have twice as much, and so on, so that one snapshot fits many pods. A machine takes what it
#: uses; what apps may use is limited in it.
_SMALLEST = 256
#: So many apps can have a disk each: microvm has 24 places for devices.
MOST_DISKS = 15


class Shape(Record):
    """What a machine looks like to its guest; a snapshot fits those of the same shape. ``memory`` is in MiB."""

    accelerator: str
    memory: int
    cpus: int = 1
    disks: int = 2
    networks: int = 0
    shared: bool = False

    def text(self) -> str:
        """All of it in a word."""
        shared = "-shared" if self.shared else ""
        return f"{self.accelerator}-{self.memory}m-{self.cpus}c-{self.disks}d-{self.networks}n{shared}"


class Backends(Record):
    """What stands behind the devices: descriptors that QEMU inherits. ``disks`` are (descriptor, read-only); ``incoming``
    says that the machine's state will come from a snapshot; ``throttle`` limits block I/O."""

    channel: int
    disks: tuple[tuple[int, bool], ...] = ()
    networks: tuple[int, ...] = ()
    share: int = -1
    qmp: int = -1
    incoming: bool = False
    throttle: tuple[int | None, int | None] = (None, None)


def memory_for(apps: int) -> int:
    """The memory of a machine (MiB) whose apps may use ``apps`` MiB together."""
    size = _SMALLEST
    while size < apps + OVERHEAD:
        size *= 2
    return size


def disks_for(apps: int) -> int:
    """How many disks a machine has for so many apps and the one that is written to; those that are too many are empty."""
    count = 2
    while count < apps + 1:
        count *= 2
    return count


def qemu_program() -> str:
    """The path of QEMU. Raises NotFoundError."""
    for directory in _PATHS:
        path = f"{directory}/{PROGRAM}"
        if os.access(path, os.X_OK):
            return path
    raise NotFoundError(f"{PROGRAM} is not installed (Debian: qemu-system-x86), which stage1-kvm needs (try --stage1=systemd)")


def hardware_address(number: int) -> str:
    """The address of a machine's network card before the pod's own is set."""
    return f"52:54:00:72:6b:{number:02x}"


def kernel_line(shape: Shape, *, debug: bool) -> str:
    """The kernel's parameters."""
    words = ["panic=-1", "random.trust_bootloader=off"]
    if shape.accelerator == "tcg":
        # Emulated clocks are too slow to calibrate against, and there is no processor to protect from speculation.
        words += [f"tsc_early_khz={_host_khz()}", "tsc=reliable", "mitigations=off"]
    words.append("cryptomgr.notests")
    words += ["console=ttyS0", "loglevel=6"] if debug else ["quiet", "loglevel=0"]
    return " ".join(words)


def _host_khz() -> int:
    with open("/proc/cpuinfo", "rb", buffering=0) as file:
        for line in file.read(65536).splitlines():
            if line.startswith(b"cpu MHz"):
                return int(float(line.partition(b":")[2]) * 1000)
    return 2000000


def command(shape: Shape, guest: Guest, backends: Backends, *, memory_file: str, debug: bool = False) -> list[str]:
    """The command line. ``memory_file`` is a path in QEMU's root; the guest is below /guest there."""
    processor = "max" if shape.accelerator == "tcg" else "host"
    accelerator = "tcg,thread=multi,tb-size=128" if shape.accelerator == "tcg" else shape.accelerator
    line = [
        qemu_program(),
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-name",
        "rktpy",
        "-machine",
        f"microvm,acpi=on,isa-serial={'on' if debug else 'off'},memory-backend=memory,x-option-roms=on",
        "-accel",
        accelerator,
        "-cpu",
        processor,
        "-smp",
        str(shape.cpus),
        "-m",
        str(shape.memory),
        "-object",
        f"memory-backend-file,id=memory,size={shape.memory}M,mem-path={memory_file},share=on",
        "-global",
        "virtio-mmio.force-legacy=false",
    ]
    if debug:
        line += ["-serial", "stdio"]
    if backends.qmp >= 0:
        line += ["-chardev", f"socket,id=qmp,fd={backends.qmp}", "-mon", "chardev=qmp,mode=control"]
    if backends.incoming:
        line += ["-incoming", "defer"]  # the kernel is in the memory already
    else:
        line += ["-kernel", "/guest/kernel", "-initrd", "/guest/initramfs", "-append", kernel_line(shape, debug=debug)]
    line += [
        "-chardev",
        f"socket,id=channel,fd={backends.channel}",
        "-device",
        "virtio-serial-device,max_ports=2",
        "-device",
        "virtserialport,chardev=channel,nr=1,name=rktpy",
    ]
    line += _throttle(backends)
    for number in range(shape.disks):
        line += [*_disk(number, backends), "-device", f"virtio-blk-device,drive=disk{number},serial=disk{number}"]
    for number in range(shape.networks):
        back = f"tap,id=net{number},fd={backends.networks[number]},vhost=off"
        front = f"virtio-net-device,netdev=net{number},mac={hardware_address(number)}"
        line += ["-netdev", back, "-device", front]
    if shape.shared:
        front = "vhost-user-fs-device,chardev=share,tag=share,queue-size=1024"
        line += ["-chardev", f"socket,id=share,fd={backends.share}", "-device", front]
    return line


def _throttle(backends: Backends) -> list[str]:
    """The limit that all disks share: bytes and operations per second, each for reading and for writing."""
    bandwidth, iops = backends.throttle
    words = [f"x-bps-{way}={bandwidth}" for way in ("read", "write") if bandwidth is not None]
    words += [f"x-iops-{way}={iops}" for way in ("read", "write") if iops is not None]
    return ["-object", ",".join(["throttle-group,id=limits", *words])] if words else []


def _disk(number: int, backends: Backends) -> list[str]:
    name = f"disk{number}"
    if number >= len(backends.disks):
        return ["-blockdev", f"driver=null-co,node-name={name},size=1048576,read-zeroes=on"]
    fd, read_only = backends.disks[number]
    flag = "on" if read_only else "off"
    throttled = backends.throttle != (None, None)
    source = f"raw{number}" if throttled else name
    # Nothing of it has to survive the host: no flush reaches its disk.
    cache = ("cache.direct=off", "cache.no-flush=on")
    file = ("driver=file", f"filename=/dev/fdset/{number + 1}", f"read-only={flag}", "locking=off", "aio=threads", *cache)
    raw = ("driver=raw", f"node-name={source}", f"read-only={flag}", *cache, *[f"file.{word}" for word in file])
    line = ["-add-fd", f"fd={fd},set={number + 1}", "-blockdev", ",".join(raw)]
    if throttled:
        line += ["-blockdev", f"driver=throttle,node-name={name},throttle-group=limits,file={source},read-only={flag}"]
    return line
