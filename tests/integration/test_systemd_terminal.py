"""A systemd pod on a terminal, and its output into pipes that are slow, or closed."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rktpy
from tests.support.app_lines import app_lines
from tests.support.pods import BUSYBOX, UNSIGNED, Running, states

pytestmark = [pytest.mark.root, pytest.mark.stage1("systemd", "kvm")]

LIMIT_S = 20


class Terminal:
    """A pod on a terminal of 33 lines and 99 columns, which is the terminal of its session."""

    def __init__(self, rktpy: Rktpy, script: str, *pod: str) -> None:
        self.master, terminal = pty.openpty()
        self.size(33, 99)
        self.before = termios.tcgetattr(terminal)
        argv = rktpy.argv(UNSIGNED, "run", *pod, BUSYBOX, "--exec", "/bin/sh", "--", "-c", script)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *argv], stdin=terminal, stdout=terminal, stderr=subprocess.PIPE, close_fds=True
        )
        self.terminal = terminal
        self.seen = b""

    def size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, text: bytes) -> None:
        deadline = time.monotonic() + LIMIT_S
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.master], [], [], left)[0], (text, self.seen)
            self.seen += os.read(self.master, 4096)

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def ended(self) -> int:
        deadline = time.monotonic() + LIMIT_S
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 4096)
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 4096)
        return self.process.wait(1)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=10)
        os.close(self.master)
        os.close(self.terminal)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    made: list[Terminal] = []
    yield made
    for one in made:
        one.close()


def test_an_interactive_app(stored: Rktpy, terminals: list[Terminal]) -> None:
    """The size of the terminal; what is typed, with the terminal's editing; the app's exit status."""
    script = (
        "test -t 0 && test -t 1 && test -t 2 && tty; stty size; echo ready;"
        ' while read line; do [ "$line" = end ] && exit 42; echo "got $line"; done'
    )
    terminal = Terminal(stored, script, "--interactive")
    terminals.append(terminal)
    terminal.until(b"ready\r\n")
    assert b"33 99\r\n" in terminal.seen
    terminal.type(b"ab\x7fc\n")
    terminal.until(b"got ac\r\n")
    terminal.type(b"end\n")
    assert terminal.ended() == 42
    assert termios.tcgetattr(terminal.terminal)[:4] == terminal.before[:4]


def test_the_size_of_a_window_that_changes(stored: Rktpy, terminals: list[Terminal]) -> None:
    terminal = Terminal(
        stored, 'while [ "$(stty size)" != "41 121" ]; do echo waiting; sleep 0.05; done; exit 42', "--interactive"
    )
    terminals.append(terminal)
    terminal.until(b"waiting\r\n")
    terminal.size(41, 121)
    assert terminal.ended() == 42


def test_keys_that_send_signals(stored: Rktpy, terminals: list[Terminal]) -> None:
    """^C goes to the app, as its terminal has it, and not to what is outside."""
    terminal = Terminal(stored, "trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.05; done", "--interactive")
    terminals.append(terminal)
    terminal.until(b"ready\r\n")
    terminal.type(b"\x03")
    assert terminal.ended() == 5 and b"interrupted" in terminal.seen


def test_three_times_the_escape_ends_the_pod(stored: Rktpy, terminals: list[Terminal]) -> None:
    terminal = Terminal(stored, "trap '' TERM INT HUP; stty raw -echo; echo ready; exec cat", "--interactive")
    terminals.append(terminal)
    terminal.until(b"ready")
    terminal.type(b"\x1d\x1d")
    terminal.until(b"\x1d\x1d")
    time.sleep(1.1)
    terminal.type(b"\x1d")
    time.sleep(0.3)
    assert terminal.process.poll() is None
    terminal.type(b"\x1d\x1dno\x1d")
    time.sleep(0.2)
    # The third within a second.
    assert terminal.ended() == 1
    assert termios.tcgetattr(terminal.terminal)[:4] == terminal.before[:4]
    (state,) = states(stored).values()
    assert state == "exited"


def test_a_terminal_that_goes_away(stored: Rktpy, tmp_path: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(stored, "echo ready; exec cat", "--interactive")
    terminals.append(terminal)
    terminal.until(b"ready")
    # As a terminal's end does it: SIGHUP to the leader of the session.
    terminal.process.send_signal(signal.SIGHUP)
    terminal.ended()
    (uuid,) = states(stored)
    assert "state=exited" in stored("status", "--wait=10s", uuid).stdout


def test_a_pod_that_is_not_interactive_on_a_terminal(stored: Rktpy, terminals: list[Terminal]) -> None:
    """Its lines come out; nothing is read, and ^C ends the pod in order."""
    terminal = Terminal(stored, "trap 'echo told; exit 3' TERM; echo up; read x && echo read; while :; do sleep 0.05; done")
    terminals.append(terminal)
    terminal.until(b"up\r\n")
    terminal.type(b"typed\n\x03")
    assert terminal.ended() == 0
    assert b"told" in terminal.seen and b": read" not in terminal.seen


COUNT = 50_000


def test_a_slow_reader_misses_nothing(stored: Rktpy) -> None:
    """Five megabytes of lines through a pipe that is read now and then."""
    script = f"i=0; seq 1 {COUNT} | sed 's/$/ {'x' * 90}/'"
    argv = stored.argv(UNSIGNED, "run", BUSYBOX, "--exec", "/bin/sh", "--", "-c", script)
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        data = b""
        pauses = 20
        while chunk := os.read(process.stdout.fileno(), 1 << 16):
            data += chunk
            if pauses and len(data) % 3 == 0:
                pauses -= 1
                time.sleep(0.1)
        assert process.wait(LIMIT_S) == 0
    lines = app_lines(data.decode())
    assert len(lines) == COUNT and len(data) > 5_000_000
    assert [int(text.split()[0]) for _name, text in lines] == list(range(1, COUNT + 1))


def test_a_reader_that_goes_away(stored: Rktpy, tmp_path: Path) -> None:
    """The pod goes on, and its log has all that was written."""
    with Running(stored, tmp_path, "echo first; sleep 0.5; seq 1 20000; exit 6") as pod:
        assert pod.line() == "first\n"
        assert pod.process.stdout is not None
        pod.process.stdout.close()
        pod.process.stdout = None
        assert pod.process.wait(LIMIT_S) == 6
    assert stored("logs", "--output=cat", pod.uuid).stdout.split() == ["first", *map(str, range(1, 20001))]


def test_output_that_was_closed_from_the_start(stored: Rktpy, tmp_path: Path) -> None:
    argv = stored.argv(
        UNSIGNED, "run", f"--uuid-file-save={tmp_path}/u", BUSYBOX, "--exec", "/bin/sh", "--", "-c", "echo x; exit 7"
    )
    assert subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", *argv], timeout=LIMIT_S, check=False).returncode == 7
    assert stored("logs", "--output=cat", (tmp_path / "u").read_text()).stdout == "x\n"


@pytest.mark.parametrize("length", [50_000, 300_000])
def test_very_long_lines(stored: Rktpy, length: int) -> None:
    """The journal cuts them; nothing is lost, and what follows is a line of its own."""
    done = stored(
        UNSIGNED, "run", BUSYBOX, "--exec", "/bin/sh", "--", "-c", f"head -c {length} /dev/zero | tr '\\0' y; echo; echo next"
    )
    *parts, last = done.stdout.splitlines()
    assert last == "next" and "".join(parts) == "y" * length
    (uuid,) = states(stored)
    assert stored("logs", "--output=cat", uuid).stdout == "y" * length + "\nnext\n"


def test_bytes_that_are_no_text(stored: Rktpy) -> None:
    script = r"printf 'a\033[31mred\n\377\376\nnul\000inside\n\n  blanks  \nno end'"
    argv = stored.argv(UNSIGNED, "run", BUSYBOX, "--exec", "/bin/sh", "--", "-c", script)
    out = subprocess.run(argv, capture_output=True, timeout=LIMIT_S, check=True).stdout
    assert out.count(b"\n") == len(out.split(b"\n")) - 1 and out.endswith(b": no end\n")
    assert b"  blanks" in out
