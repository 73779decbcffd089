"""What can be completed behind a command and behind a flag, for the completion code of every shell."""

from __future__ import annotations

from rktpy.cli import flags
from rktpy.cli.commands import COMMANDS, ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.command import Command
    from rktpy.cli.flags import Flag

#: What the arguments of a command are: ``pods`` with a pattern of their states, ``images``, ``files`` or ``shells``.
ARGUMENTS = {
    "app add": "pods running",
    "app exec": "pods running",
    "app list": "pods",
    "app rm": "pods",
    "app start": "pods running",
    "app status": "pods",
    "app stop": "pods running",
    "attach": "pods running",
    "cat-manifest": "pods",
    "completion": "shells",
    "enter": "pods running",
    "export": "pods exited",
    "fetch": "files",
    "generate unit": "images",
    "image cat-manifest": "images",
    "image export": "images",
    "image extract": "images",
    "image render": "images",
    "image rm": "images",
    "image verify": "images",
    "logs": "pods",
    "prepare": "images",
    "rm": "pods 'prepare|exited'",
    "run": "images",
    "run-prepared": "pods prepared",
    "status": "pods",
    "stop": "pods running",
    "trust": "files",
    "trust add": "files",
    "trust explain": "images",
}
#: Values of flags.
VALUES = {
    "format": "json json-pretty",
    "insecure-options": "none image tls http pubkey capabilities paths seccomp all-fetch all-run all",
    "ipc": "auto private parent",
    "mode": "auto list stdin stdout stderr tty tty-in tty-out",
    "net": "default default-restricted host none",
    "order": "asc desc",
    "output": "short cat json",
    "progress": "auto json none",
    "pull-policy": "new update never",
    "restart": "no on-success on-failure on-abnormal on-watchdog on-abort always",
    "stage1": "systemd fly kvm oci",
    "stderr": "log null stream tty",
    "stdin": "null stream tty",
    "stdout": "log null stream tty",
    "type": "notify exec",
}
SHELLS = "bash zsh fish"
#: Commands that list pods and images, a line each.
LIST_PODS = "rktpy list --no-legend 2>/dev/null"
LIST_IMAGES = "rktpy image list --no-legend --fields=id 2>/dev/null"


def listed() -> list[Command]:
    """The commands that are completed."""
    return [ROOT, *[command for command in COMMANDS if command.listed]]


def key(command: Command) -> str:
    """A command's words."""
    return " ".join(command.path)


def takes_value(flag: Flag) -> bool:
    """Whether the next word is the flag's value when there is no ``=``."""
    return flag[1] != "bool" and flag[0] not in flags.OPTIONAL_VALUES


def names_file(flag: Flag) -> bool:
    """Whether a flag's value is the path of a file or directory."""
    return (
        flag[1] == "directory"
        or flag[0].endswith(("-file", "-path", "-file-save", "profile"))
        or flag[0] in ("pod-manifest", "signature")
    )


def next_words(command: Command) -> dict[str, str]:
    """The words that may follow those of a group of commands, each with what it is for."""
    depth = len(command.path)
    return {
        one.path[depth]: one.short
        for one in COMMANDS
        if one.listed and len(one.path) == depth + 1 and one.path[:depth] == command.path
    }
