"""Logs over the API, from journals that systemd's own tool wrote."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.api import API, generate
from tests.support.pods import Running, prepare, wait_for

pytestmark = pytest.mark.root

START = 1_700_000_000
SLEEP = "exec sleep 600"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleType, ModuleType]:
    return generate(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def pb(generated: tuple[ModuleType, ModuleType]) -> Any:
    return generated[0]


@pytest.fixture
def service(stored: Rktpy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[API]:
    monkeypatch.setenv("TZ", "UTC")
    with API(stored, tmp_path) as started:
        started.said("running")
        yield started


@pytest.fixture
def api(service: API, generated: tuple[ModuleType, ModuleType]) -> Iterator[Any]:
    with grpc.insecure_channel(service.address) as channel:
        yield generated[1].PublicAPIStub(channel)


def journal_of(rktpy: Rktpy, uuid: str) -> Path:
    (pod,) = rktpy.data.glob(f"pods/*/{uuid}")
    return pod / "stage1/rootfs/var/log/journal" / uuid.replace("-", "")


def write(directory: Path, name: str, entries: list[tuple[int, dict[str, bytes]]]) -> None:
    """Write a journal file. Times are in microseconds after START."""
    directory.mkdir(parents=True, exist_ok=True)
    out = b""
    for at, fields in entries:
        boot = b"b" * 32
        out += b"__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%s\n" % (START * 10**6 + at, at + 1, boot)
        for key, value in fields.items():
            out += key.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
        out += b"\n"
    tool = need_tool("/usr/lib/systemd/systemd-journal-remote")
    # Written beside and moved in, as a journal that is there from one moment to the next.
    aside = directory.parent.parent / f"{name}.journal"
    subprocess.run([tool, f"--output={aside}", "-"], input=out, check=True, capture_output=True)
    aside.rename(directory / aside.name)


def entry(text: bytes, unit: str = "busybox.service") -> dict[str, bytes]:
    return {"MESSAGE": text, "_SYSTEMD_UNIT": unit.encode(), "_TRANSPORT": b"stdout"}


S = 10**6
ENTRIES = [
    (0, entry(b"zero")),
    (1 * S + 500_000, entry(b"one\n\nmore of one")),
    (2 * S, entry(b"two", "iomux@busybox.service")),
    (3 * S + 1, entry(b"of systemd", "init.scope")),
    (4 * S + 120_000, entry(b"four \xff\xfe", "other.service")),
    (5 * S, entry(b"")),
    (6 * S, entry("sechs ü".encode())),
]
LINES = [
    "2023-11-14 22:13:20 +0000 UTC zero",
    "2023-11-14 22:13:21.5 +0000 UTC one",
    "more of one",
    "2023-11-14 22:13:22 +0000 UTC two",
    "2023-11-14 22:13:24.12 +0000 UTC four \ufffd\ufffd",
    "2023-11-14 22:13:25 +0000 UTC ",
    "2023-11-14 22:13:26 +0000 UTC sechs ü",
]


def lines_of(api: Any, request: Any) -> list[str]:
    return [line for answer in api.GetLogs(request, timeout=30) for line in answer.lines]


@pytest.fixture
def logged(stored: Rktpy) -> str:
    """A pod of the apps busybox and other with a log."""
    uuid = prepare(stored, "example.com/busybox", "example.com/busybox", "--name=other")
    write(journal_of(stored, uuid), "system", ENTRIES)
    return uuid


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        ({}, LINES),
        ({"app_name": "busybox"}, LINES[:4] + LINES[5:]),
        ({"app_name": "other"}, LINES[4:5]),
        ({"lines": 2}, LINES[5:]),
        ({"lines": 1, "app_name": "other"}, LINES[4:5]),
        ({"lines": 100}, LINES),
        ({"since_time": START + 2}, LINES[3:]),
        ({"since_time": START + 2, "until_time": START + 5}, LINES[3:5]),
        ({"until_time": START + 1}, LINES[:1]),
        ({"until_time": START}, []),
        ({"lines": 2, "until_time": START + 2}, LINES[:3]),
        ({"lines": 3, "since_time": START + 6}, LINES[6:]),
        ({"since_time": START + 1000}, []),
        ({"since_time": 2**63 - 1}, []),
        ({"until_time": 2**63 - 1, "lines": 2**31 - 1}, LINES),
    ],
)
def test_what_is_wanted(api: Any, pb: Any, logged: str, wanted: dict[str, Any], lines: list[str]) -> None:
    assert lines_of(api, pb.GetLogsRequest(pod_id=logged, **wanted)) == lines
    # There is always an answer.
    assert list(api.GetLogs(pb.GetLogsRequest(pod_id=logged[:13], **wanted), timeout=30))


def refused(api: Any, request: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        list(api.GetLogs(request, timeout=20))
    error: Any = caught.value
    return error.code().name, error.details()


def test_what_is_refused(stored: Rktpy, api: Any, pb: Any, logged: str) -> None:
    request = pb.GetLogsRequest(pod_id=logged, app_name="none")
    assert refused(api, request) == ("NOT_FOUND", f'app "none" is not in pod "{logged}"')
    for name in ("lines", "since_time", "until_time"):
        request = pb.GetLogsRequest(pod_id=logged, **{name: -1})
        assert refused(api, request) == ("INVALID_ARGUMENT", f"{name} must not be negative")
    assert refused(api, pb.GetLogsRequest(pod_id="0000"))[0] == "NOT_FOUND"
    silent = prepare(stored)
    code, text = refused(api, pb.GetLogsRequest(pod_id=silent))
    assert code == "NOT_FOUND" and text.startswith(f'logging unsupported for pod "{silent}"')


def test_links_out_of_the_pod_are_not_followed(stored: Rktpy, api: Any, pb: Any, logged: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    write(secret, "system", [(0, entry(b"secret"))])
    journal = journal_of(stored, logged)
    (journal / "link.journal").symlink_to(secret / "system.journal")
    assert refused(api, pb.GetLogsRequest(pod_id=logged)) == ("UNKNOWN", "the pod's journal has links in it: link.journal")
    (journal / "link.journal").unlink()
    assert lines_of(api, pb.GetLogsRequest(pod_id=logged)) == LINES
    journal.rename(journal.with_name("moved"))
    journal.symlink_to(secret)
    code, text = refused(api, pb.GetLogsRequest(pod_id=logged))
    assert code == "NOT_FOUND" and "logging unsupported" in text


def test_damaged_journals(stored: Rktpy, service: API, api: Any, pb: Any, logged: str) -> None:
    (file,) = journal_of(stored, logged).iterdir()
    whole = file.read_bytes()
    for data in (b"", b"x" * 10_000, whole[:300], whole[: len(whole) // 2], whole[:4096] + os.urandom(4096) + whole[8192:]):
        file.write_bytes(data)
        try:
            assert len(lines_of(api, pb.GetLogsRequest(pod_id=logged))) <= len(LINES)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNKNOWN
    assert "internal error" not in service.log()


def test_a_long_log_comes_in_portions(stored: Rktpy, api: Any, pb: Any) -> None:
    uuid = prepare(stored)
    write(journal_of(stored, uuid), "system", [(n, entry(b"%05d" % n + b"x" * 3000)) for n in range(2000)])
    answers = list(api.GetLogs(pb.GetLogsRequest(pod_id=uuid), timeout=60))
    assert len(answers) > 5 and max(answer.ByteSize() for answer in answers) < 4 << 20
    lines = [line for answer in answers for line in answer.lines]
    assert [line.split(" ")[-1][:5] for line in lines] == [f"{n:05d}" for n in range(2000)]


def test_a_running_pod(stored: Rktpy, api: Any, pb: Any, tmp_path: Path) -> None:
    script = "echo one; echo two >&2; sleep 2; echo three"
    with Running(stored, tmp_path, script, "--name=web") as pod:
        wait_for("the log", lambda: len(lines_of(api, pb.GetLogsRequest(pod_id=pod.uuid))) == 2)
        began = time.monotonic()
        found = [
            (line, time.monotonic() - began)
            for answer in api.GetLogs(pb.GetLogsRequest(pod_id=pod.uuid, follow=True, lines=1, app_name="web"), timeout=60)
            for line in answer.lines
        ]
        # The stream ends with the pod, what comes last is not lost, and what comes early does not wait for it.
        assert [line.rpartition(" ")[2] for line, _when in found] == ["two", "three"]
        assert found[0][1] < found[-1][1] - 0.3
        assert pod.ended()[0] == 0
    later = lines_of(api, pb.GetLogsRequest(pod_id=pod.uuid))
    assert [line.rpartition(" ")[2] for line in later] == ["one", "two", "three"]
    assert all(line.startswith(time.strftime("%Y-%m-%d ", time.gmtime())) for line in later)


def test_a_pod_without_a_log(stored: Rktpy, api: Any, pb: Any, tmp_path: Path) -> None:
    with Running(stored, tmp_path, SLEEP, pod=("--stage1=fly",)) as pod:
        for follow in (False, True):
            assert refused(api, pb.GetLogsRequest(pod_id=pod.uuid, follow=follow)) == (
                "NOT_FOUND",
                f'logging unsupported for pod "{pod.uuid}"',
            )


def test_those_who_follow_leave_room_and_go_with_the_service(
    stored: Rktpy, service: API, api: Any, pb: Any, tmp_path: Path
) -> None:
    with Running(stored, tmp_path, f"echo zero; {SLEEP}") as pod:
        calls = [api.GetLogs(pb.GetLogsRequest(pod_id=pod.uuid, follow=True), timeout=60) for _number in range(16)]
        for call in calls:
            assert next(call).lines
        assert refused(api, pb.GetLogsRequest(pod_id=pod.uuid)) == ("RESOURCE_EXHAUSTED", "too many logs are being read")
        assert api.GetInfo(pb.GetInfoRequest(), timeout=20).info.api_version
        # Who hangs up gives his place back.
        calls.pop().cancel()
        wait_for("a place", lambda: _readable(api, pb, pod.uuid))
        began = time.monotonic()
        assert service.end() == 0
        assert time.monotonic() - began < 6


def _readable(api: Any, pb: Any, uuid: str) -> bool:
    try:
        return bool(lines_of(api, pb.GetLogsRequest(pod_id=uuid)))
    except grpc.RpcError:
        return False
