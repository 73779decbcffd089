"""Entry point ``enter`` of stage1-kvm: one more process in a running app, with what the app has and not more.

The guest starts it beside the app's own process: in its mount namespace and control group, with its user, capabilities, system
call filter, no-new-privileges and environment; on a terminal of the guest's where ours is one. Hot-path module.
"""

from __future__ import annotations

import os
import select

from rktpy.errors import NotFoundError, StateError, UsageError
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.plan import shown
from rktpy.isolate.pod_app import load_apps
from rktpy.log import set_debug
from rktpy.stage1.kvm.frames import CREDIT, number, read_number
from rktpy.stage1.kvm.requests import Connection, require_pod_process, standard_streams
from rktpy.stage1.kvm.terminal import window_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_IGN, set_wakeup_fd, signal
    from types import FrameType

    from rktpy.stage1.kvm.frames import Frame
else:
    from _signal import SIG_IGN, set_wakeup_fd, signal

_SIGHUP, _SIGINT, _SIGQUIT, _SIGPIPE, _SIGTERM, _SIGWINCH = 1, 2, 3, 13, 15, 28
_CHUNK = 4096


def main(argv: list[str]) -> int:
    """Run a command in an app of the pod in the working directory; returns its exit status, or 128 and the signal that ended it.

    ``argv`` is ``--pid=N --appname=A -- COMMAND ARGS``. Raises RktpyError or OSError.
    """
    arguments = parse_arguments(argv, ("debug",), ("pid", "appname"))
    if arguments.is_set("debug"):
        set_debug(True)
    if not arguments.rest:
        raise UsageError("no command given")
    name = _app(arguments.text("appname"))
    require_pod_process(arguments.text("pid"))
    connection = Connection()
    streams = standard_streams("")
    size = window_size() if streams == "ttt" else b""
    shape = f"{read_number(size)} {read_number(size, 4)}" if size else ""
    term = os.environ.get("TERM", "vt220") if streams == "ttt" else ""
    problem = connection.ask(("enter", name, streams, shape, term, *arguments.rest))
    if problem:
        if "not running" in problem or "no such app" in problem:
            raise StateError(f"app {name} is not running")
        raise NotFoundError(f"app {shown(name)}: {problem}")
    return _Session(connection, terminal=streams == "ttt").run()


def _app(name: str) -> str:
    _manifest, apps = load_apps("")
    for app in apps:
        if app.name == name or (not name and len(apps) == 1):
            return app.name
    raise UsageError(f"app {shown(name)} is not in the pod")


class _Session:
    def __init__(self, connection: Connection, *, terminal: bool) -> None:
        self._connection = connection
        self._terminal = terminal
        self._room = CREDIT
        self._reads = True
        self._status: int | None = None
        self._wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def run(self) -> int:
        """Until the command has ended; its status."""
        set_wakeup_fd(self._wakeup[1])
        for one in (_SIGHUP, _SIGINT, _SIGQUIT, _SIGTERM, _SIGWINCH):
            signal(one, self._signalled)
        signal(_SIGPIPE, SIG_IGN)
        if not self._terminal:
            return self._pump()
        from rktpy.isolate.raw_terminal import RawTerminal

        with RawTerminal(0):
            return self._pump()

    def _signalled(self, got: int, _frame: FrameType | None) -> None:
        if got == _SIGWINCH:
            size = window_size()
            if size:
                self._connection.send("C", 0, size)
        else:
            self._connection.send("K", 0, number(got))

    def _pump(self) -> int:
        while self._status is None:
            poll = select.poll()
            poll.register(self._connection.fileno(), select.POLLIN)
            poll.register(self._wakeup[0], select.POLLIN)
            if self._reads and self._room:
                poll.register(0, select.POLLIN)
            events = dict(poll.poll(0 if self._connection.waiting() else None))
            if self._wakeup[0] in events:
                os.read(self._wakeup[0], 512)
            if events.get(0):
                self._read_input()
            if self._connection.waiting() or self._connection.fileno() in events:
                one = self._connection.receive()
                if one is None:
                    raise StateError("the pod has ended")
                self._handle(one)
        return self._status

    def _read_input(self) -> None:
        try:
            data = os.read(0, min(_CHUNK, self._room))
        except OSError:
            data = b""
        if not data:
            self._reads = False
            self._connection.send("Z", 0)
            return
        self._room -= len(data)
        self._connection.send("D", 0, data)

    def _handle(self, one: Frame) -> None:
        if one.kind == "D":
            data = one.data
            try:
                while data:
                    data = data[os.write(2 if one.id == 2 else 1, data) :]
            except BrokenPipeError:
                pass  # nobody reads any more; the command goes on
        elif one.kind == "W":
            self._room = min(CREDIT, self._room + read_number(one.data))
        elif one.kind == "X":
            self._status = read_number(one.data)
