"""Which kernel parameters a container may set: those of namespaces that it has for itself. Cold."""

from __future__ import annotations

from rktpy.isolate.plan import shown
from rktpy.isolate.sysctl import IPC, NET, USER, UTS, namespace_of, sysctl_path
from rktpy.oci.failure import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.oci.runtime.config import RuntimeConfig

_NAMES = {NET: "network", IPC: "ipc", UTS: "uts", USER: "user"}


def check_sysctls(config: RuntimeConfig) -> None:
    """Refuse parameters of the whole machine, and of namespaces that are the host's. Raises RuntimeFailure."""
    namespaces = config.linux.namespaces
    for name in config.linux.sysctl:
        path = sysctl_path(name)
        if not path:
            raise RuntimeFailure(f"sysctl {shown(name)} is no kernel parameter")
        if path == "kernel/hostname":
            raise RuntimeFailure(f"sysctl {shown(name)} conflicts with the hostname of the configuration")
        namespace = namespace_of(path)
        if not namespace:
            raise RuntimeFailure(f"sysctl {shown(name)} is not in a separate kernel namespace")
        kind = _NAMES[namespace]
        if kind not in namespaces:
            raise RuntimeFailure(f"sysctl {shown(name)} is not allowed in the hosts {kind} namespace")
        joined = namespaces[kind]
        if joined and _is_ours(joined, namespace):
            raise RuntimeFailure(f"sysctl {shown(name)} is not allowed in the hosts {kind} namespace")


def _is_ours(path: str, namespace: str) -> bool:
    import os

    try:
        return os.path.samestat(os.stat(path), os.stat(f"/proc/self/ns/{namespace}"))
    except OSError:
        return False
