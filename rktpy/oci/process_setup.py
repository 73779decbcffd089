"""The last steps that all processes of a container take, the first and those of ``exec``. Hot-path module."""

from __future__ import annotations

import os
import stat
from errno import EACCES, EINVAL, EPERM, EROFS

from rktpy.isolate.capability_numbers import NUMBERS
from rktpy.isolate.credentials import BecomeUser
from rktpy.isolate.root import Root
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.loading import launched
from rktpy.oci.program import close_descriptors, default_signals, execute, sealed_handoff
from rktpy.oci.talk import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_SETMASK, pthread_sigmask
    from typing import NoReturn

    from rktpy.formats.oci.runtime.process import Capabilities
    from rktpy.oci.setup import Setup
else:
    from _signal import SIG_SETMASK, pthread_sigmask

_NULL = os.makedev(1, 3)
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def capability_sets(wanted: Capabilities | None, warnings: list[str]) -> tuple[int, int, int, int, int] | None:
    """The five bit masks; names that are no capability of this program's list become warnings, as in runc."""
    if wanted is None:
        return None
    masks: list[int] = []
    unknown: list[str] = []
    for names in (wanted.bounding, wanted.effective, wanted.inheritable, wanted.permitted, wanted.ambient):
        mask = 0
        for name in names:
            number = NUMBERS.get(name)
            if number is None:
                unknown.append(name)
            else:
                mask |= 1 << number
        masks.append(mask)
    if unknown:
        warnings.append(f"ignoring unknown capabilities: {', '.join(sorted(set(unknown)))}")
    return masks[0], masks[1], masks[2], masks[3], masks[4]


def environment_of(setup: Setup) -> dict[str, str]:
    """The process's variables; HOME is that of its user when it has none. We are in the container's root."""
    environment: dict[str, str] = {}
    for one in (*setup.process.env, *setup.environment):
        name, equals, value = one.partition("=")
        if equals and name:
            environment[name] = value
    if not environment.get("HOME"):
        environment["HOME"] = _home(setup.process.user.uid)
    return environment


def _home(uid: int) -> str:
    try:
        with Root("/") as root:
            data = root.read("/etc/passwd") or b""
    except OSError:
        data = b""
    wanted = str(uid).encode()
    for line in data.split(b"\n"):
        fields = line.split(b":")
        if len(fields) > 5 and fields[2] == wanted and fields[5]:
            return os.fsdecode(fields[5])
    return "/"


def search_path_of(environment: dict[str, str]) -> str:
    """PATH, or what stands for it."""
    return environment.get("PATH", _DEFAULT_PATH)


def enter_directory(path: str) -> None:
    """Change to the working directory, which is made when it is not there. Raises RuntimeFailure.

    A directory that is not in the container, reached through a descriptor of the runtime's, is refused (CVE-2024-21626).
    """
    if not os.path.isdir(path):
        try:
            os.makedirs(path, 0o755, exist_ok=True)
        except OSError:
            pass  # changing to it tells what is wrong
    try:
        os.chdir(path)
    except PermissionError:
        return  # perhaps its user may
    except OSError as error:
        raise RuntimeFailure(f"chdir to cwd ({path!r}) set in config.json failed: {(error.strerror or '').lower()}") from None
    check_directory()


def check_directory() -> None:
    """Refuse to go on where no path leads to. Raises RuntimeFailure."""
    try:
        inside = os.getcwd().startswith("/")
    except FileNotFoundError:
        inside = False
    if not inside:
        raise RuntimeFailure(
            "current working directory is outside of container mount namespace root -- possible container breakout"
        )


def own_streams(uid: int) -> None:
    """Give the standard streams to the user, but for the null device, which is everybody's. Raises OSError."""
    for fd in range(3):
        try:
            status = os.fstat(fd)
            if status.st_uid == uid or (stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL):
                continue
            os.fchown(fd, uid, -1)
        except OSError as error:
            if error.errno not in (EINVAL, EPERM, EROFS, EACCES, 9):
                raise


