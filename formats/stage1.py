"""The contract between stage0 and a stage1: the names that both sides use, and the report of what was not enforced.

Source: rkt 1.30 ``Documentation/devel/stage1-implementors-guide.md`` and ``stage0/manifest.go``; interface versions from 7 on
are rktpy's own additions.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.aci.document import Document, Members
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.aci.manifest import ImageManifest

# Annotations of a stage1 image: entry points relative to its rootfs, and the version of the interface it speaks.
RUN = "coreos.com/rkt/stage1/run"
ENTER = "coreos.com/rkt/stage1/enter"
GC = "coreos.com/rkt/stage1/gc"
STOP = "coreos.com/rkt/stage1/stop"
ATTACH = "coreos.com/rkt/stage1/attach"
APP_ADD = "coreos.com/rkt/stage1/app/add"
APP_RM = "coreos.com/rkt/stage1/app/rm"
APP_START = "coreos.com/rkt/stage1/app/start"
APP_STOP = "coreos.com/rkt/stage1/app/stop"
EXPORT = "rktpy.io/stage1/export"  # optional: roots that stage0 cannot read itself
INTERFACE_VERSION = "coreos.com/rkt/stage1/interface-version"

# The interface version from which on an argument of an entry point may be passed.
HOSTNAME_SINCE = 2  # run --hostname
INSECURE_SINCE = 3  # run --disable-capabilities-restriction --disable-paths --disable-seccomp
DNS_CONF_MODE_SINCE = 4  # run --dns-conf-mode
GC_LOCAL_CONFIG_SINCE = 5  # gc --local-config
MUTABLE_SINCE = 5  # run --mutable
IPC_SINCE = 6  # run --ipc
REPORT_SINCE = 7  # the stage1 writes the enforcement report; run --strict, run --dry-run
CURRENT_VERSION = 7

# Annotations of pods and apps that a stage1 reads.
MUTABLE = "coreos.com/rkt/stage1/mutable"
STDIN = "coreos.com/rkt/stage2/stdin"
STDOUT = "coreos.com/rkt/stage2/stdout"
STDERR = "coreos.com/rkt/stage2/stderr"
LOG_MODE = "coreos.com/rkt/experiment/logmode"
KUBERNETES_LOG_DIR = "coreos.com/rkt/experiment/kubernetes-log-dir"
KUBERNETES_LOG_PATH = "coreos.com/rkt/experiment/kubernetes-log-path"

# Annotations of app images that a stage1 reads.
DOCKER_REPOSITORY = "appc.io/docker/repository"  # volumes are filled from the image, as Docker does
SUPPORTS_NOTIFY = "appc.io/executor/supports-systemd-notify"

# ``group`` of an app: the group and supplementary groups that the image's /etc/passwd and /etc/group give to its user. No
# group can be called so, because a colon separates the fields of those files.
GROUP_OF_USER = ":user"

# Environment of the entry points.
LOCK_FD = "RKT_LOCK_FD"
SELINUX_CONTEXT = "RKT_SELINUX_CONTEXT"
SELINUX_MOUNT_CONTEXT = "RKT_SELINUX_MOUNT_CONTEXT"
ENTER_COMMAND = "RKT_STAGE1_ENTERCMD"
ENTER_PID = "RKT_STAGE1_ENTERPID"
ENTER_APP = "RKT_STAGE1_ENTERAPP"
# For app/add of a stage1 that comes with rktpy: the inheritable descriptor of the app's root, a detached, writable overlay that
# the stage1 moves into the pod's mount namespace. Not set when the root is a copy.
APP_ROOT_FD = "RKTPY_APP_ROOT_FD"

# Environment of an app.
APP_NAME = "AC_APP_NAME"
METADATA_URL = "AC_METADATA_URL"
METADATA_PORT = 18112  # of the metadata service; pods look for it there whatever its --listen-port is
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Files of a pod directory.
POD_FILE = "pod"
POD_CREATED_FILE = "pod-created"
POD_LOCK_FILE = "pod.lck"
PID_FILE = "pid"
PPID_FILE = "ppid"
PGID_FILE = "pgid"
SUBCGROUP_FILE = "subcgroup"
OVERLAY_PREPARED_FILE = "overlay-prepared"
PRIVATE_USERS_FILE = "private-users-prepared"
OCI_RUNTIME_FILE = "oci-runtime"  # for stage1-oci: name or path of the runtime, if one was asked for
OCI_LOGS = "oci/logs"  # of stage1-oci: <app>.log (Kubernetes kubelet-cri-logging)
STAGE1_TREE_FILE = "stage1TreeStoreID"
APP_TREE_FILE = "treeStoreID"  # below APPS_INFO_DIR/<app>
APPS_INFO_DIR = "appsinfo"
NET_INFO_FILE = "net-info.json"
NETNS_FILE = "netns"
NET_DIR = "net"
OVERLAY_DIR = "overlay"
REPORT_FILE = "enforcement"
STAGE1_DIR = "stage1"
STAGE1_MANIFEST = "stage1/manifest"
STAGE1_ROOTFS = "stage1/rootfs"
# ... and those below the stage1's rootfs.
STAGE2_DIR = "opt/stage2"
STATUS_DIR = "rkt/status"
ENV_DIR = "rkt/env"
IOMUX_DIR = "rkt/iottymux"
JOURNAL_DIR = "var/log/journal"  # below it a directory named by the pod's UUID without dashes
_UNITS_OF_APPS = ("handlers", "iomux")  # templates, with the app's name behind an @
READY_FILE = "rkt/supervisor-status"
RESOLV_CONF = "etc/rkt-resolv.conf"
METADATA_FILE = "rkt/metadata"  # the variable that tells apps of the metadata service, known only when the network is up
HOSTS = "etc/rkt-hosts"
HOSTS_FALLBACK = "etc/hosts-fallback"


def app_dir(app: str) -> str:
    """The directory of an app, relative to the pod directory. ``app`` is an AC Name, so it stays inside."""
    return f"{STAGE1_ROOTFS}/{STAGE2_DIR}/{app}"


def app_rootfs(app: str) -> str:
    """The root file system of an app, relative to the pod directory."""
    return f"{STAGE1_ROOTFS}/{STAGE2_DIR}/{app}/rootfs"


def metadata_url(host_ip: str, token: str) -> str:
    """The value of ``AC_METADATA_URL``.

    ``host_ip`` is the host's address as the pod sees it: its gateway in a network of its own, 127.0.0.1 in the host's.
    ``token`` is what the run entry point got as ``--mds-token``.
    """
    host = f"[{host_ip}]" if ":" in host_ip else host_ip
    return f"http://{host}:{METADATA_PORT}/{token}"


def status_file(app: str) -> str:
    """The file with the exit status of an app, relative to the pod directory (``-created`` and ``-started`` beside it)."""
    return f"{STAGE1_ROOTFS}/{STATUS_DIR}/{app}"


def created_file(app: str) -> str:
    """The file whose mtime is the time at which an app was added to a mutable pod, relative to the pod directory."""
    return f"{STAGE1_ROOTFS}/{STATUS_DIR}/{app}-created"


def started_file(app: str) -> str:
    """The file whose mtime is the time at which an app of a mutable pod was last started, relative to the pod directory."""
    return f"{STAGE1_ROOTFS}/{STATUS_DIR}/{app}-started"


def journal_units(app: str) -> tuple[str, ...]:
    """The units under whose names the pod's journal has the output of an app: its own, its event handlers', its multiplexer's."""
    return (f"{app}.service", *[f"{prefix}@{app}.service" for prefix in _UNITS_OF_APPS])


