"""Quantities, isolators, and isolators from the command line (formats/aci)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rktpy.errors import FormatError, UsageError
from rktpy.formats.aci import isolator_flags, isolators
from rktpy.formats.aci.isolator_flags import apply_cli_isolators
from rktpy.formats.aci.isolators import Isolator, isolator, parse_isolators
from rktpy.formats.aci.quantity import parse_quantity
from rktpy.record import Record
from tests.unit.test_formats_aci import JSON


@pytest.mark.parametrize(
    ("text", "value", "milli"),
    [
        ("0", 0, 0),
        ("128974848", 128974848, 128974848000),
        ("125952Ki", 125952 << 10, (125952 << 10) * 1000),
        ("123Mi", 123 << 20, (123 << 20) * 1000),
        ("50M", 50 * 10**6, 50 * 10**9),
        ("1G", 10**9, 10**12),
        ("1K", 1000, 10**6),
        ("1k", 1000, 10**6),
        ("1.5Gi", 3 << 29, (3 << 29) * 1000),
        ("250m", 1, 250),
        ("1500m", 2, 1500),
        ("0.5", 1, 500),
        (".5", 1, 500),
        ("5.", 5, 5000),
        ("0.0001", 1, 1),  # rounded up: who asks for a little gets something
        ("100u", 1, 1),
        ("1e3", 1000, 10**6),
        ("1E3", 1000, 10**6),
        ("12e-1", 2, 1200),
        ("1e+2", 100, 10**5),
        ("1E", 10**18, 10**21),
        ("+7", 7, 7000),
        ("-1", -1, -1000),
        ("9e99999999", 2**63 - 1, (2**63 - 1) * 1000),
        ("16Ei", 2**63 - 1, (2**63 - 1) * 1000),
        ("1e-99999", 1, 1),
    ],
)
def test_quantities(text: str, value: int, milli: int) -> None:
    quantity = parse_quantity(text)
    assert (quantity.value(), quantity.milli_value()) == (value, milli)


@pytest.mark.parametrize(
    "text", ["", "M", "1MM", "1Kib", "1ki", "1.2.3", "--1", "1e", "1e+", "1 M", "0x10", "1" * 200, ".", "\u0661"]
)
def test_bad_quantities(text: str) -> None:
    with pytest.raises(FormatError):
        parse_quantity(text)


@settings(deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 999), st.sampled_from(["", "m", "k", "M", "Ki", "Mi"]))
def test_quantities_are_exact(whole: int, thousandths: int, suffix: str) -> None:
    factor = {"": 1, "m": Fraction(1, 1000), "k": 1000, "M": 10**6, "Ki": 1024, "Mi": 1 << 20}[suffix]
    exact = (Fraction(whole) + Fraction(thousandths, 1000)) * factor
    quantity = parse_quantity(f"{whole}.{thousandths:03}{suffix}")
    assert quantity.value() == -(-exact // 1)
    assert quantity.milli_value() == -(-exact * 1000 // 1)


@settings(deadline=None)
@given(st.text(alphabet="0123456789.+-eEinumkKMGTP", max_size=12))
def test_any_text_is_a_quantity_or_an_error(text: str) -> None:
    try:
        assert abs(parse_quantity(text).value()) < 2**63
    except FormatError:
        pass


@pytest.mark.parametrize(
    ("name", "value", "parsed"),
    [
        ("resource/memory", {"limit": "1G"}, isolators.Memory(10**9, 10**9)),
        ("resource/memory", {"request": "1Mi", "limit": "2Mi", "default": False}, isolators.Memory(1 << 20, 2 << 20)),
        ("resource/memory", {"request": 1000}, isolators.Memory(1000, None)),
        ("resource/memory", {"limit": 10**100}, isolators.Memory(2**63 - 1, 2**63 - 1)),
        ("resource/cpu", {"request": "250m", "limit": "500m"}, isolators.CPU(250, 500)),
        ("resource/cpu", {"limit": 1.5}, isolators.CPU(1500, 1500)),
        ("resource/block-bandwidth", {"default": True, "limit": "2M"}, isolators.BlockBandwidth(2 * 10**6)),
        ("resource/block-iops", {"default": True, "limit": "1000"}, isolators.BlockIOPS(1000)),
        ("resource/network-bandwidth", {"default": True, "limit": "1G"}, isolators.NetworkBandwidth(10**9)),
        ("os/linux/cpu-shares", 262144, isolators.CPUShares(262144)),
        ("os/linux/oom-score-adj", -1000, isolators.OOMScoreAdj(-1000)),
        ("os/linux/capabilities-retain-set", {"set": ["CAP_KILL"]}, isolators.CapsRetain(("CAP_KILL",))),
        ("os/linux/capabilities-remove-set", {"SET": ["CAP_KILL", "CAP_MKNOD"]}, isolators.CapsRemove(("CAP_KILL", "CAP_MKNOD"))),
        ("os/linux/no-new-privileges", True, isolators.NoNewPrivileges(True)),
        ("os/linux/seccomp-retain-set", {"set": ["read"], "errno": "EPERM"}, isolators.SeccompRetain(("read",), "EPERM")),
        ("os/linux/seccomp-remove-set", {"set": ["@appc.io/empty"]}, isolators.SeccompRemove(("@appc.io/empty",), "")),
        (
            "os/linux/selinux-context",
            {"user": "u", "role": "r", "type": "t", "level": "s0:c1,c2"},
            isolators.SELinuxContext("u", "r", "t", "s0:c1,c2"),
        ),
        ("os/linux/apparmor-profile", {"profile": "strict"}, isolators.AppArmorProfile("strict")),
        ("os/unix/sysctl", {"net.ipv4.ip_forward": "1"}, isolators.Sysctl((("net.ipv4.ip_forward", "1"),))),
        ("example.com/unheard-of", {"a": [1]}, None),
    ],
)
def test_values(name: str, value: Any, parsed: Record | None) -> None:
    made = isolator(name, value)
    assert made.parsed == parsed
    assert made.to_dict() == {"name": name, "value": value}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("resource/memory", {"default": True, "limit": "1G"}, "value.default: must be false"),
        ("resource/memory", {"limit": "-1"}, "value.limit: must not be negative"),
        ("resource/memory", {"limit": True}, "value.limit: must be a quantity"),
        ("resource/memory", "1G", "value: must be an object"),
        ("resource/memory", None, "value: must be an object"),
        ("resource/block-iops", {"limit": "1"}, "value.default: must be true"),
        ("resource/block-iops", {"default": True, "request": "1"}, "value.request: not supported by this resource"),
        ("os/linux/cpu-shares", 1, "must be between 2 and 262144, got 1"),
        ("os/linux/cpu-shares", "2", "must be an integer"),
        ("os/linux/cpu-shares", True, "must be an integer"),
        ("os/linux/oom-score-adj", 1001, "must be between -1000 and 1000, got 1001"),
        ("os/linux/capabilities-retain-set", {"set": []}, "value.set: must be non-empty"),
        ("os/linux/capabilities-retain-set", {"set": [""]}, r"value.set\[0\]: cannot be empty"),
        ("os/linux/capabilities-remove-set", {}, "value.set: must be non-empty"),
        ("os/linux/no-new-privileges", "true", "value: must be true or false"),
        ("os/linux/seccomp-retain-set", {"set": ["read"], "errno": "1"}, "value.errno: must start with an 'E'"),
        ("os/linux/seccomp-retain-set", {"set": ["read"], "errno": "Eperm"}, "value.errno: can only contain upper case"),
        ("os/linux/selinux-context", {"user": "a:b", "role": "r", "type": "t", "level": "l"}, "value.user: invalid user value"),
        ("os/linux/selinux-context", {"user": "a", "role": "r", "type": "t"}, "value.level: invalid level value"),
        ("os/linux/apparmor-profile", {}, "value.profile: must be set"),
        ("os/unix/sysctl", {"a": 1}, "value.a: must be a string"),
        ("Bad Name", 1, "name: ACIdentifier must contain only"),
    ],
)
def test_bad_values(name: str, value: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        isolator(name, value)


def entry(name: str, value: Any) -> dict[str, Any]:
    return {"name": name, "value": value}


CALLS = {"set": ["read"]}
CAPS = {"set": ["CAP_KILL"]}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry("os/linux/seccomp-retain-set", CALLS)] * 2, r"app\.isolators\[1\]: isolators set contains too many instances"),
        ([entry("os/linux/cpu-shares", 2), entry("x/y", 0), entry("os/linux/cpu-shares", 3)], r"app\.isolators\[2\]: .*too many"),
        ([entry("os/unix/sysctl", {})] * 2, "too many"),
        ([entry("os/linux/seccomp-retain-set", CALLS), entry("os/linux/seccomp-remove-set", CALLS)], "incompatible types"),
        (
            [entry("os/linux/capabilities-remove-set", CAPS), entry("os/linux/capabilities-retain-set", CAPS)],
            "incompatible types",
        ),
        ({}, r"app\.isolators: must be an array"),
        ([1], r"app\.isolators\[0\]: must be an object"),
    ],
)
def test_bad_sets(entries: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        parse_isolators(entries, "app")


def test_what_may_repeat() -> None:
    read = parse_isolators(
        [
            entry("os/linux/capabilities-retain-set", {"set": ["CAP_KILL", "CAP_CHOWN"]}),
            entry("os/linux/capabilities-retain-set", {"set": ["CAP_CHOWN", "CAP_MKNOD"]}),
            entry("resource/memory", {"limit": "1G"}),
            entry("resource/memory", {"limit": "2G"}),
            entry("unknown/one", 1),
            entry("unknown/one", 2),
        ]
    )
    assert isolators.effective_capabilities(read) == ("CAP_KILL", "CAP_CHOWN", "CAP_MKNOD")
    last = isolators.find_last(read, "resource/memory")
    assert last is not None
    assert last.parsed == isolators.Memory(2 * 10**9, 2 * 10**9)
    assert isolators.find_last(read, "resource/cpu") is None


def test_effective_capabilities() -> None:
    assert isolators.effective_capabilities(()) == isolators.DEFAULT_CAPABILITIES
    assert len(set(isolators.DEFAULT_CAPABILITIES)) == 14
    removed = (isolator("os/linux/capabilities-remove-set", {"set": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}),)
    assert set(isolators.DEFAULT_CAPABILITIES) - set(isolators.effective_capabilities(removed)) == {"CAP_CHOWN"}


@settings(deadline=None)
@given(st.sampled_from([*isolators._READERS, "x/y"]), JSON)
def test_any_value_is_read_or_an_error(name: str, value: Any) -> None:
    try:
        made = isolator(name, value)
    except FormatError:
        return
    assert made.to_dict() == {"name": name, "value": value}


IMAGE = parse_isolators(
    [
        entry("resource/memory", {"limit": "1G"}),
        entry("os/linux/cpu-shares", 2),
        entry("os/linux/capabilities-remove-set", CAPS),
        entry("os/linux/seccomp-remove-set", CALLS),
        entry("x/y", 1),
    ]
)


def shown(made: tuple[Isolator, ...]) -> list[tuple[str, Any]]:
    return [(one.name, one.value) for one in made]


def test_nothing_on_the_command_line_changes_nothing() -> None:
    assert apply_cli_isolators(IMAGE) == IMAGE


def test_merging() -> None:
    made = apply_cli_isolators(
        IMAGE,
        memory="16M",
        cpu="1.5",
        cpu_shares=512,
        oom_score_adj=-5,
        caps_retain=("CAP_CHOWN", "CAP_KILL"),
        seccomp="mode=retain,errno=EPERM,read,@appc.io/all",
    )
    assert shown(made) == [
        ("resource/memory", {"limit": "1G"}),
        ("x/y", 1),
        ("resource/memory", {"default": False, "request": "16M", "limit": "16M"}),
        ("resource/cpu", {"default": False, "request": "1.5", "limit": "1.5"}),
        ("os/linux/cpu-shares", 512),
        ("os/linux/oom-score-adj", -5),
        ("os/linux/capabilities-retain-set", {"set": ["CAP_CHOWN", "CAP_KILL"]}),
        ("os/linux/seccomp-retain-set", {"set": ["read", "@appc.io/all"], "errno": "EPERM"}),
    ]
    last = isolators.find_last(made, "resource/memory")
    assert last is not None
    assert last.parsed == isolators.Memory(16 * 10**6, 16 * 10**6)
    parse_isolators([one.to_dict() for one in made])  # and the result is a valid set


def test_remove_set_takes_the_place_of_a_retain_set() -> None:
    image = parse_isolators([entry("os/linux/capabilities-retain-set", CAPS)])
    assert shown(apply_cli_isolators(image, caps_remove=("CAP_KILL",))) == [("os/linux/capabilities-remove-set", CAPS)]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"memory": "16m"}, "memory limit of 1 bytes too low. Try a reasonable value, such as --memory=16M"),
        ({"memory": "16X"}, "--memory: unable to parse quantity's suffix in '16X'"),
        ({"memory": ""}, "--memory: '' is not a quantity"),
        ({"cpu": "-1"}, "--cpu: must not be negative"),
        ({"cpu_shares": 1}, "--cpu-shares: must be between 2 and 262144, got 1"),
        ({"oom_score_adj": 5000}, "--oom-score-adj: must be between -1000 and 1000, got 5000"),
        ({"caps_retain": ("",)}, "--caps-retain: cannot be empty"),
        ({"caps_retain": ("A",), "caps_remove": ("B",)}, "cannot use both --caps-retain and --caps-remove on the same image"),
        ({"seccomp": "read,write"}, "invalid seccomp mode command-line override"),
        ({"seccomp": "mode=keep,read"}, "invalid seccomp mode command-line override 'keep'"),
        ({"seccomp": "mode=retain,foo=bar,read"}, "invalid seccomp command-line override 'foo=bar'"),
        ({"seccomp": "mode=retain"}, "--seccomp: must be non-empty"),
        ({"seccomp": "mode=retain,errno=perm,read"}, "--seccomp: must start with an 'E'"),
    ],
)
def test_bad_flags(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        apply_cli_isolators((), **flags)
    assert message in str(caught.value)


def test_single_builders() -> None:
    assert isolator_flags.cpu_isolator("250m").parsed == isolators.CPU(250, 250)
    assert isolator_flags.caps_remove_isolator(("CAP_KILL",)).parsed == isolators.CapsRemove(("CAP_KILL",))


def test_landlock() -> None:
    value = {"read": ["/usr", "/etc"], "bind": [80, 0], "exec": []}
    parsed = isolator("rktpy/landlock", value).parsed
    assert parsed == isolators.Landlock(read=("/usr", "/etc"), exec=(), bind=(80, 0))
    assert isolator("rktpy/landlock", value).to_dict() == {"name": "rktpy/landlock", "value": value}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "must say what is restricted"),
        ([], "must be an object"),
        ({"read": ["/"], "udp": [1]}, "udp: is unknown"),
        ({"read": ["usr"]}, "read[0]: must be an absolute path"),
        ({"read": ["/a\0"]}, "read[0]: contains a NUL"),
        ({"write": "/"}, "write: must be an array"),
        ({"bind": [65536]}, "bind[0]: must be between 0 and 65535"),
        ({"connect": [True]}, "connect[0]: must be an integer"),
    ],
)
def test_landlock_values_that_are_wrong(value: object, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        isolator("rktpy/landlock", value)
    assert message in str(caught.value)
