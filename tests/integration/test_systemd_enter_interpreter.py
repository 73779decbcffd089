"""No way from inside an app to a writable descriptor of the host's interpreter, through a process that is entered.

As CVE-2019-5736 was one to runc's binary: the app's programs are links to ``/proc/self/exe``, or scripts that have it as their
interpreter, and its dynamic linker is the attacker's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from rktpy.launcher import write_launcher
from tests.conftest import ROOT, SYSTEM_PYTHON, Rktpy, need_tool
from tests.support.pods import Running

pytestmark = pytest.mark.root

# The dynamic linker of the image: keeps what it is the linker of open as 3, lets itself be looked at, and goes on as a shell.
_LINKER = r"""
static long call(long n, long a, long b, long c)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}
void _start(void)
{
	static char exe[] = "/proc/self/exe", shell[] = "/bin/busybox", name[] = "sh", script[] = "/given/attack", fd[] = "3";
	char *argv[] = { name, script, fd, 0 }, *envp[] = { 0 };
	long pause[2] = { 0, 300000000 };
	if (call(2, (long)exe, 0, 0) != 3)
		call(60, 76, 0, 0);
	call(35, (long)pause, 0, 0);
	call(59, (long)shell, (long)argv, (long)envp);
	call(60, 77, 0, 0);
}
"""

# Tries to write to what is open as $1 until that is not refused because somebody still executes it.
_ATTACK = """
head -c 4 /proc/self/fd/$1 | grep -q ELF || exit 75
(
while :; do
  if (exec 9>>/proc/self/fd/$1 && echo x >&9) 2>/refusal.$1; then echo WRITABLE >/refusal.$1; break; fi
  case $(cat /refusal.$1) in *busy*) sleep 0.01;; *) break;; esac
done
mv /refusal.$1 /result
) </dev/null >/dev/null 2>&1 &
"""

# Looks for processes that execute something that is not the image's.
_WATCH = """
while [ ! -e /result ]; do
  for process in /proc/[0-9]*; do
    case $(readlink $process/exe) in ''|*busybox) continue;; esac
    exec 8<$process/exe && . /given/attack 8 && sleep 1000
  done
done
"""


@pytest.fixture
def interpreter(stored: Rktpy, tmp_path: Path) -> Path:
    """The command run by a copy of the system's interpreter, whose executable may be written to by nobody but the attacker."""
    home = tmp_path / "interpreter"
    home.mkdir()
    python = home / "python3"
    shutil.copy2(os.path.realpath(SYSTEM_PYTHON), python)
    (home / "pyvenv.cfg").write_text(f"home = {os.path.dirname(SYSTEM_PYTHON)}\n")
    stored.launcher = tmp_path / "rktpy-copied"
    write_launcher(str(stored.launcher), str(python), [str(ROOT)])
    return python


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the linker is written for x86_64")
@pytest.mark.parametrize("how", ["link", "script", "watched"])
def test_interpreter_cannot_be_opened_for_writing(stored: Rktpy, interpreter: Path, tmp_path: Path, how: str) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (tmp_path / "linker.c").write_text(_LINKER)
    flags = ["-O1", "-shared", "-fPIC", "-nostdlib", "-fno-stack-protector", "-Wl,-e,_start"]
    subprocess.run([need_tool("gcc"), *flags, "-o", given / "linker", tmp_path / "linker.c"], check=True)
    (given / "attack").write_text(_ATTACK)
    (given / "watch").write_text(_WATCH)
    (given / "script").write_text("#!/proc/self/exe\n")
    if how == "watched":
        (given / "linker").write_bytes((given / "linker").read_bytes().replace(b"/given/attack\0", b"/given/harmle\0"))
        (given / "harmle").write_text("exit 0\n")
    for file in given.iterdir():
        file.chmod(0o755)
    script = (
        "mkdir -p /lib64; cp /given/linker /lib64/ld-linux-x86-64.so.2; ln -s /proc/self/exe /bin/hostile; echo set up;"
        + ("sh /given/watch &" if how == "watched" else "")
        + "while [ ! -e /result ] && [ ! -e /given/over ]; do sleep 0.02; done; cat /result || echo nothing to open"
    )
    volume = ("--volume", f"given,kind=host,source={given}", "--mount", "volume=given,target=/given")
    before = interpreter.stat()
    with Running(stored, tmp_path, script, pod=("--net=none", *volume)) as pod:
        assert "set up" in pod.line()
        # What is executed last is a static program in a sealed memory file: the attacker's linker is not asked for.
        entered = stored("enter", pod.uuid, "/given/script" if how == "script" else "/bin/hostile", status=None)
        assert entered.returncode in (0, 254), entered
        time.sleep(0.5)  # for an attack that goes on beside
        (given / "over").touch()
        _status, out, err = pod.ended()
    assert "WRITABLE" not in out, (out, err)
    assert any(words in out for words in ("Read-only file system", "Operation not permitted", "nothing to open")), (out, err)
    assert interpreter.stat().st_mtime_ns == before.st_mtime_ns
