"""One-app pods in virtual machines, cold and from a snapshot, beside QEMU booting the same kernel alone and stage1-systemd.

    python3 -m benchmarks.kvm [--rounds=N] [--accelerator=tcg]

First output is the app's first line as whoever ran the pod sees it; for QEMU alone the first byte of our first process. All
in one run, interleaved. Memory is that of the QEMU process of a pod that idles.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.process_memory import descendants, memory
from benchmarks.setting import ROOT, Setting
from benchmarks.timing import need_root

IMAGE = "example.com/busybox"
LIMIT = 120


@dataclass
class Way:
    """One way to get to a first output: a function that gives seconds to that, and to the end."""

    name: str
    once: Callable[[], tuple[float, float]]
    firsts: list[float] = field(default_factory=list)
    wholes: list[float] = field(default_factory=list)


def pod(setting: Setting, *flags: str, **environment: str) -> Callable[[], tuple[float, float]]:
    """Runs a pod whose app writes a line."""
    argv = setting.argv("run", "--net=none", *flags, IMAGE, "--exec=/bin/busybox", "--", "echo", "first")

    def once() -> tuple[float, float]:
        begun = time.perf_counter()
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env={**os.environ, **environment}
        ) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            first = time.perf_counter() - begun
            status = process.wait(LIMIT)
        whole = time.perf_counter() - begun
        if status or b"first" not in line:
            raise SystemExit(f"{argv}: status {status}, {line!r}")
        return first, whole

    return once


def alone(guest: Path, accelerator: str) -> Callable[[], tuple[float, float]]:
    """QEMU with the kernel and the first process of ours, and nothing around it."""
    from rktpy.stage1.kvm.machine import Shape, kernel_line

    shape = Shape(accelerator, 256)
    # fmt: off
    argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-machine", "microvm,acpi=on",
            "-accel", accelerator, "-cpu", "max" if accelerator == "tcg" else "host", "-m", "256",
            "-kernel", str(guest / "kernel"), "-initrd", str(guest / "initramfs"), "-append", kernel_line(shape, debug=False),
            "-chardev", "stdio,id=c", "-device", "virtio-serial-device", "-device", "virtserialport,chardev=c,nr=1"]
    # fmt: on

    def once() -> tuple[float, float]:
        begun = time.perf_counter()
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            byte = os.read(process.stdout.fileno(), 1)
            first = time.perf_counter() - begun
            process.kill()
            process.wait(LIMIT)
        if not byte:
            raise SystemExit("qemu has ended before anything was said")
        return first, time.perf_counter() - begun

    return once


def idle_memory(setting: Setting, environment: dict[str, str]) -> tuple[float, float]:
    """PSS in MB of the QEMU process and of the process that attends to it, of a pod that idles."""
    argv = setting.argv("run", "--net=none", "--stage1=kvm", IMAGE, "--exec=/bin/sh", "--", "-c", "echo up; sleep 60")
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env={**os.environ, **environment}) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.5)
        children = descendants([process.pid]) - {process.pid}
        qemu, monitor = memory(children, "").pss / 1e6, memory([process.pid], "").pss / 1e6
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT)
    return qemu, monitor


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--accelerator", default="tcg")
    options = parser.parse_args()
    need_root()
    os.environ["RKTPY_KVM_ACCELERATOR"] = options.accelerator
    with Setting("kvm") as setting:
        subprocess.run(["sh", str(ROOT / "examples/busybox-images.sh"), str(setting.work / "images")], check=True)
        setting.call("fetch", str(setting.work / "images/busybox.aci"))
        setting.call("run", "--net=none", "--stage1=kvm", IMAGE, "--exec=/bin/true")
        (guest,) = (setting.data / "stage1-kvm/guest").iterdir()
        kvm, volume = "--stage1=kvm", (f"--volume=v,kind=host,source={setting.work}/images", "--mount=volume=v,target=/v")
        ways = [
            Way("QEMU booting the same kernel alone", alone(guest, options.accelerator)),
            Way("stage1-kvm, cold", pod(setting, kvm, RKTPY_KVM_SNAPSHOT="no")),
            Way("stage1-kvm, cold, with a volume of the host", pod(setting, kvm, *volume)),
            Way("stage1-kvm, from a snapshot", pod(setting, kvm)),
            Way("stage1-systemd", pod(setting, "--stage1=systemd")),
        ]
        for number in range(options.rounds + 1):
            order = list(ways)
            random.shuffle(order)
            for way in order:
                first, whole = way.once()
                if number:  # the first round warms up
                    way.firsts.append(first)
                    way.wholes.append(whole)
        unit = statistics.median(ways[0].firsts)
        print(f"### One app in a virtual machine ({options.accelerator})\n\n{options.rounds} rounds, interleaved.\n")
        print("| | first output ms | min ms | x QEMU alone | exit to exit ms | min ms |\n|---|---|---|---|---|---|")
        for way in ways:
            first, whole = statistics.median(way.firsts), statistics.median(way.wholes)
            print(
                f"| {way.name} | {first * 1e3:.0f} | {min(way.firsts) * 1e3:.0f} | {first / unit:.2f} | {whole * 1e3:.0f} "
                f"| {min(way.wholes) * 1e3:.0f} |"
            )
        print("\n| memory of an idle pod (PSS) | QEMU MB | monitor MB |\n|---|---|---|")
        for name, environment in (("cold", {"RKTPY_KVM_SNAPSHOT": "no"}), ("from a snapshot", {})):
            qemu, monitor = idle_memory(setting, environment)
            print(f"| {name} | {qemu:.0f} | {monitor:.1f} |")


if __name__ == "__main__":
    main()
