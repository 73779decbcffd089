"""What a command line asks for, parsed: the records that the commands hand to stage0.

Hot-path module.
"""

from __future__ import annotations

from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.aci.types import NameValue
    from rktpy.formats.pod import ExposedPort, Mount, Volume


class InsecureOptions(Record):
    """The safety checks that the user switched off by name (``--insecure-options``, see rktpy(1))."""

    image: bool = False
    tls: bool = False
    http: bool = False
    pubkey: bool = False
    capabilities: bool = False
    paths: bool = False
    seccomp: bool = False


class Globals(Record):
    """The global flags, resolved: every path is absolute.

    ``trust_policy`` is the policy.json to use in place of the configured one, or empty; ``explain`` (``--explain``) shows trust
    decisions on standard error.
    """

    data_dir: str = "/var/lib/rktpy"
    local_config: str = "/etc/rktpy"
    system_config: str = "/usr/lib/rktpy"
    user_config: str = ""
    insecure: InsecureOptions = InsecureOptions()
    trust_keys_from_https: bool = False
    debug: bool = False
    trust_policy: str = ""
    explain: bool = False


class FetchOptions(Record):
    """How references are turned into stored images.

    ``pull_policy`` is ``new``, ``update`` or ``never``; ``progress`` is ``auto`` (bars on a terminal), ``json`` or ``none``;
    ``render`` asks that the tree is rendered while the image arrives. ``platform`` is ``os/arch[/variant]`` or empty for the
    host's.
    """

    pull_policy: str = "new"
    progress: str = "auto"
    platform: str = ""
    render: bool = False


class Stage1Choice(Record):
    """Which stage1 image to use; at most one member is set, none means the configured or built-in default.

    ``bundled`` is ``fly`` and the like; ``from_dir`` a file name looked up in the stage1 images directory; ``oci_runtime`` the
    runtime that stage1-oci shall use, which alone chooses that stage1.
    """

    bundled: str = ""
    path: str = ""
    url: str = ""
    name: str = ""
    hash: str = ""
    from_dir: str = ""
    oci_runtime: str = ""


class AppOptions(Record):
    """One image on the command line with its per-image flags. ``None`` means: not given, the image decides.

    ``mounts`` are pairs (volume, target); ``mount_volumes`` carry their volumes themselves (``app add --mnt-volume``).
    """

    image: str
    args: tuple[str, ...] = ()
    signature: str = ""
    name: str | None = None
    exec: str | None = None
    user: str | None = None
    group: str | None = None
    supplementary_gids: tuple[int, ...] | None = None
    working_directory: str | None = None
    readonly_rootfs: bool = False
    mounts: tuple[tuple[str, str], ...] = ()
    mount_volumes: tuple[Mount, ...] = ()
    environment: tuple[NameValue, ...] = ()
    annotations: tuple[NameValue, ...] = ()
    user_annotations: tuple[NameValue, ...] = ()
    user_labels: tuple[NameValue, ...] = ()
    memory: str | None = None
    cpu: str | None = None
    cpu_shares: int | None = None
    oom_score_adj: int | None = None
    caps_retain: tuple[str, ...] | None = None
    caps_remove: tuple[str, ...] | None = None
    seccomp: str | None = None
    no_new_privileges: bool | None = None
    stdin: str = ""
    stdout: str = ""
    stderr: str = ""


class PodOptions(Record):
    """What ``prepare`` needs: the apps and the pod-wide settings fixed in the pod manifest.

    ``mounts`` are pairs (volume, target) for every app; ``environment`` comes from ``--set-env`` (later wins over
    ``env_files``, which win over the inherited environment); ``strict`` refuses isolators that cannot be enforced; a ``mutable``
    pod has no apps yet.
    """

    apps: tuple[AppOptions, ...] = ()
    volumes: tuple[Volume, ...] = ()
    mounts: tuple[tuple[str, str], ...] = ()
    ports: tuple[ExposedPort, ...] = ()
    inherit_env: bool = False
    environment: tuple[NameValue, ...] = ()
    env_files: tuple[str, ...] = ()
    annotations: tuple[NameValue, ...] = ()
    user_annotations: tuple[NameValue, ...] = ()
    user_labels: tuple[NameValue, ...] = ()
    no_overlay: bool = False
    private_users: bool = False
    pod_manifest: str = ""
    stage1: Stage1Choice = Stage1Choice()
    fetch: FetchOptions = FetchOptions()
    strict: bool = False
    mutable: bool = False


class RunOptions(Record):
    """What ``run`` and ``run-prepared`` need beside the prepared pod.

    ``net`` holds the values of ``--net`` in order (``("default",)`` when it is absent); ``dns`` addresses, or ``host`` or
    ``none``; ``hosts_entries`` pairs (IP, host name), or the single pair ``("host", "")``; ``dry_run`` prints the stage1's plan.
    """

    net: tuple[str, ...] = ("default",)
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_domain: str = ""
    hosts_entries: tuple[tuple[str, str], ...] = ()
    hostname: str = ""
    ipc: str = ""
    interactive: bool = False
    mds_register: bool = False
    uuid_file_save: str = ""
    strict: bool = False
    dry_run: bool = False
