"""The flags of every command, as tables. The parser, ``--help``, the manual pages and the completion script
all read them.

A flag is a tuple (name, kind, default as shown, usage). ``kind`` names the type in ``rktpy.cli.values``; a flag that follows an
image and belongs to it has a kind that begins with ``image-``. Hot-path module: constants only.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Flag: TypeAlias = tuple[str, str, str, str]

DATA_DIR = "/var/lib/rktpy"
LOCAL_CONFIG = "/etc/rktpy"
SYSTEM_CONFIG = "/usr/lib/rktpy"

# Flags whose value may be left out, and the value they then have.
OPTIONAL_VALUES = {"net": "default", "wait": "true", "wait-ready": "true"}

# Accepted with a notice; not shown in help.
DEPRECATED = {
    "cap-remove": "use --caps-remove instead",
    "cap-retain": "use --caps-retain instead",
    "no-store": "please use --pull-policy=update",
    "store-only": "please use --pull-policy=never",
}

# Accepted, not shown in help.
HIDDEN = frozenset(("cpuprofile", "memprofile"))

GLOBAL: tuple[Flag, ...] = (
    ("cpuprofile", "string", "", "write a CPU profile of this command to the file"),
    ("debug", "bool", "false", "tell on standard error what is done and why"),
    ("dir", "directory", DATA_DIR, "directory of images and pods"),
    (
        "image-limits",
        "string",
        "",
        "what an image may ask for at most, as max-unpacked-bytes=20G,max-entries=100000 (see rktpy-store(5))",
    ),
    (
        "insecure-options",
        "insecure-options",
        "none",
        "safety checks to switch off, separated by commas: none, image, tls, ondisk, http, pubkey, capabilities, paths, seccomp,"
        " all-fetch, all-run, all",
    ),
    ("local-config", "directory", LOCAL_CONFIG, "directory of this machine's configuration"),
    ("memprofile", "string", "", "write a memory profile of this command to the file"),
    ("system-config", "directory", SYSTEM_CONFIG, "directory of the distribution's configuration"),
    ("trust-keys-from-https", "bool", "false", "trust keys that were found over https without asking"),
    ("trust-policy", "directory", "", "policy.json to use in place of the configured one (see rktpy-policy.json(5))"),
    ("user-config", "directory", "", "directory of the user's configuration"),
)

EXPLAIN: tuple[Flag, ...] = (("explain", "bool", "false", "show on standard error how trust in the images was decided"),)

STAGE1: tuple[Flag, ...] = (
    ("oci-runtime", "string", "", "OCI runtime for the pod, by name or path (runc, crun ...); chooses --stage1=oci"),
    ("stage1", "stage1", "", "stage1 that comes with rktpy, by its short name (systemd, fly, oci, kvm)"),
    ("stage1-from-dir", "stage1", "", "file name of a stage1 image in the stage1 images directory"),
    ("stage1-hash", "stage1", "", "ID of a stored stage1 image"),
    ("stage1-name", "stage1", "", "name of a stage1 image, found in the store or by discovery"),
    ("stage1-path", "stage1", "", "path of a stage1 image"),
    ("stage1-url", "stage1", "", "URL of a stage1 image"),
)

STRICT: tuple[Flag, ...] = (("strict", "bool", "false", "refuse isolators and options that cannot be enforced"),)

PULL: tuple[Flag, ...] = (
    ("no-store", "bool", "false", "fetch images even when they are in the store"),
    ("platform", "string", "", "os/architecture[/variant] to choose from images for many platforms; this machine's if empty"),
    ("progress", "progress", "auto", "how downloads are shown: auto, json or none"),
    ("store-only", "bool", "false", "use only images that are in the store"),
)

PROGRESS: tuple[Flag, ...] = (("progress", "progress", "auto", "how transfers are shown: auto, json or none"),)

PULL_NEW: tuple[Flag, ...] = (*PULL, ("pull-policy", "pull-policy", "new", "when to fetch an image: new, update or never"))

PULL_UPDATE: tuple[Flag, ...] = (
    *PULL,
    ("pull-policy", "pull-policy", "update", "when to fetch an image: new, update or never"),
)

SIGNATURE: tuple[Flag, ...] = (
    ("signature", "image-once", "", "file with the detached signature of the image that stands before it"),
)

APP: tuple[Flag, ...] = (
    ("annotation", "image-pair", "", "annotation NAME=VALUE for the app"),
    ("environment", "image-pair", "", "environment variable NAME=VALUE for the app"),
    ("exec", "image-once", "", "program to run in place of the image's"),
    ("group", "image-text", "", "group to run the app as: name, number or path"),
    ("mount", "mount", "", "volume=NAME,target=PATH: where a volume goes; for all apps if it stands before the first image"),
    ("name", "image-text", "", "name of the app; the last part of the image's name if not given"),
    ("readonly-rootfs", "image-bool", "", "whether the app's root file system is read-only"),
    ("supplementary-gids", "image-gids", "", "further group IDs for the app, separated by commas"),
    ("user", "image-text", "", "user to run the app as: name, number or path"),
    ("user-annotation", "image-pair", "", "user annotation NAME=VALUE for the app"),
    ("user-label", "image-pair", "", "user label NAME=VALUE for the app"),
    ("working-dir", "image-text", "", "directory in which the app starts"),
)

ISOLATORS: tuple[Flag, ...] = (
    ("cap-remove", "image-capabilities", "", "as --caps-remove"),
    ("cap-retain", "image-capabilities", "", "as --caps-retain"),
    ("caps-remove", "image-capabilities", "", "capabilities to take from the app, separated by commas (CAP_MKNOD)"),
    ("caps-retain", "image-capabilities", "", "the only capabilities the app keeps, separated by commas (CAP_KILL,CAP_CHOWN)"),
    ("cpu", "image-cpu", "", "limit of CPU time for the app (500m is half a processor)"),
    ("cpu-shares", "image-cpu-shares", "", "the app's weight of CPU time against others, 2 to 262144"),
    ("memory", "image-memory", "", "memory limit for the app (50M, 16Mi, 1G)"),
    ("oom-score-adj", "image-oom-score-adj", "", "how early the kernel kills the app when memory is short, -1000 to 1000"),
    (
        "no-new-privileges",
        "image-switch",
        "",
        "whether set-user-ID bits and file capabilities give the app's programs nothing",
    ),
    ("seccomp", "image-seccomp", "", "mode=retain|remove[,errno=NAME],CALL,...: system calls that the app keeps or loses"),
)

# Not where the environment switches "attach" off.
STREAMS: tuple[Flag, ...] = (
    ("stderr", "image-stream", "", "where the app's standard error goes: log, null, stream or tty"),
    ("stdin", "image-stream", "", "where the app's standard input comes from: null, stream or tty"),
    ("stdout", "image-stream", "", "where the app's standard output goes: log, null, stream or tty"),
)

POD: tuple[Flag, ...] = (
    ("inherit-env", "bool", "false", "give the apps the caller's environment where they set nothing themselves"),
    ("no-overlay", "bool", "false", "copy images instead of using the overlay file system"),
    ("pod-manifest", "string", "", "file with a complete pod manifest to use in place of images and their flags"),
    (
        "port",
        "port",
        "",
        "NAME:[HOSTIP:]HOSTPORT: port of an app to offer on the host;"
        " NAME:PROTOCOL:PODPORT:HOSTIP:HOSTPORT where no image names it",
    ),
    ("private-users", "bool", "false", "run the pod in a user namespace"),
    ("set-env", "pair", "", "environment variable NAME=VALUE for all apps"),
    ("set-env-file", "list", "", "file with environment variables for all apps"),
    (
        "volume",
        "volume",
        "",
        "NAME,kind=host,source=PATH[,readOnly=BOOL][,recursive=BOOL] or NAME,kind=empty[,mode=MODE][,uid=UID][,gid=GID]:"
        " volume for the pod",
    ),
)

NAMES: tuple[Flag, ...] = (
    ("dns", "list", "", "name server's IP address, or host to use the host's resolv.conf, or none"),
    ("dns-domain", "string", "", "domain for resolv.conf"),
    ("dns-opt", "list", "", "option for resolv.conf"),
    ("dns-search", "list", "", "search domain for resolv.conf"),
    ("hostname", "string", "", "the pod's host name; made from its UUID if empty"),
    ("hosts-entry", "list", "", "IP=NAME for the pod's /etc/hosts, or host to use the host's file"),
    ("net", "net", "default", "networks to join: NAME[:ARG=VALUE;...],..."),
)

NETWORK: tuple[Flag, ...] = (
    *NAMES,
    ("interactive", "bool", "false", "give the app the terminal; for pods of one app"),
    ("ipc", "string", "", "IPC namespace: auto, private or parent"),
    ("mds-register", "bool", "false", "register the pod with the metadata service"),
    ("dry-run", "bool", "false", "print what the stage1 would do and stop"),
)

SANDBOX: tuple[Flag, ...] = (
    ("annotation", "pair", "", "annotation NAME=VALUE for the pod"),
    ("no-overlay", "bool", "false", "copy images instead of using the overlay file system"),
    ("port", "sandbox-port", "", "NAME:PROTOCOL:PODPORT:HOSTIP:HOSTPORT: port of the pod to offer on the host"),
    ("user-annotation", "pair", "", "user annotation NAME=VALUE for the pod"),
    ("user-label", "pair", "", "user label NAME=VALUE for the pod"),
)

MOUNT_VOLUME: tuple[Flag, ...] = (
    (
        "mnt-volume",
        "image-mount-volume",
        "",
        "volume for this app and where it goes: name=NAME,target=PATH,kind=host,source=PATH[,readOnly=BOOL] or"
        " name=NAME,target=PATH,kind=empty[,mode=MODE], and what else --volume of run takes",
    ),
)

TRUST_KEY: tuple[Flag, ...] = (
    ("insecure-allow-http", "bool", "false", "allow http to find and fetch keys"),
    ("prefix", "string", "", "image names that the key may sign"),
    ("root", "bool", "false", "let the key sign all images"),
    ("skip-fingerprint-review", "bool", "false", "do not ask whether the fingerprint is the expected one"),
)

UUID_FILE: tuple[Flag, ...] = (("uuid-file", "string", "", "file that holds the pod's UUID, in place of an argument"),)
PINS: tuple[Flag, ...] = (("pins", "string", "", 'name of a unit: run the images that "update --unit" has pinned for it'),)
UNIT: tuple[Flag, ...] = (
    ("description", "string", "", "what the unit is, for people"),
    ("manifest-file", "string", "", "file to write the manifest of the pod UUID to, from which the unit runs it"),
    ("restart", "string", "on-failure", "Restart= of the unit"),
    ("type", "string", "notify", "Type= of the unit: notify or exec"),
    ("wanted-by", "string", "multi-user.target", "unit that starts this one when it is enabled; none if empty"),
)
UUID_FILE_SAVE: tuple[Flag, ...] = (("uuid-file-save", "string", "", "file to write the pod's UUID to"),)
FORMAT: tuple[Flag, ...] = (("format", "format", "", "json or json-pretty; a table or key=value lines if empty"),)
LEGEND: tuple[Flag, ...] = (
    ("full", "bool", "false", "print whole IDs and exact times"),
    ("no-legend", "bool", "false", "leave out the line of column names"),
)
APP_NAME: tuple[Flag, ...] = (("app", "string", "", "name of the app, for pods of several"),)
PRETTY: tuple[Flag, ...] = (("pretty-print", "bool", "true", "indent the JSON document"),)
ONE_APP: tuple[Flag, ...] = (("app", "string", "", "name of the app"),)
OVERWRITE: tuple[Flag, ...] = (("overwrite", "bool", "false", "replace what is there"),)
ROOTFS_ONLY: tuple[Flag, ...] = (("rootfs-only", "bool", "false", "write only the root file system"),)

HELP: Flag = ("help", "bool", "false", "help for this command")
