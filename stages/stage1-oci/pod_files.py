"""What is written into a pod's directory before its first container exists. Hot-path module."""

from __future__ import annotations

import os

from rktpy.formats import stage1 as names
from rktpy.isolate.pod_app import write_file
from rktpy.linux import constants as c
from rktpy.linux.syscalls import mount
from rktpy.stage1.oci.paths import APPS, CONMON, ENDED, OCI, SANDBOX_BUNDLE, SHM, STATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.pod.pod import Pod

_HOSTS_IPV6 = "::1\tlocalhost ip6-localhost ip6-loopback\n"


def write_pod_files(pod: Pod) -> None:
    """Make the directories and files of a pod, and the /dev/shm of its apps. Raises OSError."""
    for directory in (OCI, STATE, SANDBOX_BUNDLE, APPS, CONMON, ENDED, names.OCI_LOGS, SHM):
        os.makedirs(directory, 0o700, exist_ok=True)
    root = names.STAGE1_ROOTFS
    for directory in ("etc", names.STATUS_DIR, names.ENV_DIR):
        os.makedirs(f"{root}/{directory}", 0o755, exist_ok=True)
    texts = {
        "etc/hostname": f"{pod.hostname}\n",
        names.HOSTS_FALLBACK: f"127.0.0.1\tlocalhost localhost.localdomain {pod.hostname}\n{_HOSTS_IPV6}",
    }
    if pod.names.resolv == "default":
        texts[names.RESOLV_CONF] = ""  # the network fills it, in place
    for path, text in texts.items():
        write_file(f"{root}/{path}", text.encode("utf-8", "surrogateescape"))
    mount("tmpfs", SHM, "tmpfs", c.MS_NOSUID | c.MS_NODEV | c.MS_NOEXEC, "mode=1777")
