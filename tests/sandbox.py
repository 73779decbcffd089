"""Run a command in namespaces of its own, so that tests that act as root cannot harm the machine.

    python3 tests/sandbox.py COMMAND [ARG...]

The command gets its own pid, mount, net, ipc, uts and cgroup namespace: private propagation, a /proc of its own, a copy of the
common device nodes, tmpfs over /run, /var/lib/cni and /sys/fs/cgroup, the last with the machine's hierarchies mounted below a
subtree made for this run, and a loopback interface. When it ends, however it ends, the kernel has killed what it started and
taken its mounts down, and the subtrees are removed. Without root the command runs as it is.

Uses the standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

CGROUPS = "/sys/fs/cgroup"
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "kvm", "loop-control", "net/tun")


def hierarchies() -> list[tuple[str, str, str]]:
    """(mount point, type, options) of the cgroup hierarchies that are really mounted."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            kind, _source, options = right.split()
            if kind in ("cgroup", "cgroup2"):
                wanted = [o for o in options.split(",") if o not in ("rw", "ro")]
                found.append((left.split()[4], kind, ",".join(wanted)))
    return found


def own_cgroup(mount: str, kind: str) -> str:
    """The path of our present cgroup in the hierarchy mounted at ``mount``."""
    name = os.path.basename(mount)
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _number, controllers, path = line.rstrip("\n").split(":", 2)
            if (kind == "cgroup2" and not controllers) or name in controllers.replace("name=", "").split(","):
                return path
    return "/"


def make_cgroups() -> list[str]:
    """Make a subtree in every hierarchy; return the directories."""
    made = []
    for mount, kind, _options in hierarchies():
        directory = f"{mount}{own_cgroup(mount, kind).rstrip('/')}/rktpy-test-{os.getpid()}"
        try:
            os.mkdir(directory)
        except OSError:
            continue
        made.append(directory)
        for name in ("cpuset.cpus", "cpuset.mems"):
            try:
                with open(f"{os.path.dirname(directory)}/{name}", encoding="utf-8") as source:
                    value = source.read()
                with open(f"{directory}/{name}", "w", encoding="utf-8") as target:
                    target.write(value)
            except OSError:
                pass
    return made


def remove_cgroups(directories: list[str]) -> None:
    """Kill what is left in the subtrees and remove them, leaves first."""
    for attempt in range(50):
        left = False
        for top in directories:
            for directory, _dirs, _files in os.walk(top, topdown=False):
                try:
                    with open(f"{directory}/freezer.state", "w", encoding="utf-8") as file:
                        file.write("THAWED")
                except OSError:
                    pass
                try:
                    with open(f"{directory}/cgroup.procs", encoding="utf-8") as file:
                        for pid in file.read().split():
                            os.kill(int(pid), signal.SIGKILL)
                except OSError:
                    pass
                try:
                    os.rmdir(directory)
                except OSError:
                    left = left or os.path.isdir(directory)
        if not left:
            return
        time.sleep(0.02 * (attempt + 1))


def inside(command: list[str]) -> None:
    """Set up the namespaces that unshare(1) made, then become the command."""

    def run(*argv: str) -> None:
        subprocess.run(argv, check=True)

    mounted = hierarchies()
    run("mount", "-t", "tmpfs", "-o", "mode=755", "rktpy-run", "/run")
    os.makedirs("/run/lock")
    os.makedirs("/run/netns")
    device_dir = "/run/devices"
    os.makedirs(f"{device_dir}/net")
    os.makedirs(f"{device_dir}/pts")
    os.makedirs(f"{device_dir}/shm")
    for name in [*DEVICES, *(f"loop{n}" for n in range(8))]:
        try:
            status = os.stat(f"/dev/{name}")
            os.mknod(f"{device_dir}/{name}", status.st_mode, status.st_rdev)
            os.chmod(f"{device_dir}/{name}", status.st_mode & 0o777)
        except OSError:
            pass
    links = {
        "fd": "/proc/self/fd",
        "ptmx": "pts/ptmx",
        **{n: f"/proc/self/fd/{i}" for i, n in enumerate(("stdin", "stdout", "stderr"))},
    }
    for name, target in links.items():
        os.symlink(target, f"{device_dir}/{name}")
    run("mount", "--rbind", device_dir, "/dev")
    run("mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620", "devpts", "/dev/pts")
    run("mount", "-t", "tmpfs", "-o", "mode=1777", "shm", "/dev/shm")
    if mounted:
        run("mount", "-t", "tmpfs", "-o", "mode=755", "cgroups", CGROUPS)
        for mount, kind, options in mounted:
            os.makedirs(mount, exist_ok=True)
            subprocess.run(
                ["mount", "-t", kind, *(["-o", options] if options else []), kind, mount], check=False, stderr=subprocess.DEVNULL
            )
    # Where host-local keeps the addresses that are in use.
    os.makedirs("/var/lib/cni", exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "mode=755", "cni", "/var/lib/cni")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    os.environ["RKTPY_TEST_SANDBOX"] = "1"
    os.execvp(command[0], command)


def main() -> int:
    """Make the cgroups, start the command in its namespaces, wait, clean up; the command's exit status."""
    command = sys.argv[1:]
    if command[:1] == ["--inside"]:
        inside(command[1:])
    if os.geteuid() != 0 or os.environ.get("RKTPY_TEST_SANDBOX"):
        os.execvp(command[0], command)
    cgroups = make_cgroups()
    me = os.path.abspath(__file__)

    def enter() -> None:
        for directory in cgroups:
            with open(f"{directory}/cgroup.procs", "w", encoding="utf-8") as file:
                file.write(str(os.getpid()))

    flags = [
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--net",
        "--ipc",
        "--uts",
        "--cgroup",
        "--propagation",
        "private",
    ]
    child = subprocess.Popen(["unshare", *flags, "--", sys.executable, me, "--inside", *command], preexec_fn=enter)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _frame: child.send_signal(n))
    try:
        status = child.wait()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        remove_cgroups(cgroups)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
