"""The disk of the host: Debian's packages, the environment of the tests, the agent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.vm import environment
from tests.vm.cache import HostError, digest, kept
from tests.vm.lifetime import die_with
from tests.vm.profiles import HOST, Profile

GUEST = Path(__file__).parent / "guest"
SUITE = "bookworm"
#: Of the file system; the file has holes where nothing was written.
_SIZE = "12G"
#: Seconds.
_PATIENCE = 900
#: What the initial RAM disk needs to find the root: without it Debian's would have drivers for everything.
_CONFIGURE = r"""
cd "$1" && mkdir -p etc/initramfs-tools/conf.d && echo MODULES=list >etc/initramfs-tools/conf.d/modules &&
printf '%s\n' virtio_pci virtio_blk virtio_console ext4 >>etc/initramfs-tools/modules
"""
_MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service"),
    *("fstrim.timer", "getty@tty1.service", "docker-registry.service", "podman.service", "podman.socket"),
    *("podman-auto-update.service", "podman-auto-update.timer", "podman-restart.service", "systemd-journal-remote.service"),
)
_UNWANTED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")


def packages(profile: Profile) -> tuple[str, ...]:
    """Debian packages of the host: those of the tests, as test.sh lists them, and those that make it a host."""
    done = subprocess.run(["sh", str(ROOT / "test.sh"), "--packages"], capture_output=True, text=True, check=True)
    return tuple(sorted({*done.stdout.split(), *HOST, *profile.packages}))


def apt_sources() -> list[str]:
    """This machine's own sources for the suite, as lines of sources.list(5). Raises HostError."""
    line = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    argv = ["apt-get", "indextargets", "--format", line, "Created-By: Packages"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    names = (SUITE, f"{SUITE}-updates", f"{SUITE}-security")
    lines = [one for one in dict.fromkeys(done.stdout.splitlines()) if one.split()[2] in names]
    if not lines:
        raise HostError(f"apt has no sources for {SUITE}: {done.stderr.strip()}")
    return lines


def image_key(profile: Profile) -> str:
    """Digest of what the image is made from. Newer versions of the packages do not change it."""
    parts = [path for path in sorted(GUEST.iterdir()) if path.suffix != ".cil" or profile.name == "selinux"]
    files = [path.read_bytes() for path in (*parts, Path(__file__)) if path.is_file()]
    return digest(profile.name, packages(profile), environment.description(), *files)


def image(profile: Profile) -> Path:
    """The directory with ``disk.img``, ``kernel`` and ``initrd``; built if it is not in the cache. Raises HostError."""
    return kept(f"image-{profile.name}", image_key(profile), lambda directory: _build(profile, directory))


def _build(profile: Profile, directory: Path) -> None:
    for program in ("mmdebstrap", "mkfs.ext4"):
        if shutil.which(program) is None:
            raise HostError(f"{program} is not installed")
    print(f"vm: building the image ({profile.name})", file=sys.stderr, flush=True)
    root = directory / "root"
    # fmt: off
    argv = [
        # It mounts the machine's /sys and /dev in there: killed, it would leave them to whoever removes the directory.
        "unshare", "--mount", "--propagation", "private",
        "mmdebstrap", "--variant=minbase", f"--include={','.join(packages(profile))}",
        '--aptopt=APT::Install-Recommends "false"', *(f"--dpkgopt=path-exclude={one}" for one in _UNWANTED),
        f"--essential-hook={_CONFIGURE}", f'--customize-hook=chroot "$1" python3 -m venv --without-pip {environment.PLACE}',
        SUITE, str(root), *apt_sources(),
    ]
    # fmt: on
    _run(argv)
    environment.install(root)
    # Here it takes seconds; in the guest each run would do it again.
    _run(["chroot", str(root), "python3", "-m", "compileall", "-q", "-j", "2", environment.PLACE])
    _place(root)
    if profile.name == "selinux":
        _label(root)
    for kind, name in (("vmlinuz-*", "kernel"), ("initrd.img-*", "initrd")):
        (found,) = (root / "boot").glob(kind)
        shutil.copyfile(found, directory / name)
    disk = directory / "disk.img"
    _run(["truncate", "-s", _SIZE, str(disk)])
    # Nothing is left for the kernel to do in the background while tests run.
    _run(["mkfs.ext4", "-q", "-F", "-i", "32768", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-d", str(root), str(disk)])
    shutil.rmtree(root)


def _place(root: Path) -> None:
    """Our own files, and what a host without a person at it does not need."""
    system = root / "etc/systemd/system"
    (root / "usr/lib/rktpy-host").mkdir()
    shutil.copy2(GUEST / "agent.py", root / "usr/lib/rktpy-host/agent.py")
    for unit in (GUEST / "rktpy-agent.service", GUEST / "rktpy-groups.service"):
        shutil.copy2(unit, system / unit.name)
        wants = system / "multi-user.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / unit.name).symlink_to(f"../{unit.name}")
    shutil.copy2(GUEST / "sysctl.conf", root / "etc/sysctl.d/90-rktpy-host.conf")
    (root / "etc/hostname").write_text("host\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost host\n::1 localhost\n")
    (root / "etc/fstab").write_text("/dev/vda / ext4 noatime 0 1\n")
    (root / environment.CHECKOUT.lstrip("/")).mkdir(parents=True)
    for name in _MASKED:
        link = system / name
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")


def _label(root: Path) -> None:
    """Give every file the context that the policy says, so that the first boot finds them."""
    (root / "etc/selinux/config").write_text("SELINUX=enforcing\nSELINUXTYPE=default\n")
    (root / ".autorelabel").unlink(missing_ok=True)
    shutil.copy2(GUEST / "rktpy_test.cil", root / "tmp/rktpy_test.cil")
    _run(["chroot", str(root), "semodule", "-n", "-s", "default", "-i", "/tmp/rktpy_test.cil"])
    (root / "tmp/rktpy_test.cil").unlink()
    contexts = "/etc/selinux/default/contexts/files/file_contexts"
    script = f"mount -t proc proc {root}/proc && chroot {root} setfiles -F {contexts} /"
    _run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script])


def _run(argv: list[str]) -> None:
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
            preexec_fn=die_with(os.getpid()),
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"{argv[0]} took longer than {_PATIENCE} seconds") from None
    if done.returncode:
        last = "\n".join((done.stderr or done.stdout).splitlines()[-15:])
        raise HostError(f"{argv[0]} ended with status {done.returncode}:\n{last}")
