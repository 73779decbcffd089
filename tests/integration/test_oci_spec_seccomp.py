"""System call filters: runtime-spec 1.2 ``config-linux.md``, Seccomp."""

from __future__ import annotations

import array
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci_bundles import Bundle, Runtime

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")]
_PROGRAM = r"""
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/syscall.h>
int main(int argc, char **argv)
{
    long a[6] = {0};
    for (int i = 2; i < argc && i < 8; i++)
        a[i - 2] = (long)strtoull(argv[i], NULL, 0);
    errno = 0;
    long result = syscall(atol(argv[1]), a[0], a[1], a[2], a[3], a[4], a[5]);
    printf("%ld %d\n", result, errno);
    return 0;
}
"""
_GETPRIORITY, _PERSONALITY = 140, 135


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program that makes the system call that its arguments say."""
    directory = tmp_path_factory.mktemp("caller")
    (directory / "call.c").write_text(_PROGRAM)
    subprocess.run(["gcc", "-static", "-O1", "-w", "-o", str(directory / "call"), str(directory / "call.c")], check=True)
    return directory / "call"


@pytest.fixture
def calls(bundle: Bundle, caller: Path) -> Bundle:
    """A bundle with that program."""
    shutil.copy(caller, bundle.rootfs / "bin/call")
    return bundle


def rule(name: str, action: str, *args: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A rule for one call."""
    return {"names": [name], "action": action, **({"args": list(args)} if args else {}), **more}


def condition(index: int, value: int, op: str, value_two: int = 0) -> dict[str, Any]:
    """A condition on an argument."""
    return {"index": index, "value": value, "valueTwo": value_two, "op": op}


def call(runtime: Runtime, bundle: Bundle, *args: int | str, status: int | None = 0) -> list[int]:
    """The result and errno of a system call made in the container."""
    bundle.config["process"]["args"] = ["/bin/call", *map(str, args)]
    output = runtime.run(bundle.write(), status=status)
    return [int(word) for word in output.split()]


