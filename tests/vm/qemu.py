"""A QEMU process and its two connections: the monitor (QMP) and the agent's port. It dies with the process that started it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.vm.accelerator import cpu_arguments, kernel_clock
from tests.vm.cache import HostError
from tests.vm.lifetime import die_with

PROCESSORS = 2
MEMORY_MIB = 3072
#: Seconds that QEMU may take to answer.
_PATIENCE = 120.0
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
_HEAD = struct.Struct(">cI")

KERNEL = (
    "root=/dev/vda", "rw", "console=ttyS0", "quiet", "systemd.show_status=no", "mitigations=off", "cryptomgr.notests",
    "random.trust_cpu=on", "net.ifnames=0", "panic=-1",
)  # fmt: skip


class Machine:
    """A running QEMU. Use it as a context manager; when it is left, nothing of it is."""

    def __init__(self, image: Path, disk: Path, accelerator: str, kernel: tuple[str, ...], incoming: Path | None = None) -> None:
        """``disk`` is a qcow2 file. With ``incoming``, saved memory, the machine waits to go on from there."""
        if shutil.which("qemu-system-x86_64") is None:
            raise HostError("qemu-system-x86_64 is not installed")
        self.directory = Path(tempfile.mkdtemp(prefix="rktpy-vm-"))
        self.log = self.directory / "console"
        self.helpers: list[subprocess.Popen[bytes]] = []
        self.agent, agent = socket.socketpair()
        self.monitor, monitor = socket.socketpair()
        self._answers = b""
        command_line = " ".join((*KERNEL, *kernel_clock(), *kernel))
        # fmt: off
        argv = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-M", "q35,memory-backend=ram", *cpu_arguments(accelerator), "-smp", str(PROCESSORS), "-m", str(MEMORY_MIB),
            # Shared: virtiofsd reads and writes the guest's memory.
            "-object", f"memory-backend-memfd,id=ram,size={MEMORY_MIB}M,share=on",
            "-kernel", str(image / "kernel"), "-initrd", str(image / "initrd"), "-append", command_line,
            "-drive", f"file={disk},if=virtio,format=qcow2,cache=unsafe,discard=unmap",
            "-device", "virtio-rng-pci", "-device", "pcie-root-port,id=socket,chassis=1",
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,fd={agent.fileno()}",
            "-device", "virtserialport,chardev=agent,name=rktpy",
            "-chardev", f"socket,id=monitor,fd={monitor.fileno()}", "-mon", "chardev=monitor,mode=control",
            "-serial", f"file:{self.log}",
            *(["-incoming", f"exec:exec cat '{incoming}'"] if incoming else []),
        ]
        # fmt: on
        with open(self.directory / "qemu", "wb") as said:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=(agent.fileno(), monitor.fileno()),
                preexec_fn=die_with(os.getpid()),
            )
        agent.close()
        monitor.close()
        self.monitor.settimeout(_PATIENCE)

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill QEMU and its helpers; remove their directory."""
        for process in (self.process, *self.helpers):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.agent.close()
        self.monitor.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def connect(self) -> None:
        """Say hello to the monitor. Raises HostError, as all below do."""
        self._answer()  # its greeting
        self.command("qmp_capabilities")

    def command(self, name: str, **arguments: object) -> Any:
        """One command of the QEMU Machine Protocol and what it returns."""
        try:
            self.monitor.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        except OSError:
            raise self.failure("its monitor is gone") from None
        while True:
            answer = self._answer()
            if "error" in answer:
                raise self.failure(f"{name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def _answer(self) -> dict[str, Any]:
        while b"\n" not in self._answers:
            try:
                piece = self.monitor.recv(65536)
            except TimeoutError:
                raise self.failure("its monitor does not answer") from None
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise self.failure("it ended")
            self._answers += piece
        line, _newline, self._answers = self._answers.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def failure(self, what: str) -> HostError:
        """An error with the last that QEMU and the console said."""
        told = [f"the host's QEMU: {what}"]
        for path in (self.directory / "qemu", self.log):
            if path.exists():
                told += path.read_text(errors="replace").splitlines()[-20:]
        return HostError("\n".join(told))

    def until(self, query: str, *statuses: str, patience: float = _PATIENCE) -> None:
        """Ask with a command until the ``status`` that it returns is one of these."""
        deadline = time.monotonic() + patience
        while (status := self.command(query).get("status")) not in statuses:
            if status == "failed" or time.monotonic() > deadline:
                raise self.failure(f"{query} says {status}")
            time.sleep(0.02)

    def share(self, directory: Path, tag: str) -> None:
        """Plug in a file system (virtiofs): ``directory`` of this machine, mounted in the guest by its tag."""
        path = self.directory / "share"
        with open(self.directory / "virtiofsd", "wb") as said:
            # fmt: off
            self.helpers.append(subprocess.Popen(
                [VIRTIOFSD, "-f", f"--socket-path={path}", "--rlimit-nofile=0",
                 "-o", f"source={directory},cache=always,sandbox=namespace"],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, preexec_fn=die_with(os.getpid()),
            ))
            # fmt: on
        deadline = time.monotonic() + 10
        while not path.exists():
            if time.monotonic() > deadline or self.helpers[-1].poll() is not None:
                raise HostError(f"virtiofsd: {(self.directory / 'virtiofsd').read_text(errors='replace').strip()}")
            time.sleep(0.01)
        self.command("chardev-add", id="share", backend={
            "type": "socket", "data": {"addr": {"type": "unix", "data": {"path": str(path)}}, "server": False},
        })  # fmt: skip
        self.command("device_add", driver="vhost-user-fs-pci", id="share", chardev="share", tag=tag, bus="socket")

    def send(self, kind: bytes, data: bytes) -> None:
        """Write a frame to the agent."""
        self.agent.sendall(_HEAD.pack(kind, len(data)) + data)

    def receive(self, deadline: float) -> tuple[bytes, bytes]:
        """The next frame of the agent. Raises TimeoutError when it is not there at ``deadline`` (monotonic), HostError."""
        kind, size = _HEAD.unpack(self._exactly(_HEAD.size, deadline))
        return kind, self._exactly(size, deadline)

    def _exactly(self, size: int, deadline: float) -> bytes:
        data = b""
        while len(data) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.agent.settimeout(left)
            try:
                piece = self.agent.recv(size - len(data))
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise self.failure("it ended")
            data += piece
        return data
