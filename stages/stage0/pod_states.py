"""Pods on disk: the directories and locks that make the states.

::

    <data dir>/pods/
        embryo/<uuid>/           made, not yet locked; always empty
        prepare/<uuid>/          locked: preparing            unlocked: aborted prepare
        prepared/<uuid>/         prepared (locked only for the instant before the move to run)
        run/<uuid>/              locked: running              unlocked: exited
        exited-garbage/<uuid>/   locked: exited deleting      unlocked: exited garbage
        garbage/<uuid>/          locked: deleting             unlocked: garbage (a pod that never ran)

    in a pod's directory
        pod                      the pod manifest             pod-created   its mtime is the time of creation
        pod.lck                  flock for changing the manifest of a mutable pod
        appsinfo/<app>/{manifest,treeStoreID}
        trust                    the trust decision of each app's image
        stage1/{manifest,rootfs/}, stage1-bundled | stage1TreeStoreID
        overlay-prepared, private-users-prepared
        overlay/<tree id>/{upper,work}/<app>
        pid | ppid               written by stage1; the mtime is the time of the start
        net-info.json, netns, subcgroup, net/

The lock is an exclusive flock(2) on the directory itself. The process that prepares a pod takes it, the stage1 inherits the
descriptor, and the pod is running as long as any process keeps it open; so a kill -9 or a reboot cannot leave a wrong state
behind. Every move is one rename(2); the parents are synced after those moves that a power failure must not undo.

Lock order: ``<data dir>/locks/prepareLock`` (shared), then the pod's directory, then the store's own locks. Nobody who holds a
pod's lock waits for another pod's. ``<data dir>/locks/userRanges`` comes last of all. Reading a state only tries a
shared lock and gives it back at once.

Moves go from the top of the list to the bottom only, so whoever looks for a pod in that order finds it even if it moves at that
moment; after opening a directory its path is looked at again, because a state belongs to a path.

Behaviour as rkt 1.30's pkg/pod. Hot-path module.
"""

from __future__ import annotations

import fcntl
import os
from _json import encode_basestring

EMBRYO = "embryo"
PREPARING = "preparing"
ABORTED_PREPARE = "aborted prepare"
PREPARED = "prepared"
RUNNING = "running"
EXITED = "exited"
EXITED_GARBAGE = "exited garbage"
EXITED_DELETING = "exited deleting"
GARBAGE = "garbage"
DELETING = "deleting"
GONE = "gone"

#: Directories in the order in which a pod passes through them, with the state of an unlocked and of a locked pod there.
STATES: dict[str, tuple[str, str]] = {
    "embryo": (EMBRYO, EMBRYO),
    "prepare": (ABORTED_PREPARE, PREPARING),
    "prepared": (PREPARED, PREPARED),
    "run": (EXITED, RUNNING),
    "exited-garbage": (EXITED_GARBAGE, EXITED_DELETING),
    "garbage": (GARBAGE, DELETING),
}
#: Where commands look for pods that a user may name.
LISTED = ("prepare", "prepared", "run", "exited-garbage")
AFTER_RUN = (EXITED, EXITED_GARBAGE, EXITED_DELETING, GARBAGE, DELETING)

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def quoted(text: str) -> str:
    """``text`` in double quotes, as rkt's messages show names."""
    result: str = encode_basestring(text)
    return result


def pods_dir(data_dir: str) -> str:
    """The directory that holds the directories of the states."""
    return data_dir + "/pods"


def is_uuid(text: str) -> bool:
    """Whether ``text`` is a complete UUID in lower case."""
    if len(text) != 36 or text[8] != "-" or text[13] != "-" or text[18] != "-" or text[23] != "-":
        return False
    digits = text.replace("-", "")
    return len(digits) == 32 and not digits.strip("0123456789abcdef")


def new_uuid() -> str:
    """A random UUID (version 4)."""
    digits = bytearray(os.urandom(16))
    digits[6] = digits[6] & 0x0F | 0x40
    digits[8] = digits[8] & 0x3F | 0x80
    text = digits.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def make_state_dirs(data_dir: str) -> None:
    """Create the directories of the states, 0750 as rkt does."""
    base = pods_dir(data_dir)
    # One by one: makedirs would leave the mode of those above the last to the caller's umask.
    for path in (base, *[f"{base}/{name}" for name in STATES]):
        try:
            os.mkdir(path, 0o750)
        except FileExistsError:
            pass
        except FileNotFoundError:
            os.makedirs(data_dir, 0o750, exist_ok=True)
            try:
                os.mkdir(path, 0o750)
            except FileExistsError:
                pass


def sync_dir(path: str) -> None:
    """fsync(2) a directory, so that the names in it survive a power failure."""
    fd = os.open(path, DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def is_locked(directory: str, fd: int) -> bool:
    if directory in ("prepared", "embryo"):
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def is_at(path: str, wanted: os.stat_result) -> bool:
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return found.st_ino == wanted.st_ino and found.st_dev == wanted.st_dev


def locate(data_dir: str, uuid: str, wanted: os.stat_result) -> str | None:
    base = pods_dir(data_dir)
    for directory in STATES:
        if is_at(f"{base}/{directory}/{uuid}", wanted):
            return directory
    return None
