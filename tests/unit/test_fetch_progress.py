"""What is shown of a download."""

from __future__ import annotations

import json
import os
import pty
import socket
from pathlib import Path

import pytest

from rktpy import log
from rktpy.errors import UsageError
from rktpy.fetch.progress import Progress
from rktpy.fetch.progress_output import human, open_progress


def play(progress: Progress) -> None:
    progress.begin("sha256:aa", "aa", 1000)
    progress.begin("http://x.test/app.aci", "app.aci", None)
    progress.advance("sha256:aa", 500)
    progress.advance("http://x.test/app.aci", 70_000, 140_000)
    progress.advance("sha256:aa", 1000, 1000)
    progress.end("sha256:aa", "done")
    progress.end("http://x.test/app.aci", "failed")
    progress.close()


def output(mode: str, *, tty: bool) -> str:
    reading, writing = pty.openpty() if tty else os.pipe()
    try:
        play(open_progress(mode, fd=writing))
        os.write(writing, b"$")
        data = b""
        while not data.endswith(b"$"):
            data += os.read(reading, 65536)
        return data[:-1].decode()
    finally:
        os.close(reading)
        os.close(writing)


def test_json_lines() -> None:
    records = [json.loads(line) for line in output("json", tty=False).splitlines()]
    assert records[0] == {"event": "begin", "item": "sha256:aa", "label": "aa", "done": 0, "size": 1000}
    assert {"event": "progress", "item": "sha256:aa", "done": 1000, "size": 1000} in records
    assert {"event": "progress", "item": "http://x.test/app.aci", "done": 70_000, "size": 140_000} in records
    assert records[-2:] == [
        {"event": "end", "item": "sha256:aa", "outcome": "done"},
        {"event": "end", "item": "http://x.test/app.aci", "outcome": "failed"},
    ]


def test_a_terminal_gets_bars() -> None:
    shown = output("auto", tty=True)
    assert "100%  1.0 KB of 1.0 KB" in shown and "app.aci" in shown and "failed" in shown and "\x1b[1A" in shown


def test_everything_else_is_quiet() -> None:
    assert output("auto", tty=False) == ""
    assert output("none", tty=True) == ""


def test_debug_lines_and_bars_do_not_mix() -> None:
    log.set_debug(True)
    try:
        assert output("auto", tty=True) == ""
    finally:
        log.set_debug(False)


def test_an_unknown_mode() -> None:
    with pytest.raises(UsageError, match="'fancy'"):
        open_progress("fancy")


@pytest.mark.parametrize("abstract", [False, True])
def test_a_service_manager_is_told(tmp_path: Path, abstract: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"rktpy-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        output("none", tty=False)
        message = manager.recv(4096).decode().splitlines()
    assert message[0].startswith("EXTEND_TIMEOUT_USEC=") and int(message[0].partition("=")[2]) > 60_000_000
    assert message[1].startswith("STATUS=fetching: 0.0 MB")


def test_nobody_listening_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert output("none", tty=False) == ""


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (123_456_789, "123 MB"), (5 * 10**15, "5000 TB")]
)
def test_human(size: int, text: str) -> None:
    assert human(size) == text
