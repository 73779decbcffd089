"""The BPF compiler, by an interpreter of its programs and by the kernel."""

from __future__ import annotations

import errno
import os
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rktpy.errors import InputError
from rktpy.formats.aci.isolators import Isolator, isolator
from rktpy.isolate.seccomp import compile_filter, compile_isolators, syscall_numbers
from rktpy.isolate.seccomp_names import expand
from rktpy.isolate.seccomp_sets import ALWAYS, SETS
from rktpy.linux import constants as c

X86_64, I386, AARCH64 = c.AUDIT_ARCH_X86_64, c.AUDIT_ARCH_I386, c.AUDIT_ARCH_AARCH64
COLUMNS = {X86_64: 0, I386: 1, AARCH64: 2}
DENY = c.SECCOMP_RET_ERRNO | errno.EPERM
ENOSYS = c.SECCOMP_RET_ERRNO | errno.ENOSYS
ALLOW, KILL = c.SECCOMP_RET_ALLOW, c.SECCOMP_RET_KILL_PROCESS


def interpret(program: bytes, architecture: int, number: int, argument: int = 0) -> int:
    """What the kernel would return for a call."""
    data = struct.pack("<iIQ6Q", number - (1 << 32) if number >= 1 << 31 else number, architecture, 0, argument, 0, 0, 0, 0, 0)
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
        elif operation == 0x35:
            at += true if accumulator >= constant else false
        elif operation == 0x06:
            return int(constant)
        else:
            raise AssertionError(f"instruction {operation:#x}")


def compiled(names: set[str], retain: bool, machine: str = "x86_64") -> bytes:
    return compile_filter(frozenset(names), retain=retain, deny=DENY, machine=machine)


NAMES = sorted(syscall_numbers(0))


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from(NAMES)), st.booleans())
def test_every_call_is_decided_as_listed(names: set[str], retain: bool) -> None:
    program = compiled(names, retain)
    always = set(ALWAYS.split())
    for name, number in syscall_numbers(0).items():
        if retain:
            expected = ALLOW if name in names or name in always else ENOSYS if name == "clone3" else DENY
        else:
            expected = DENY if name in names else ALLOW
        assert interpret(program, X86_64, number) == expected, name


@settings(max_examples=10, deadline=None)
@given(st.sets(st.sampled_from(sorted(syscall_numbers(2)))), st.booleans())
def test_aarch64(names: set[str], retain: bool) -> None:
    program = compiled(names, retain, "aarch64")
    for name, number in syscall_numbers(2).items():
        listed = name in names or (retain and name in ALWAYS.split())
        if name != "clone3":
            assert (interpret(program, AARCH64, number) == ALLOW) == (listed == retain), name
    assert interpret(program, X86_64, 0) == KILL
    assert interpret(program, c.AUDIT_ARCH_ARM, 4) == KILL


def test_other_numbers_and_architectures() -> None:
    highest = max(syscall_numbers(0).values())
    retain, remove = compiled({"read"}, True), compiled({"reboot"}, False)
    for program in (retain, remove):
        assert interpret(program, AARCH64, 63) == KILL
        assert interpret(program, X86_64, 0x40000000) == DENY, "x32"
        assert interpret(program, X86_64, 0x40000000 + 512) == DENY
        assert interpret(program, X86_64, 0xFFFFFFFF) == DENY
    assert interpret(retain, X86_64, highest + 1) == ENOSYS
    assert interpret(retain, X86_64, 0x3FFFFFFF) == ENOSYS
    assert interpret(remove, X86_64, highest + 1) == ALLOW
    assert interpret(retain, X86_64, 335) == DENY, "a gap in the table"


def test_i386_follows_by_name() -> None:
    i386 = syscall_numbers(1)
    program = compiled({"mkdir", "chown", "clock_settime", "select", "umount2"}, False)
    for name in ("mkdir", "chown", "chown32", "clock_settime", "clock_settime64", "select", "_newselect", "umount", "umount2"):
        assert interpret(program, I386, i386[name]) == DENY, name
    for name in ("read", "lchown", "mkdirat"):
        assert interpret(program, I386, i386[name]) == ALLOW, name


