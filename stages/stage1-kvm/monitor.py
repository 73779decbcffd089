"""The process that whoever ran the pod waits for: it holds the pod's lock, carries the streams, and knows how apps ended.

It is what ``run`` goes on as. QEMU is its child, and dies with it. What the guest says is bounded in every respect: streams by
what this process has said it has room for, everything else by number and length; a guest that breaks the rules is ended.

SIGTERM, SIGINT, SIGHUP and SIGQUIT stop the pod in order. Three ^] within a second end it at once, as in systemd-nspawn.
Hot-path module.
"""

from __future__ import annotations

import os
import select
from time import monotonic

from rktpy.errors import RktpyError, Stage1Error, innermost
from rktpy.formats import stage1 as names
from rktpy.isolate.pod_app import write_file
from rktpy.log import debug, note
from rktpy.stage1.kvm.frames import CREDIT, ProtocolError, number, read_number
from rktpy.stage1.kvm.guest_plan import SCRATCH, app_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_IGN, set_wakeup_fd, signal
    from types import FrameType
    from typing import Any

    from rktpy.stage1.kvm.booting import Machine
    from rktpy.stage1.kvm.control import Server
    from rktpy.stage1.kvm.frames import Frame
    from rktpy.stage1.kvm.pod import Pod
    from rktpy.stage1.kvm.pod_log import AppLog, PodLog
    from rktpy.stage1.kvm.specs import Spec
    from rktpy.stage1.kvm.terminal import Terminal
else:
    from _signal import SIG_IGN, set_wakeup_fd, signal

_SIGHUP, _SIGINT, _SIGQUIT, _SIGKILL, _SIGTERM, _SIGPIPE, _SIGTTOU, _SIGWINCH = 1, 2, 3, 9, 15, 13, 22, 28
_STOPS = (_SIGTERM, _SIGINT, _SIGHUP, _SIGQUIT)
#: Seconds that an app has to end after SIGTERM (systemd's DefaultTimeoutStopSec), and the guest to write what it has to.
STOP_TIMEOUT = 90.0
_END_TIMEOUT = 15.0
#: Bytes that may wait for standard output; more is left in the guest until they are written.
_ROOM = 1 << 18


class AppState:
    """An app of the pod in its machine."""

    def __init__(self, identity: int, spec: Spec, log: AppLog) -> None:
        self.id = identity
        self.spec = spec
        self.log = log
        self.running = False
        self.started = False
        self.ready = False
        #: The exit status; a signal counts as its number, as in systemd's status script.
        self.status: int | None = None
        self.kill_at = 0.0
        #: What calls wait for: the app has started (None), or why not.
        self.waiting: list[Any] = []
        self.stopped: list[Any] = []


