"""The table of commands. Hot-path module: constants only."""

from __future__ import annotations

from rktpy.cli import flags
from rktpy.cli.command import Command
from rktpy.cli.image_commands import IMAGE_COMMANDS, IMAGE_NAMES

ROOT = Command(
    (),
    "[command]",
    "runs pods of ACI and OCI images",
    """rktpy fetches container images, checks their signatures and runs them in pods, without a daemon.

Flags may stand before or after the command, and a command may be shortened as long as it stays unambiguous.
"rktpy help COMMAND" tells more about one command.""",
    module="",
)

_IMAGES = """IMAGE is looked for as the ID of a stored image, as a file, and as a reference: a URL, docker://HOST/NAME:TAG,
oci:DIR[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:REF], or a name to be discovered (example.com/app:v1).

Flags that belong to one image follow it. What stands between "--" and "---" is handed to that image's program."""

COMMANDS: tuple[Command, ...] = (
    Command(
        ("api-service",),
        "api-service [--listen=HOST:PORT]",
        "Run the API service",
        """Answers gRPC requests about pods, images and logs, read-only and without authentication, by rkt's API v1alpha.

The address 0.0.0.0 stands for all interfaces. Sockets that systemd hands over are used in place of --listen.""",
        (("listen", "string", "localhost:15441", "address and port for clients"),),
    ),
    Command(
        ("app",),
        "app [command]",
        "Work with the apps of a mutable pod",
        """A pod that "app sandbox" made has no apps at first; they are added, started, stopped and removed while it runs.""",
        module="",
    ),
    Command(
        ("app", "add"),
        "add UUID IMAGE [--name=NAME] [--mnt-volume name=NAME,kind=host,source=PATH,target=PATH] [-- ARGUMENT...]",
        "Add an app to a running pod",
        """The app is not started. IMAGE must be in the store: an image ID, a unique prefix of one, a name with or without a
version, or the reference it was fetched by. ARGUMENTs take the place of those in the image.""",
        (*flags.APP, *flags.ISOLATORS, *flags.STREAMS, *flags.MOUNT_VOLUME),
        images="args",
        pod=True,
        root=True,
    ),
    Command(
        ("app", "exec"),
        "exec [--app=NAME] UUID [COMMAND [ARGUMENT ...]]",
        "Run a command inside a running app",
        'The same as "rktpy enter".',
        flags.APP_NAME,
        first=True,
        root=True,
        module="enter",
    ),
    Command(
        ("app", "list"),
        "list UUID",
        "List the apps of a pod",
        "Prints the names and states of the apps: created, running, exited or unknown.",
        (("no-legend", "bool", "false", "leave out the line of column names"),),
    ),
    Command(
        ("app", "rm"),
        "rm --app=NAME UUID",
        "Remove an app from a pod",
        "The app is stopped if it runs. What it wrote to its root file system is removed.",
        flags.ONE_APP,
        root=True,
    ),
    Command(
        ("app", "sandbox"),
        "sandbox",
        "Run a new pod without apps",
        "Runs a mutable pod until it is stopped. Apps are added with app add.",
        (*flags.STAGE1, *flags.NAMES, *flags.SANDBOX, *flags.UUID_FILE_SAVE),
        root=True,
    ),
    Command(
        ("app", "start"),
        "start --app=NAME UUID",
        "Start an app of a running pod",
        "The app must have been added. One that has exited is started again.",
        flags.ONE_APP,
        root=True,
    ),
    Command(
        ("app", "status"),
        "status --app=NAME UUID",
        "Print the state of an app",
        "Prints the app's state, image, times, exit status, mounts, user annotations and user labels.",
        (*flags.ONE_APP, *flags.FORMAT),
    ),
    Command(
        ("app", "stop"),
        "stop --app=NAME UUID",
        "Stop an app of a running pod",
        "The pod and its other apps go on.",
        flags.ONE_APP,
        root=True,
    ),
    Command(
        ("attach",),
        "attach [--app=NAME] [--mode=MODE] UUID",
        "Attach to the streams or the terminal of a running app",
        """The app must run with --stdin=stream, --stdout=tty and the like, and the stage1 of the pod must support it.

MODE is list, to print what can be attached to; auto, for all of it; tty, tty-in or tty-out; or some of stdin, stdout and
stderr, separated by commas. To detach from a terminal type ^] three times within a second.""",
        (*flags.APP_NAME, ("mode", "string", "auto", "what to attach to: auto, list, or endpoints separated by commas")),
        root=True,
    ),
    Command(
        ("cat-manifest",),
        "cat-manifest --uuid-file=FILE | UUID",
        "Print a pod's manifest",
        "Prints the complete pod manifest: apps, images by ID, isolators, volumes and mounts.",
        (*flags.PRETTY, *flags.UUID_FILE),
    ),
    Command(
        ("completion",),
        "completion SHELL",
        "Print completion code for a shell",
        """SHELL is bash, zsh or fish. To have completion in the running shell:

    source <(rktpy completion bash)

To have it always, write the output to a file in /etc/bash_completion.d, to /usr/share/zsh/vendor-completions/_rktpy, or to
/usr/share/fish/vendor_completions.d/rktpy.fish. The Debian package has done so.""",
    ),
    Command(
        ("config",),
        "config",
        "Print the configuration as JSON",
        "Prints what the system's, the machine's and the user's configuration amount to, in the form of the configuration files.",
        flags.PRETTY,
    ),
    Command(
        ("enter",),
        "enter [--app=NAME] UUID [COMMAND [ARGUMENT ...]]",
        "Run a command inside a running pod",
        "COMMAND runs beside the app, with the app's own limits. Without COMMAND it is /bin/bash.",
        flags.APP_NAME,
        first=True,
        root=True,
    ),
    Command(
        ("export",),
        "export [--app=NAME] UUID FILE.aci",
        "Write an app of an exited pod to an ACI",
        "The image has the app's root file system as the app left it, and the manifest of the image it came from.",
        (*flags.APP_NAME, *flags.OVERWRITE),
    ),
    Command(
        ("fetch",),
        "fetch IMAGE...",
        "Fetch images into the store",
        """Finds, downloads and checks images and what they depend on, and prints their IDs.

"""
        + _IMAGES.partition("\n\n")[0],
        (
            ("full", "bool", "false", "print whole image IDs"),
            ("render", "bool", "true", "unpack the image at once, while it arrives"),
            *flags.PULL_UPDATE,
            *flags.SIGNATURE,
            *flags.EXPLAIN,
        ),
        images="plain",
    ),
    Command(
        ("gc",),
        "gc [--grace-period=DURATION] [--expire-prepared=DURATION]",
        "Remove pods that are no longer used",
        """Made for a timer. Exited pods are marked as garbage by one run and removed by a later one, when the grace period
has passed; --grace-period=0s removes them at once. Pods that were prepared and never run expire.""",
        (
            ("expire-prepared", "duration", "24h0m0s", "age at which a prepared pod that was not run is removed"),
            ("grace-period", "duration", "30m0s", "how long an exited pod is kept"),
            ("mark-only", "bool", "false", "mark exited and abandoned pods and remove nothing"),
        ),
        root=True,
    ),
    Command(
        ("generate",),
        "generate [command]",
        "Write what other programs read",
        "Prints unit files for systemd.",
        module="",
        added=True,
    ),
    Command(
        ("generate", "unit"),
        "unit [--restart=...] [--wanted-by=UNIT] IMAGE [-- ARGUMENT...[---]]... | --manifest-file=FILE UUID",
        "Print a unit that runs a pod",
        """Prints the text of a service that runs the images as "rktpy run" would with the same flags and arguments. To use it:

    rktpy generate unit IMAGE > /etc/systemd/system/NAME.service
    systemctl daemon-reload
    systemctl enable --now NAME.service

For the UUID of a pod the pod's manifest is written to the file of --manifest-file, and the unit runs pods by that.

"""
        + _IMAGES,
        (
            *flags.UNIT,
            *flags.STAGE1,
            *flags.POD,
            *flags.NETWORK,
            *flags.PULL_NEW,
            *flags.SIGNATURE,
            *flags.APP,
            *flags.ISOLATORS,
            *flags.STREAMS,
            *flags.STRICT,
        ),
        images="args",
        added=True,
    ),
    *IMAGE_COMMANDS,
    Command(
        ("list",),
        "list",
        "List pods",
        "Prints a table of the pods and their apps.",
        (*flags.FORMAT, *flags.LEGEND),
    ),
    Command(
        ("logs",),
        "logs [--app=NAME] [--follow] [--since=TIME] [--until=TIME] [--lines=N] [--output=FORMAT] UUID",
        "Print what the apps of a pod wrote",
        """The stage1 of the pod must have kept the output. The fly stage1 keeps none: its app writes to the caller's own output.

TIME is a date and time (2006-01-02T15:04:05Z, in the local time zone if none is given), seconds since the epoch, or how long
ago: 10m.""",
        (
            ("app", "string", "", "print only what this app wrote"),
            ("follow", "bool", "false", "keep printing until the pod ends"),
            ("lines", "string", "all", "how many of the last lines to print"),
            ("output", "string", "short", "short (time, app and process before each line), cat (lines alone) or json"),
            ("since", "string", "", "print what was written from this time on"),
            ("until", "string", "", "print what was written up to this time"),
        ),
        added=True,
    ),
    Command(
        ("metadata-service",),
        "metadata-service [--listen-port=PORT]",
        "Run the metadata service",
        """Tells apps about their pods and lets pods prove who they are. Pods that are run with --mds-register are registered over
the socket /run/rktpy/metadata-svc.sock, and their apps find the service by the variable AC_METADATA_URL.""",
        (("listen-port", "integer", "18112", "TCP port for the apps"),),
        root=True,
    ),
    Command(
        ("oci",),
        "oci [FLAG...] COMMAND [ARGUMENT...]",
        "Run a command of the low-level runtime",
        """The same as the program rktpy-oci: one container of one bundle, with runc's commands and flags. Flags that follow are
those of rktpy-oci; its exit statuses are runc's.""",
        first=True,
        added=True,
    ),
    Command(
        ("prepare",),
        "prepare [--volume=NAME,kind=host,...] [--mount volume=NAME,target=PATH] [--quiet] IMAGE [-- ARGUMENT...[---]]...",
        "Prepare a pod to be run later",
        "Prints the UUID of the new pod, for run-prepared.\n\n" + _IMAGES,
        (
            ("quiet", "bool", "false", "print nothing but the UUID"),
            *flags.STAGE1,
            *flags.POD,
            *flags.PULL_NEW,
            *flags.SIGNATURE,
            *flags.APP,
            *flags.ISOLATORS,
            *flags.STREAMS,
            *flags.STRICT,
            *flags.EXPLAIN,
        ),
        images="args",
        root=True,
    ),
    Command(
        ("rm",),
        "rm --uuid-file=FILE | UUID ...",
        "Remove pods that are not running",
        "Removes all that is left of the named pods at once, whatever their age.",
        flags.UUID_FILE,
        root=True,
    ),
    Command(
        ("run",),
        "run [--volume=NAME,kind=host,...] [--mount volume=NAME,target=PATH] IMAGE [-- ARGUMENT...[---]]...",
        "Run images in a new pod",
        _IMAGES,
        (
            *flags.STAGE1,
            *flags.POD,
            *flags.NETWORK,
            *flags.PULL_NEW,
            *flags.SIGNATURE,
            *flags.APP,
            *flags.ISOLATORS,
            *flags.STREAMS,
            *flags.STRICT,
            *flags.UUID_FILE_SAVE,
            *flags.PINS,
            *flags.EXPLAIN,
        ),
        images="args",
        root=True,
    ),
    Command(
        ("run-prepared",),
        "run-prepared UUID",
        "Run a prepared pod",
        "UUID is what prepare printed, or a unique prefix of it.",
        (*flags.NETWORK, *flags.STRICT, *flags.EXPLAIN),
        root=True,
    ),
    Command(
        ("status",),
        "status [--wait[=BOOL|DURATION]] [--wait-ready[=BOOL|DURATION]] --uuid-file=FILE | UUID",
        "Print the state of a pod",
        """Prints the pod's state, times, networks, process and the exit statuses of its apps.

--wait and --wait-ready wait for ever if true or below zero, not at all if false or zero, and otherwise for the duration.""",
        (
            *flags.FORMAT,
            *flags.UUID_FILE,
            ("wait", "string", "false", "wait until the pod has exited"),
            ("wait-ready", "string", "false", "wait until the pod is ready"),
        ),
    ),
    Command(
        ("stop",),
        "stop --uuid-file=FILE | UUID ...",
        "Stop running pods",
        "Asks the apps to end; with --force they are killed.",
        (("force", "bool", "false", "kill the apps"), *flags.UUID_FILE),
    ),
    Command(
        ("trust",),
        "trust [--prefix=PREFIX] [--insecure-allow-http] [--skip-fingerprint-review] [--root] [KEY ...]",
        "Trust a key to sign images",
        """KEY is a file or URL with an OpenPGP public key. It may then sign images whose names begin with PREFIX.

Without KEY the keys that PREFIX announces are discovered. --root trusts the key for all images and needs a KEY. What
follows "trust" at once and is the name of a command below it is that command: a file of that name is ./list.""",
        flags.TRUST_KEY,
    ),
    Command(
        ("trust", "add"),
        "add [--prefix=PREFIX] [--insecure-allow-http] [--skip-fingerprint-review] [--root] [KEY ...]",
        "Trust a key to sign images",
        'The same as "rktpy trust" with these flags.',
        flags.TRUST_KEY,
        added=True,
        module="trust",
    ),
    Command(
        ("trust", "explain"),
        "explain IMAGE...",
        "Show how trust in stored images is decided",
        IMAGE_NAMES
        + """

The policy is asked as it would be at a start, and everything that it looked at is shown: each requirement and each
signature, with the reason. The status is 254 if an image is refused. "fetch --explain" shows it of an image that is not
in the store.""",
        (*flags.FORMAT,),
        added=True,
    ),
    Command(
        ("trust", "list"),
        "list [PREFIX]",
        "List the trusted keys",
        """Prints the keys that may sign ACIs: fingerprint, scope (a name prefix, or root for all images), when the key expires,
whether it was revoked, user ID and file. With PREFIX only those that may sign an image of that name.""",
        (*flags.FORMAT, ("no-legend", "bool", "false", "leave out the line of column names")),
        added=True,
    ),
    Command(
        ("trust", "recheck"),
        "recheck [--running]",
        "Find images that would be refused today",
        """Asks today's keys and policy about every stored image, or with --running about the images of running pods, and prints
those that are refused, a line each with the reason. The status is 254 if there are any. What --insecure-options=image let
in is refused like everything else.""",
        (("running", "bool", "false", "look at the images of running pods instead of those in the store"),),
        added=True,
    ),
    Command(
        ("trust", "rm"),
        "rm --prefix=PREFIX | --root FINGERPRINT...",
        "Trust a key no longer",
        """Removes the key with that fingerprint for PREFIX, or with --root the one for all images. A key of the distribution is
masked by an empty file.""",
        (
            ("prefix", "string", "", "image names that the key may sign"),
            ("root", "bool", "false", "the key that may sign all images"),
        ),
        added=True,
    ),
    Command(
        ("verify-image",),
        "verify-image --name=NAME --digest=DIGEST [--stdin-media-type=TYPE]",
        "Judge an image for a program that is about to pull it",
        """Asks the trust policy about the image NAME in a registry, as a fetch would, and prints the verdict with its reason on
standard output. The status is 0 if the image may be pulled and 254 if not. DIGEST is that of the manifest or index that NAME
was resolved to. An index must be signed itself, or each of its manifests must be.

This is what the image verifier plugin of containerd calls, which writes the flags with one dash.""",
        (
            ("digest", "string", "", "digest of the manifest or index that is about to be pulled"),
            *flags.EXPLAIN,
            ("name", "string", "", "name of the image, as HOST/NAME:TAG"),
            (
                "stdin-media-type",
                "string",
                "",
                "type of what stands on standard input: application/vnd.oci.descriptor.v1+json; empty for nothing",
            ),
        ),
        added=True,
        single_dash=True,
    ),
    Command(
        ("update",),
        "update --unit=NAME [--settle=DURATION] [--timeout=DURATION]",
        "Update the images of a unit",
        """Fetches what the references of the unit's images mean now, asks the trust policy, unpacks the images, restarts the
unit with them and waits until it is ready. If that works the images are pinned: the unit runs them from now on. If not, the unit
is restarted with those that were pinned before, and the status is 254. When nothing is new the unit is left alone.""",
        (
            ("settle", "duration", "5s", "how long the unit must stay up after it is ready"),
            ("timeout", "duration", "5m0s", "how long the unit may take to be ready"),
            ("unit", "string", "", "name of the service"),
        ),
        root=True,
        added=True,
    ),
    Command(
        ("version",),
        "version",
        "Print the version",
        "Prints the versions of rktpy, of the App Container specification and of Python, the platform, and what this build has.",
    ),
    Command(
        ("help",),
        "help [command]",
        "Print help about a command",
        "Prints what --help prints for the command.",
        module="help_command",
    ),
)
