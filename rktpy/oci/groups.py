"""The control groups of a container: by files, or by a scope of systemd's. Hot-path module."""

from __future__ import annotations

from rktpy.cgroup.container_groups import make_groups, plan_groups
from rktpy.cgroup.devices import DeviceRule, set_device_rules
from rktpy.cgroup.hierarchy import Hierarchy, discover
from rktpy.cgroup.subtree import Subtree
from rktpy.oci.failure import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.oci.runtime.linux import Linux
    from rktpy.formats.oci.runtime.resources import Resources

#: Devices that every container may use, and the making of any node.
ALWAYS = (
    DeviceRule("c", access="m"),
    DeviceRule("b", access="m"),
    DeviceRule("c", 1, 3),  # null
    DeviceRule("c", 1, 5),  # zero
    DeviceRule("c", 1, 7),  # full
    DeviceRule("c", 1, 8),  # random
    DeviceRule("c", 1, 9),  # urandom
    DeviceRule("c", 5, 0),  # tty
    DeviceRule("c", 136),  # pts
    DeviceRule("c", 5, 2),  # ptmx
)


class Groups:
    """The groups of a container that is being made."""

    __slots__ = ("hierarchies", "scope", "subtree", "tolerant")

    def __init__(
        self, subtree: Subtree, hierarchies: tuple[Hierarchy, ...], scope: tuple[str, str] | None, tolerant: bool
    ) -> None:
        self.subtree = subtree
        self.hierarchies = hierarchies
        self.scope = scope
        self.tolerant = tolerant

    def make(self) -> None:
        """Make them, unless systemd does. Raises OSError."""
        if self.scope is None:
            self.subtree = make_groups(self.subtree, self.hierarchies, tolerant=self.tolerant)

    def limit(self, resources: Resources | None) -> None:
        """Put limits and device rules into force. Raises OSError, RktpyError."""
        if not self.subtree.groups:
            if resources is not None and not self.tolerant and _limits(resources):
                raise RuntimeFailure("cannot set limits: no control group hierarchy is mounted")
            return
        if resources is not None:
            from rktpy.cgroup.resources import set_resources

            set_resources(self.subtree, resources)
        try:
            set_device_rules(self.subtree, device_rules(resources))
        except OSError:
            if not self.tolerant:
                raise


def plan(linux: Linux, container_id: str, *, systemd: bool, rootless: bool) -> Groups:
    """What is to be made for a container. Raises RuntimeFailure, OSError."""
    hierarchies = discover()
    if systemd:
        from rktpy.oci.scope import plan_scope, scope_of

        groups = Groups(Subtree(), hierarchies, scope_of(linux.cgroups_path, container_id), rootless)
        plan_scope(groups)
        return groups
    wanted: frozenset[str] = frozenset()
    resources = linux.resources
    if resources is not None and (resources.hugepages or resources.unified or resources.rdma):
        from rktpy.cgroup.resources import controllers_of

        wanted = controllers_of(resources)
    path = linux.cgroups_path
    if ":" in path and not path.startswith("/"):
        raise RuntimeFailure(f"cgroupsPath {path!r} is systemd's (slice:prefix:name) and needs --systemd-cgroup")
    return Groups(plan_groups(hierarchies, path, container_id, wanted), hierarchies, None, rootless)


def device_rules(resources: Resources | None) -> tuple[DeviceRule, ...]:
    """The configuration's rules, then those that every container has."""
    if resources is None or not resources.devices:
        return ALWAYS
    given = [DeviceRule(one.kind, one.major, one.minor, one.access, one.allow) for one in resources.devices]
    while given and not given[0].allow and given[0].kind == "a":
        del given[0]  # it begins with nothing anyhow
    return (*given, *ALWAYS)


def _limits(resources: Resources) -> bool:
    return any(getattr(resources, name) for name in ("memory", "cpu", "pids", "block_io", "hugepages", "unified", "rdma"))


def set_frozen(subtree: Subtree, *, frozen: bool) -> None:
    """Freeze the processes of the groups, or let them go on. Raises RuntimeFailure, OSError."""
    from rktpy.cgroup.freezer import set_frozen

    if not set_frozen(subtree, frozen=frozen):
        raise RuntimeFailure("cannot toggle freezer: the container has no freezer control group")