def profile(bundle: Bundle, default: str, *rules: dict[str, Any], **more: Any) -> None:
    """Set the filter."""
    bundle.linux["seccomp"] = {"defaultAction": default, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": list(rules), **more}


def test_errno(runtime: Runtime, calls: Bundle) -> None:
    profile(calls, "SCMP_ACT_ALLOW", rule("getpriority", "SCMP_ACT_ERRNO", errnoRet=errno.ENOTTY))
    assert call(runtime, calls, _GETPRIORITY) == [-1, errno.ENOTTY]
    profile(calls, "SCMP_ACT_ALLOW", rule("getpriority", "SCMP_ACT_ERRNO"))
    assert call(runtime, calls, _GETPRIORITY) == [-1, errno.EPERM]


@pytest.mark.parametrize("nnp", [True, False])
def test_with_and_without_no_new_privileges(runtime: Runtime, calls: Bundle, nnp: bool) -> None:
    calls.config["process"]["noNewPrivileges"] = nnp
    profile(calls, "SCMP_ACT_ALLOW", rule("getpriority", "SCMP_ACT_ERRNO"))
    calls.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    assert call(runtime, calls, _GETPRIORITY) == [-1, errno.EPERM]


@pytest.mark.parametrize(
    ("action", "signal"),
    [("SCMP_ACT_KILL", 31), ("SCMP_ACT_KILL_PROCESS", 31), ("SCMP_ACT_KILL_THREAD", 31), ("SCMP_ACT_TRAP", 31)],
)
def test_deadly_actions(runtime: Runtime, calls: Bundle, action: str, signal: int) -> None:
    profile(calls, "SCMP_ACT_ALLOW", rule("getpriority", action))
    assert call(runtime, calls, _GETPRIORITY, status=128 + signal) == []


def test_log_and_trace(runtime: Runtime, calls: Bundle) -> None:
    profile(calls, "SCMP_ACT_ALLOW", rule("getpriority", "SCMP_ACT_LOG"))
    assert call(runtime, calls, _GETPRIORITY)[1] == 0
    profile(calls, "SCMP_ACT_ALLOW", rule("getpriority", "SCMP_ACT_TRACE"))  # nobody traces
    assert call(runtime, calls, _GETPRIORITY) == [-1, errno.ENOSYS]


BIG = 0x1_0000_0005


@pytest.mark.parametrize(
    ("op", "value", "two", "hits", "misses"),
    [
        ("SCMP_CMP_EQ", BIG, 0, [BIG], [5, BIG + 1, BIG + (1 << 32)]),
        ("SCMP_CMP_NE", BIG, 0, [5, BIG + 1, 1 << 33], [BIG]),
        ("SCMP_CMP_LT", BIG, 0, [0, 6, BIG - 1], [BIG, BIG + 1, 1 << 33]),
        ("SCMP_CMP_LE", BIG, 0, [0, 6, BIG], [BIG + 1, 1 << 33]),
        ("SCMP_CMP_GE", BIG, 0, [BIG, BIG + 1, 1 << 33], [0, 6, BIG - 1]),
        ("SCMP_CMP_GT", BIG, 0, [BIG + 1, 1 << 33], [6, BIG]),
        ("SCMP_CMP_MASKED_EQ", 0xF_0000_00F0, 0x1_0000_0010, [0x1_0000_0010, 0x1_0000_0F1F], [0x10, 0x1_0000_0020]),
    ],
)
def test_conditions(runtime: Runtime, calls: Bundle, op: str, value: int, two: int, hits: list[int], misses: list[int]) -> None:
    profile(calls, "SCMP_ACT_ALLOW", rule("getpriority", "SCMP_ACT_ERRNO", condition(1, value, op, two), errnoRet=99))
    calls.config["process"]["args"] = ["/bin/sh", "-c", "; ".join(f"call {_GETPRIORITY} 0 {one}" for one in (*hits, *misses))]
    lines = runtime.run(calls.write()).splitlines()
    assert [line == "-1 99" for line in lines] == [True] * len(hits) + [False] * len(misses)


def test_all_conditions_must_hold(runtime: Runtime, calls: Bundle) -> None:
    both = (condition(0, 1, "SCMP_CMP_EQ"), condition(1, 2, "SCMP_CMP_EQ"))
    profile(calls, "SCMP_ACT_ALLOW", rule("getpriority", "SCMP_ACT_ERRNO", *both, errnoRet=99))
    assert call(runtime, calls, _GETPRIORITY, 1, 2) == [-1, 99]
    assert call(runtime, calls, _GETPRIORITY, 1, 3)[1] != 99
    assert call(runtime, calls, _GETPRIORITY, 0, 2)[1] != 99


def test_rules_for_one_call_are_alternatives(runtime: Runtime, calls: Bundle) -> None:
    profile(
        calls,
        "SCMP_ACT_ALLOW",
        rule("getpriority", "SCMP_ACT_ERRNO", condition(1, 7, "SCMP_CMP_EQ"), errnoRet=97),
        rule("getpriority", "SCMP_ACT_ERRNO", condition(1, 8, "SCMP_CMP_EQ"), errnoRet=98),
    )
    assert call(runtime, calls, _GETPRIORITY, 0, 7) == [-1, 97]
    assert call(runtime, calls, _GETPRIORITY, 0, 8) == [-1, 98]


def test_default_denies(runtime: Runtime, calls: Bundle) -> None:
    needed = (
        "execve execveat read write exit_group exit brk mmap munmap mprotect fstat newfstatat arch_prctl set_tid_address rseq "
        "set_robust_list prlimit64 readlink readlinkat getrandom capset capget setresuid setresgid setgroups "
        "prctl close close_range "
        "openat chdir getcwd fcntl ioctl futex rt_sigaction rt_sigprocmask lseek stat dup2 uname sendto "
        "recvfrom access personality "
        "epoll_ctl epoll_pwait nanosleep tgkill getpid gettid sigaltstack madvise memfd_create seccomp fchown getdents64 open"
    )
    allowed = {"names": needed.split(), "action": "SCMP_ACT_ALLOW"}
    profile(calls, "SCMP_ACT_ERRNO", allowed, defaultErrnoRet=96)
    assert call(runtime, calls, _GETPRIORITY) == [-1, 96]
    assert call(runtime, calls, _PERSONALITY, 0xFFFFFFFF)[1] == 0
    if runtime.ours:
        assert call(runtime, calls, 460) == [-1, errno.ENOSYS]


def test_calls_of_another_architecture_end_the_process(runtime: Runtime, calls: Bundle) -> None:
    profile(calls, "SCMP_ACT_ALLOW", rule("getpriority", "SCMP_ACT_ERRNO"))
    assert call(runtime, calls, 0x40000000 | 39, status=None) in ([], [-1, errno.ENOSYS])


def test_nonsense_is_refused(runtime: Runtime, calls: Bundle) -> None:
    for wrong in (
        {"defaultAction": "SCMP_ACT_NONSENSE"},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_MAYBE"}]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("read", "SCMP_ACT_ERRNO", condition(1, 1, "SCMP_CMP_WHAT"))]},
        {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WHAT"]},
    ):
        calls.linux["seccomp"] = wrong
        runtime("run", "--bundle", str(calls.write().path), "one", status=1)


def test_unknown_calls_are_passed_over(runtime: Runtime, calls: Bundle) -> None:
    profile(calls, "SCMP_ACT_ALLOW", rule("no_such_call", "SCMP_ACT_ERRNO"))
    assert call(runtime, calls, _GETPRIORITY)[1] == 0


def test_exec_is_filtered_too(runtime: Runtime, calls: Bundle) -> None:
    profile(calls, "SCMP_ACT_ALLOW", rule("getpriority", "SCMP_ACT_ERRNO", errnoRet=95))
    runtime.create(calls("sleep 60"), "one")
    runtime("start", "one")
    assert runtime("exec", "one", "/bin/call", str(_GETPRIORITY)).stdout == "-1 95\n"


@pytest.mark.parametrize("nnp", [True, False])
def test_listener(runtime: Runtime, calls: Bundle, tmp_path: Path, nnp: bool) -> None:
    """An agent gets the listener with the state, and answers the calls."""
    path = str(tmp_path / "agent.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    documents: list[dict[str, Any]] = []

    def answer() -> None:
        connection, _address = listener.accept()
        data, fds, _flags, _peer = socket.recv_fds(connection, 65536, 1)
        documents.append(json.loads(data))
        _answer_one(fds[0], errno.EXDEV)
        os.close(fds[0])

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    calls.config["process"]["noNewPrivileges"] = nnp
    notify = rule("getpriority", "SCMP_ACT_NOTIFY")
    profile(calls, "SCMP_ACT_ALLOW", notify, listenerPath=path, listenerMetadata="for you")
    assert call(runtime, calls, _GETPRIORITY) == [-1, errno.EXDEV]
    thread.join(10)
    assert documents[0]["fds"] == ["seccompFd"]
    assert documents[0]["metadata"] == "for you"
    assert documents[0]["state"]["id"] == "one"
    assert documents[0]["pid"] == documents[0]["state"]["pid"]


def _answer_one(fd: int, number: int) -> None:
    """SECCOMP_IOCTL_NOTIF_RECV and _SEND of linux/seccomp.h."""
    import fcntl

    request = array.array("b", bytes(80))
    fcntl.ioctl(fd, 0xC0502100, request, True)
    identity = int.from_bytes(request.tobytes()[:8], sys.byteorder)
    response = array.array(
        "b", identity.to_bytes(8, sys.byteorder) + bytes(8) + (-number).to_bytes(4, sys.byteorder, signed=True) + bytes(4)
    )
    fcntl.ioctl(fd, 0xC0182101, response, True)


def test_a_listener_that_is_not_there(runtime: Runtime, calls: Bundle) -> None:
    profile(calls, "SCMP_ACT_ALLOW", rule("getpriority", "SCMP_ACT_NOTIFY"), listenerPath="/no/such/socket")
    calls.config["process"]["args"] = ["/bin/true"]
    runtime("run", "--bundle", str(calls.write().path), "one", status=1)
    assert not (runtime.root / "one").exists()
