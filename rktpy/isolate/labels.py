"""Labels of the security modules AppArmor and SELinux: are they there, give them to the next program. Hot-path module."""

from __future__ import annotations

import os
from errno import EINVAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rktpy.formats.aci.isolators import Isolator

_SELINUX = "/sys/fs/selinux"


def check_labels(app: str, isolators: Iterable[Isolator]) -> None:
    """Refuse labels that the machine's security modules do not know, where the host's /sys is seen.

    A profile is not loaded, or a context not of the policy. Without SELinux a context is not refused but reported by whoever
    puts isolators into force. Raises Stage1Error, OSError.
    """
    from rktpy.errors import Stage1Error
    from rktpy.formats.aci.isolators import AppArmorProfile, SELinuxContext
    from rktpy.isolate.plan import shown

    for isolator in isolators:
        parsed = isolator.parsed
        if isinstance(parsed, AppArmorProfile) and not apparmor_loaded(parsed.profile):
            raise Stage1Error(f"app {app}: AppArmor profile {shown(parsed.profile)} is not loaded")
        if isinstance(parsed, SELinuxContext) and selinux_active() and not selinux_knows(str(parsed)):
            raise Stage1Error(f"app {app}: SELinux context {shown(str(parsed))} is not of the loaded policy")


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
    _write(path if os.path.exists(path) else "/proc/self/attr/exec", f"exec {profile}")


def selinux_active() -> bool:
    """Whether SELinux is active on this machine, as it is seen where its file system is mounted."""
    return os.path.isdir(f"{_SELINUX}/class")


def selinux_knows(context: str) -> bool:
    """Whether a process could have this context, by the policy that the kernel has loaded. Raises OSError."""
    try:
        _write(f"{_SELINUX}/context", context)
    except OSError as error:
        if error.errno == EINVAL:
            return False
        raise
    return True


def set_selinux(context: str) -> None:
    """Let the next execve(2) run in the SELinux context ``context``. Raises OSError."""
    _write("/proc/self/attr/exec", context)


def set_labels(apparmor: str, selinux: str) -> None:
    """The labels of the next program: a profile and a context, each empty for none. Raises OSError."""
    if apparmor:
        set_apparmor(apparmor)
    if selinux:
        set_selinux(selinux)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
