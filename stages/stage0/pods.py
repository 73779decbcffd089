"""Pods on disk: the directory that a pod lives in, its lock, its state, and the moves between states.

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
        net-info.json, netns, subcgroup

The lock is an exclusive flock(2) on the directory itself. The process that prepares a pod takes it, the stage1 inherits the
descriptor, and the pod is running as long as any process keeps it open; so a kill -9 or a reboot cannot leave a wrong state
behind. Every move is one rename(2), after which the parents are synced.

Lock order: ``<data dir>/locks/prepareLock`` (shared), then the pod's directory, then the store's own locks. Nobody who holds a
pod's lock waits for another pod's. Reading a state only tries a shared lock and gives it back at once.

Moves go from the top of the list to the bottom only, so whoever looks for a pod in that order finds it even if it moves at that
moment; after opening a directory its path is looked at again, because a state belongs to a path.

Behaviour as rkt 1.30's pkg/pod. Hot-path module.
"""

from __future__ import annotations

import fcntl
import os
from _json import encode_basestring

from rktpy.errors import AmbiguousError, NotFoundError, StateError, UsageError
from rktpy.formats import jsondoc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any

    from rktpy.formats.pod import PodManifest
    from rktpy.formats.stage1 import Enforcement

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

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_LIMIT = 16 << 20


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


def make_state_dirs(data_dir: str) -> None:
    """Create the directories of the states, 0750 as rkt does."""
    base = pods_dir(data_dir)
    for name in STATES:
        path = f"{base}/{name}"
        try:
            os.mkdir(path, 0o750)
        except FileExistsError:
            pass
        except FileNotFoundError:
            os.makedirs(path, 0o750, exist_ok=True)


