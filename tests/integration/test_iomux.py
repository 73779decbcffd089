"""The multiplexer of an app's streams, and attaching to it: real processes, FIFOs, terminals and sockets."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, SYSTEM_PYTHON

MUX = ROOT / "stages/stage1-systemd/iomux.py"
LIMIT_S = 20


def until(what: Callable[[], Any]) -> Any:
    """Wait until ``what`` is true."""
    deadline = time.monotonic() + LIMIT_S
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


class Mux:
    """A multiplexer in a pod's directory, with pipes for a journal."""

    def __init__(self, pod: Path, *streams: str, journal: bool = False, cri_log: Path | None = None) -> None:
        self.pod = pod
        self.directory = pod / "stage1/rootfs/rkt/iottymux/app"
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(f"\0rktpy-mux-{os.getpid()}-{id(self)}")
        notify.settimeout(LIMIT_S)
        self.out, out = os.pipe()
        self.err, err = os.pipe()
        environment = {"NOTIFY_SOCKET": f"@rktpy-mux-{os.getpid()}-{id(self)}"}
        if journal:
            status = os.fstat(out)
            environment["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
        copy = pod / "iomux.py"
        copy.write_bytes(MUX.read_bytes())
        (pod / "cri_line.py").write_bytes((ROOT / "formats/cri_line.py").read_bytes())
        log = [f"--cri-log={cri_log}"] if cri_log is not None else []
        argv = [SYSTEM_PYTHON, "-IS", str(copy), *log, str(self.directory), *streams]
        self.process = subprocess.Popen(argv, stdout=out, stderr=err, env=environment, cwd="/")
        os.close(out)
        os.close(err)
        assert notify.recv(64) == b"READY=1"
        notify.close()

    def connect(self, name: str) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(LIMIT_S)
        fd = os.open(self.directory, os.O_RDONLY)
        try:
            client.connect(f"/proc/self/fd/{fd}/sock-{name}")
        finally:
            os.close(fd)
        # Connected is before accepted.
        time.sleep(0.05)
        return client

    def app(self, *argv: str, **options: Any) -> subprocess.Popen[bytes]:
        """An app on the FIFOs, as systemd would start it."""
        streams: dict[str, Any] = {}
        for name, flags in (("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY)):
            path = self.directory / name
            streams[name] = os.open(path, flags) if path.exists() else subprocess.DEVNULL
        process = subprocess.Popen(argv, **streams, **options)
        for fd in streams.values():
            if fd >= 0:
                os.close(fd)
        return process

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)


@pytest.fixture
def muxes(tmp_path: Path) -> Iterator[Callable[..., Mux]]:
    made: list[Mux] = []

    def make(*streams: str, **options: Any) -> Mux:
        made.append(Mux(tmp_path / "pod", *streams, **options))
        return made[-1]

    yield make
    for mux in made:
        mux.process.kill()
        mux.process.wait()


def read(fd: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        assert select.select([fd], [], [], LIMIT_S)[0], data
        chunk = os.read(fd, count - len(data))
        if not chunk:
            break
        data += chunk
    return data


def receive(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (chunk := client.recv(count - len(data))):
        data += chunk
    return data


def test_output_goes_to_everybody_and_to_the_log(muxes: Callable[..., Mux]) -> None:
    mux = muxes("stdin", "stdout", "stderr")
    assert oct(mux.directory.stat().st_mode & 0o777) == "0o700"
    document = json.loads((mux.directory / "endpoints").read_text())
    assert document["version"] == 1
    assert [target["name"] for target in document["targets"]] == ["stdin", "stdout", "stderr"]
    assert document["targets"][1] == {"name": "stdout", "domain": "unix", "address": f"{mux.directory}/sock-stdout"}
    one, two, errors = mux.connect("stdout"), mux.connect("stdout"), mux.connect("stderr")
    app = mux.app("sh", "-c", "echo out; printf 'no newline'; echo bad >&2")
    assert app.wait(LIMIT_S) == 0
    for client in (one, two):
        assert receive(client, 14) == b"out\nno newline"
    assert receive(errors, 4) == b"bad\n"
    assert read(mux.out, 4) == b"out\n" and read(mux.err, 4) == b"bad\n"
    # Another app, or the same again, goes on where it stopped.
    assert mux.app("echo", "more").wait(LIMIT_S) == 0
    assert receive(one, 5) == b"more\n"
    assert mux.stop() == 0
    assert read(mux.out, 100) == b"no newlinemore\n"
    assert receive(one, 10) == b""
    assert not list(mux.directory.glob("sock-*")) and not (mux.directory / "endpoints").exists()


def test_the_journal_is_told_which_stream(muxes: Callable[..., Mux]) -> None:
    mux = muxes("stdout", "stderr", journal=True)
    assert mux.app("sh", "-c", "echo '<0>out'; echo bad >&2").wait(LIMIT_S) == 0
    assert read(mux.out, 10) == b"<6><0>out\n"
    assert read(mux.err, 4) == b"bad\n"


def test_last_words_arrive(muxes: Callable[..., Mux]) -> None:
    mux = muxes("stdout")
    client = mux.connect("stdout")
    mux.process.send_signal(signal.SIGSTOP)
    assert mux.app("sh", "-c", "seq 1 5000").wait(LIMIT_S) == 0
    mux.process.send_signal(signal.SIGTERM)
    mux.process.send_signal(signal.SIGCONT)
    wanted = "".join([f"{number}\n" for number in range(1, 5001)]).encode()
    assert receive(client, len(wanted) + 1) == wanted
    assert read(mux.out, len(wanted) + 1) == wanted
    assert mux.process.wait(LIMIT_S) == 0


def test_who_does_not_read_is_dropped_and_holds_nobody_up(muxes: Callable[..., Mux]) -> None:
    mux = muxes("stdout")
    lazy, keen = mux.connect("stdout"), mux.connect("stdout")
    size = 24 << 20
    got: list[int] = []
    readers = [
        threading.Thread(target=lambda: got.append(len(receive(keen, size)))),
        threading.Thread(target=lambda: got.append(len(read(mux.out, size)))),
    ]
    for reader in readers:
        reader.start()
    begun = time.monotonic()
    app = mux.app("sh", "-c", f"yes 0123456789 | head -c {size - 1}; echo")
    assert app.wait(LIMIT_S) == 0
    for reader in readers:
        reader.join(LIMIT_S)
    assert time.monotonic() - begun < LIMIT_S
    assert got == [size, size]
    # What was in flight can still be read, then it is over.
    assert len(receive(lazy, size)) < 4 << 20
    with open(f"/proc/{mux.process.pid}/status", encoding="utf-8") as file:
        (memory,) = [line for line in file if line.startswith("VmRSS")]
    assert int(memory.split()[1]) < 40 << 10


def test_clients_that_die_are_forgotten(muxes: Callable[..., Mux]) -> None:
    mux = muxes("stdin", "stdout")
    for name in ("stdin", "stdout"):
        for _number in range(5):
            mux.connect(name).close()
    many = [socket.socket(socket.AF_UNIX) for _number in range(80)]
    fd = os.open(mux.directory, os.O_RDONLY)
    for client in many:
        client.settimeout(LIMIT_S)
        client.connect(f"/proc/self/fd/{fd}/sock-stdout")
        time.sleep(0.002)
    time.sleep(0.1)
    assert mux.app("echo", "x").wait(LIMIT_S) == 0
    answers = [client.recv(2) for client in many]
    assert answers[:64] == [b"x\n"] * 64 and answers[64:] == [b""] * 16
    for client in many:
        client.close()
    time.sleep(0.1)
    assert len(os.listdir(f"/proc/{mux.process.pid}/fd")) < 20
    assert mux.app("echo", "y").wait(LIMIT_S) == 0
    assert read(mux.out, 4) == b"x\ny\n"


def test_it_does_nothing_while_nothing_happens(muxes: Callable[..., Mux]) -> None:
    mux = muxes("stdin", "stdout", "stderr")
    half = mux.connect("stdout")
    half.shutdown(socket.SHUT_WR)

    def ticks() -> int:
        with open(f"/proc/{mux.process.pid}/stat", encoding="utf-8") as file:
            return sum(int(word) for word in file.read().rpartition(") ")[2].split()[11:13])

    time.sleep(0.1)
    before = ticks()
    time.sleep(1)
    assert ticks() - before < 5
    # Who has nothing to say may still listen.
    assert mux.app("echo", "x").wait(LIMIT_S) == 0
    assert receive(half, 2) == b"x\n"


def test_input_waits_for_an_app_that_does_not_read(muxes: Callable[..., Mux]) -> None:
    mux = muxes("stdin", "stdout")
    size = 4 << 20
    client = mux.connect("stdin")

    def send() -> None:
        client.sendall(b"a" * size)
        client.close()

    sender = threading.Thread(target=send)
    sender.start()
    time.sleep(0.2)
    assert sender.is_alive()
    app = mux.app("sh", "-c", f"sleep 0.2; head -c {size} | wc -c")
    sender.join(LIMIT_S)
    assert app.wait(LIMIT_S) == 0
    assert read(mux.out, len(str(size))) == str(size).encode()


def test_the_app_waits_for_the_journal(muxes: Callable[..., Mux]) -> None:
    mux = muxes("stdout")
    app = mux.app("sh", "-c", "seq 1 400000")
    with pytest.raises(subprocess.TimeoutExpired):
        app.wait(0.5)
    wanted = "".join([f"{number}\n" for number in range(1, 400001)]).encode()
    assert read(mux.out, len(wanted)) == wanted
    assert app.wait(LIMIT_S) == 0


def test_a_journal_that_died_is_no_reason_to_wait(muxes: Callable[..., Mux]) -> None:
    mux = muxes("stdout")
    client = mux.connect("stdout")
    os.close(mux.out)
    # More than would wait for a journal, less than would wait for a client.
    mux.app("sh", "-c", "seq 1 100000")
    wanted = "".join([f"{number}\n" for number in range(1, 100001)]).encode()
    assert receive(client, len(wanted)) == wanted


def test_a_log_file_of_kubernetes(muxes: Callable[..., Mux], tmp_path: Path) -> None:
    file = tmp_path / "app_0.log"
    mux = muxes("stdout", "stderr", cri_log=file)
    os.close(mux.out)  # it does not depend on the journal
    script = "seq 1 70000; head -c 50000 /dev/zero | tr '\\0' x; sleep 0.2; echo; sleep 0.1; echo bad >&2"
    assert mux.app("sh", "-c", script).wait(LIMIT_S) == 0
    assert mux.stop() == 0
    lines = [line.split(" ", 3) for line in file.read_text().splitlines()]
    assert [line[3] for line in lines[:70000]] == [str(number) for number in range(1, 70001)]
    assert [line[1:3] for line in lines[70000:]] == [["stdout", "P"], ["stdout", "F"], ["stderr", "F"]]
    assert sum(len(line[3]) for line in lines[70000:-1]) == 50000 and lines[-1][3] == "bad"
    assert all(len(line[0]) == 30 and line[0].endswith("Z") for line in lines)


def test_an_app_can_open_its_streams_again(muxes: Callable[..., Mux]) -> None:
    mux = muxes("stdout")
    script = "echo x > /proc/self/fd/1"
    user = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}
    assert mux.app("sh", "-c", script, **user).wait(LIMIT_S) == 0
    assert read(mux.out, 2) == b"x\n"


@pytest.mark.parametrize("argv", [[], ["/tmp/x"], ["/tmp/x", "tty", "stdin"], ["/tmp/x", "other"]])
def test_usage(argv: list[str]) -> None:
    done = subprocess.run([SYSTEM_PYTHON, "-IS", str(MUX), *argv], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 2 and done.stderr.startswith("usage: ")


def on_terminal(mux: Mux, *argv: str) -> subprocess.Popen[bytes]:
    """An app that has the multiplexer's terminal."""

    def take() -> None:
        os.setsid()
        fd = os.open(mux.directory / "tty", os.O_RDWR)
        fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
        for number in range(3):
            os.dup2(fd, number)

    return subprocess.Popen(argv, preexec_fn=take)


def test_a_terminal(muxes: Callable[..., Mux]) -> None:
    mux = muxes("tty")
    client, size = mux.connect("tty"), mux.connect("winsize")
    size.sendall(b"junk\n1 2 3\n40 120\n")
    time.sleep(0.1)
    app = on_terminal(mux, "sh", "-c", "stty size; read line; echo got $line; test -t 0 && echo terminal")
    assert receive(client, 8) == b"40 120\r\n"
    client.sendall(b"hello\n")
    assert receive(client, 28) == b"hello\r\ngot hello\r\nterminal\r\n"
    assert app.wait(LIMIT_S) == 0
    assert read(mux.out, 32) == b"40 120\nhello\ngot hello\nterminal\n"
    # It is there for the next app too.
    on_terminal(mux, "echo", "again").wait(LIMIT_S)
    assert receive(client, 7) == b"again\r\n"
    client.sendall(b"\x03")
    assert mux.stop() == 0


# -- attach -----------------------------------------------------------------------------------------------------------------

ATTACH = "import sys; sys.path.insert(0, {root!r}); from rktpy.stage1.systemd.attach import main; sys.exit(main(sys.argv[1:]))"


def attach(mux: Mux, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", ATTACH.format(root=str(ROOT)), "--app=app", *arguments]
    return subprocess.Popen(argv, cwd=mux.pod, **options)


PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def test_list(muxes: Callable[..., Mux]) -> None:
    mux = muxes("stdin", "stdout")
    out, err = attach(mux, "--action=list", **PIPES).communicate(timeout=LIMIT_S)
    assert [target["name"] for target in json.loads(out)["targets"]] == ["stdin", "stdout"] and err == b""
    assert out.startswith(b'{\n    "version": 1,\n    "targets": [\n')


def test_auto_attach_to_streams(muxes: Callable[..., Mux]) -> None:
    mux = muxes("stdin", "stdout", "stderr")
    app = mux.app("sh", "-c", "while read line; do echo got $line; echo $line >&2; done")
    client = attach(mux, "--action=auto-attach", **PIPES)
    assert client.stdin is not None and client.stdout is not None and client.stderr is not None
    client.stdin.write(b"one\ntwo\n")
    client.stdin.flush()
    assert read(client.stdout.fileno(), 16) == b"got one\ngot two\n"
    assert read(client.stderr.fileno(), 8) == b"one\ntwo\n"
    # The end of the input is not that of the output.
    client.stdin.close()
    time.sleep(0.1)
    assert client.poll() is None
    mux.stop()
    assert client.wait(LIMIT_S) == 0
    app.kill()
    app.wait()


def test_attaching_to_input_alone_ends_with_it(muxes: Callable[..., Mux]) -> None:
    mux = muxes("stdin", "stdout")
    app = mux.app("sh", "-c", "head -c 300000 | wc -c")
    client = attach(mux, "--action=custom-attach", "--stdin=true", **PIPES)
    assert client.communicate(b"x" * 300_000, timeout=LIMIT_S) == (b"", b"")
    assert read(mux.out, 6) == b"300000"
    assert app.wait(LIMIT_S) == 0 and client.returncode == 0


def test_what_is_not_offered(muxes: Callable[..., Mux]) -> None:
    mux = muxes("stdout")
    for arguments, message in (
        (["--action=custom-attach", "--tty-in"], b"app app has no tty to attach to (it has: stdout)"),
        (["--action=what"], b"invalid attach action 'what'"),
        (["--action=list", "--app=other"], b"there is nothing to attach to in app other"),
        (["--action=list", "--app=../app"], b"invalid application name"),
    ):
        client = attach(mux, *arguments, **PIPES)
        assert message in client.communicate(timeout=LIMIT_S)[1]
        assert client.returncode != 0


def test_planted_links_are_not_followed(muxes: Callable[..., Mux], tmp_path: Path) -> None:
    mux = muxes("stdout")
    other = socket.socket(socket.AF_UNIX)
    other.bind(f"{tmp_path}/s")
    other.listen()
    (mux.directory / "sock-stdout").unlink()
    (mux.directory / "sock-stdout").symlink_to(f"{tmp_path}/s")
    client = attach(mux, "--action=auto-attach", **PIPES)
    assert b"sock-stdout of the app is no socket" in client.communicate(timeout=LIMIT_S)[1]
    os.rename(mux.directory, tmp_path / "moved")
    mux.directory.symlink_to(tmp_path / "moved")
    assert client.returncode != 0
    client = attach(mux, "--action=list", **PIPES)
    assert b"Too many levels of symbolic links" in client.communicate(timeout=LIMIT_S)[1]


class Terminal:
    """A user's terminal with an attach on it."""

    def __init__(self, mux: Mux) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(30, 90)
        self.before = termios.tcgetattr(self.slave)
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), self.slave)

        def take() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = attach(mux, "--action=auto-attach", preexec_fn=take, **streams)
        until(lambda: not termios.tcgetattr(self.slave)[3] & termios.ICANON)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def restored(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before


@pytest.fixture
def terminal(muxes: Callable[..., Mux]) -> Iterator[tuple[Mux, Terminal]]:
    mux = muxes("tty")
    made = Terminal(mux)
    time.sleep(0.05)
    yield mux, made
    made.process.kill()
    made.process.wait()
    os.close(made.master)
    os.close(made.slave)


def test_a_terminal_is_passed_through(terminal: tuple[Mux, Terminal]) -> None:
    mux, user = terminal
    app = on_terminal(mux, "sh", "-c", "stty size; trap 'stty size; exit 3' INT; while :; do sleep 0.05; done")
    assert read(user.master, 7) == b"30 90\r\n"
    user.resize(31, 91)
    time.sleep(0.2)
    os.write(user.master, b"\x03")  # to the app, not to us
    assert read(user.master, 9) == b"^C31 91\r\n"
    assert app.wait(LIMIT_S) == 3
    assert user.process.poll() is None
    os.write(user.master, b"\x1d\x1d\x1d")
    assert user.process.wait(LIMIT_S) == 0
    assert user.restored()


def test_escapes_count_only_in_a_row_and_soon(terminal: tuple[Mux, Terminal]) -> None:
    _mux, user = terminal
    for piece in (b"\x1d\x1d", b"x", b"\x1d\x1d"):
        os.write(user.master, piece)
        time.sleep(0.05)
    time.sleep(1.1)
    os.write(user.master, b"\x1d")
    time.sleep(0.2)
    assert user.process.poll() is None
    os.write(user.master, b"\x1d\x1d")
    assert user.process.wait(LIMIT_S) == 0 and user.restored()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_restored_after_a_signal(terminal: tuple[Mux, Terminal], number: int) -> None:
    _mux, user = terminal
    user.process.send_signal(number)
    assert user.process.wait(LIMIT_S) == 0 and user.restored()


def test_the_terminal_is_restored_when_the_app_ends(terminal: tuple[Mux, Terminal]) -> None:
    mux, user = terminal
    assert mux.stop() == 0
    assert user.process.wait(LIMIT_S) == 0 and user.restored()
