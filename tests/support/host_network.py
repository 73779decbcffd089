"""A host's network for a test: a namespace of its own, entered by the test's process, with pods in it.

What a test asserts about rules, interfaces and addresses that are left would otherwise meet those of tests beside it. The plugins
are Debian's; what they keep on disk is told apart by the pods' UUIDs.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.net.namespace import NETNS_DIR, new_namespace, raise_loopback
from rktpy.net.selection import parse_selection
from rktpy.net.set_up import PodNetworks, Wishes, set_up
from rktpy.net.tear_down import tear_down
from tests.conftest import ROOT

ADDRESSES = Path("/var/lib/cni/networks")


def run(*argv: str, status: int | None = 0, timeout: float = 30) -> str:
    """Standard output of a command."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    if status is not None:
        assert done.returncode == status, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


class Pod:
    """A pod's directory, its lock and its network namespace."""

    def __init__(self, host: HostNetwork) -> None:
        self.host = host
        self.uuid = str(uuid.uuid4())
        self.path = host.directory / "pods/run" / self.uuid
        self.path.mkdir(parents=True)
        self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        self.netns = new_namespace()

    def set_up(self, net: str = "default", wishes: Wishes | None = None) -> PodNetworks:
        return set_up(self.fd, self.uuid, self.netns, parse_selection(net), str(self.host.config), wishes)

    def tear_down(self) -> None:
        tear_down(self.fd)

    def ends(self) -> None:
        """All processes of the pod are gone."""
        if self.netns >= 0:
            os.close(self.netns)
            self.netns = -1
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def inside(self, *argv: str, status: int | None = 0) -> str:
        """Run a command in the pod's network."""
        return run("nsenter", f"--net=/proc/{os.getpid()}/fd/{self.netns}", *argv, status=status)

    def serve(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start a server in the pod's network."""
        server = subprocess.Popen(["nsenter", f"--net=/proc/{os.getpid()}/fd/{self.netns}", *argv])
        self.host.processes.append(server)
        return server

    def net_info(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.path / "net-info.json").read_text())
        return found

    def addresses(self) -> list[str]:
        """What host-local has reserved for the pod."""
        found = []
        for path in (*ADDRESSES.glob("*/*"), *(self.host.directory / "addresses").glob("*/*")):
            if path.name != "lock" and not path.name.startswith("last_") and self.uuid in path.read_text():
                found.append(path.name)
        return found

    def traces(self) -> list[str]:
        """What is left of the pod's networks, anywhere."""
        found = [f"address {address}" for address in self.addresses()]
        found += [line for line in self.host.rules() if self.uuid in line]
        found += [path.name for path in Path(NETNS_DIR).glob("*") if self.uuid in path.name]
        found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if self.uuid in line]
        found += [str(path.name) for path in (self.path / "net/results").glob("[!.]*")]
        if (self.path / "netns").exists():
            found.append("netns")
        return found


class HostNetwork:
    """The host: a directory for its configuration and its pods."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "config"
        (self.config / "net.d").mkdir(parents=True)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.pods: list[Pod] = []

    def pod(self) -> Pod:
        self.pods.append(Pod(self))
        return self.pods[-1]

    def configure(self, file_name: str, **members: Any) -> None:
        (self.config / "net.d" / file_name).write_text(json.dumps(members))

    def bridge(self, file_name: str = "10-br.conflist", name: str = "br", **members: Any) -> None:
        """A network with a bridge called ``<name>0``."""
        plugin = {
            "type": "bridge",
            "bridge": f"{name}0",
            "isGateway": True,
            "ipMasq": True,
            "ipam": self.ipam("10.77.0.0/24", routes=[{"dst": "0.0.0.0/0"}]),
        }
        self.configure(file_name, cniVersion="0.4.0", name=name, plugins=[{**plugin, **members}])

    def plugin(self, name: str, text: str) -> Path:
        path = self.config / "net.d" / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def ipam(self, subnet: str, **members: Any) -> dict[str, Any]:
        """Addresses from host-local, kept apart from those of other tests."""
        found: dict[str, Any] = {"type": "host-local", "dataDir": str(self.directory / "addresses"), **members}
        return {**found, "subnet": subnet} if subnet else found

    def rules(self) -> list[str]:
        return run("iptables-save", "-t", "nat").splitlines()

    def chains(self) -> list[str]:
        """The chains of pods; those that portmap shares between all pods stay."""
        return [line for line in self.rules() if line.startswith(":CNI-") and not line.startswith(":CNI-HOSTPORT-")]

    def interfaces(self) -> list[str]:
        """The interfaces but lo."""
        names = [line.split(":")[1].split("@")[0].strip() for line in run("ip", "-o", "link").splitlines()]
        return [name for name in names if name != "lo"]

    def assert_clean(self) -> None:
        """No pod has left anything. The kernel takes a moment to remove the interfaces of a namespace."""
        for pod in self.pods:
            assert pod.traces() == []
        assert self.chains() == []
        deadline = time.monotonic() + 5
        while left := self.interfaces():
            assert time.monotonic() < deadline, left
            time.sleep(0.02)


@contextmanager
def host_network(directory: Path) -> Iterator[HostNetwork]:
    """Enter a network namespace of one's own, and leave it again with everything taken down."""
    before = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.unshare(c.CLONE_NEWNET)
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    raise_loopback(own)
    os.close(own)
    host = HostNetwork(directory)
    try:
        yield host
    finally:
        for process in host.processes:
            process.kill()
            process.wait()
        for pod in host.pods:
            pod.ends()
            pod.tear_down()
            os.close(pod.fd)
        syscalls.setns(before, c.CLONE_NEWNET)
        os.close(before)


#: Sets the networks of a pod up (or takes them down) and kills itself at the Nth call that changes anything.
KILLED = """
import os, sys
root, action, pod, uuid, net, config, count, extra = sys.argv[1:9]
sys.path.insert(0, root)
from rktpy.linux import syscalls
from rktpy.net import execute, namespace, records, selection, set_up, tear_down
from rktpy.net.ports import ForwardedPort

left = int(count)

def counted(function):
    def call(*args, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
        return function(*args, **options)
    return call

for name in ("open", "rename", "mkdir", "unlink", "posix_spawn", "waitpid"):
    setattr(os, name, counted(getattr(os, name)))
for name in ("mount", "umount2", "setns"):
    setattr(syscalls, name, counted(getattr(syscalls, name)))
fd = os.open(pod, os.O_RDONLY | os.O_DIRECTORY)
if action == "up":
    ns = os.open(extra, os.O_RDONLY)
    wishes = set_up.Wishes(ports=(ForwardedPort("tcp", 8080, 80),))
    set_up.set_up(fd, uuid, ns, selection.parse_selection(net), config, wishes)
else:
    tear_down.tear_down(fd)
print("calls", int(count) - left)
"""


def killed(pod: Pod, action: str, net: str, count: int) -> bool:
    """Run ``action`` (up, down) in another process that kills itself at the ``count``th call. False when it came to its end."""
    argv = [
        *[sys.executable, "-S", "-c", KILLED, str(ROOT), action, str(pod.path), pod.uuid, net, str(pod.host.config)],
        *[str(count), f"/proc/{os.getpid()}/fd/{pod.netns}"],
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode != 0