class Monitor:
    """The pod's machine while it runs."""

    def __init__(self, pod: Pod, machine: Machine, printed: bytearray) -> None:
        self.pod = pod
        self.machine = machine
        self.channel = machine.channel
        self.apps: dict[str, AppState] = {}
        self._by_id: dict[int, AppState] = {}
        self._next = 1
        self.printed = printed
        self._owed: list[tuple[int, int]] = []
        self._stdout = True
        self._stopping = False
        self._asked = False
        self._escaped = False
        self._failure: int | None = None
        self._over = False
        self._dead = False
        self._end_at = 0.0
        self._told_ready = False
        self.control: Server | None = None
        self.terminal: Terminal | None = None
        self.log: PodLog | None = None
        self._wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def new_id(self) -> int:
        """An id for a process in the guest."""
        self._next += 1
        return self._next - 1

    def add(self, name: str, spec: Spec, log: AppLog) -> AppState:
        """Know an app. Its start is another step."""
        app = AppState(self.new_id(), spec, log)
        self.apps[name] = app
        self._by_id[app.id] = app
        return app

    def forget(self, name: str) -> None:
        """Forget an app that does not run."""
        app = self.apps.pop(name)
        self.channel.send("f", app.id)
        app.log.close()
        del self._by_id[app.id]

    def start(self, name: str) -> None:
        """Have the guest start an app."""
        app = self.apps[name]
        app.status = None
        app.running = True
        app.started = app.ready = False
        self.channel.request("s", b"", lambda problem: self._not_started(app, problem), app.id)

    def _not_started(self, app: AppState, problem: str | None) -> None:
        if problem is not None:
            app.running = False
            self._answer(app.waiting, problem)

    def stop(self, app: AppState) -> None:
        """SIGTERM, and SIGKILL to what is left when that takes too long."""
        if app.running:
            self.channel.send("k", app.id, number(_SIGTERM))
            if "t" in app.spec.streams:
                # A shell at a terminal ends when that hangs up, and ignores SIGTERM.
                self.channel.send("k", app.id, number(_SIGHUP))
            app.kill_at = monotonic() + STOP_TIMEOUT

    def run(self) -> int:
        """Until the pod has ended; its exit status. Raises OSError."""
        from rktpy.linux.syscalls import pidfd_send_signal

        self._catch_signals()
        try:
            for frame in self.channel.pending:
                self._handle(frame)
            self.channel.pending.clear()
            while not self._dead:
                self._turn()
        except (ProtocolError, Stage1Error) as error:
            if not self._over:
                debug("stage1", innermost(error))
            if isinstance(error, ProtocolError):
                note("stage1", innermost(error))
        finally:
            if self.terminal is not None:
                self.terminal.restore()
            try:
                pidfd_send_signal(self.machine.pidfd, _SIGKILL, 0)
            except ProcessLookupError:
                pass
        self._flush_output()
        for app in self.apps.values():
            app.log.finish()
        self._flush_output()
        return self._status()

    def _status(self) -> int:
        if self._escaped:
            return 1
        if self._asked:
            return 0
        if self._failure is not None:
            return self._failure
        return 0 if self._over else 1  # somebody killed the machine, or it broke

    def _catch_signals(self) -> None:
        set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        for number_ in (*_STOPS, _SIGWINCH):
            signal(number_, self._signalled)
        for number_ in (_SIGPIPE, _SIGTTOU):
            signal(number_, SIG_IGN)

    def _signalled(self, number_: int, _frame: FrameType | None) -> None:
        if number_ == _SIGWINCH:
            if self.terminal is not None:
                self.terminal.resized = True
        else:
            self._asked = True

    def _turn(self) -> None:
        if self._asked and not self._stopping:
            self._stop_all()
        if self.terminal is not None:
            self.terminal.tell_size(self.channel)
        poll = select.poll()
        poll.register(self.channel.fd, select.POLLIN | (select.POLLOUT if self.channel.busy else 0))
        poll.register(self.machine.pidfd, select.POLLIN)
        poll.register(self._wakeup[0], select.POLLIN)
        if self.printed and self._stdout:
            poll.register(1, select.POLLOUT)
        if self.terminal is not None:
            self.terminal.register(poll)
        if self.control is not None:
            self.control.register(poll)
        events = dict(poll.poll(self._timeout()))
        if self._wakeup[0] in events:
            os.read(self._wakeup[0], 512)
        if self.channel.fd in events:
            self.channel.flush()
            for frame in self.channel.receive():
                self._handle(frame)
        if 1 in events:
            self._write_output()
        if self.terminal is not None and self.terminal.handle(events, self.channel):
            self._escaped = True
            self._dead = True
        if self.control is not None:
            self.control.handle(events)
        if self.machine.pidfd in events:
            self._dead = True
        self._look_at_clock()
        if self.printed and self._stdout and len(self.printed) < 4096:
            self._write_output()  # mostly it can be written at once

    def _timeout(self) -> int:
        times = [app.kill_at for app in self.apps.values() if app.kill_at]
        if self._end_at:
            times.append(self._end_at)
        return max(0, int((min(times) - monotonic()) * 1000) + 1) if times else -1

    def _look_at_clock(self) -> None:
        now = monotonic()
        for app in self.apps.values():
            if app.kill_at and now >= app.kill_at:
                app.kill_at = now + STOP_TIMEOUT
                self.channel.send("K", app.id)
        if self._end_at and now >= self._end_at:
            note("stage1", "the virtual machine does not end by itself")
            self._dead = True

    def _stop_all(self) -> None:
        self._stopping = True
        for app in self.apps.values():
            self.stop(app)
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._end_at or any(app.running for app in self.apps.values()) or (self.pod.mutable and not self._stopping):
            return
        from rktpy.stage1.kvm.frames import strings

        self._end_at = monotonic() + _END_TIMEOUT
        self.channel.send("x", 0, strings([*[app_directory(name) for name in self.apps], SCRATCH]))

    def _handle(self, frame: Frame) -> None:
        kind = frame.kind
        if kind == "D" or kind == "Z":
            self._stream(frame)
            return
        app = self._by_id.get(frame.id)
        if kind == "O":
            self._over = True
            self._dead = True
        elif kind == "W":
            self._room(frame)
        elif app is None:
            if self.control is not None:
                self.control.session_frame(frame)
        elif kind == "J":
            app.log.syslog(read_number(frame.data), frame.data[4:])
            self.channel.send("w", 0, number(len(frame.data)))
        elif kind == "P":
            app.log.pid = read_number(frame.data)
        elif kind == "S":
            app.log.pid = read_number(frame.data)
            app.started = True
            self._answer(app.waiting, None)
            self._maybe_ready()
        elif kind == "X":
            self._ended(app, frame)
        elif kind == "N" and b"READY=1" in frame.data.split(b"\n"):
            app.ready = True
            self._answer(app.waiting, None)
            self._maybe_ready()

    def _stream(self, frame: Frame) -> None:
        identity, stream = frame.id // 4, frame.id % 4
        app = self._by_id.get(identity)
        if app is None:
            if self.control is not None:
                self.control.session_frame(frame)
            return
        if frame.kind == "Z":
            return
        if stream not in (1, 2):
            raise ProtocolError("the virtual machine writes to a stream that is none")
        if self.terminal is not None:
            self.printed += frame.data
        else:
            app.log.feed(stream, frame.data)
        if self.control is not None:
            self.control.attached_output(app, stream, frame.data)
        self._owed.append((frame.id, len(frame.data)))
        if sum([owed for _stream, owed in self._owed]) > 16 * CREDIT * max(1, len(self.apps)):
            raise ProtocolError("the virtual machine sends more than it was allowed to")
        if len(self.printed) < _ROOM or not self._stdout:
            self._give_room()

    def _give_room(self) -> None:
        for stream, owed in self._owed:
            self.channel.send("w", stream, number(owed))
        self._owed.clear()

    def _room(self, frame: Frame) -> None:
        app = self._by_id.get(frame.id // 4)
        size = read_number(frame.data)
        if app is not None and self.terminal is not None:
            self.terminal.room += min(size, CREDIT)
        elif self.control is not None:
            self.control.input_room(frame, size)

    def _ended(self, app: AppState, frame: Frame) -> None:
        if not app.running or len(frame.data) != 5:
            return
        app.running = False
        app.kill_at = 0.0
        app.status = read_number(frame.data, 1) & 0xFF
        app.log.finish()
        name = next(name for name, one in self.apps.items() if one is app)
        try:
            write_file(names.status_file(name), b"%d\n" % app.status)
        except OSError as error:
            note("stage1", f"the status of app {name} could not be written: {innermost(error)}")
        self._answer(app.waiting, None if app.started else "it ended before it was ready")
        self._answer(app.stopped, None)
        if self.control is not None:
            self.control.app_ended(app)
        if not self.pod.mutable:
            if app.status and self._failure is None and not self._stopping:
                self._failure = app.status
            if app.status and not self._stopping:
                self._stop_all()
        self._end_if_done()

    def _maybe_ready(self) -> None:
        if self._told_ready or not all((app.ready if app.spec.notifies else app.started) for app in self.apps.values()):
            return
        self.tell_ready()

    def tell_ready(self) -> None:
        """The pod is ready: for ``status --wait-ready``, and for whoever runs us as a service (sd_notify(3))."""
        self._told_ready = True
        try:
            os.symlink("ready", f"{names.STAGE1_ROOTFS}/{names.READY_FILE}")
        except FileExistsError:
            pass
        address = os.environ.get("NOTIFY_SOCKET", "")
        if address[:1] in ("/", "@"):
            from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket

            connection = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
            try:
                connection.sendto(b"READY=1", f"\0{address[1:]}" if address[0] == "@" else address)
            except OSError:
                pass
            connection.close()

    @staticmethod
    def _answer(waiting: list[Any], problem: str | None) -> None:
        calls = list(waiting)
        waiting.clear()
        for call in calls:
            call(problem)

    def _write_output(self) -> None:
        try:
            # Not more than a pipe takes without blocking.
            done = os.write(1, self.printed[:4096])
        except BlockingIOError:
            return
        except OSError:
            self._stdout = False  # nobody reads any more; the pod goes on
            done = len(self.printed)
        del self.printed[:done]
        if self._owed and (len(self.printed) < _ROOM):
            self._give_room()

    def _flush_output(self) -> None:
        while self.printed and self._stdout:
            self._write_output()
        self.printed.clear()


def finish_children() -> None:
    """Wait for the children that end with the machine."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass
    except RktpyError:
        pass
