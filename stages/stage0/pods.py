"""Pods: finding and opening them, their states and the moves between states.

What is where, and how directories and locks make the states, is drawn in ``pod_states``. Behaviour as rkt 1.30's pkg/pod.
Hot-path module.
"""

from __future__ import annotations

import fcntl
import os
from time import sleep

from rktpy.errors import AmbiguousError, NotFoundError, StateError, UsageError
from rktpy.stage0.pod_files import PodFiles
from rktpy.stage0.pod_states import (
    ABORTED_PREPARE,
    DIRECTORY,
    EXITED,
    EXITED_GARBAGE,
    GONE,
    LISTED,
    PREPARED,
    PREPARING,
    RUNNING,
    STATES,
    is_at,
    is_locked,
    is_uuid,
    locate,
    make_state_dirs,
    new_uuid,
    pods_dir,
    quoted,
    sync_dir,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = [
    "EXITED",
    "EXITED_GARBAGE",
    "GONE",
    "LISTED",
    "PREPARED",
    "RUNNING",
    "STATES",
    "Pod",
    "create",
    "find_pod",
    "make_state_dirs",
    "open_pod",
    "pods_dir",
    "quoted",
    "read_uuid_file",
    "resolve_uuid",
    "walk",
    "write_uuid_file",
]

_ATTEMPTS = 20
_LOOK_S = 0.001


class Pod(PodFiles):
    """A handle on one pod: an open directory and the state it was in when last looked at.

    Methods other than :meth:`refresh`, the waits and the moves do not look at the state again. Close it, or use it as a context
    manager; a held lock goes with it.
    """

    __slots__ = ("_locked", "_own", "data_dir", "uuid")

    def __init__(self, data_dir: str, uuid: str, directory: str, fd: int, state: str) -> None:
        super().__init__(directory, fd, state)
        self.data_dir = data_dir
        self.uuid = uuid
        self._own = False
        self._locked = False

    # -- handle ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Pod:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the directory and with it let go of a lock that this handle holds."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def fileno(self) -> int:
        """The descriptor of the pod's directory, which is also what the lock is on."""
        return self._fd

    def detach(self) -> None:
        """Exchange the descriptor, before it is locked, for one that leads nowhere but to the pod's own files.

        The pod's processes inherit it with the lock, and ``..`` of an ordinary one would be a way out of every chroot. Raises
        OSError.
        """
        from rktpy.isolate.detached import open_detached

        fd = open_detached(".", self._fd)
        os.close(self._fd)
        self._fd = fd

    @property
    def directory(self) -> str:
        """Name of the state directory that the pod was last seen in (a key of STATES)."""
        return self._directory

    @property
    def path(self) -> str:
        """Absolute path of the pod's directory, as of the last look."""
        return f"{self.data_dir}/pods/{self._directory}/{self.uuid}"

    # -- state ----------------------------------------------------------------------------------------------------------

    def refresh(self) -> str:
        """Look where the pod is now and whether it is locked; returns the new state (``gone`` when it was removed)."""
        mine = os.fstat(self._fd)
        if self._directory in ("embryo", "prepare"):
            # Its files are still being written.
            self._rootfs, self._raw = "", None
        for _ in range(len(STATES)):
            directory = locate(self.data_dir, self.uuid, mine)
            if directory is None:
                self.state = GONE
                return GONE
            self._directory = directory
            state = STATES[directory][1 if self._locked or is_locked(directory, self._fd) else 0]
            if is_at(self.path, mine):
                self.state = state
                return state
        raise StateError(f"pod {quoted(self.uuid)} does not come to rest")

    def lock(self) -> bool:
        """Try to take the exclusive lock. True when it is held now and the pod is still where it was last seen."""
        for _ in range(_ATTEMPTS):
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if is_locked(self._directory, self._fd):
                    return False
                # Somebody was only looking at the state.
                sleep(_LOOK_S)
        else:
            return False
        self._locked = True
        if is_at(self.path, os.fstat(self._fd)):
            return True
        self.unlock()
        return False

    def unlock(self) -> None:
        """Give the lock back."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._locked = False

    # -- moves ----------------------------------------------------------------------------------------------------------

    def _move(self, directory: str, *, sync: bool = True) -> None:
        old = self._directory
        base = pods_dir(self.data_dir)
        os.rename(f"{base}/{old}/{self.uuid}", f"{base}/{directory}/{self.uuid}")
        self._directory = directory
        self.state = STATES[directory][1 if self._locked else 0]
        if sync:
            sync_dir(f"{base}/{directory}")
            sync_dir(f"{base}/{old}")

    def to_prepared(self) -> None:
        """preparing -> prepared, by the process that made the pod; lets go of the lock."""
        if not self._own or self._directory != "prepare":
            raise StateError(f"pod {quoted(self.uuid)} is not being prepared here")
        self._move("prepared")
        self.unlock()
        self._own = False

    def to_run(self) -> None:
        """prepared -> running, or preparing -> running by the process that made the pod; keeps the lock.

        Raises StateError when the pod is not prepared, also when another command was faster.
        """
        if self._directory != "prepared" and not (self._own and self._directory == "prepare"):
            raise StateError(f"pod {quoted(self.uuid)} is not prepared")
        if not self._locked and not self.lock():
            raise StateError(f"pod {quoted(self.uuid)} is not prepared")
        try:
            # A prepared pod must not come back as one after a power failure and run twice. What was never prepared has not
            # been promised to anyone: if its move is lost, gc finds an aborted prepare instead of an exited pod.
            self._move("run", sync=self._directory == "prepared")
        except FileNotFoundError as error:
            raise StateError(f"pod {quoted(self.uuid)} is not prepared") from error

    def to_exited_garbage(self, *, sync: bool = True) -> bool:
        """exited -> exited garbage. False when another command moved it first."""
        return self._discard("exited-garbage", EXITED, sync)

    def to_garbage(self, *, sync: bool = True) -> bool:
        """aborted prepare or prepared -> garbage. False when another command moved it first."""
        return self._discard("garbage", ABORTED_PREPARE if self._directory == "prepare" else PREPARED, sync)

    def _discard(self, directory: str, expected: str, sync: bool) -> bool:
        if self.state != expected:
            raise StateError(f"pod {quoted(self.uuid)} is {self.state}")
        try:
            self._move(directory, sync=sync)
        except FileNotFoundError:
            return False
        return True

    # -- waits ----------------------------------------------------------------------------------------------------------

    def wait_exited(self, timeout_s: float | None = None) -> bool:
        """Wait until the pod has ended. False after ``timeout_s`` seconds (None: no limit)."""
        from rktpy.stage0.wait import wait_exited

        return wait_exited(self, timeout_s)

    def wait_ready(self, timeout_s: float | None = None) -> bool:
        """Wait until the pod is ready. False after ``timeout_s`` seconds (None: no limit) or when it has ended before."""
        from rktpy.stage0.wait import wait_ready

        return wait_ready(self, timeout_s)


def _open_in(data_dir: str, uuid: str, directory: str) -> Pod | None:
    """The pod if it is in this state directory, before and after the lock is looked at."""
    path = f"{data_dir}/pods/{directory}/{uuid}"
    try:
        fd = os.open(path, DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        state = STATES[directory][1 if is_locked(directory, fd) else 0]
        if is_at(path, os.fstat(fd)):
            pod = Pod(data_dir, uuid, directory, fd, state)
            fd = -1
            return pod
        return None
    finally:
        if fd >= 0:
            os.close(fd)


def open_pod(data_dir: str, uuid: str, hint: str = "") -> Pod:
    """Open a pod by its complete UUID, wherever it is; ``hint`` is the state directory to look into first.

    Raises NotFoundError when there is no such pod (any more).
    """
    if hint:
        pod = _open_in(data_dir, uuid, hint)
        if pod is not None:
            return pod
    # A pod that moves while it is looked for can escape one pass only by moving on, and there are finitely many moves.
    for _ in range(len(STATES)):
        for directory in STATES:
            pod = _open_in(data_dir, uuid, directory)
            if pod is not None:
                return pod
        if not any(os.path.isdir(f"{data_dir}/pods/{directory}/{uuid}") for directory in STATES):
            break
    raise NotFoundError(f"pod {quoted(uuid)} was not present")


def resolve_uuid(data_dir: str, prefix: str) -> str:
    """The one UUID that begins with ``prefix``, case ignored. A complete UUID costs no directory listing.

    Raises UsageError, NotFoundError or AmbiguousError with rkt's messages.
    """
    wanted = prefix.lower()
    if not wanted:
        raise UsageError("UUID cannot be empty")
    base = pods_dir(data_dir)
    if is_uuid(wanted):
        for directory in LISTED:
            if os.path.isdir(f"{base}/{directory}/{wanted}"):
                return wanted
        raise NotFoundError(f"no matches found for {quoted(wanted)}")
    matches = {name for directory in LISTED for name in _uuids_in(f"{base}/{directory}") if name.startswith(wanted)}
    if not matches:
        raise NotFoundError(f"no matches found for {quoted(wanted)}")
    if len(matches) > 1:
        raise AmbiguousError(f"ambiguous uuid, {len(matches)} matches")
    return matches.pop()


def find_pod(data_dir: str, prefix: str, problem: str) -> Pod:
    """Open the pod that ``prefix`` names. Errors read ``<problem>: <reason>``, with rkt's chain in between."""
    try:
        uuid = resolve_uuid(data_dir, prefix)
    except (UsageError, NotFoundError, AmbiguousError) as error:
        middle = type(error)("unable to resolve UUID")
        middle.__cause__ = error
        raise type(error)(problem) from middle
    try:
        return open_pod(data_dir, uuid)
    except NotFoundError as error:
        middle = NotFoundError("unable to get pod")
        middle.__cause__ = error
        raise NotFoundError(problem) from middle


def _uuids_in(path: str) -> list[str]:
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return []
    return [name for name in names if is_uuid(name)]


def walk(data_dir: str, directories: tuple[str, ...] = LISTED) -> Iterator[Pod]:
    """The pods in the given state directories, in the order of their UUIDs, each closed when the next one is asked for.

    A pod that moves out of these directories meanwhile is left out. Nothing is locked.
    """
    base = pods_dir(data_dir)
    found: dict[str, str] = {}
    for directory in STATES:
        if directory in directories:
            for name in _uuids_in(f"{base}/{directory}"):
                found[name] = directory
    for uuid in sorted(found):
        try:
            pod = open_pod(data_dir, uuid, found[uuid])
        except NotFoundError:
            continue
        try:
            if pod.directory in directories:
                yield pod
        finally:
            pod.close()


def create(data_dir: str, *, detached: bool = False) -> Pod:
    """A new pod in state preparing, with a random UUID (version 4), locked by this process.

    ``detached`` is for a pod that this process will run, see :meth:`Pod.detach`. Raises OSError when the data directory cannot be
    written.
    """
    base = pods_dir(data_dir)
    made = False
    while True:
        uuid = new_uuid()
        embryo = f"{base}/embryo/{uuid}"
        try:
            os.mkdir(embryo, 0o750)
        except FileNotFoundError:
            if made:
                raise
            make_state_dirs(data_dir)
            made = True
            continue
        except FileExistsError:
            continue
        try:
            fd = os.open(embryo, DIRECTORY)
        except FileNotFoundError:
            # gc may take an embryo that is not locked yet for one whose maker has died.
            continue
        pod = Pod(data_dir, uuid, "prepare", fd, PREPARING)
        try:
            if detached:
                pod.detach()
            fcntl.flock(pod.fileno(), fcntl.LOCK_EX)
            # No sync: nothing is lost with a pod that was never prepared.
            os.rename(embryo, f"{base}/prepare/{uuid}")
        except FileNotFoundError:
            pod.close()
            if not made:
                make_state_dirs(data_dir)
                made = True
            continue
        except BaseException:
            pod.close()
            raise
        pod._locked = pod._own = True
        return pod


def read_uuid_file(path: str) -> str:
    """The UUID in a file, as ``--uuid-file`` names it. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(4096).strip().decode("utf-8", "replace")


def write_uuid_file(path: str, uuid: str) -> None:
    """Write the UUID to a file, as ``--uuid-file-save`` asks for. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, uuid.encode())
    finally:
        os.close(fd)
