"""The channel to a guest that is not believed, and the journal that is written for it."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import Stage1Error
from rktpy.stage1.kvm.channel import Channel
from rktpy.stage1.kvm.frames import LARGEST_FROM_GUEST, ProtocolError, Reader, frame, read_strings, strings
from rktpy.stage1.kvm.journal_file import JournalFile
from rktpy.stage1.kvm.journal_hash import hash64
from tests.conftest import need_tool

HEAD = struct.Struct("<xB2xII")


def sent(kind: str, number: int, data: bytes = b"") -> bytes:
    """A frame as a guest sends it."""
    return HEAD.pack(ord(kind), number, len(data)) + data


@given(st.lists(st.tuples(st.sampled_from("DXZ"), st.integers(0, 2**32 - 1), st.binary(max_size=100))), st.integers(1, 50))
def test_frames_in_any_pieces(frames: list[tuple[str, int, bytes]], size: int) -> None:
    data = b"".join([sent(*one) for one in frames])
    reader = Reader()
    found = [one for at in range(0, len(data), size) for one in reader.feed(data[at : at + size])]
    assert [(one.kind, one.id, one.data) for one in found] == frames


@given(st.binary(max_size=300))
def test_noise_is_frames_or_the_end(data: bytes) -> None:
    try:
        found = Reader().feed(data)
    except ProtocolError:
        return
    assert sum([12 + len(one.data) for one in found]) <= len(data)


@pytest.mark.parametrize("data", [HEAD.pack(68, 1, LARGEST_FROM_GUEST + 1), HEAD.pack(10, 1, 0), HEAD.pack(68, 1, 2**32 - 1)])
def test_what_is_no_frame(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Reader().feed(data)


@given(st.lists(st.binary(max_size=50)))
def test_lists_of_strings(values: list[bytes]) -> None:
    assert read_strings(strings(values)) == values


def test_a_list_that_is_cut_off() -> None:
    with pytest.raises(ProtocolError):
        read_strings(strings([b"whole"])[:-1])


def test_a_message_that_is_too_large() -> None:
    with pytest.raises(Stage1Error, match="too large"):
        frame("o", 1, bytes((4 << 20) + 1))


def pair() -> tuple[Channel, socket.socket]:
    ours, theirs = socket.socketpair()
    return Channel(ours.detach()), theirs


def test_a_guest_that_answers_what_nobody_asked() -> None:
    channel, guest = pair()
    for _ in range(1000):
        guest.send(sent("R", 5, b"\0"))
        channel.receive()
    guest.send(sent("L", 0, b"noise"))
    with pytest.raises(ProtocolError, match="noise"):
        channel.receive()


def test_a_guest_that_says_nothing() -> None:
    channel, _guest = pair()
    with pytest.raises(Stage1Error, match="does not answer"):
        channel.call("o", b"", 0.05)


def test_a_guest_that_does_not_read() -> None:
    """What is sent to it waits here; nobody is blocked."""
    channel, _guest = pair()
    for _ in range(100):
        channel.send("d", 4, bytes(60000))
    assert channel.busy


@pytest.mark.parametrize("hello", [sent("D", 0, b"1 2 3"), sent("H", 0, b"9 2 6.1"), sent("H", 0, b"1 x 6.1"), sent("H", 0)])
def test_a_guest_of_another_kind(hello: bytes) -> None:
    channel, guest = pair()
    guest.send(hello)
    with pytest.raises(ProtocolError, match="version of the protocol"):
        channel.hello(1)


def test_answers_and_errors() -> None:
    channel, guest = pair()
    answers: list[str | None] = []
    channel.request("o", b"", answers.append, 9)
    channel.request("o", b"", answers.append, 10)
    guest.send(sent("R", 10, b"\1it broke") + sent("R", 9, b"\0"))
    assert channel.receive() == []
    assert answers == ["it broke", None]
    guest.close()
    with pytest.raises(Stage1Error, match="has ended"):
        channel.receive()


def test_the_hash_of_journals() -> None:
    """Known values of lookup3's hashlittle2, from its author's own test."""
    assert hash64(b"") == 0xDEADBEEFDEADBEEF
    assert hash64(b"Four score and seven years ago") == 0x17770551CE7226E6


def test_a_journal_that_journalctl_verifies(tmp_path: Path) -> None:
    need_tool("journalctl")
    journal = JournalFile(str(tmp_path), "a" * 32, "b" * 32)
    count = 700
    for number in range(count):
        fields = {
            "MESSAGE": b"line %d \xff" % (number % 300),
            "_SYSTEMD_UNIT": b"app%d.service" % (number % 3),
            "PRIORITY": b"6",
        }
        journal.append(fields, 1_700_000_000_000_000 + number, 1000 + number)
    journal.close()
    path = str(tmp_path / "system.journal")
    subprocess.run(["journalctl", "--verify", "--file", path], check=True, capture_output=True)
    argv = ["journalctl", "--file", path, "--output=cat", "_SYSTEMD_UNIT=app1.service"]
    lines = subprocess.run(argv, check=True, capture_output=True).stdout.splitlines()
    assert lines == [b"line %d \xff" % (number % 300) for number in range(1, count, 3)]


def test_a_journal_that_grows_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rktpy.stage1.kvm.journal_file._LARGEST", 200_000)
    journal = JournalFile(str(tmp_path), "a" * 32, "b" * 32)
    for number in range(200):
        journal.append({"MESSAGE": os.urandom(4000).hex().encode()}, 1_700_000_000_000_000 + number, number)
    journal.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len(files) == 4 and files[0] == "system.journal"
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1_000_000
    for path in tmp_path.iterdir():
        subprocess.run(["journalctl", "--verify", "--file", str(path)], check=True, capture_output=True)