def app_of_unit(unit: str) -> str:
    """The app whose output the journal has under the name ``unit``; empty when it is no service."""
    name, dot, kind = unit.rpartition(".")
    if not dot or kind != "service":
        return ""
    prefix, at, app = name.partition("@")
    return app if at and prefix in _UNITS_OF_APPS else name


class EntryPoints(Record):
    """What a stage1 image offers: paths of executables relative to its rootfs, empty when it has none for that purpose."""

    run: str
    enter: str = ""
    gc: str = ""
    stop: str = ""
    attach: str = ""
    app_add: str = ""
    app_rm: str = ""
    app_start: str = ""
    app_stop: str = ""
    interface_version: int = 1

    @classmethod
    def from_manifest(cls, manifest: ImageManifest, what: str = "stage1 manifest") -> EntryPoints:
        """Read the annotations of a stage1 image. Raises :class:`FormatError`: no run entry point, or not a stage1 at all."""
        version = manifest.annotation(INTERFACE_VERSION)
        number = 1
        if version is not None:
            if not version.isascii() or not version.isdigit() or len(version) > 9 or int(version) < 1:
                raise FormatError(what, INTERFACE_VERSION, f"{version!r} is not an interface version")
            number = int(version)
        names = (RUN, ENTER, GC, STOP, ATTACH, APP_ADD, APP_RM, APP_START, APP_STOP)
        run, enter, gc, stop, attach, add, rm, start, app_stop = [_entry_point(manifest, name, what) for name in names]
        if not run:
            raise FormatError(what, "", f"entrypoint {RUN!r} not found")
        return cls(run, enter, gc, stop, attach, add, rm, start, app_stop, number)

    @property
    def mutable(self) -> bool:
        """Whether apps can be added to and removed from a running pod."""
        return bool(self.app_rm and self.app_start and self.app_stop)


def _entry_point(manifest: ImageManifest, name: str, what: str) -> str:
    path = manifest.annotation(name)
    if path is None:
        return ""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or "\0" in path:
        raise FormatError(what, name, f"{path!r} is not a path inside the rootfs")
    return "/".join(parts)


class Enforcement(Document):
    """What became of one isolator or option. ``app`` is empty for the whole pod.

    ``outcome`` is ``enforced``, ``changed`` (another value than asked for) or ``ignored``; ``reason`` says why, in words.
    """

    isolator: str
    app: str = ""
    outcome: str = "enforced"
    reason: str = ""

    WHAT = "enforcement report"
    MEMBERS = (("isolator", "isolator", True), ("app", "app", True), ("outcome", "outcome", True), ("reason", "reason", False))

    @classmethod
    def _parse(cls, members: Members) -> Enforcement:
        outcome = members.required_text("outcome")
        if outcome not in ("enforced", "changed", "ignored"):
            raise members.fail("outcome", f"must be enforced, changed or ignored, got {outcome!r}")
        return cls(members.required_text("isolator"), members.text("app"), outcome, members.text("reason"))

    def __str__(self) -> str:
        where = f"app {self.app}: " if self.app else ""
        because = f": {self.reason}" if self.reason else ""
        return f"{where}{self.isolator} is {'not enforced' if self.outcome == 'ignored' else self.outcome}{because}"


def read_report(data: bytes, what: str = "enforcement report") -> tuple[Enforcement, ...]:
    """The report in a pod's ``enforcement`` file. Raises :class:`FormatError`."""
    members = Members(jsondoc.parse_object(data, what), {"isolators": "isolators"}, what, "")
    return members.records("isolators", Enforcement)


def write_report(report: tuple[Enforcement, ...]) -> bytes:
    """The bytes of a pod's ``enforcement`` file."""
    return jsondoc.dump({"isolators": [entry.to_dict() for entry in report]}) + b"\n"
