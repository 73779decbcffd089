"""Labels of the security modules AppArmor and SELinux: are they there, give them to the next program. Hot-path module."""

from __future__ import annotations

import os


def apparmor_enabled() -> bool:
    """Whether AppArmor is active on this machine."""
    try:
        with open("/sys/module/apparmor/parameters/enabled", "rb", buffering=0) as file:
            return file.read(1) == b"Y"
    except OSError:
        return False


def apparmor_loaded(profile: str) -> bool:
    """Whether the kernel has an AppArmor profile of this name."""
    try:
        with open("/sys/kernel/security/apparmor/profiles", "rb") as file:
            lines = file.read().decode("utf-8", "surrogateescape").splitlines()
    except OSError:
        return False
    return any(line.rpartition(" (")[0] == profile for line in lines)


def set_apparmor(profile: str) -> None:
    """Let the next execve(2) confine this process in ``profile``. Raises OSError."""
    path = "/proc/self/attr/apparmor/exec"
    fd = os.open(path if os.path.exists(path) else "/proc/self/attr/exec", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, f"exec {profile}".encode())
    finally:
        os.close(fd)


def selinux_active() -> bool:
    """Whether SELinux is active on this machine."""
    return os.path.isdir("/sys/fs/selinux/class")


def set_selinux(context: str) -> None:
    """Let the next execve(2) run in the SELinux context ``context``. Raises OSError."""
    fd = os.open("/proc/self/attr/exec", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, context.encode())
    finally:
        os.close(fd)
