"""``trust`` at a terminal: the fingerprint is shown and the answer decides."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.gpg import Gpg


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_tool("gpg")
    directory = tmp_path_factory.mktemp("gpg")
    keys = Gpg(directory / "home")
    try:
        keys.key("alice")
        path = directory / "alice.key"
        path.write_bytes(keys.export("alice"))
    finally:
        keys.close()
    return path


def at_terminal(argv: list[str], answers: list[str]) -> tuple[int, str]:
    """Run a command at a terminal and type the answers; gives its status and what it wrote."""
    controller, terminal = pty.openpty()
    with subprocess.Popen(argv, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        left = list(answers)
        while select.select([controller], [], [], 30)[0]:
            try:
                part = os.read(controller, 4096)
            except OSError:
                break
            shown += part
            if left and shown.count(b"(yes/no)?") + shown.count(b"enter 'yes'") > len(answers) - len(left):
                os.write(controller, left.pop(0).encode())
        os.close(controller)
        return process.wait(30), shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("answers", "trusted"),
    [(["yes\n"], True), (["Y\n"], True), (["no\n"], False), (["maybe\n", "yes\n"], True), (["\x04"], False)],
)
def test_the_answer_decides(rktpy: Rktpy, key: Path, answers: list[str], trusted: bool) -> None:
    status, shown = at_terminal(rktpy.argv("trust", "--prefix=example.com/a", str(key)), answers)
    assert status == 0
    assert "fingerprint" in shown
    assert shown.count("Are you sure you want to trust this key (yes/no)?") >= 1
    assert ("Please enter 'yes' or 'no'" in shown) == (len(answers) > 1)
    stored = list((rktpy.config / "trustedkeys/prefix.d/example.com/a").glob("*"))
    assert len(stored) == (1 if trusted else 0)


def test_without_a_terminal_nobody_can_answer(rktpy: Rktpy, key: Path) -> None:
    done = rktpy("trust", "--prefix=example.com/a", str(key), status=254, stdin=subprocess.DEVNULL)
    assert "unable to ask user to review fingerprint due to lack of tty" in done.stderr
    assert not (rktpy.config / "trustedkeys").exists()


def test_root_keys(rktpy: Rktpy, key: Path) -> None:
    rktpy("trust", "--root", "--skip-fingerprint-review", str(key))
    assert len(list((rktpy.config / "trustedkeys/root.d").iterdir())) == 1


def test_keys_that_are_not_there(rktpy: Rktpy) -> None:
    done = rktpy("trust", "--root", "--skip-fingerprint-review", "/nowhere", status=254)
    assert done.stderr.startswith("trust: ")
    assert "/nowhere" in done.stderr
