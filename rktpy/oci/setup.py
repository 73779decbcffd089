"""What a container's first process is told before it is cloned: everything it needs is decided and open. Hot-path module."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from rktpy.cgroup.hierarchy import Hierarchy
    from rktpy.cgroup.subtree import Subtree
    from rktpy.formats.oci.runtime.config import RuntimeConfig
    from rktpy.formats.oci.runtime.process import Process
    from rktpy.isolate.process import Seccomp
    from rktpy.oci.mount_plan import MountPlan
    from rktpy.oci.namespaces import Namespaces


class Setup:
    """Plain values; descriptors are the first process's copies."""

    __slots__ = (
        "agent",
        "asks_for_hooks",
        "bundle",
        "closing",
        "config",
        "console",
        "container_id",
        "detached",
        "environment",
        "fifo",
        "filter_flags",
        "groups",
        "hierarchies",
        "hook_state",
        "joined",
        "keep_keyring",
        "namespaces",
        "no_pivot",
        "opened",
        "plan",
        "preserved",
        "process",
        "program",
        "root_path",
        "root_tree",
        "seccomp",
        "signal_mask",
        "subtree",
        "sync",
        "waits_for_groups",
        "waits_for_start",
    )

    def __init__(self, process: Process, sync: socket) -> None:
        self.process = process
        self.sync = sync
        self.config: RuntimeConfig | None = None
        self.plan: MountPlan | None = None
        self.namespaces: Namespaces | None = None
        self.root_path = ""
        self.bundle = ""
        self.container_id = ""
        self.groups: list[int] = []
        self.closing: list[int] = []
        self.opened: list[int] = []
        self.console: socket | None = None
        self.fifo = -1
        self.root_tree = -1
        self.preserved = 0
        self.environment: list[str] = []
        self.no_pivot = self.keep_keyring = self.detached = False
        self.asks_for_hooks = self.waits_for_start = self.waits_for_groups = False
        self.hook_state = b""
        self.joined = False
        #: Where they have to be known before the groups are joined, whose namespace shows them otherwise.
        self.hierarchies: tuple[Hierarchy, ...] | None = None
        self.subtree: Subtree | None = None
        self.seccomp: Seccomp | None = None
        self.filter_flags = 0
        self.agent = False
        self.program = "runtime"
        self.signal_mask: set[int] | None = None
