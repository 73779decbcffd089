"""A set of system calls that comes out empty is no way to run without a filter."""

from __future__ import annotations

import pytest

from tests.conftest import Rktpy
from tests.support.pods import report, shell, states

pytestmark = pytest.mark.root

NOTHING = "run: seccomp: retaining no system calls leaves nothing that could run\n"


@pytest.mark.parametrize("names", ["@appc.io/empty", "no_such_call", "no_such_call,nor_this"])
def test_nothing_is_retained(stored: Rktpy, names: str) -> None:
    done = shell(stored, "echo ran", f"--seccomp=mode=retain,{names}", pod=("--net=none",), status=254)
    assert (done.stdout, done.stderr) == ("", NOTHING)


def test_nothing_is_removed(stored: Rktpy) -> None:
    """That is asking for no filter, and is said to be one when a name was wrong."""
    for names, outcome in (("@appc.io/empty", "enforced"), ("no_such_call", "changed")):
        done = shell(stored, "grep Seccomp: /proc/self/status", f"--seccomp=mode=remove,errno=EPERM,{names}", pod=("--net=none",))
        assert done.stdout.split()[-1] == "0"
        (uuid,) = states(stored)
        assert report(stored, uuid)["os/linux/seccomp-remove-set"] == outcome
        stored("rm", uuid)
