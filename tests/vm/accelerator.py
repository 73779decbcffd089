"""What QEMU computes with: KVM where a machine really boots with it, else its own translation (TCG)."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
from pathlib import Path

from tests.vm.cache import cache_directory, digest
from tests.vm.lifetime import die_with

#: Seconds that a kernel may take to its first line on the console; with KVM that works it takes one.
_PATIENCE = 10.0


def _processor(field: str) -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            name, _colon, value = line.partition(":")
            if name.strip() == field:
                return value.strip()
    return ""


def kernel_clock() -> tuple[str, ...]:
    """Arguments that let the guest's kernel trust the time stamp counter, which it could not calibrate."""
    megahertz = _processor("cpu MHz")
    return (f"tsc_early_khz={round(float(megahertz) * 1000)}", "tsc=reliable") if megahertz else ()


def host_description() -> tuple[str, ...]:
    """What a snapshot depends on beside its image: it goes on only on a machine of the same kind."""
    version = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
    return (version.splitlines()[0], _processor("model name"), *kernel_clock())


def cpu_arguments(accelerator: str) -> list[str]:
    """QEMU's arguments for an accelerator."""
    if accelerator == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    # Five levels of page tables are walked in software here.
    return ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,la57=off,pmu=off"]


def accelerator(image: Path) -> str:
    """``kvm`` or ``tcg``. $RKTPY_VM_ACCEL names one; else KVM is tried with the image's kernel once per kind of machine.

    That /dev/kvm opens says little: under some hypervisors it makes machines whose kernels never get anywhere.
    """
    if named := os.environ.get("RKTPY_VM_ACCEL"):
        return named
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    known = cache_directory() / f"kvm-{digest(*host_description(), platform.release())}"
    if not known.exists():
        known.write_text("kvm" if _boots(image) else "tcg")
    return known.read_text()


def _boots(image: Path) -> bool:
    # fmt: off
    argv = [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "q35",
        *cpu_arguments("kvm"), "-m", "512", "-kernel", str(image / "kernel"), "-initrd", str(image / "initrd"),
        "-append", "console=ttyS0 panic=-1 rdinit=/none", "-serial", "stdio",
    ]
    # fmt: on
    # Without an init the kernel panics and reboots at once, which ends a QEMU with -no-reboot.
    child = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=die_with(os.getpid())
    )
    try:
        said, _ = child.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return False
    return b"Linux version" in said
