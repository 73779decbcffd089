"""Programs that the kernel runs for us: filters of profiles, rules for devices on v2; by interpreters, and by the kernel."""

from __future__ import annotations

import os
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.cgroup.devices import DeviceRule, device_program
from rktpy.cgroup.resources import values_v1, values_v2
from rktpy.errors import InputError, RktpyError
from rktpy.formats.oci.runtime.config import RuntimeConfig
from rktpy.formats.oci.runtime.resources import Resources
from rktpy.formats.oci.runtime.seccomp import OPERATORS, SeccompProfile
from rktpy.isolate.mount_entries import MountFilesystem
from rktpy.isolate.mount_options import MountOptions
from rktpy.isolate.mounts import Mkdir
from rktpy.isolate.seccomp import syscall_numbers
from rktpy.isolate.seccomp_profile import compile_profile
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.oci.mount_plan import plan_mounts
from tests.support.oci_bundles import example

_BIG = st.integers(0, 2**64 - 1)
_EDGE = st.sampled_from([0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1])
VALUES = _BIG | _EDGE


def interpret(program: bytes, architecture: int, number: int, arguments: tuple[int, ...]) -> int:
    """What the kernel would return for a call."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments)
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator = at = 0
    while True:
        operation, true, false, constant = code[at]
        at += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("<I", data, constant)[0]
        elif operation == 0x54:
            accumulator &= constant
        elif operation == 0x05:
            at += constant
        elif operation == 0x15:
            at += true if accumulator == constant else false
        elif operation == 0x25:
            at += true if accumulator > constant else false
        elif operation == 0x35:
            at += true if accumulator >= constant else false
        else:
            assert operation == 0x06
            return int(constant)


def holds(operator: str, actual: int, value: int, two: int) -> bool:
    """What the operators mean."""
    return {
        "SCMP_CMP_EQ": actual == value,
        "SCMP_CMP_NE": actual != value,
        "SCMP_CMP_LT": actual < value,
        "SCMP_CMP_LE": actual <= value,
        "SCMP_CMP_GT": actual > value,
        "SCMP_CMP_GE": actual >= value,
        "SCMP_CMP_MASKED_EQ": actual & value == two,
    }[operator]


@given(st.sampled_from(OPERATORS), st.integers(0, 5), VALUES, VALUES, VALUES)
def test_conditions(operator: str, index: int, value: int, two: int, actual: int) -> None:
    rule = {
        "names": ["read"],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": 7,
        "args": [{"index": index, "value": value, "valueTwo": two, "op": operator}],
    }
    profile = SeccompProfile.from_dict({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    program = compile_profile(profile, "x86_64").program
    arguments = tuple(actual if number == index else 3 for number in range(6))
    wanted = c.SECCOMP_RET_ERRNO | 7 if holds(operator, actual, value, two) else c.SECCOMP_RET_ALLOW
    assert interpret(program, c.AUDIT_ARCH_X86_64, 0, arguments) == wanted
    assert interpret(program, c.AUDIT_ARCH_X86_64, 1, arguments) == c.SECCOMP_RET_ALLOW


@given(
    st.lists(st.tuples(st.sampled_from(OPERATORS), VALUES, VALUES), min_size=2, max_size=4),
    st.lists(VALUES, min_size=6, max_size=6),
)
def test_conditions_on_several_arguments(conditions: list[tuple[str, int, int]], actual: list[int]) -> None:
    args = [{"index": number, "value": value, "valueTwo": two, "op": op} for number, (op, value, two) in enumerate(conditions)]
    rule = {"names": ["read"], "action": "SCMP_ACT_TRAP", "args": args}
    program = compile_profile(SeccompProfile.from_dict({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}), "x86_64").program
    all_hold = all(holds(op, actual[number], value, two) for number, (op, value, two) in enumerate(conditions))
    wanted = c.SECCOMP_RET_TRAP if all_hold else c.SECCOMP_RET_ALLOW
    assert interpret(program, c.AUDIT_ARCH_X86_64, 0, tuple(actual)) == wanted


def compiled(document: dict[str, Any], machine: str = "x86_64") -> bytes:
    return compile_profile(SeccompProfile.from_dict(document), machine).program


def test_architectures() -> None:
    document = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["getpriority", "socket"], "action": "SCMP_ACT_ERRNO"}],
    }
    deny, nothing = c.SECCOMP_RET_ERRNO | 1, (0,) * 6
    program = compiled(document)
    assert interpret(program, c.AUDIT_ARCH_X86_64, syscall_numbers(0)["getpriority"], nothing) == deny
    assert interpret(program, c.AUDIT_ARCH_I386, syscall_numbers(1)["getpriority"], nothing) == deny
    assert interpret(program, c.AUDIT_ARCH_X86_64, 0x40000000 | syscall_numbers(0)["getpriority"], nothing) == deny
    assert interpret(program, c.AUDIT_ARCH_X86_64, 0x40000000, nothing) == c.SECCOMP_RET_ALLOW
    assert interpret(program, c.AUDIT_ARCH_I386, syscall_numbers(1)["socketcall"], (1, 0, 0, 0, 0, 0)) == deny
    assert interpret(program, c.AUDIT_ARCH_I386, syscall_numbers(1)["socketcall"], (3, 0, 0, 0, 0, 0)) == c.SECCOMP_RET_ALLOW
    assert interpret(program, c.AUDIT_ARCH_AARCH64, 0, nothing) == c.SECCOMP_RET_KILL_PROCESS
    alone = compiled({**document, "architectures": []})
    assert interpret(alone, c.AUDIT_ARCH_I386, 0, nothing) == c.SECCOMP_RET_KILL_PROCESS
    assert interpret(alone, c.AUDIT_ARCH_X86_64, 0x40000000, nothing) == c.SECCOMP_RET_KILL_PROCESS
    with pytest.raises(InputError):
        compiled({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_WHAT"]})


def test_newer_calls_do_not_exist_for_a_filter_that_denies() -> None:
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "syscalls": [{"names": ["read", "openat2"], "action": "SCMP_ACT_ALLOW"}],
    }
    program = compiled(document)
    assert interpret(program, c.AUDIT_ARCH_X86_64, 1, (0,) * 6) == c.SECCOMP_RET_ERRNO | 1
    assert interpret(program, c.AUDIT_ARCH_X86_64, 438, (0,) * 6) == c.SECCOMP_RET_ERRNO | 38
    assert (
        interpret(compiled({**document, "defaultAction": "SCMP_ACT_LOG"}), c.AUDIT_ARCH_X86_64, 999, (0,) * 6)
        == c.SECCOMP_RET_LOG
    )


def device_answer(program: bytes, kind: int, access: int, major: int, minor: int) -> bool:
    """The answer of a program for devices, by the meaning of its instructions."""
    registers = [0] * 11
    context = (access << 16 | kind, major, minor)
    at = 0
    while True:
        code, which, offset, value = struct.unpack_from("=BBhi", program, at * 8)
        target, source = which & 15, which >> 4
        at += 1
        if code == 0x61:
            registers[target] = context[offset // 4]
        elif code == 0xBF:
            registers[target] = registers[source]
        elif code == 0x77:
            registers[target] >>= value
        elif code == 0x57:
            registers[target] &= value
        elif code == 0xB7:
            registers[target] = value
        elif code == 0x15:
            at += offset if registers[target] == value else 0
        elif code == 0x55:
            at += offset if registers[target] != value else 0
        else:
            assert code == 0x95
            return bool(registers[0])


_RULES = st.lists(
    st.builds(
        DeviceRule,
        st.sampled_from("abc"),
        st.sampled_from([-1, 1, 2]),
        st.sampled_from([-1, 1, 2]),
        st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm"]),
        st.booleans(),
    ),
    max_size=6,
)


@given(_RULES, st.sampled_from([1, 2]), st.integers(1, 7), st.sampled_from([1, 2, 3]), st.sampled_from([1, 2, 3]))
def test_the_last_rule_for_a_way_decides(rules: list[DeviceRule], kind: int, access: int, major: int, minor: int) -> None:
    bits = {"m": 1, "r": 2, "w": 4}
    allowed = 0
    for rule in rules:
        if rule.kind != "a" and {"b": 1, "c": 2}[rule.kind] != kind:
            continue
        if rule.major not in (-1, major) or rule.minor not in (-1, minor):
            continue
        named = sum(bits[letter] for letter in rule.access)
        allowed = allowed | named if rule.allow else allowed & ~named
    assert device_answer(device_program(tuple(rules)), kind, access, major, minor) == (access & ~allowed == 0)


@pytest.mark.root
def test_the_kernel_takes_programs_for_devices() -> None:
    rules = (DeviceRule("c", 1, 3), DeviceRule("a", allow=False), DeviceRule("b", 7, -1, "r"), DeviceRule("c", 5, 2, "w", False))
    try:
        os.close(syscalls.bpf_load(c.BPF_PROG_TYPE_CGROUP_DEVICE, device_program(rules), "Apache-2.0", 0))
    except PermissionError:
        pytest.skip("no bpf here")


def values(document: dict[str, Any], version: int) -> dict[str, str]:
    resources = Resources.from_dict(document)
    return {one.file: one.value for one in (values_v1(resources) if version == 1 else values_v2(resources))}


def test_resources_on_v2() -> None:
    document = {
        "memory": {"limit": 100, "swap": 300, "reservation": 50},
        "cpu": {"shares": 1024, "quota": 5000, "period": 10000, "burst": 1000, "cpus": "0-1", "mems": "0"},
        "pids": {"limit": 7},
        "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
    }
    found = values(document, 2)
    assert found["memory.max"] == "100"
    assert found["memory.swap.max"] == "200"
    assert found["memory.low"] == "50"
    assert found["cpu.weight"] == "39"
    assert found["cpu.max"] == "5000 10000"
    assert found["cpu.max.burst"] == "1000"
    assert found["cpuset.cpus"] == "0-1"
    assert found["pids.max"] == "7"
    assert found["io.max"] == "8:0 rbps=1000"
    assert found["hugetlb.2MB.max"] == "4"
    assert values({"memory": {"limit": -1, "swap": -1}}, 2) == {"memory.max": "max", "memory.swap.max": "max"}
    for wrong in (
        {"memory": {"limit": 100, "swap": 50}},
        {"memory": {"swap": 50}},
        {"cpu": {"realtimePeriod": 5}},
        {"blockIO": {"leafWeight": 5}},
    ):
        with pytest.raises(RktpyError):
            values(wrong, 2)


def test_a_mount_label_is_an_option_of_file_systems_without_labels() -> None:
    document = example()
    document["linux"]["mountLabel"] = "system_u:object_r:container_file_t:s0:c1,c2"
    plan = plan_mounts(
        RuntimeConfig.from_dict(document), "/bundle", lambda mount, _options: Mkdir(mount.destination), bind_devices=False
    )
    data = {one.target: one.data for one in plan.mounts if isinstance(one, MountFilesystem)}
    assert data["/dev"] == 'mode=755,size=65536k,context="system_u:object_r:container_file_t:s0:c1,c2"'
    assert "context" not in data["/proc"] + data["/sys"]


def test_mount_options() -> None:
    made = MountOptions(("rbind", "ro", "nosuid", "rprivate", "rro", "noatime", "size=5", "idmap"))
    assert made.bind and made.recursive
    assert made.set == c.MOUNT_ATTR_RDONLY | c.MOUNT_ATTR_NOSUID | c.MOUNT_ATTR_NOATIME
    assert made.clear == c.MOUNT_ATTR__ATIME
    assert (made.tree_set, made.tree_clear) == (c.MOUNT_ATTR_RDONLY, 0)
    assert made.propagation == [c.MS_PRIVATE | c.MS_REC]
    assert made.data == "size=5"
    assert made.special == ["idmap"]
    assert MountOptions(("ro", "rw")).flags == 0
    assert MountOptions(("rro", "rrw")).tree_clear == c.MOUNT_ATTR_RDONLY
    assert MountOptions(("rro", "rrw")).tree_set == 0
