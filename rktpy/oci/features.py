"""The features document (runtime-spec 1.2 ``features.md``, ``features-linux.md``): what this program knows, on any machine."""

from __future__ import annotations

from rktpy import __version__
from rktpy.formats.oci.runtime import seccomp
from rktpy.formats.oci.runtime.hooks import KINDS
from rktpy.formats.oci.runtime.linux import NAMESPACES
from rktpy.isolate import mount_options
from rktpy.isolate.capability_numbers import NUMBERS
from rktpy.isolate.scheduling import MEMORY_FLAGS, MEMORY_MODES
from rktpy.isolate.seccomp_profile import USABLE_ARCHITECTURES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def features_document() -> dict[str, Any]:
    """The document, made of the tables that the program itself works with."""
    options = {*mount_options.FLAGS, *mount_options.PROPAGATION, *mount_options.RECURSIVE, *mount_options.EXTENSIONS}
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": list(KINDS),
        "mountOptions": sorted(options - {"acl"}),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(NUMBERS),
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": False, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": sorted(seccomp.ACTIONS),
                "operators": sorted(seccomp.OPERATORS),
                "archs": sorted(USABLE_ARCHITECTURES),
                "knownFlags": sorted(seccomp.FLAGS),
                "supportedFlags": sorted(seccomp.FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "memoryPolicy": {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {"io.rktpy.version": __version__},
        "potentiallyUnsafeConfigAnnotations": [],
    }
