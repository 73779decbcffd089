"""SELinux contexts of apps, on a kernel that enforces a policy with a domain for the tests (tests/vm, profile selinux)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Rktpy
from tests.support.pod_manifests import app, isolators, pod_of
from tests.support.pods import UNSIGNED, report, states, wait_for

ENFORCE = Path("/sys/fs/selinux/enforce")
pytestmark = [
    pytest.mark.root,
    pytest.mark.stage1("fly", "systemd"),
    pytest.mark.skipif(not ENFORCE.exists() or ENFORCE.read_text() != "1", reason="SELinux does not enforce here"),
]

CONTEXT = {"user": "system_u", "role": "system_r", "type": "rktpy_test_t", "level": "s0"}
NAME = "system_u:system_r:rktpy_test_t:s0"
#: The domain may read all files, and write to none.
SCRIPT = "cat /proc/self/attr/current; echo; (echo x >/file) 2>/dev/null && echo written; cat /etc/passwd >/dev/null && echo read"


def confined(directory: Path, script: str, context: dict[str, str] = CONTEXT) -> str:
    return pod_of(directory, app(script, isolators=isolators(os__linux__selinux_context=context)))


def words(text: str) -> list[str]:
    """Words of an output in which a NUL may end the context."""
    return text.replace("\0", "").split()


def test_the_app_is_in_its_context(stored: Rktpy, tmp_path: Path) -> None:
    done = stored(UNSIGNED, "run", "--strict", confined(tmp_path, SCRIPT))
    assert (words(done.stdout), done.stderr) == ([NAME, "read"], "")
    (uuid,) = states(stored)
    assert report(stored, uuid) == {"os/linux/selinux-context": "enforced"}
    # Without one it has that of its caller, and may write.
    plain = words(stored(UNSIGNED, "run", pod_of(tmp_path, app(SCRIPT))).stdout)
    assert plain[0] != NAME and plain[1:] == ["written", "read"]


def test_what_enters_is_in_it_as_well(stored: Rktpy, tmp_path: Path) -> None:
    uuid_file = tmp_path / "uuid"
    argv = stored.argv(UNSIGNED, "run", f"--uuid-file-save={uuid_file}", confined(tmp_path, "echo up; exec sleep 300"))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and "up" in process.stdout.readline()
            wait_for("the pod's UUID", lambda: uuid_file.exists() and uuid_file.read_text())
            entered = stored("enter", uuid_file.read_text(), "/bin/sh", "-c", SCRIPT)
            assert words(entered.stdout) == [NAME, "read"]
        finally:
            stored("stop", "--force", uuid_file.read_text(), status=None)
            process.kill()


def test_a_context_that_the_policy_has_not(stored: Rktpy, tmp_path: Path) -> None:
    context = {**CONTEXT, "type": "nobody_has_it_t"}
    done = stored(UNSIGNED, "run", confined(tmp_path, "echo ran", context), status=254)
    said = 'run: app busybox: SELinux context "system_u:system_r:nobody_has_it_t:s0" is not of the loaded policy'
    assert (done.stdout, done.stderr.splitlines()[-1]) == ("", said)


def test_landlock_besides(stored: Rktpy, tmp_path: Path) -> None:
    """Both are put into force at one place, and neither keeps the other from it."""
    asked = isolators(os__linux__selinux_context=CONTEXT, rktpy__landlock={"read": ["/bin", "/proc"], "exec": ["/bin"]})
    script = "cat /proc/self/attr/current; echo; cat /etc/passwd 2>/dev/null || echo refused"
    done = stored(UNSIGNED, "run", pod_of(tmp_path, app(script, isolators=asked)))
    assert words(done.stdout) == [NAME, "refused"]