def limit_process(setup: Setup, *, rlimits: bool) -> None:
    """Resource limits and turns at CPUs, disks and memory; what cannot be had of limits becomes a warning."""
    process = setup.process
    if rlimits and process.rlimits:
        set_rlimits(setup)
    if process.io_priority is not None:
        from rktpy.isolate.scheduling import set_io_priority

        set_io_priority(process.io_priority.klass, process.io_priority.priority)
    if process.scheduler is not None:
        from rktpy.isolate.scheduling import set_scheduler

        one = process.scheduler
        set_scheduler(one.policy, one.nice, one.priority, one.flags, one.runtime, one.deadline, one.period)
    linux = setup.config.linux if setup.config is not None else None
    if linux is not None and linux.personality:
        from rktpy.isolate.scheduling import set_personality

        if linux.personality_flags:
            raise RuntimeFailure("personality flags are not supported: the kernel has none that a container could need")
        set_personality(linux.personality)
    if linux is not None and linux.memory_policy is not None:
        from rktpy.isolate.scheduling import set_memory_policy

        set_memory_policy(linux.memory_policy.mode, linux.memory_policy.nodes, linux.memory_policy.flags)


def set_rlimits(setup: Setup) -> None:
    """The process's resource limits; one that cannot be raised so far is clamped, and told."""
    from rktpy.formats.oci.runtime.process import RLIMIT_NUMBERS
    from rktpy.isolate.rlimits import set_rlimit

    for limit in setup.process.rlimits:
        clamped = set_rlimit(RLIMIT_NUMBERS[limit.kind], limit.soft, limit.hard)
        if clamped is not None:
            tell(setup.sync, b"W", f"{limit.kind} is {clamped[0]}:{clamped[1]}: raising it needs CAP_SYS_RESOURCE")


def drop_privileges(setup: Setup) -> None:
    """Become the user with its privileges, under its filter. Raises RuntimeFailure, OSError."""
    process = setup.process
    warnings: list[str] = []
    user = process.user
    become = BecomeUser(user.uid, user.gid, user.additional_gids, capability_sets(process.capabilities, warnings))
    for warning in warnings:
        tell(setup.sync, b"W", warning)
    close_descriptors(setup.preserved)
    default_signals()
    if setup.signal_mask is not None:
        pthread_sigmask(SIG_SETMASK, setup.signal_mask)
    if process.no_new_privileges:
        from rktpy.isolate.process import NoNewPrivs

        NoNewPrivs().execute(_NO_ROOT)
    if setup.seccomp is not None and not process.no_new_privileges:
        _filter(setup)  # while we may
    become.execute(_NO_ROOT)
    if user.uid:
        try:
            os.chdir(process.cwd)  # what root may see, its user may not, and the other way round
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise RuntimeFailure(f"chdir to cwd ({process.cwd!r}) set in config.json failed: {reason}") from None
        check_directory()
    if process.exec_cpu_affinity[1]:
        from rktpy.isolate.scheduling import set_affinity

        set_affinity(process.exec_cpu_affinity[1], "process.execCPUAffinity.final")
    if setup.seccomp is not None and process.no_new_privileges:
        _filter(setup)


def become_program(setup: Setup, program: str, environment: dict[str, str], image: int) -> NoReturn:
    """Execute ``program``. Raises RuntimeFailure."""
    try:
        execute(program, setup.process.args, environment, image, setup.program, by_path=setup.seccomp is not None)
    except OSError as error:
        raise RuntimeFailure(f"exec {program}: {(error.strerror or '').lower()}") from None


def handoff_image(setup: Setup) -> int:
    """What stands between us and the program, -1 for nothing. Raises OSError."""
    if launched():
        return -1  # we are nothing that could be harmed ourselves
    # A change of the SELinux context is for the program that is executed, and that would be the one in between.
    return -1 if setup.process.selinux_label else sealed_handoff()


def _filter(setup: Setup) -> None:
    from rktpy.linux.syscalls import seccomp_filter

    assert setup.seccomp is not None
    listener = seccomp_filter(setup.seccomp.program, setup.filter_flags)
    if setup.agent:
        # The runtime fetches it; no call but this one may be needed before somebody listens.
        os.write(setup.sync.fileno(), b"L%d" % listener)
        if os.read(setup.sync.fileno(), 1) != b"g":
            os._exit(1)
        os.close(listener)


_NO_ROOT = Root.__new__(Root)
