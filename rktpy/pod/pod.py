"""The pod that a stage1 shall run, as the arguments of its ``run`` and the pod's directory tell. Hot-path module."""

from __future__ import annotations

import os

from rktpy.errors import Stage1Error
from rktpy.formats.aci.types import parse_uuid
from rktpy.formats.entry_arguments import DNS_MODES, parse_pairs
from rktpy.isolate.pod_app import load_apps
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.entry_arguments import Arguments
    from rktpy.formats.pod import PodManifest
    from rktpy.formats.user_range import UserRange
    from rktpy.isolate.pod_app import PodApp
    from rktpy.net.selection import Selection


class NameFiles(Record):
    """What apps get as /etc/resolv.conf and /etc/hosts: ``host``, ``stage0``, ``none`` or ``default``, see rktpy-stage1(7)."""

    resolv: str = "default"
    hosts: str = "default"


class Sharing(Record):
    """Which namespaces the pod has of its own: what belongs to others cannot be mounted anew, and is bound instead.

    ``user_namespace`` is the pod's own one, in which no device node can be made; ``network`` and ``ipc`` are the host's.
    """

    user_namespace: bool = False
    network: bool = False
    ipc: bool = False


class Pod(Record):
    """A pod and how it is run. ``directory`` is the pod's; ``private_users`` is ``shift:count`` or empty; ``watchdog_usec`` is
    how often the host's service manager wants to hear that the pod is alive, 0 if it does not."""

    uuid: str
    directory: str
    manifest: PodManifest
    apps: tuple[PodApp, ...]
    networks: Selection
    local_config: str = ""
    hostname: str = ""
    names: NameFiles = NameFiles()
    token: str = ""
    private_users: str = ""
    share_ipc: bool = False
    interactive: bool = False
    mutable: bool = False
    strict: bool = False
    debug: bool = False
    no_capabilities: bool = False
    no_seccomp: bool = False
    protect_paths: bool = True
    watchdog_usec: int = 0

    @property
    def root(self) -> str:
        """The path of the pod's own root."""
        return f"{self.directory}/stage1/rootfs"

    @property
    def machine_id(self) -> str:
        """The pod's machine ID (machine-id(5)): its UUID without dashes."""
        return self.uuid.replace("-", "")

    @property
    def users(self) -> UserRange | None:
        """The IDs of the pod's user namespace, None when it has none of its own. Raises FormatError."""
        if not self.private_users:
            return None
        from rktpy.formats.user_range import UserRange

        return UserRange.parse(self.private_users)

    @property
    def sharing(self) -> Sharing:
        """Which namespaces are the pod's own."""
        return Sharing(bool(self.private_users), not self.own_network, self.share_ipc)

    @property
    def own_network(self) -> bool:
        """Whether the pod has a network namespace of its own."""
        return not self.networks.host


def load_pod(arguments: Arguments) -> Pod:
    """The pod in the working directory. Raises RktpyError, OSError."""
    uuid = parse_uuid(arguments.rest[0])
    manifest, apps = load_apps(uuid)
    mutable = arguments.is_set("mutable")
    interactive = arguments.is_set("interactive")
    if not apps and not mutable:
        raise Stage1Error("the pod has no apps")
    if interactive and len(apps) != 1:
        raise Stage1Error("interactive mode needs exactly one app")
    for app in apps:
        require_program(app)
    from rktpy.net.selection import parse_selection

    modes = parse_pairs(arguments.text("dns-conf-mode"), DNS_MODES, "dns-conf-mode")
    return Pod(
        uuid=uuid,
        directory=os.getcwd(),
        manifest=manifest,
        apps=apps,
        networks=parse_selection(arguments.text("net", "default")),
        local_config=arguments.text("local-config"),
        hostname=arguments.text("hostname") or f"rkt-{uuid}",
        names=NameFiles(modes["resolv"], modes["hosts"]),
        token=arguments.text("mds-token"),
        private_users=arguments.text("private-users"),
        share_ipc=arguments.text("ipc") == "parent",
        interactive=interactive,
        mutable=mutable,
        strict=arguments.is_set("strict"),
        debug=arguments.is_set("debug"),
        no_capabilities=arguments.is_set("disable-capabilities-restriction"),
        no_seccomp=arguments.is_set("disable-seccomp"),
        protect_paths=not arguments.is_set("disable-paths"),
        watchdog_usec=_watchdog_usec() if "WATCHDOG_USEC" in os.environ else 0,
    )


def _watchdog_usec() -> int:
    from rktpy.linux.service_manager import watchdog_usec

    return watchdog_usec()


def require_program(app: PodApp) -> None:
    """Refuse an app that says nothing to execute, before anything is made for it. Raises Stage1Error."""
    if not app.app.exec:
        from rktpy.isolate.plan import shown

        raise Stage1Error(
            f'image {shown(app.runtime.image.name or app.runtime.image.id)} has an empty "exec" (try --exec=BINARY)'
        )
