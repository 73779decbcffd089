"""The kinds of host there are: what is installed beyond what every host has, and how its kernel is started."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """One kind of host. ``kernel`` is what is added to the kernel's command line."""

    name: str
    packages: tuple[str, ...]
    kernel: tuple[str, ...]


#: What makes a Debian host of the packages that test.sh names.
HOST = (
    "busybox-static",
    "dbus",
    "e2fsprogs",
    "initramfs-tools",
    "kmod",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "policykit-1",
    "python3",
    "python3-venv",
    "systemd",
    "systemd-container",
    "systemd-sysv",
    "udev",
    "zstd",
)

PROFILES = {
    "apparmor": Profile("apparmor", ("apparmor", "apparmor-utils"), ("apparmor=1", "security=apparmor")),
    "selinux": Profile(
        "selinux",
        ("checkpolicy", "policycoreutils", "policycoreutils-python-utils", "selinux-policy-default", "selinux-utils"),
        ("selinux=1", "security=selinux", "enforcing=1"),
    ),
}
