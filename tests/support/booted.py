"""A host whose first process is a real systemd, in namespaces of its own, with D-Bus, machined and the journal.

What a virtual machine shows beside this is pure cgroup v2 and AppArmor (tests/vm).
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from pathlib import Path

from rktpy.cgroup.delegation import systemd_runs
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from tests.support.namespaces import isolated

SYSTEMD = "/lib/systemd/systemd"
_PLAIN = "[Unit]\nDefaultDependencies=no\n"
_JOURNALD_SOCKETS = "systemd-journald.socket systemd-journald-dev-log.socket"
UNITS = {
    "dbus.socket": f"{_PLAIN}[Socket]\nListenStream=/run/dbus/system_bus_socket",
    "dbus.service": f"{_PLAIN}Requires=dbus.socket\n[Service]\nType=notify\n"
    "ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation",
    "dbus-org.freedesktop.machine1.service": f"{_PLAIN}[Service]\nType=dbus\n"
    "BusName=org.freedesktop.machine1\nExecStart=/lib/systemd/systemd-machined",
    "systemd-journald.socket": f"{_PLAIN}[Socket]\nListenDatagram=/run/systemd/journal/socket\n"
    "ListenStream=/run/systemd/journal/stdout\nPassCredentials=yes\nSocketMode=0666\nService=systemd-journald.service",
    "systemd-journald-dev-log.socket": f"{_PLAIN}[Socket]\nListenDatagram=/run/systemd/journal/dev-log\nSocketMode=0666\n"
    "PassCredentials=yes\nService=systemd-journald.service",
    "systemd-journald.service": f"{_PLAIN}Requires={_JOURNALD_SOCKETS}\nAfter={_JOURNALD_SOCKETS}\n"
    "[Service]\nType=notify\nExecStart=/lib/systemd/systemd-journald\nStandardOutput=null\n"
    f"Sockets={_JOURNALD_SOCKETS}",
    "shutdown.target": "[Unit]\nDefaultDependencies=no",
}


def booted(units: dict[str, str], script: str, directory: Path, *, timeout: float = 60, generator: str = "") -> str:
    """Boot systemd with these units beside D-Bus, machined and the journal, run a shell script there; gives ``$answer``.

    ``units`` are unit files without ``DefaultDependencies=no``, which they get; ``generator`` is a program that makes more of
    them. The script runs when the bus and the journal do, with ``set -eu``, and must end by itself; ``directory`` is empty and
    given to it as ``$here``, and ``$since`` is the time for journalctl. ``timeout`` is in seconds. Where systemd runs this
    machine, and nothing else is on it (tests/vm), that is the host.
    """
    if systemd_runs() and os.environ.get("RKTPY_TEST_SANDBOX") == "host":
        return _on_this_host(units, script, directory, timeout, generator)
    return isolated(_answered, units, script, directory, timeout, generator, cgroups=True, timeout=timeout + 20)


def _on_this_host(units: dict[str, str], script: str, directory: Path, timeout: float, generator: str) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    answer = directory / "answer"
    answer.write_text("")
    (directory / "units").symlink_to("/run/systemd/system")
    linked = Path("/run/systemd/system-generators/rktpy-test")
    with open("/run/rktpy-test-units.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            for name, text in units.items():
                (directory / "units" / name).write_text(text + "\n")
            if generator:
                linked.parent.mkdir(exist_ok=True)
                linked.symlink_to(generator)
            subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=60)
            # On a processor that is emulated everything takes longer.
            return _ran([], script, directory, answer, timeout * 3)
        finally:
            subprocess.run(["systemctl", "stop", *units], check=False, capture_output=True, timeout=120)
            for name in units:
                (directory / "units" / name).unlink(missing_ok=True)
            linked.unlink(missing_ok=True)
            subprocess.run(["systemctl", "daemon-reload"], check=False, timeout=60)
            subprocess.run(["systemctl", "reset-failed"], check=False, timeout=60)


def _ran(before: list[str], script: str, directory: Path, answer: Path, timeout: float) -> str:
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "here": str(directory),
        "answer": str(answer),
        "since": f"@{time.time():.6f}",
        "TERM": "dumb",
    }
    done = subprocess.run(
        [*before, "sh", "-eu", "-c", script],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr, answer.read_text())
    return answer.read_text()


def _answered(units: dict[str, str], script: str, directory: Path, timeout: float, generator: str) -> str:
    files = directory / "units"
    files.mkdir(parents=True, exist_ok=True)
    base = f"{_PLAIN}Requires=dbus.service systemd-journald.service\nAfter=dbus.service systemd-journald.service"
    for name, text in {**UNITS, "test.target": base}.items():
        (files / name).write_text(text + "\n")
    for name, text in units.items():
        path = files / name
        path.write_text(text + "\n")
        drop = files / f"{name}.d"
        drop.mkdir()
        (drop / "plain.conf").write_text("[Unit]\nDefaultDependencies=no\n")
    flags = c.CLONE_NEWPID | c.CLONE_NEWNS | c.CLONE_NEWCGROUP | c.CLONE_NEWIPC | c.CLONE_NEWUTS
    pid, pidfd = syscalls.clone3(flags, -1)
    if pid == 0:
        try:
            syscalls.mount("proc", "/proc", "proc", 0, None)
            environment = {
                "container": "test",
                "SYSTEMD_UNIT_PATH": f"{files}:",
                "SYSTEMD_GENERATOR_PATH": os.path.dirname(generator) if generator else "/none",
                "SYSTEMD_ENVIRONMENT_GENERATOR_PATH": "/none",
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            }
            os.execve(SYSTEMD, ["systemd", "--system", "--unit=test.target", "--log-target=null"], environment)
        finally:
            os._exit(1)
    answer = directory / "answer"
    answer.write_text("")
    try:
        inside = ["nsenter", f"--target={pid}", "--pid", "--mount", "--cgroup", "--ipc", "--uts"]
        deadline = time.monotonic() + timeout / 2
        while subprocess.run([*inside, "systemctl", "--quiet", "is-active", "test.target"], stderr=subprocess.DEVNULL).returncode:
            assert time.monotonic() < deadline, "the host does not boot"
            time.sleep(0.05)
        return _ran(inside, script, directory, answer, timeout)
    finally:
        syscalls.pidfd_send_signal(pidfd, 9, 0)
        os.waitpid(pid, 0)