def test_i386_multiplexed_calls() -> None:
    i386 = syscall_numbers(1)
    remove = compiled({"socket", "shmget"}, False)
    assert interpret(remove, I386, i386["socketcall"], 1) == DENY
    assert interpret(remove, I386, i386["socketcall"], 3) == ALLOW
    assert interpret(remove, I386, i386["ipc"], 23) == DENY
    assert interpret(remove, I386, i386["ipc"], 1 << 16 | 23) == DENY, "a version in the upper half"
    assert interpret(remove, I386, i386["ipc"], 1 << 16 | 21) == ALLOW
    retain = compiled({"connect"}, True)
    assert interpret(retain, I386, i386["socketcall"], 3) == ALLOW
    assert interpret(retain, I386, i386["socketcall"], 1) == DENY
    assert interpret(retain, I386, i386["ipc"], 23) == DENY
    assert interpret(compiled({"socketcall"}, True), I386, i386["socketcall"], 1) == ALLOW
    assert interpret(compiled({"socketcall"}, False), I386, i386["socketcall"], 3) == DENY


def test_programs_are_small() -> None:
    program = compile_isolators(None, "x86_64").program
    assert len(program) // 8 < 500


def test_jumps_fit_whatever_the_set() -> None:
    every_other = {
        name for number, name in enumerate(sorted(syscall_numbers(0), key=syscall_numbers(0).__getitem__)) if number % 2
    }
    program = compiled(every_other, False)
    for name, number in syscall_numbers(0).items():
        assert interpret(program, X86_64, number) == (DENY if name in every_other else ALLOW)


def made(kind: str, *entries: str, **more: str) -> Isolator:
    return isolator(f"os/linux/seccomp-{kind}-set", {"set": list(entries), **more})


def test_isolators() -> None:
    result = compile_isolators(made("retain", "@appc.io/all"), "x86_64")
    assert result.program == b""
    assert compile_isolators(made("remove", "@appc.io/empty"), "x86_64").program == b""
    result = compile_isolators(made("remove", "reboot", "fly", "@me/set", errno="EACCES"), "x86_64")
    assert result.problem == "unknown system calls fly, @me/set"
    assert interpret(result.program, X86_64, 169) == c.SECCOMP_RET_ERRNO | errno.EACCES
    assert interpret(compile_isolators(made("remove", "reboot"), "x86_64").program, X86_64, 169) == KILL
    for bad, machine in ((made("remove", "@appc.io/all"), "x86_64"), (made("retain", "read", errno="EX"), "x86_64")):
        with pytest.raises(InputError):
            compile_isolators(bad, machine)
    with pytest.raises(InputError, match="riscv64"):
        compile_isolators(made("retain", "read"), "riscv64")


@pytest.mark.parametrize("name", sorted(SETS))
def test_sets_name_calls_and_differ(name: str) -> None:
    names, everything, unknown = expand((name,))
    assert not everything and not unknown
    assert bool(names) == (name != "@appc.io/empty")
    if "blacklist" in name:
        assert {"mount", "reboot", "kexec_load", "move_mount"} <= names
        assert not names & expand((name.replace("black", "white"),))[0]
    if name == "@rkt/default-whitelist":
        assert {"read", "execve", "clone", "statx", "rseq", "faccessat2"} <= names


def test_table_is_that_of_the_headers() -> None:
    """For the numbers that the installed headers have: they never change."""
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("no kernel headers")
    ours = syscall_numbers(0)
    theirs = {name: int(number) for name, number in re.findall(r"^#define __NR_(\w+) (\d+)$", header.read_text(), re.M)}
    assert {name: number for name, number in theirs.items() if name in ours} == ours
    assert len(ours) > 350


def test_the_kernel_agrees() -> None:
    """Each of a few calls in a process of its own, with a filter that removes it and with one that does not."""
    machine = os.uname().machine
    if machine not in ("x86_64", "aarch64"):
        pytest.skip("no table")
    from rktpy.linux import syscalls

    def outcome(filter_program: bytes) -> int:
        child = os.fork()
        if child == 0:
            status = 99
            try:
                syscalls.prctl(c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
                syscalls.seccomp_filter(filter_program, 0)
                try:
                    os.close(os.pipe()[0])
                    status = 0
                except OSError as error:
                    status = error.errno or 98
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert outcome(compiled({"pipe", "pipe2"}, False, machine)) == errno.EPERM
    assert outcome(compiled({"reboot"}, False, machine)) == 0
    deadly = compile_filter(frozenset({"pipe", "pipe2"}), retain=False, deny=KILL, machine=machine)
    assert outcome(deadly) == -31
    assert outcome(compile_isolators(None).program) == 0