def sync_dir(path: str) -> None:
    """fsync(2) a directory, so that the names in it survive a power failure."""
    fd = os.open(path, _DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Pod:
    """A handle on one pod: an open directory and the state it was in when last looked at.

    Methods other than :meth:`refresh`, the waits and the moves do not look at the state again. Close it, or use it as a context
    manager; a held lock goes with it.
    """

    __slots__ = ("_directory", "_fd", "_locked", "_own", "_raw", "_rootfs", "data_dir", "state", "uuid")

    def __init__(self, data_dir: str, uuid: str, directory: str, fd: int, state: str) -> None:
        self.data_dir = data_dir
        self.uuid = uuid
        self.state = state
        self._directory = directory
        self._fd = fd
        self._own = False
        self._locked = False
        self._raw: dict[str, Any] | None = None
        self._rootfs = ""

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
            directory = _locate(self.data_dir, self.uuid, mine)
            if directory is None:
                self.state = GONE
                return GONE
            self._directory = directory
            state = STATES[directory][1 if self._locked or _is_locked(directory, self._fd) else 0]
            if _is_at(self.path, mine):
                self.state = state
                return state
        raise StateError(f"pod {quoted(self.uuid)} does not come to rest")

    def lock(self) -> bool:
        """Try to take the exclusive lock. True when it is held now and the pod is still where it was last seen."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._locked = True
        if _is_at(self.path, os.fstat(self._fd)):
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
            self._move("run")
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

    # -- files ----------------------------------------------------------------------------------------------------------

    def read(self, name: str) -> bytes:
        """A file below the pod's directory. Raises OSError; StateError when it is absurdly large."""
        return read_file_at(self._fd, name)

    def read_optional(self, name: str) -> bytes | None:
        """As :meth:`read`, None when the file is not there."""
        try:
            return read_file_at(self._fd, name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name below the pod's directory."""
        return self._mtime(name) is not None

    def _mtime(self, name: str) -> int | None:
        try:
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _read_int(self, name: str) -> int | None:
        data = self.read_optional(name)
        if data is None:
            return None
        word = data.split()[:1]
        digits = word[0] if word else b""
        return int(digits) if digits.removeprefix(b"-").isdigit() and len(digits) < 20 else None

    # -- facts ----------------------------------------------------------------------------------------------------------

    @property
    def has_manifest(self) -> bool:
        """Whether the manifest can be expected to be there in this state."""
        return self.state not in (EMBRYO, PREPARING, ABORTED_PREPARE, DELETING, GONE)

    @property
    def is_after_run(self) -> bool:
        """Whether the pod ran and ended, or will never run."""
        return self.state in AFTER_RUN

    @property
    def is_finished(self) -> bool:
        """Whether the state is a last one, where waiting for the end ends."""
        return self.state in AFTER_RUN or self.state in (ABORTED_PREPARE, GONE)

    @property
    def created_ns(self) -> int | None:
        """When the pod was prepared, in ns since the epoch; None while it is not."""
        if self.state in (EMBRYO, PREPARING, ABORTED_PREPARE):
            return None
        created = self._mtime("pod-created")
        return self._mtime("pod") if created is None else created

    @property
    def started_ns(self) -> int | None:
        """When stage1 wrote ``pid`` or ``ppid``, in ns since the epoch; None when it never did."""
        if self.state != RUNNING and self.state not in AFTER_RUN:
            return None
        started = self._mtime("pid")
        return self._mtime("ppid") if started is None else started

    @property
    def gc_marked_ns(self) -> int | None:
        """When the pod became garbage (the ctime of its directory), in ns since the epoch."""
        if self._directory not in ("exited-garbage", "garbage"):
            return None
        return os.fstat(self._fd).st_ctime_ns

    def manifest_bytes(self) -> bytes:
        """The pod manifest as it is on disk."""
        return self.read("pod")

    def manifest_document(self) -> dict[str, Any]:
        """The pod manifest as a JSON object, not validated: it was when the pod was prepared. Read once."""
        if self._raw is None:
            self._raw = jsondoc.parse_object(self.read("pod"), "pod manifest")
        return self._raw

    def manifest(self) -> PodManifest:
        """The pod manifest."""
        from rktpy.formats.pod import PodManifest

        return PodManifest.from_bytes(self.read("pod"))

    def app_names(self) -> list[str]:
        """Names of the apps in the manifest."""
        return [app["name"] for app in self.app_documents()]

    def app_documents(self) -> list[dict[str, Any]]:
        """The apps of the manifest, as JSON objects that have a name."""
        return [app for app in objects_in(self.manifest_document().get("apps")) if isinstance(app.get("name"), str)]

    def image_manifest(self, app: str) -> dict[str, Any]:
        """The image manifest of an app as a JSON object."""
        return jsondoc.parse_object(self.read(f"appsinfo/{app}/manifest"), f"image manifest of app {app}")

    def tree_id(self, app: str) -> str | None:
        """ID of the tree that is the lower layer of the app's root; None when the root is a copy."""
        data = self.read_optional(f"appsinfo/{app}/treeStoreID")
        return data.decode().strip() if data else None

    def recorded_pid(self) -> int | None:
        """The process ID in ``pid``: the pod's first process."""
        return self._read_int("pid")

    def recorded_parent_pid(self) -> int | None:
        """The process ID in ``ppid``: the pod's first process is its only child."""
        return self._read_int("ppid")

    def pid(self) -> int | None:
        """The process ID in ``pid``, else in ``ppid``."""
        pid = self.recorded_pid()
        return self.recorded_parent_pid() if pid is None else pid

    def network_document(self) -> list[dict[str, Any]]:
        """The networks that stage1 wrote to net-info.json; empty when it made none."""
        data = self.read_optional("net-info.json")
        if data is None:
            return []
        return objects_in(jsondoc.parse(data, "net-info.json"))

    def networks(self) -> list[dict[str, Any]]:
        """The networks of a running or exited pod, with the members that rkt shows."""
        if self.state != RUNNING and self.state not in (EXITED, EXITED_GARBAGE, EXITED_DELETING):
            return []
        return self.network_document()

    @property
    def uses_overlay(self) -> bool:
        """Whether the roots are overlays."""
        return self._mtime("overlay-prepared") is not None

    @property
    def bundled_stage1(self) -> str | None:
        """Name of the bundled stage1 (``fly`` ...), None for a foreign one."""
        data = self.read_optional("stage1-bundled")
        return data.decode().strip() if data else None

    @property
    def stage1_tree_id(self) -> str | None:
        """ID of a foreign stage1's tree."""
        data = self.read_optional("stage1TreeStoreID")
        return data.decode().strip() if data else None

    @property
    def stage1_name(self) -> str:
        """Name of the stage1 image."""
        data = self.read_optional("stage1/manifest")
        if data is None:
            return ""
        return str(jsondoc.parse_object(data, "stage1 manifest").get("name", ""))

    def stage1_rootfs(self) -> str:
        """Where the files that stage1 writes are seen from outside, relative to the pod's directory.

        For a foreign stage1 on an overlay that is the upper layer: the overlay itself is mounted for stage1 alone.
        """
        if not self._rootfs:
            tree = self.stage1_tree_id
            self._rootfs = f"overlay/{tree}/upper" if tree and self.uses_overlay else "stage1/rootfs"
        return self._rootfs

    def app_status(self, app: str) -> int | None:
        """Exit status of an app, None while it has none."""
        return self._read_int(f"{self.stage1_rootfs()}/rkt/status/{app}")

    def app_finished_ns(self, app: str) -> int | None:
        """When stage1 wrote the app's exit status, in ns since the epoch."""
        return self._mtime(f"{self.stage1_rootfs()}/rkt/status/{app}")

    def app_statuses(self) -> dict[str, int]:
        """Exit statuses of the apps that have ended."""
        statuses = {name: self.app_status(name) for name in self.app_names()}
        return {name: status for name, status in statuses.items() if status is not None}

    @property
    def is_ready(self) -> bool:
        """Whether stage1 has said that the pod's supervisor is ready."""
        try:
            return os.readlink(f"{self.stage1_rootfs()}/rkt/supervisor-status", dir_fd=self._fd) == "ready"
        except OSError:
            return False

    def report(self) -> tuple[Enforcement, ...]:
        """What stage1 says became of the isolators and options; empty when it says nothing. Raises FormatError."""
        data = self.read_optional("enforcement")
        if not data:
            return ()
        from rktpy.formats.stage1 import read_report

        return read_report(data)

    # -- waits ----------------------------------------------------------------------------------------------------------

    def wait_exited(self, timeout_s: float | None = None) -> bool:
        """Wait until the pod has ended. False after ``timeout_s`` seconds (None: no limit)."""
        from rktpy.stage0.wait import wait_exited

        return wait_exited(self, timeout_s)

    def wait_ready(self, timeout_s: float | None = None) -> bool:
        """Wait until the pod is ready. False after ``timeout_s`` seconds (None: no limit) or when it has ended before."""
        from rktpy.stage0.wait import wait_ready

        return wait_ready(self, timeout_s)


def objects_in(value: Any) -> list[dict[str, Any]]:
    """The objects in a list of a JSON document; none when it is no list."""
    entries: list[Any] = value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]
    return [entry for entry in entries if isinstance(entry, dict)]


def read_file_at(dir_fd: int, name: str) -> bytes:
    """The whole of a regular file named relative to a directory. Raises OSError, StateError when it exceeds 16 MiB."""
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        data = os.read(fd, 65536)
        if len(data) < 65536:
            return data
        parts = [data]
        total = len(data)
        while data:
            data = os.read(fd, 1 << 20)
            parts.append(data)
            total += len(data)
            if total > _FILE_LIMIT:
                raise StateError(f"file {quoted(name)} of the pod is larger than {_FILE_LIMIT} bytes")
        return b"".join(parts)
    finally:
        os.close(fd)


def _is_locked(directory: str, fd: int) -> bool:
    if directory in ("prepared", "embryo"):
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _is_at(path: str, wanted: os.stat_result) -> bool:
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return found.st_ino == wanted.st_ino and found.st_dev == wanted.st_dev


def _locate(data_dir: str, uuid: str, wanted: os.stat_result) -> str | None:
    base = pods_dir(data_dir)
    for directory in STATES:
        if _is_at(f"{base}/{directory}/{uuid}", wanted):
            return directory
    return None


def _open_in(data_dir: str, uuid: str, directory: str) -> Pod | None:
    """The pod if it is in this state directory, before and after the lock is looked at."""
    path = f"{data_dir}/pods/{directory}/{uuid}"
    try:
        fd = os.open(path, _DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        state = STATES[directory][1 if _is_locked(directory, fd) else 0]
        if _is_at(path, os.fstat(fd)):
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
        uuid = _new_uuid()
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
            fd = os.open(embryo, _DIRECTORY)
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


def _new_uuid() -> str:
    digits = bytearray(os.urandom(16))
    digits[6] = digits[6] & 0x0F | 0x40
    digits[8] = digits[8] & 0x3F | 0x80
    text = digits.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


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
