"""Which of QEMU's accelerators a machine is run with: what is set, or what works here.

That /dev/kvm can be opened proves nothing: where it is itself emulated, an ordinary kernel may hang in it. So it is tried
with the guest that is to be run, for a bounded time, once after each start of the host; what came of it is written down.
Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import RktpyError, innermost
from rktpy.isolate.pod_app import write_file
from rktpy.log import debug, note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage1.kvm.guest import Guest

#: Seconds that a kernel may take to our first process with hardware's help; it takes a quarter of one.
_PATIENCE = 5.0
_KVM = "/dev/kvm"


def choose_accelerator(cache: str, guest: Guest, wanted: str, user: int) -> str:
    """The accelerator: ``wanted`` unless that is ``auto``. Raises OSError."""
    if wanted != "auto":
        return wanted
    if not os.path.exists(_KVM):
        return "tcg"
    path = f"{cache}/accelerator"
    key = f"{_boot_id()} {guest.key}"
    try:
        with open(path, "rb", buffering=0) as file:
            known, _, result = file.read(256).decode("ascii", "replace").strip().rpartition(" ")
        if known == key and result in ("kvm", "tcg"):
            return result
    except FileNotFoundError:
        pass
    result = _try(guest, user)
    os.makedirs(cache, 0o700, exist_ok=True)
    write_file(path, f"{key} {result}\n".encode())
    return result


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
        return file.read(64).decode().strip()


def _try(guest: Guest, user: int) -> str:
    from rktpy.stage1.kvm.booting import Wanted, probe
    from rktpy.stage1.kvm.machine import Shape

    try:
        probe(Wanted(guest, Shape("kvm", 256, disks=0), user, quiet=True), _PATIENCE)
    except (RktpyError, OSError) as error:
        note("stage1", f"hardware does not help to run virtual machines here ({innermost(error)}): they are emulated (tcg)")
        return "tcg"
    debug("stage1", "virtual machines are run with hardware's help (kvm)")
    return "kvm"
