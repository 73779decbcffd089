"""Which devices the processes of a pod may use: rules for the devices controller of v1, a program for the kernel on v2.

Sources: the kernel's ``admin-guide/cgroup-v1/devices`` and ``admin-guide/cgroup-v2`` (Device controller), and
``struct bpf_cgroup_dev_ctx`` of ``include/uapi/linux/bpf.h``. Hot-path module.
"""

from __future__ import annotations

import os
import stat
from struct import pack

from rktpy.cgroup.subtree import Subtree, write
from rktpy.errors import describe
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cgroup.limits import Outcome

_ANY = -1
_ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_MKNOD and its fellows
_KINDS = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_BLOCK, _CHAR


class DeviceRule(Record):
    """Devices that may be used, or with ``allow`` false may not.

    ``kind``: ``c``, ``b``, or ``a`` for both; a number of -1 is any; ``access`` of ``rwm``.
    """

    kind: str
    major: int = _ANY
    minor: int = _ANY
    access: str = "rwm"
    allow: bool = True

    def __str__(self) -> str:
        major, minor = ("*" if number == _ANY else str(number) for number in (self.major, self.minor))
        return f"{self.kind} {major}:{minor} {self.access}"


#: What an app gets in its /dev; as systemd's ``DevicePolicy=closed`` and tun, which rkt's apps had.
CLOSED = (
    DeviceRule("c", 1, 3),  # null
    DeviceRule("c", 1, 5),  # zero
    DeviceRule("c", 1, 7),  # full
    DeviceRule("c", 1, 8),  # random
    DeviceRule("c", 1, 9),  # urandom
    DeviceRule("c", 5, 0),  # tty
    DeviceRule("c", 5, 1),  # console
    DeviceRule("c", 5, 2),  # ptmx
    DeviceRule("c", 136, _ANY, "rw"),  # pts
    DeviceRule("c", 10, 200),  # net/tun
)


def rules_for(paths: tuple[str, ...]) -> tuple[DeviceRule, ...]:
    """Rules for the device nodes among ``paths``, paths of the host; others are passed over. Raises OSError."""
    rules: list[DeviceRule] = []
    for path in paths:
        status = os.stat(path)
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            kind = "c" if stat.S_ISCHR(status.st_mode) else "b"
            rules.append(DeviceRule(kind, os.major(status.st_rdev), os.minor(status.st_rdev), "rw"))
    return tuple(rules)


def limit_devices(subtree: Subtree, rules: tuple[DeviceRule, ...]) -> Outcome:
    """Let the processes of the subtree use the devices of ``rules`` and no others. What is not possible is in the outcome."""
    from rktpy.cgroup.limits import Outcome

    group = subtree.group("devices")
    try:
        if group is not None:
            return _limit_v1(group.directory, rules)
        group = next((one for one in subtree.groups if one.version == 2), None)
        if group is None:
            return Outcome("devices", "ignored", "no devices control group is mounted")
        _limit_v2(group.entrance, rules)  # the supervisor still has devices to make
    except OSError as error:
        return Outcome("devices", "ignored", describe(error))
    return Outcome("devices")


def set_device_rules(subtree: Subtree, rules: tuple[DeviceRule, ...]) -> None:
    """Nothing but what ``rules`` say, the later ones before the earlier. Raises OSError.

    A group without a devices controller, on v1 as on v2, is none of the container's.
    """
    group = subtree.group("devices")
    if group is not None:
        _write_rules(group.directory, rules)
        return
    for group in subtree.groups:
        if group.version == 2:
            _limit_v2(group.entrance, rules)


