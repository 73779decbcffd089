"""System call filters: from the names in an isolator to a BPF program.

appc/spec 0.8.11 ``spec/ace.md`` (os/linux/seccomp-retain-set, -remove-set); kernel
``Documentation/userspace-api/seccomp_filter.rst``. The program first looks at the architecture of the call, because numbers
differ: on x86_64 also i386 programs are filtered, the x32 numbers are always denied, and any other architecture ends the process.
Then a binary search over the ranges of numbers decides.

- A call that is denied fails with the isolator's errno; without one the process dies by SIGSYS.
- A retain set also allows what systemd always allows (:data:`ALWAYS`). Calls that are newer than our table, and clone3, give
  ENOSYS instead: the C library then uses an older call, which the set decides about.
- i386 has one call for all of sockets and one for System V IPC: their first argument decides. Its calls with 64-bit time and
  32-bit IDs follow the plain name.

Hot-path module.
"""

from __future__ import annotations

import errno as errno_numbers
import os
from struct import pack

from rktpy.errors import InputError
from rktpy.isolate.syscall_table import TABLE
from rktpy.linux import constants as c
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.aci.isolators import Isolator

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP = 0x05  # BPF_JMP | BPF_JA
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data; the low half of the argument

_ALLOW = c.SECCOMP_RET_ALLOW
_NO_SUCH_CALL = c.SECCOMP_RET_ERRNO | errno_numbers.ENOSYS
_X32 = 0x40000000
_MOST_INSTRUCTIONS = 4096

_SOCKETCALL = (
    "socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown setsockopt "
    "getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg"
)
_IPC = {
    1: "semop",
    2: "semget",
    3: "semctl",
    4: "semtimedop",
    11: "msgsnd",
    12: "msgrcv",
    13: "msgget",
    14: "msgctl",
    21: "shmat",
    22: "shmdt",
    23: "shmget",
    24: "shmctl",
}
#: i386 calls that take their real number in the first argument, with the bits of it that count.
MULTIPLEXED: dict[str, tuple[dict[int, str], int]] = {
    "socketcall": (dict(enumerate(_SOCKETCALL.split(), 1)), 0xFFFFFFFF),
    "ipc": (_IPC, 0xFFFF),
}
_OTHER_NAMES_ON_I386 = {"mmap": "mmap2", "select": "_newselect", "lseek": "_llseek", "umount2": "umount"}

#: Architectures by machine: audit number, column of the table, whether x32 numbers exist.
_MACHINES: dict[str, tuple[tuple[int, int, bool], ...]] = {
    "x86_64": ((c.AUDIT_ARCH_X86_64, 0, True), (c.AUDIT_ARCH_I386, 1, False)),
    "i686": ((c.AUDIT_ARCH_I386, 1, False),),
    "aarch64": ((c.AUDIT_ARCH_AARCH64, 2, False),),
}


class Inspect(Record):
    """An action that depends on the first argument, of which the bits in ``mask`` count."""

    ranges: tuple[Range, ...]
    mask: int

    def code(self) -> Code:
        """The instructions that decide; every path ends in a return."""
        return [(_LOAD, 0, 0, _FIRST_ARGUMENT), (_AND, 0, 0, self.mask), *search(self.ranges)]


class Chain(Record):
    """An action that depends on arguments: instructions of which every path ends in a return."""

    instructions: tuple[tuple[int, int, int, int], ...]

    def code(self) -> Code:
        """The instructions that decide."""
        return list(self.instructions)


if TYPE_CHECKING:
    Code = list[tuple[int, int, int, int]]  # instructions: code, jump if true, jump if false, constant
    Action = int | Inspect | Chain  # what the filter returns
    Range = tuple[int, Action]  # the first number of a run, and the action for it


class Compiled(Record):
    """A filter: the bytes of ``struct sock_filter[]`` (empty when none is wanted), what is wrong, a short summary."""

    program: bytes
    problem: str = ""
    summary: str = ""


def syscall_numbers(column: int) -> dict[str, int]:
    """Numbers by name; ``column`` 0 is x86_64, 1 i386, 2 aarch64."""
    numbers: dict[str, int] = {}
    for word in TABLE.split():
        name, _, row = word.partition("=")
        number = row.split("/")[column]
        if number != "-":
            numbers[name] = int(number)
    return numbers


