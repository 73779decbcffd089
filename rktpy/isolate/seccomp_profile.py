"""A system call filter from the profile of a configuration: every action, conditions on arguments, flags, a listener.

runtime-spec 1.2 ``config-linux.md`` (Seccomp), libseccomp's meaning of it where the spec has none:

- A rule without conditions decides about its calls, whatever conditions other rules have for them. Else the first rule whose
  conditions hold decides, else the default action. Two conditions on one argument are alternatives.
- The machine's own architecture is always covered; calls of an architecture that is not listed end the process.
- When the default denies, calls with higher numbers than any that the profile names give ENOSYS, as in runc: a C library then
  uses an older call instead of failing.

Hot-path module.
"""

from __future__ import annotations

import os
from errno import ENOSYS, EPERM

from rktpy.errors import InputError
from rktpy.isolate.seccomp import MULTIPLEXED, Chain, Inspect, assembled, i386_relatives, intervals, syscall_numbers
from rktpy.linux import constants as c
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.oci.runtime.seccomp import Argument, Rule, SeccompProfile
    from rktpy.isolate.seccomp import Action, Code, Range

_LOAD, _AND, _JUMP_EQUAL, _JUMP_MORE, _JUMP_AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x35, 0x06
_X32 = 0x40000000
#: Architectures as libseccomp calls them: audit number and column of the table.
_ARCHITECTURES = {
    "SCMP_ARCH_X86_64": (c.AUDIT_ARCH_X86_64, 0),
    "SCMP_ARCH_X86": (c.AUDIT_ARCH_I386, 1),
    "SCMP_ARCH_AARCH64": (c.AUDIT_ARCH_AARCH64, 2),
}
_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "i686": "SCMP_ARCH_X86", "aarch64": "SCMP_ARCH_AARCH64"}
#: Architectures that a filter can be made for, on one machine or another.
USABLE_ARCHITECTURES = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64")
#: Others that a profile may list; their calls end the process.
_OTHER_ARCHITECTURES = (
    "NATIVE ARM MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X PARISC PARISC64 RISCV64 "
    "LOONGARCH64 M68K SH SHEB"
)
ARCHITECTURES = frozenset((*USABLE_ARCHITECTURES, *[f"SCMP_ARCH_{name}" for name in _OTHER_ARCHITECTURES.split()]))
#: Calls that have a number of their own on x32, from 512 on.
_X32_CALLS = (
    "rt_sigaction rt_sigreturn ioctl readv writev recvfrom sendmsg recvmsg execve ptrace rt_sigpending rt_sigtimedwait "
    "rt_sigqueueinfo sigaltstack timer_create mq_notify kexec_load waitid set_robust_list get_robust_list vmsplice move_pages "
    "preadv pwritev rt_tgsigqueueinfo recvmmsg sendmmsg process_vm_readv process_vm_writev setsockopt getsockopt io_setup "
    "io_submit execveat preadv2 pwritev2"
)
_FLAGS = {
    "SECCOMP_FILTER_FLAG_LOG": c.SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": c.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_TSYNC": 0,  # the process that is filtered has one thread
}
_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")


class Filter(Record):
    """A compiled profile: the bytes of ``struct sock_filter[]`` and the flags of seccomp(2)."""

    program: bytes
    flags: int = 0
    notifies: bool = False


def compile_profile(profile: SeccompProfile, machine: str = "") -> Filter:
    """The filter of a profile; ``machine`` as in uname(2), by default ours. Raises :class:`InputError`."""
    native = _NATIVE.get(machine or os.uname().machine)
    if native is None:
        raise InputError(f"seccomp: no system call table for {machine or os.uname().machine}")
    chosen = [native]
    for name in profile.architectures:
        if name not in ARCHITECTURES:
            raise InputError(f"linux.seccomp.architectures: {name} is no architecture")
        related = name in ("SCMP_ARCH_X86", "SCMP_ARCH_X32") and native == "SCMP_ARCH_X86_64"
        if related and name not in chosen:
            chosen.append(name)
    default = action_value(profile.default_action, profile.default_errno)
    beyond = default if profile.default_action in _PERMISSIVE else c.SECCOMP_RET_ERRNO | ENOSYS
    sections: list[tuple[int, tuple[Range, ...]]] = []
    for name in chosen:
        if name == "SCMP_ARCH_X32":
            continue
        audit, column = _ARCHITECTURES[name]
        ranges = _ranges(profile.rules, column, default, beyond)
        if column == 0:
            ranges += _x32_ranges(profile.rules, default, beyond, "SCMP_ARCH_X32" in chosen)
        sections.append((audit, ranges))
    flags = 0
    for flag in profile.flags:
        if flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV":
            flags |= c.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV if profile.notifies else 0
        else:
            flags |= _FLAGS[flag]
    if profile.notifies:
        flags |= c.SECCOMP_FILTER_FLAG_NEW_LISTENER
    return Filter(assembled(tuple(sections)), flags, profile.notifies)


def action_value(action: str, errno: int | None) -> int:
    """What a filter returns for an action."""
    data = (EPERM if errno is None else errno) & 0xFFFF
    if action == "SCMP_ACT_ERRNO":
        return c.SECCOMP_RET_ERRNO | data
    if action == "SCMP_ACT_TRACE":
        return c.SECCOMP_RET_TRACE | data
    return {
        "SCMP_ACT_ALLOW": c.SECCOMP_RET_ALLOW,
        "SCMP_ACT_LOG": c.SECCOMP_RET_LOG,
        "SCMP_ACT_NOTIFY": c.SECCOMP_RET_USER_NOTIF,
        "SCMP_ACT_TRAP": c.SECCOMP_RET_TRAP,
        "SCMP_ACT_KILL_PROCESS": c.SECCOMP_RET_KILL_PROCESS,
    }.get(action, c.SECCOMP_RET_KILL_THREAD)


