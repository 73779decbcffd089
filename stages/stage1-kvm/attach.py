"""Entry point ``attach`` of stage1-kvm: connect this command's streams with those of an app, through the pod's monitor.

A terminal is set to raw mode and set back, however this ends. ^]^]^] detaches. Hot-path module.
"""

from __future__ import annotations

import os
import select

from rktpy.errors import NotFoundError, StateError, UsageError
from rktpy.formats import jsondoc
from rktpy.formats.aci.types import ac_name_problem
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.pod_app import load_apps
from rktpy.isolate.stream_modes import stream_modes
from rktpy.log import set_debug
from rktpy.stage1.kvm.frames import CREDIT, read_number
from rktpy.stage1.kvm.requests import Connection
from rktpy.stage1.kvm.terminal import Escape, window_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_IGN, set_wakeup_fd, signal
    from types import FrameType
    from typing import Any

    from rktpy.stage1.kvm.frames import Frame
else:
    from _signal import SIG_IGN, set_wakeup_fd, signal

_SIGHUP, _SIGPIPE, _SIGTERM, _SIGWINCH = 1, 13, 15, 28
_CHUNK = 4096
_FLAGS = ("tty-in", "tty-out", "stdin", "stdout", "stderr")


def main(argv: list[str]) -> int:
    """Attach to an app of the pod in the working directory until its output ends or the user detaches; 0 then.

    Raises UsageError, NotFoundError, StateError, OSError.
    """
    arguments = parse_arguments(argv, ("debug", *_FLAGS), ("action", "app"))
    if arguments.is_set("debug"):
        set_debug(True)
    name = arguments.text("app")
    problem = ac_name_problem(name)
    if problem:
        raise UsageError(f"invalid application name: {problem}")
    action = arguments.text("action", "list")
    if action not in ("list", "auto-attach", "custom-attach"):
        raise UsageError(f"invalid attach action {action!r}")
    offered = _offered(name)
    connection = Connection()
    if not offered or not connection.ask(("endpoints", name)):
        raise NotFoundError(
            f"there is nothing to attach to in app {name}: it does not run, or not with --stdin=stream and the like"
        )
    connection.close()
    if action == "list":
        targets = [{"name": one, "domain": "rktpy", "address": f"{name}/{one}"} for one in offered]
        document: dict[str, Any] = {"version": 1, "targets": targets}
        os.write(1, jsondoc.dump_pretty(document, "    ").encode() + b"\n")
        return 0
    wanted = {"tty-in", "tty-out"} if "tty" in offered else set(offered)
    if action == "custom-attach":
        wanted = {flag for flag in _FLAGS if arguments.is_set(flag)}
        for flag in sorted(wanted):
            if flag.partition("-")[0] not in offered:
                raise NotFoundError(f"app {name} has no {flag.partition('-')[0]} to attach to (it has: {', '.join(offered)})")
    connection = Connection()
    problem = connection.ask(("attach", name, ",".join(sorted(wanted))))
    if problem:
        raise StateError(f"app {name}: {problem}")
    _Session(connection, wanted).run()
    return 0


def _offered(name: str) -> list[str]:
    """What the app says can be attached to."""
    _manifest, apps = load_apps("")
    for app in apps:
        if app.name == name:
            modes = stream_modes(app)
            return ["tty"] if "tty" in modes.values() else [one for one, mode in modes.items() if mode == "stream"]
    return []


class _Session:
    def __init__(self, connection: Connection, wanted: set[str]) -> None:
        self._connection = connection
        self._room = CREDIT
        self._reads = bool(wanted & {"stdin", "tty-in"})
        self._outputs = bool(wanted & {"stdout", "stderr", "tty-out"})
        self._raw = "tty-in" in wanted and os.isatty(0)
        self._escape = Escape()
        self._ended = False
        self._wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def run(self) -> None:
        """Pass bytes on in both directions until it is over."""
        set_wakeup_fd(self._wakeup[1])
        for one in (_SIGHUP, _SIGTERM, _SIGWINCH):
            signal(one, self._signalled)
        # Somebody who does not read our output is no reason to leave the terminal raw.
        signal(_SIGPIPE, SIG_IGN)
        self._signalled(_SIGWINCH, None)
        if not self._raw:
            self._pump()
            return
        from rktpy.isolate.raw_terminal import RawTerminal

        with RawTerminal(0):
            self._pump()

    def _signalled(self, got: int, _frame: FrameType | None) -> None:
        if got != _SIGWINCH:
            self._ended = True
            return
        size = window_size()
        if size:
            self._connection.send("C", 0, size)

    def _pump(self) -> None:
        while not self._ended:
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
                if one is None or one.kind == "Z":
                    return
                self._handle(one)

    def _read_input(self) -> None:
        try:
            data = os.read(0, min(_CHUNK, self._room))
        except OSError:
            data = b""
        if self._raw and self._escape.seen(data):
            self._ended = True
        elif data:
            self._room -= len(data)
            self._connection.send("D", 0, data)
        elif os.isatty(0) or not self._outputs:
            self._ended = True  # the user has typed the end of input; or nobody waits for an answer
        else:
            self._reads = False

    def _handle(self, one: Frame) -> None:
        if one.kind == "W":
            self._room = min(CREDIT, self._room + read_number(one.data))
        elif one.kind == "D":
            data = one.data
            try:
                while data:
                    data = data[os.write(2 if one.id == 2 else 1, data) :]
            except BrokenPipeError:
                self._ended = True