def compile_isolators(isolator: Isolator | None, machine: str = "") -> Compiled:
    """The filter for a retain or remove set, or without one for rkt's default whitelist.

    ``machine`` as in uname(2), by default ours. Raises :class:`InputError` for an unknown errno or machine, or when all calls are
    removed.
    """
    from rktpy.formats.aci.isolators import SeccompRemove, SeccompRetain
    from rktpy.isolate.seccomp_names import DEFAULT_SET, expand

    parsed = SeccompRetain((DEFAULT_SET,)) if isolator is None else isolator.parsed
    if not isinstance(parsed, (SeccompRetain, SeccompRemove)):
        raise InputError(f"{isolator.name if isolator else ''} is no set of system calls")
    retain, entries, errno_name = isinstance(parsed, SeccompRetain), parsed.set, parsed.errno
    deny = c.SECCOMP_RET_KILL_PROCESS
    if errno_name:
        number = getattr(errno_numbers, errno_name, None)
        if not isinstance(number, int):
            raise InputError(f"seccomp: {errno_name} is no errno of Linux")
        deny = c.SECCOMP_RET_ERRNO | number
    names, everything, unknown = expand(entries)
    problem = f"unknown system calls {', '.join(unknown)}" if unknown else ""
    if everything:
        if not retain:
            raise InputError("seccomp: removing all system calls leaves nothing that could run")
        return Compiled(b"", problem)
    if not retain and not names:
        return Compiled(b"", problem)
    program = compile_filter(frozenset(names), retain=retain, deny=deny, machine=machine or os.uname().machine)
    verb = "retains" if retain else "removes"
    return Compiled(
        program, problem, f"{verb} {len(names)} calls, others {errno_name or 'kill'}" if retain else f"{verb} {len(names)}"
    )


def compile_filter(names: frozenset[str], *, retain: bool, deny: int, machine: str) -> bytes:
    """A program that allows only ``names`` (``retain``) or all but them; ``deny`` is the return value for the others."""
    architectures = _MACHINES.get(machine)
    if architectures is None:
        raise InputError(f"seccomp: no system call table for {machine}")
    return assembled(tuple([(audit, _ranges(column, names, retain, deny, x32)) for audit, column, x32 in architectures]))


def assembled(sections: tuple[tuple[int, tuple[Range, ...]], ...]) -> bytes:
    """The program for architectures, each an audit number and the beginnings of runs of equal actions.

    Calls of any other architecture end the process. Raises :class:`InputError` when it gets too long.
    """
    code: Code = [(_RETURN, 0, 0, c.SECCOMP_RET_KILL_PROCESS)]
    for audit, ranges in reversed(sections):
        section: Code = [(_LOAD, 0, 0, _NUMBER), *search(ranges)]
        # The section ends in returns; what follows it is for other architectures. Jumps over it may be longer than 255.
        code = [(_EQUAL, 1, 0, audit), (_JUMP, 0, 0, len(section)), *section, *code]
    code = [(_LOAD, 0, 0, _ARCHITECTURE), *code]
    if len(code) > _MOST_INSTRUCTIONS:
        raise InputError(f"seccomp: the filter would have {len(code)} instructions")
    return b"".join([pack("=HBBI", *instruction) for instruction in code])


def _ranges(column: int, names: frozenset[str], retain: bool, deny: int, has_x32: bool) -> tuple[Range, ...]:
    """Where actions begin, ascending from number 0."""
    numbers = syscall_numbers(column)
    listed = set(names)
    if retain:
        from rktpy.isolate.seccomp_sets import ALWAYS

        listed.update(ALWAYS.split())
    if column == 1:
        listed |= i386_relatives(names, numbers)
    inside, outside = (_ALLOW, deny) if retain else (deny, _ALLOW)
    actions: dict[int, Action] = {numbers[name]: inside for name in listed if name in numbers}
    if retain and "clone3" not in names and "clone3" in numbers:
        actions[numbers["clone3"]] = _NO_SUCH_CALL
    if column == 1:
        for name, (calls, mask) in MULTIPLEXED.items():
            if name not in names:
                inner: dict[int, Action] = {number: inside for number, call in calls.items() if call in names}
                if inner:
                    actions[numbers[name]] = Inspect(intervals(inner, outside, max(calls), outside), mask)
    beyond: Action = _NO_SUCH_CALL if retain else _ALLOW
    ranges = intervals(actions, outside, max(numbers.values()), beyond)
    return (*ranges, (_X32, deny)) if has_x32 else ranges


def i386_relatives(names: frozenset[str], numbers: dict[str, int]) -> set[str]:
    relatives = {other for name, other in _OTHER_NAMES_ON_I386.items() if name in names}
    for name in names:
        relatives.update([name + suffix for suffix in ("32", "64", "_64", "_time64") if name + suffix in numbers])
    return relatives


def intervals(actions: dict[int, Action], otherwise: Action, last: int, beyond: Action) -> tuple[Range, ...]:
    """The beginnings of runs of equal actions for numbers 0 to ``last`` and, as one run, all above."""
    ranges: list[Range] = []
    for number in range(last + 1):
        action = actions.get(number, otherwise)
        if not ranges or ranges[-1][1] != action:
            ranges.append((number, action))
    if ranges[-1][1] != beyond:
        ranges.append((last + 1, beyond))
    return tuple(ranges)


def search(ranges: tuple[Range, ...]) -> Code:
    """A binary search for the value in the accumulator; every path ends in a return."""
    if len(ranges) == 1:
        return _leaf(ranges[0][1])
    middle = len(ranges) // 2
    low, high = search(ranges[:middle]), search(ranges[middle:])
    if len(low) <= 255:
        return [(_AT_LEAST, len(low), 0, ranges[middle][0]), *low, *high]
    return [(_AT_LEAST, 0, 1, ranges[middle][0]), (_JUMP, 0, 0, len(low)), *low, *high]


def _leaf(action: Action) -> Code:
    if isinstance(action, int):
        return [(_RETURN, 0, 0, action)]
    return action.code()