def _ranges(rules: tuple[Rule, ...], column: int, default: int, beyond: int) -> tuple[Range, ...]:
    numbers = syscall_numbers(column)
    actions = _actions(rules, numbers, default)
    if column == 1:
        _add_i386(rules, numbers, actions, default)
    last = max(actions, default=0) if beyond != default else 0
    return intervals(actions, default, max(last, max(actions, default=0)), beyond)


def _x32_ranges(rules: tuple[Rule, ...], default: int, beyond: int, listed: bool) -> tuple[Range, ...]:
    if not listed:
        return ((_X32, c.SECCOMP_RET_KILL_PROCESS),)
    numbers = syscall_numbers(0)
    numbers.update({name: 512 + number for number, name in enumerate(_X32_CALLS.split())})
    actions = _actions(rules, numbers, default)
    found = intervals(actions, default, max(actions, default=0), beyond)
    return tuple([(_X32 + number, action) for number, action in found])


def _actions(rules: tuple[Rule, ...], numbers: dict[str, int], default: int) -> dict[int, Action]:
    """The action for each number that the rules name."""
    plain: dict[int, Action] = {}
    conditional: dict[int, list[tuple[tuple[Argument, ...], int]]] = {}
    for rule in rules:
        value = action_value(rule.action, rule.errno)
        for name in rule.names:
            number = numbers.get(name)
            if number is None:
                continue
            if not rule.arguments:
                plain.setdefault(number, value)
                continue
            indices = {one.index for one in rule.arguments}
            chains = conditional.setdefault(number, [])
            if len(indices) == len(rule.arguments):
                chains.append((rule.arguments, value))
            else:
                chains += [((one,), value) for one in rule.arguments]
    for number, chains in conditional.items():
        if number not in plain:
            code: list[tuple[int, int, int, int]] = []
            for arguments, value in chains:
                code += _block(arguments, value)
            plain[number] = Chain((*code, (_RETURN, 0, 0, default)))
    return plain


def _add_i386(rules: tuple[Rule, ...], numbers: dict[str, int], actions: dict[int, Action], default: int) -> None:
    """Relatives of calls that i386 has, and the two calls that take their real number in the first argument."""
    for rule in rules:
        if rule.arguments:
            continue
        value = action_value(rule.action, rule.errno)
        for name in sorted(i386_relatives(frozenset(rule.names), numbers)):
            if name in numbers:
                actions.setdefault(numbers[name], value)
    for name, (calls, mask) in MULTIPLEXED.items():
        if numbers[name] in actions:
            continue
        inner: dict[int, Action] = {}
        for rule in rules:
            if not rule.arguments:
                value = action_value(rule.action, rule.errno)
                for number, call in calls.items():
                    if call in rule.names:
                        inner.setdefault(number, value)
        if inner:
            actions[numbers[name]] = Inspect(intervals(inner, default, max(calls), default), mask)


def _block(arguments: tuple[Argument, ...], value: int) -> Code:
    """The conditions, then the return; when one does not hold, what follows the block."""
    parts = [_condition(one) for one in arguments]
    length = sum(map(len, parts)) + 1
    code: Code = []
    for part in parts:
        begin = len(code)
        for place, (operation, if_true, if_false, constant) in enumerate(part):
            # -1 stands for "the condition does not hold", -2 for "it holds, go on behind the part".
            here = begin + place
            targets = [
                length - here - 1 if jump == -1 else begin + len(part) - here - 1 if jump == -2 else jump
                for jump in (if_true, if_false)
            ]
            code.append((operation, targets[0], targets[1], constant))
    code.append((_RETURN, 0, 0, value))
    return code


def _condition(one: Argument) -> Code:
    low_at, high_at = 16 + 8 * one.index, 20 + 8 * one.index
    value = one.value
    if one.operator == "SCMP_CMP_MASKED_EQ":
        wanted = one.value_two
        return [
            (_LOAD, 0, 0, high_at),
            (_AND, 0, 0, value >> 32),
            (_JUMP_EQUAL, 0, -1, wanted >> 32),
            (_LOAD, 0, 0, low_at),
            (_AND, 0, 0, value & 0xFFFFFFFF),
            (_JUMP_EQUAL, 0, -1, wanted & 0xFFFFFFFF),
        ]
    high, low = value >> 32, value & 0xFFFFFFFF
    if one.operator == "SCMP_CMP_EQ":
        return [(_LOAD, 0, 0, high_at), (_JUMP_EQUAL, 0, -1, high), (_LOAD, 0, 0, low_at), (_JUMP_EQUAL, 0, -1, low)]
    if one.operator == "SCMP_CMP_NE":
        return [(_LOAD, 0, 0, high_at), (_JUMP_EQUAL, 0, -2, high), (_LOAD, 0, 0, low_at), (_JUMP_EQUAL, -1, 0, low)]
    more = one.operator in ("SCMP_CMP_GT", "SCMP_CMP_GE")
    last = _JUMP_MORE if one.operator in ("SCMP_CMP_GT", "SCMP_CMP_LE") else _JUMP_AT_LEAST
    yes, no = (-2, -1) if more else (-1, -2)
    return [
        (_LOAD, 0, 0, high_at),
        (_JUMP_MORE, yes, 0, high),
        (_JUMP_EQUAL, 0, no, high),
        (_LOAD, 0, 0, low_at),
        (last, 0 if more else -1, -1 if more else 0, low),
    ]


def summary(compiled: Filter) -> str:
    """In words, for ``--debug``."""
    return f"{len(compiled.program) // 8} instructions" + (", with a listener" if compiled.notifies else "")
