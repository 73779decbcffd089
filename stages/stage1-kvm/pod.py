"""The pod that this stage1 shall run, as the arguments and the pod's directory tell. Hot-path module."""

from __future__ import annotations

import os

from rktpy.errors import Stage1Error, UsageError
from rktpy.formats.aci.types import parse_uuid
from rktpy.formats.entry_arguments import DNS_MODES, parse_pairs
from rktpy.isolate.plan import shown
from rktpy.isolate.pod_app import load_apps
from rktpy.record import Record
from rktpy.stage1.kvm.settings import load_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.entry_arguments import Arguments
    from rktpy.formats.pod import PodManifest
    from rktpy.isolate.pod_app import PodApp
    from rktpy.net.selection import Selection
    from rktpy.stage1.kvm.settings import Settings


class Pod(Record):
    """A pod and how it is run. ``directory`` is the pod's; ``resolv`` and ``hosts`` are modes of ``--dns-conf-mode``."""

    uuid: str
    directory: str
    manifest: PodManifest
    apps: tuple[PodApp, ...]
    networks: Selection
    settings: Settings
    local_config: str = ""
    hostname: str = ""
    resolv: str = "default"
    hosts: str = "default"
    token: str = ""
    interactive: bool = False
    mutable: bool = False
    strict: bool = False
    debug: bool = False
    no_capabilities: bool = False
    no_seccomp: bool = False
    protect_paths: bool = True

    @property
    def machine_id(self) -> str:
        """The pod's machine ID (machine-id(5)): its UUID without dashes."""
        return self.uuid.replace("-", "")


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
        check_app(app)
    if arguments.text("private-users"):
        raise UsageError("--private-users: the users of a virtual machine are those of its own kernel, nothing is to be shifted")
    if arguments.text("ipc") == "parent":
        raise UsageError("--ipc=parent: a virtual machine cannot share the host's IPC namespace")
    from rktpy.net.selection import parse_selection

    networks = parse_selection(arguments.text("net", "default"))
    if networks.host:
        raise UsageError(
            "--net=host: a virtual machine has a kernel of its own and cannot use the host's network (try --net=default)"
        )
    modes = parse_pairs(arguments.text("dns-conf-mode"), DNS_MODES, "dns-conf-mode")
    local_config = arguments.text("local-config")
    return Pod(
        uuid=uuid,
        directory=os.getcwd(),
        manifest=manifest,
        apps=apps,
        networks=networks,
        settings=load_settings(local_config),
        local_config=local_config,
        hostname=arguments.text("hostname") or f"rkt-{uuid}",
        resolv=modes["resolv"],
        hosts=modes["hosts"],
        token=arguments.text("mds-token"),
        interactive=interactive,
        mutable=mutable,
        strict=arguments.is_set("strict"),
        debug=arguments.is_set("debug"),
        no_capabilities=arguments.is_set("disable-capabilities-restriction"),
        no_seccomp=arguments.is_set("disable-seccomp"),
        protect_paths=not arguments.is_set("disable-paths"),
    )


def check_app(app: PodApp) -> None:
    """Refuse an app that cannot run, before anything is made for it. Raises Stage1Error."""
    if not app.app.exec:
        raise Stage1Error(
            f'image {shown(app.runtime.image.name or app.runtime.image.id)} has an empty "exec" (try --exec=BINARY)'
        )
    for port in app.app.ports:
        if port.socket_activated:
            raise Stage1Error(
                f"app {app.name}: port {shown(port.name)}: no sockets can be handed into a virtual machine (try --stage1=systemd)"
            )
