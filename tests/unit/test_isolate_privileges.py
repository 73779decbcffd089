"""Capabilities and privileges as plans: what isolators come to, read without executing it."""

from __future__ import annotations

import pytest

from rktpy.formats.aci.isolators import isolator
from rktpy.isolate import privileges as module
from rktpy.isolate.capabilities import app_capabilities, capability_mask, capability_names, last_capability
from rktpy.isolate.plan import describe_plan
from rktpy.isolate.privileges import SWITCHED_OFF, Restrictions, app_privileges
from rktpy.isolate.users import User

RETAIN = "os/linux/capabilities-retain-set"
REMOVE = "os/linux/capabilities-remove-set"
ROOT = User(0, 0, (0,))
WEB = User(1000, 1001, (1001, 2002))
NONE = Restrictions(default_capabilities=False, default_seccomp=False)


@pytest.fixture(autouse=True)
def _privileged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plans are those of a process with all capabilities, whoever runs the tests."""
    everything = (1 << 41) - 1
    monkeypatch.setattr(module, "capget", lambda: (everything, everything, 0))


def test_names_and_numbers() -> None:
    assert capability_mask(("CAP_CHOWN", "sys_admin", "cap_checkpoint_restore")).mask == 1 | 1 << 21 | 1 << 40
    assert capability_mask(("CAP_FLY",)).unknown == ("CAP_FLY",)
    assert capability_names(1 | 1 << 21 | 1 << 50) == ("CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_50")
    assert 30 < last_capability() < 64


def test_default_and_remove_set() -> None:
    assert app_capabilities(()).mask == 0xA80425FB
    removed = app_capabilities((isolator(REMOVE, {"set": ["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_X"]}),))
    assert (removed.mask, removed.unknown) == (0xA80425FA, ("CAP_X",))


def plan(isolators: tuple[object, ...], user: User = ROOT, restrictions: Restrictions = NONE) -> list[str]:
    return describe_plan(app_privileges("app", isolators, user, restrictions).operations).splitlines()  # type: ignore[arg-type]


def test_without_isolators_only_the_user_changes() -> None:
    assert plan((), WEB) == ["become user 1000, group 1001, supplementary groups 1001,2002"]


def test_order_of_operations() -> None:
    isolators = (
        isolator(RETAIN, {"set": ["CAP_CHOWN"]}),
        isolator("os/linux/seccomp-remove-set", {"set": ["reboot"]}),
        isolator("os/linux/no-new-privileges", False),
    )
    lines = plan(isolators, WEB)
    assert [line.split()[0] for line in lines] == ["limit", "become", "set", "install"]
    assert lines[0] == "limit capabilities to 0x1"
    assert lines[2] == "set no-new-privileges", "forced: a filter is active and the user is not root"
    assert [line.split()[0] for line in plan(isolators)] == ["limit", "become", "install"]


def test_defaults_when_asked_for() -> None:
    lines = plan((), ROOT, Restrictions())
    assert lines[0] == "limit capabilities to 0xa80425fb"
    assert lines[-1].startswith("install a system call filter")


def test_switched_off() -> None:
    isolators = (isolator(RETAIN, {"set": ["CAP_CHOWN"]}), isolator("os/linux/seccomp-retain-set", {"set": ["read"]}))
    off = app_privileges("app", isolators, ROOT, NONE.replace(no_capabilities=True, no_seccomp=True))
    assert [type(operation).__name__ for operation in off.operations] == ["Credentials"]
    assert [(entry.outcome, entry.reason) for entry in off.report] == [("ignored", SWITCHED_OFF)] * 2


def test_without_the_capability_to_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "capget", lambda: (0, 0, 0))
    weak = app_privileges("app", (isolator(RETAIN, {"set": ["CAP_CHOWN"]}),), ROOT, NONE)
    assert [type(operation).__name__ for operation in weak.operations] == ["Credentials"]
    assert [(entry.outcome, entry.reason) for entry in weak.report] == [("ignored", "this process lacks CAP_SETPCAP")]


def test_unknown_system_call_is_reported() -> None:
    found = app_privileges("app", (isolator("os/linux/seccomp-remove-set", {"set": ["reboot", "fly"]}),), ROOT, NONE)
    assert [(entry.outcome, entry.reason) for entry in found.report] == [("changed", "unknown system calls fly")]