def _write_rules(directory: str, rules: tuple[DeviceRule, ...]) -> None:
    flags = os.O_WRONLY | os.O_CLOEXEC
    deny, allow = os.open(f"{directory}/devices.deny", flags), os.open(f"{directory}/devices.allow", flags)
    try:
        os.write(deny, b"a")
        for rule in rules:
            if rule.kind == "a" and rule.major == rule.minor == _ANY and rule.access == "rwm":
                os.write(allow if rule.allow else deny, b"a")
                continue
            # "a" with numbers means nothing to the kernel but everything.
            for kind in ("b", "c") if rule.kind == "a" else (rule.kind,):
                os.write(allow if rule.allow else deny, str(rule.replace(kind=kind)).encode())
    finally:
        os.close(deny)
        os.close(allow)


def _limit_v1(directory: str, rules: tuple[DeviceRule, ...]) -> Outcome:
    from rktpy.cgroup.limits import Outcome

    write(f"{directory}/devices.deny", "a")
    refused: list[str] = []
    for rule in rules:
        try:
            write(f"{directory}/devices.allow", str(rule))
        except PermissionError:
            refused.append(str(rule))  # our own group may not use it either
    if refused:
        return Outcome("devices", "changed", f"the group above does not allow {', '.join(refused)}")
    return Outcome("devices")


def _limit_v2(directory: str, rules: tuple[DeviceRule, ...]) -> None:
    program = syscalls.bpf_load(c.BPF_PROG_TYPE_CGROUP_DEVICE, device_program(rules), "Apache-2.0", 0)
    try:
        group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # As long as the group is there; programs of the groups above are asked too, and all have to agree.
            syscalls.bpf_attach(group, program, c.BPF_CGROUP_DEVICE, c.BPF_F_ALLOW_MULTI)
        finally:
            os.close(group)
    finally:
        os.close(program)


# Codes of instructions (the kernel's bpf/standardization/instruction-set).
_LOAD_WORD, _COPY, _SHIFT_RIGHT, _AND, _SET, _JUMP_IF, _JUMP_UNLESS, _EXIT = 0x61, 0xBF, 0x77, 0x57, 0xB7, 0x15, 0x55, 0x95
_RESULT, _CONTEXT, _KIND, _WANTED, _MAJOR, _MINOR, _SCRATCH = range(7)


def device_program(rules: tuple[DeviceRule, ...]) -> bytes:
    """The program that says yes (1) to an access all of whose ways are allowed, else no (0).

    The last rule that names a device and a way decides about that way, as on v1. Without any the answer is no.
    """
    program = [
        _instruction(_LOAD_WORD, _KIND, _CONTEXT, 0),  # access << 16 | kind
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, 8),
        _instruction(_COPY, _WANTED, _KIND),
        _instruction(_SHIFT_RIGHT, _WANTED, value=16),
        _instruction(_AND, _KIND, value=0xFFFF),
    ]
    for rule in reversed(rules):
        tests: list[tuple[int, int]] = []
        if rule.kind != "a":
            tests.append((_KIND, _KINDS[rule.kind]))
        tests += [(register, value) for register, value in ((_MAJOR, rule.major), (_MINOR, rule.minor)) if value != _ANY]
        named = sum(bit for letter, bit in _ACCESS.items() if letter in rule.access)
        answer = [_instruction(_SET, _RESULT, value=1 if rule.allow else 0), _instruction(_EXIT)]
        if rule.allow:
            # These ways are settled; yes when none is left.
            body = [_instruction(_AND, _WANTED, value=7 & ~named), _instruction(_JUMP_UNLESS, _WANTED, offset=2), *answer]
        else:
            body = [
                _instruction(_COPY, _SCRATCH, _WANTED),
                _instruction(_AND, _SCRATCH, value=named),
                _instruction(_JUMP_IF, _SCRATCH, offset=2),
                *answer,
            ]
        for number, (register, value) in enumerate(tests):
            to_next_rule = len(tests) - number - 1 + len(body)
            program.append(_instruction(_JUMP_UNLESS, register, offset=to_next_rule, value=value))
        program += body
    program += [_instruction(_SET, _RESULT, value=0), _instruction(_EXIT)]
    return b"".join(program)


def _instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return pack("=BBhi", code, source << 4 | target, offset, value)
