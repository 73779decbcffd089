"""Kernel parameters of a pod's own namespaces."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rktpy.formats.aci.isolators import Sysctl
from rktpy.isolate.plan import describe_plan
from rktpy.isolate.sysctl import IPC, NET, UTS, namespace_of, plan_sysctls, set_sysctls, sysctl_path
from tests.support.namespaces import isolated


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.100/forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("kernel", ""),
        ("", ""),
        ("net..ipv4", ""),
        ("net/../kernel/panic", ""),
        ("/net/ipv4", ""),
        ("net.ipv4\0x", ""),
    ],
)
def test_keys_and_paths(key: str, path: str) -> None:
    assert sysctl_path(key) == path


def test_which_namespace_a_parameter_belongs_to() -> None:
    for path, wanted in (
        ("net/core/somaxconn", "net"),
        ("kernel/shmmax", "ipc"),
        ("fs/mqueue/msg_max", "ipc"),
        ("kernel/domainname", "uts"),
        ("user/max_user_namespaces", "user"),
        ("kernel/core_pattern", ""),
        ("kernel/sem_else", ""),
        ("fs/file-max", ""),
        ("vm/overcommit_memory", ""),
    ):
        assert namespace_of(path) == wanted, path


def test_what_is_not_the_pods_is_left_alone() -> None:
    values = Sysctl(
        (
            ("kernel.core_pattern", "|/bin/evil"),
            ("net.ipv4.ip_forward", "1"),
            ("kernel.shmmax", "1"),
            ("net/../kernel/core_pattern", "x"),
            ("kernel.hostname", "h"),
            ("kernel.domainname", "d"),
        )
    )
    operations, report = plan_sysctls(values, frozenset((IPC, UTS)))
    assert describe_plan(operations).splitlines() == [
        'set the kernel parameter "kernel/shmmax" to "1"',
        'set the kernel parameter "kernel/domainname" to "d"',
    ]
    assert [entry.reason for entry in report] == [
        "kernel.core_pattern belongs to the whole machine",
        "net.ipv4.ip_forward: the pod has no net namespace of its own",
        '"net/../kernel/core_pattern" is no kernel parameter',
        "kernel.hostname: the name of the pod is set by --hostname",
    ]
    assert all(entry.outcome == "ignored" and entry.isolator == "os/unix/sysctl" for entry in report)


@pytest.mark.root
def test_parameters_are_the_pods_alone() -> None:
    values = Sysctl(
        (
            ("net.core.somaxconn", "77"),
            ("kernel.shmmax", "123456"),
            ("kernel.sem", "32000\t1024000000\t500\t99"),
            ("fs.mqueue.msg_max", "7"),
            ("kernel.domainname", "pods.example"),
            ("kernel.msgmni", "no number"),
            ("net.none.such", "1"),
        )
    )
    wanted = {
        "net/core/somaxconn": "77",
        "kernel/shmmax": "123456",
        "kernel/sem": "32000\t1024000000\t500\t99",
        "fs/mqueue/msg_max": "7",
        "kernel/domainname": "pods.example",
    }

    def read() -> dict[str, str]:
        return {path: Path(f"/proc/sys/{path}").read_text().strip() for path in wanted if os.path.exists(f"/proc/sys/{path}")}

    def inside() -> tuple[dict[str, str], list[str]]:
        operations, report = plan_sysctls(values, frozenset((NET, IPC, UTS)))
        assert not report
        report = set_sysctls(operations)
        return read(), [f"{entry.outcome} {entry.reason}".strip() for entry in report]

    before = read()
    seen, report = isolated(inside, network=True)
    assert read() == before
    assert seen == {path: wanted[path] for path in before} != {}
    assert report == [
        "enforced",
        "ignored kernel/msgmni: invalid argument",
        "ignored net/none/such: no such file or directory",
    ]
