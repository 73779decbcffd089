"""The pod's network: none, the host's, or what CNI plugins make of it. Hot-path module."""

from __future__ import annotations

from rktpy.errors import Stage1Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage1.systemd.pod import Pod


def network_namespace(pid: int) -> str:
    """The path of the network namespace of the pod's first process."""
    return f"/proc/{pid}/ns/net"


def connect(pod: Pod, namespace: str) -> bool:
    """Connect the pod to its networks; whether they gave name servers. Raises RktpyError."""
    if pod.networks in ("none", "host"):
        return False
    raise Stage1Error(f"network {pod.networks} is not there yet")


def disconnect() -> None:
    """Disconnect the pod in the working directory from all networks. Raises RktpyError."""
