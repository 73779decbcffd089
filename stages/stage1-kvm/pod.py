"""The pod that this stage1 shall run: what all stage1s know of it, and the settings of its machine. Hot-path module."""

from __future__ import annotations

from rktpy.errors import Stage1Error, UsageError
from rktpy.isolate.plan import shown
from rktpy.pod import pod as pods
from rktpy.stage1.kvm.settings import Settings, load_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.entry_arguments import Arguments
    from rktpy.isolate.pod_app import PodApp


class Pod(pods.Pod):
    """A pod and how it is run, in a virtual machine with these settings."""

    settings: Settings = Settings()


def load_pod(arguments: Arguments) -> Pod:
    """The pod in the working directory. Raises RktpyError, OSError."""
    pod = pods.load_pod(arguments)
    for app in pod.apps:
        check_app(app)
    if pod.private_users:
        raise UsageError("--private-users: the users of a virtual machine are those of its own kernel, nothing is to be shifted")
    if pod.share_ipc:
        raise UsageError("--ipc=parent: a virtual machine cannot share the host's IPC namespace")
    if pod.networks.host:
        raise UsageError(
            "--net=host: a virtual machine has a kernel of its own and cannot use the host's network (try --net=default)"
        )
    return Pod(**vars(pod), settings=load_settings(pod.local_config))


def check_app(app: PodApp) -> None:
    """Refuse an app that cannot run, before anything is made for it. Raises Stage1Error."""
    pods.require_program(app)
    for port in app.app.ports:
        if port.socket_activated:
            raise Stage1Error(
                f"app {app.name}: port {shown(port.name)}: no sockets can be handed into a virtual machine (try --stage1=systemd)"
            )
