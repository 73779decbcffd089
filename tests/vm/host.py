"""A host that is ready for commands: booted once and saved, then restored as often as it is wanted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT
from tests.vm.accelerator import accelerator, cpu_arguments, host_description
from tests.vm.cache import HostError, cache_directory, digest, kept
from tests.vm.environment import CHECKOUT
from tests.vm.image import image, image_key
from tests.vm.profiles import Profile
from tests.vm.qemu import KERNEL, MEMORY_MIB, PROCESSORS, Machine

#: Seconds that a boot may take: twenty on a machine with nothing else to do.
_BOOT = 400.0
#: Seconds that the share may take to appear and be mounted.
_MOUNTED = 180.0
#: The checkout, below a layer for what tests write there.
_MOUNT = f"""
set -e
# Policies know nothing of virtiofs: it gets a label, which takes a moment without them.
if [ -d /sys/fs/selinux/class ]; then setenforce 0; label=,context=system_u:object_r:usr_t:s0; fi
until mount -t virtiofs -o ro$label checkout /mnt 2>/tmp/why; do
    tries=$((${{tries:-0}} + 1)); [ $tries -lt 100 ] || {{ cat /tmp/why >&2; exit 1; }}; sleep 0.05
done
if [ -n "$label" ]; then
    # An overlay reads with the rights of mount(8), which are few; the disk will do.
    setenforce 1
    cp -r --preserve=mode,timestamps,links /mnt/. {CHECKOUT}
    exit
fi
mount -t tmpfs -o mode=755 written /srv
mkdir /srv/upper /srv/work {CHECKOUT}
mount -t overlay -o lowerdir=/mnt,upperdir=/srv/upper,workdir=/srv/work checkout {CHECKOUT}
"""


class Host:
    """A running host with the checkout mounted."""

    def __init__(self, machine: Machine, profile: Profile) -> None:
        self.machine = machine
        self.profile = profile

    def run(
        self,
        argv: list[str],
        *,
        patience: float,
        output: Callable[[bytes], object] | None = None,
        error: Callable[[bytes], object] | None = None,
        env: Mapping[str, str] = {},
        cwd: str = "/",
    ) -> tuple[int, bytes]:
        """Run a command to its end, for ``patience`` seconds at most; its status, and its output when nobody else takes it.

        Raises TimeoutError, HostError.
        """
        deadline = time.monotonic() + patience
        request = {"argv": argv, "env": dict(env), "cwd": cwd, "time": time.time()}
        self.machine.send(b"R", json.dumps(request).encode())
        collected = b""
        while True:
            kind, data = self.machine.receive(deadline)
            if kind == b"O" and output is None:
                collected += data
            elif kind == b"O" and output is not None:
                output(data)
            elif kind == b"E":
                (error or (lambda text: sys.stderr.buffer.write(text)))(data)
            elif kind == b"X":
                return int(data), collected


def boot_key(profile: Profile, built: Path, accel: str) -> str:
    """Digest of what a saved host depends on."""
    machine = (*cpu_arguments(accel), *KERNEL, *profile.kernel, str(MEMORY_MIB), str(PROCESSORS))
    return digest(built.name, *host_description(), *machine, (Path(__file__).parent / "qemu.py").read_bytes())


def saved_already(profile: Profile) -> bool:
    """Whether a host of the kind can be restored without building anything."""
    built = cache_directory() / f"image-{profile.name}-{image_key(profile)}"
    return built.exists() and (cache_directory() / f"boot-{profile.name}-{boot_key(profile, built, accelerator(built))}").exists()


def booted(profile: Profile) -> tuple[Path, Path, str]:
    """The image's directory, that of the saved host, and the accelerator; made if they are not there. With the lock held."""
    built = image(profile)
    accel = accelerator(built)
    saved = kept(f"boot-{profile.name}", boot_key(profile, built, accel), lambda path: _boot(profile, built, accel, path))
    return built, saved, accel


def _boot(profile: Profile, built: Path, accel: str, directory: Path) -> None:
    print(f"vm: booting ({profile.name}, {accel})", file=sys.stderr, flush=True)
    disk = directory / "booted.qcow2"
    _layer(built / "disk.img", "raw", disk)
    with Machine(built, disk, accel, profile.kernel) as machine:
        machine.connect()
        try:
            kind, state = machine.receive(time.monotonic() + _BOOT)
        except TimeoutError:
            raise machine.failure(f"not up after {_BOOT:.0f} seconds") from None
        if (kind, state) != (b"H", b"running"):
            try:
                failed = Host(machine, profile).run(["systemctl", "--failed", "--no-legend", "--plain"], patience=60)[1]
            except TimeoutError:
                failed = b"no answer"
            raise machine.failure(f"the system is {state.decode()}: {failed.decode()}")
        Host(machine, profile).run(["sync"], patience=60)
        machine.command("stop")
        machine.command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        machine.command("migrate", uri=f"exec:exec cat >'{directory / 'memory'}'")
        machine.until("query-migrate", "completed")
        machine.command("quit")
        machine.process.wait(60)


@contextmanager
def running(profile: Profile) -> Iterator[Host]:
    """A host of the kind, restored; gone afterwards. With the lock held. Raises HostError."""
    built, saved, accel = booted(profile)
    disk = saved / "run.qcow2"
    _layer(saved / "booted.qcow2", "qcow2", disk)
    try:
        with Machine(built, disk, accel, profile.kernel, saved / "memory") as machine:
            machine.connect()
            machine.until("query-status", "paused", "running", "prelaunch")
            machine.command("cont")
            machine.share(_frozen(machine.directory / "checkout"), "checkout")
            host = Host(machine, profile)
            said: list[bytes] = []
            try:
                status, _output = host.run(["sh", "-c", _MOUNT], patience=_MOUNTED, error=said.append)
            except TimeoutError:
                status = -1
            if status:
                raise machine.failure(f"the checkout cannot be mounted: {b''.join(said).decode(errors='replace')}")
            yield host
    finally:
        disk.unlink(missing_ok=True)


def _frozen(place: Path) -> Path:
    """A copy of the checkout as it is now, with what was built in it: whoever edits on meanwhile is not what is tested."""
    shutil.copytree(
        ROOT, place, symlinks=True, ignore=shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "build")
    )
    return place


def _layer(below: Path, form: str, path: Path) -> None:
    path.unlink(missing_ok=True)
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(below), "-F", form, str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostError(done.stderr.strip())
