"""The fast commands load nothing slow on the way to the app, whatever the pod."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, SYSTEM_PYTHON, Rktpy
from tests.integration.test_lifecycle import IMAGE, Pods

pytestmark = pytest.mark.root


class FlavouredPods(Pods):
    """Pods whose stage1 is chosen by flag: reading a configuration costs what it costs."""

    def __init__(self, rktpy: Rktpy, flavour: str) -> None:
        super().__init__(rktpy)
        self.flavour = flavour

    def prepare(self, *args: str) -> str:
        return super().prepare(f"--stage1={self.flavour}", *(args or (IMAGE, "--exec=/bin/true")))


@pytest.fixture(params=["fly", "systemd"])
def pods(request: pytest.FixtureRequest, rktpy: Rktpy, busybox_images: Path) -> Iterator[FlavouredPods]:
    rktpy("--insecure-options=image", "fetch", str(busybox_images / "busybox.aci"))
    made = FlavouredPods(rktpy, request.param)
    made.sh("true", "--stage1=fly")  # renders the tree, which may load what it likes
    yield made
    for process in made.running:
        process.kill()
        process.wait()


#: What costs nothing to load, or is loaded by the interpreter anyway (see the style of hot paths).
FREE = frozenset(
    "__future__ _collections_abc _json _sha1 _sha256 _sha512 _signal _socket _stat binascii errno fcntl gc "  # noqa: SIM905
    "genericpath graphlib os os.path posix posixpath select stat struct _struct termios time types zlib".split()
)
PROGRAM = """
import os, sys
before = set(sys.modules)
sys.path += {path!r}

def tell(*_arguments):
    os.write(3, "".join([f"{name} " for name in set(sys.modules) - before]).encode())  # the pod's first process tells as well
    os._exit(0)

os.execve = os.execv = tell
from rktpy.__main__ import main
main(sys.argv[1:])
tell()
"""


@pytest.mark.parametrize("command", ["run", "run-prepared", "enter", "stop", "rm", "gc", "list", "status"])
def test_commands_load_nothing_slow(pods: FlavouredPods, command: str) -> None:
    arguments: tuple[str, ...]
    if command == "run":
        arguments = ("run", f"--stage1={pods.flavour}", "--net=none", IMAGE, "--exec=/bin/true")
    elif command == "run-prepared":
        arguments = ("run-prepared", "--net=none", pods.prepare())
    elif command in ("gc", "rm"):
        pods.sh("true", f"--stage1={pods.flavour}", "--net=none")
        arguments = ("gc", "--grace-period=0s") if command == "gc" else ("rm", *pods.where()["run"])
    else:
        uuid = pods.hold()
        arguments = (
            (command, uuid) if command in ("status", "stop") else ("list",) if command == "list" else (command, uuid, "/bin/true")
        )
    read_end, write_end = os.pipe()
    program = PROGRAM.replace("{path!r}", repr([str(ROOT), sysconfig.get_path("platlib")]))
    argv = [SYSTEM_PYTHON, "-I", "-S", "-c", program, *pods.rktpy.argv("--insecure-options=image", *arguments)[1:]]
    child = os.fork()
    if child == 0:
        os.dup2(write_end, 3)
        os.execv(argv[0], argv)
    os.close(write_end)
    with open(read_end, encoding="utf-8") as pipe:
        loaded = set(pipe.read().split())
    os.waitpid(child, 0)
    assert any(name.startswith("rktpy.stage0") for name in loaded)
    assert {name for name in loaded if not name.startswith("rktpy")} <= FREE
