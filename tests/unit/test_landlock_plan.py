"""What is planned for Landlock, by the version of the kernel's ABI."""

from __future__ import annotations

import pytest

from rktpy.formats.aci.isolators import Landlock
from rktpy.isolate.landlock import plan_landlock
from rktpy.linux import constants as c

EVERYTHING = Landlock(("/usr",), ("/var", "/usr"), ("/bin",), (80,), (443, 80))


def test_the_plan_in_words() -> None:
    operation, entry = plan_landlock("app", EVERYTHING, 7)
    assert operation is not None and (entry.outcome, entry.reason) == ("enforced", "")
    assert operation.describe() == (
        'let Landlock allow only: read "/usr", write "/usr" "/var", execute "/bin", bind port 80, connect to port 80 443'
    )
    assert dict(operation.allowed_ports) == {80: 3, 443: c.LANDLOCK_ACCESS_NET_CONNECT_TCP}
    assert dict(operation.paths)["/usr"] & c.LANDLOCK_ACCESS_FS_READ_DIR
    assert dict(operation.paths)["/usr"] & c.LANDLOCK_ACCESS_FS_TRUNCATE
    assert dict(operation.paths)["/bin"] == c.LANDLOCK_ACCESS_FS_EXECUTE | c.LANDLOCK_ACCESS_FS_READ_FILE
    alone, _entry = plan_landlock("app", Landlock(exec=("/bin",)), 7)
    assert alone is not None and dict(alone.paths)["/bin"] == c.LANDLOCK_ACCESS_FS_EXECUTE


@pytest.mark.parametrize(
    ("abi", "outcome", "words"),
    [
        (0, "ignored", ("no Landlock",)),
        (1, "changed", ("cannot be moved", "truncating", "ioctl", "ports")),
        (2, "changed", ("truncating", "ioctl", "ports")),
        (3, "changed", ("ioctl", "ports")),
        (4, "changed", ("ioctl",)),
        (5, "enforced", ()),
    ],
)
def test_what_a_kernel_lacks_is_told(abi: int, outcome: str, words: tuple[str, ...]) -> None:
    operation, entry = plan_landlock("app", EVERYTHING, abi)
    assert entry.outcome == outcome and all(word in entry.reason for word in words)
    assert (operation is None) == (abi == 0)
    if operation is not None:
        assert bool(operation.ports) == (abi >= 4)


def test_ports_alone_on_an_old_kernel() -> None:
    operation, entry = plan_landlock("app", Landlock(bind=(80,)), 3)
    assert operation is None
    assert (entry.outcome, entry.reason) == ("ignored", "with version 3 of the kernel's Landlock ports are not restricted")


def test_only_what_is_named_is_restricted() -> None:
    operation, _entry = plan_landlock("app", Landlock(read=()), 7)
    assert operation is not None
    assert operation.files == c.LANDLOCK_ACCESS_FS_READ_FILE | c.LANDLOCK_ACCESS_FS_READ_DIR | c.LANDLOCK_ACCESS_FS_REFER
    assert operation.paths == (("/", c.LANDLOCK_ACCESS_FS_REFER),), "moving files stays possible"
    assert operation.describe() == "let Landlock allow only: read nothing"
    ports, _entry = plan_landlock("app", Landlock(connect=()), 7)
    assert ports is not None and (ports.files, ports.describe()) == (0, "let Landlock allow only: connect to no port")
