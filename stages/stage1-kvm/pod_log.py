"""What apps write, line by line: on the standard output of whoever runs the pod, in the pod's journal, in a log file of
Kubernetes.

Lines are printed as rkt prints them: time, app and process before each. Hot-path module.
"""

from __future__ import annotations

import os
from time import monotonic_ns, time_ns

from rktpy.formats import stage1 as names
from rktpy.isolate.stream_modes import kubernetes_log_dir, log_file, stream_modes
from rktpy.linux import constants as c
from rktpy.linux.syscalls import openat2
from rktpy.stage1.kvm.journal_file import JournalFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.isolate.pod_app import PodApp

#: As journald: a longer line is written in pieces.
_LINE_MAX = 48 * 1024
_STREAMS = {1: "stdout", 2: "stderr"}


class PodLog:
    """The log of a pod. ``printed`` takes the lines for standard output."""

    def __init__(self, directory: str, machine_id: str, hostname: str, printed: bytearray) -> None:
        """Begin the journal in ``directory``, the pod's. Raises OSError."""
        with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
            boot = file.read(64).decode().strip().replace("-", "")
        self._journal = JournalFile(directory, machine_id, boot)
        self._printed = printed
        self._common = {
            "PRIORITY": b"6",
            "_MACHINE_ID": machine_id.encode(),
            "_BOOT_ID": boot.encode(),
            "_HOSTNAME": hostname.encode("utf-8", "surrogateescape"),
        }

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def line(
        self, app: str, pid: int, message: bytes, *, partial: bool = False, by: bytes = b"", transport: str = "stdout"
    ) -> None:
        """One line of an app's; ``by`` is what it calls itself, if not by its name."""
        monotonic, realtime = monotonic_ns() // 1000, time_ns() // 1000
        self._printed += b"[%5d.%06d] %s[%d]: %s\n" % (
            monotonic // 1000000,
            monotonic % 1000000,
            by or app.encode(),
            pid,
            message,
        )
        fields = {
            **self._common,
            "MESSAGE": message,
            "SYSLOG_IDENTIFIER": by or app.encode(),
            "_TRANSPORT": transport.encode(),
            "_SYSTEMD_UNIT": f"{app}.service".encode(),
            "_PID": str(pid).encode(),
        }
        if partial:
            fields["_LINE_BREAK"] = b"line-max"
        try:
            self._journal.append(fields, realtime, monotonic)
        except OSError:
            pass  # a full disk is no reason to end the pod; the line has been printed


class AppLog:
    """The lines of one app: what is not complete yet, by stream."""

    def __init__(self, app: PodApp, log: PodLog) -> None:
        self._name = app.name
        self._log = log
        self._pending = {1: bytearray(), 2: bytearray()}
        modes = stream_modes(app)
        self._logged = {number: modes[name] != "null" for number, name in _STREAMS.items()}
        self._terminal = "tty" in modes.values()
        self._file = _open_file(app)
        self.pid = 0

    def feed(self, stream: int, data: bytes) -> None:
        """What the app has written."""
        if not self._logged.get(stream):
            return
        pending = self._pending[stream]
        pending += data
        while True:
            end = pending.find(b"\n", 0, _LINE_MAX + 1)
            if end >= 0:
                self._put(stream, bytes(pending[:end]))
                del pending[: end + 1]
            elif len(pending) > _LINE_MAX:
                self._put(stream, bytes(pending[:_LINE_MAX]), partial=True)
                del pending[:_LINE_MAX]
            else:
                return

    def syslog(self, pid: int, message: bytes) -> None:
        """A message by syslog(3): priority and time in front of it are left out, and who it is by is told apart (RFC 3164)."""
        if message[:1] == b"<" and b">" in message[:5]:
            message = message.partition(b">")[2]
        if len(message) > 16 and message[3:4] == b" " and message[6:7] == b" " and message[9:10] == b":":
            message = message[16:]
        name, colon, rest = message.partition(b": ")
        by = name.partition(b"[")[0]
        if not colon or not by or not by.replace(b"-", b"a").replace(b"_", b"a").replace(b".", b"a").isalnum():
            by, rest = b"", message
        for line in rest.rstrip(b"\n\0").split(b"\n"):
            self._log.line(self._name, pid, line, by=by, transport="syslog")

    def finish(self) -> None:
        """The end of the output: what was begun is a line."""
        for stream, pending in self._pending.items():
            if pending:
                self._put(stream, bytes(pending))
                pending.clear()

    def close(self) -> None:
        """Close the log file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _put(self, stream: int, message: bytes, *, partial: bool = False) -> None:
        if self._file >= 0:
            from rktpy.formats.cri_line import log_line

            try:
                os.write(self._file, log_line(time_ns(), _STREAMS[stream], message, partial=partial))
            except OSError:
                pass
        self._log.line(self._name, self.pid, message.removesuffix(b"\r") if self._terminal else message, partial=partial)


def _open_file(app: PodApp) -> int:
    """The app's log file of Kubernetes, -1 for none. The directory is the host's, the name cannot lead out of it."""
    directory, file = kubernetes_log_dir(app.manifest), log_file(app)
    if not directory or not file:
        return -1
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return openat2(top, file, flags, 0o640, c.RESOLVE_BENEATH | c.RESOLVE_NO_SYMLINKS | c.RESOLVE_NO_MAGICLINKS)
    finally:
        os.close(top)


def journal_directory(machine_id: str) -> str:
    """Where the journal of the pod in the working directory is."""
    return f"{names.STAGE1_ROOTFS}/{names.JOURNAL_DIR}/{machine_id}"
