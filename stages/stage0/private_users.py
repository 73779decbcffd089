"""Choosing the range of host IDs that a pod in a user namespace gets (``--private-users``).

65536 IDs from a random multiple of 65536 on, as rkt 1.30 (``pkg/user/uid_range.go``); the most significant bit stays clear
because devpts reads IDs as signed numbers. No range is given twice: the file in the directory of a pod, from when it is being
prepared until it has been removed, is the reservation, and whoever looks for a free range and writes that file holds the lock
``<data dir>/locks/userRanges``. It is the innermost of the locks (see ``pod_states``). Ranges that others have are avoided too:
those of /etc/subuid and /etc/subgid, of the users in /etc/passwd and /etc/group, and of every user namespace in use.
"""

from __future__ import annotations

import fcntl
import os

from rktpy.errors import FormatError, RktpyError
from rktpy.formats.stage1 import PRIVATE_USERS_FILE
from rktpy.formats.user_range import COUNT, UserRange
from rktpy.stage0.pod_states import STATES, pods_dir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rktpy.stage0.pod_files import PodFiles

__all__ = ["UserRange", "check_supported", "pod_range", "reserve_range"]

_SLOTS = 0x7FFF


def pod_range(pod: PodFiles) -> UserRange | None:
    """The range of a pod, None when it is in the host's user namespace. Raises FormatError."""
    text = pod.read_optional(PRIVATE_USERS_FILE)
    return UserRange.parse(text.decode("utf-8", "backslashreplace")) if text is not None else None


def check_supported() -> None:
    """Raises RktpyError when the kernel has no user namespaces."""
    if not os.path.exists("/proc/self/uid_map"):
        raise RktpyError("--private-users is not supported, kernel compiled without user namespace support")


def reserve_range(data_dir: str, pod_fd: int) -> UserRange:
    """Choose a range and write it into the directory of a pod, open as ``pod_fd``.

    Raises RktpyError when no range is left, OSError.
    """
    lock = os.open(f"{data_dir}/locks/userRanges", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        users = _free_range(_taken(data_dir))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(PRIVATE_USERS_FILE, flags, 0o640, dir_fd=pod_fd)
        try:
            os.write(fd, str(users).encode())
        finally:
            os.close(fd)
        return users
    finally:
        os.close(lock)


def _free_range(taken: set[int]) -> UserRange:
    first = int.from_bytes(os.urandom(2), "little") % _SLOTS
    for step in range(_SLOTS):
        slot = (first + step) % _SLOTS + 1
        if slot not in taken:
            return UserRange(slot * COUNT)
    raise RktpyError("all ranges of user IDs for --private-users are in use")


def _taken(data_dir: str) -> set[int]:
    """The multiples of 65536 from which on some ID is in use."""
    taken: set[int] = set()
    for first, count in (*_of_pods(data_dir), *_delegated(), *_of_users(), *_of_namespaces()):
        if 0 < count <= 1 << 31:  # the initial namespace's range is everything
            taken.update(range(first // COUNT, (first + count - 1) // COUNT + 1))
    return taken


def _of_pods(data_dir: str) -> Iterator[tuple[int, int]]:
    # In the order in which pods move, so that none is missed that moves meanwhile.
    for state in STATES:
        directory = f"{pods_dir(data_dir)}/{state}"
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            continue
        for name in names:
            try:
                users = UserRange.parse(_read(f"{directory}/{name}/{PRIVATE_USERS_FILE}"))
            except FormatError:
                continue  # not there, or cut off when the machine stopped, before anything was given to the range
            yield users.shift, users.count


def _delegated() -> Iterator[tuple[int, int]]:
    """Ranges that users may map themselves (subuid(5))."""
    for path in ("/etc/subuid", "/etc/subgid"):
        for line in _read(path).splitlines():
            _name, _colon, numbers = line.partition(":")
            yield from _numbers(numbers.replace(":", " "), 2, 0, 1)


def _of_users() -> Iterator[tuple[int, int]]:
    for path in ("/etc/passwd", "/etc/group"):
        for line in _read(path).splitlines():
            for first, _count in _numbers(" ".join(line.split(":")[2:3]), 1, 0, 0):
                yield first, 1


def _of_namespaces() -> Iterator[tuple[int, int]]:
    """What user namespaces of running processes map: other data directories, other container tools."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            for kind in ("uid_map", "gid_map"):
                for line in _read(f"/proc/{name}/{kind}").splitlines():
                    yield from _numbers(line, 3, 1, 2)


def _numbers(text: str, fields: int, first: int, count: int) -> Iterator[tuple[int, int]]:
    words = text.split()
    if len(words) == fields and all(word.isdecimal() and len(word) <= 10 for word in words):
        yield int(words[first]), int(words[count])


def _read(path: str) -> str:
    """The text of a file, empty when it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return (file.readall() or b"").decode("utf-8", "replace")
    except OSError:
        return ""
