"""The command line: runc's commands and flags, read as its flag parser reads them.

``--flag value``, ``--flag=value``, one dash as good as two; truth values only by ``=``; global flags before or after the command;
flags after arguments, but for commands whose arguments are another program's. Hot-path module: constants and one function.
"""

from __future__ import annotations

from rktpy.oci.failure import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    #: Name, kind (text, bool, number, list), default, help, short letter.
    Flag = tuple[str, str, str, str, str]

_BUNDLE = ("bundle", "text", "", "directory of the bundle; the working directory by default", "b")
_CONSOLE = ("console-socket", "text", "", "UNIX socket that gets the master of the pseudo terminal", "")
_PIDFD = ("pidfd-socket", "text", "", "UNIX socket that gets a pidfd of the process", "")
_PID_FILE = ("pid-file", "text", "", "file to write the process ID to", "")
_PRESERVE = ("preserve-fds", "number", "0", "give the process this many descriptors from 3 on", "")
_CREATE = (
    _BUNDLE,
    _CONSOLE,
    _PIDFD,
    _PID_FILE,
    ("no-pivot", "bool", "false", "change the root by chroot(2); for a root that is on a ramdisk", ""),
    ("no-new-keyring", "bool", "false", "keep the caller's session keyring", ""),
    _PRESERVE,
)
_UPDATE = (
    ("resources", "text", "", "file with resources, - for standard input", "r"),
    ("blkio-weight", "number", "", "share of the disks, 10 to 1000", ""),
    ("cpu-period", "number", "", "period of the CPU quota in microseconds", ""),
    ("cpu-quota", "number", "", "CPU time in one period in microseconds", ""),
    ("cpu-burst", "number", "", "CPU time that may be saved up in microseconds", ""),
    ("cpu-share", "number", "", "share of the CPUs", ""),
    ("cpu-rt-period", "number", "", "period of realtime scheduling in microseconds", ""),
    ("cpu-rt-runtime", "number", "", "realtime CPU time in one period in microseconds", ""),
    ("cpuset-cpus", "text", "", "CPUs to use (0-3,7)", ""),
    ("cpuset-mems", "text", "", "memory nodes to use", ""),
    ("cpu-idle", "number", "", "1 for SCHED_IDLE, 0 for normal scheduling", ""),
    ("memory", "bytes", "", "memory in bytes", ""),
    ("memory-reservation", "bytes", "", "memory that is kept when memory is short", ""),
    ("memory-swap", "bytes", "", "memory and swap together, -1 for no limit", ""),
    ("pids-limit", "number", "", "most processes and threads", ""),
    ("kernel-memory", "bytes", "", "refused: the kernel has no such limit any more", ""),
    ("kernel-memory-tcp", "bytes", "", "kernel memory for TCP buffers in bytes", ""),
    ("l3-cache-schema", "text", "", "refused: Intel RDT is not supported", ""),
    ("mem-bw-schema", "text", "", "refused: Intel RDT is not supported", ""),
)

GLOBAL: tuple[Flag, ...] = (
    ("root", "text", "", "directory of the containers' states; it should be on a tmpfs", ""),
    ("log", "text", "", "file that messages are appended to; /dev/stderr by default", ""),
    ("log-format", "text", "text", "format of messages: text or json", ""),
    ("debug", "bool", "false", "tell what is done", ""),
    ("systemd-cgroup", "bool", "false", "make a scope of systemd's; cgroupsPath is then slice:prefix:name", ""),
    ("cgroup-manager", "text", "", "cgroupfs, systemd, or disabled for no control groups at all", ""),
    ("rootless", "text", "auto", "do without what only root can: true, false or auto", ""),
    ("criu", "text", "", "accepted and ignored; criu is found by PATH", ""),
)

#: Command: synopsis, summary, flags, fewest and most arguments (-1: any number), whether flags end at the first argument.
COMMANDS: dict[str, tuple[str, str, tuple[Flag, ...], int, int, bool]] = {
    "create": ("create [flags] ID", "Make a container that waits to be started", _CREATE, 1, 1, False),
    "run": (
        "run [flags] ID",
        "Make and start a container",
        (
            *_CREATE,
            ("detach", "bool", "false", "do not wait for the container's end", "d"),
            ("keep", "bool", "false", "do not delete the container when it ends", ""),
            ("no-subreaper", "bool", "false", "do not adopt orphans of the container", ""),
        ),
        1,
        1,
        False,
    ),
    "start": ("start ID", "Start a container that was created", (), 1, 1, False),
    "exec": (
        "exec [flags] ID [COMMAND [ARGUMENT...]]",
        "Run another process in a container",
        (
            _CONSOLE,
            _PIDFD,
            ("cwd", "text", "", "working directory in the container", ""),
            ("env", "list", "", "set a variable (NAME=VALUE)", "e"),
            ("tty", "bool", "false", "give the process a terminal", "t"),
            ("user", "text", "", "user ID, and after a colon group ID", "u"),
            ("additional-gids", "list", "", "supplementary group ID", "g"),
            ("process", "text", "", "file with the process, as in a configuration", "p"),
            ("detach", "bool", "false", "do not wait for the process's end", "d"),
            _PID_FILE,
            ("process-label", "text", "", "SELinux label of the process", ""),
            ("apparmor", "text", "", "AppArmor profile of the process", ""),
            ("no-new-privs", "bool", "false", "the process can gain no privileges", ""),
            ("cap", "list", "", "give the process a capability", "c"),
            _PRESERVE,
            ("cgroup", "list", "", "control group below the container's, [CONTROLLER:]PATH", ""),
            ("ignore-paused", "bool", "false", "also when the container is paused; the process starts when it is resumed", ""),
        ),
        1,
        -1,
        True,
    ),
    "kill": (
        "kill [flags] ID [SIGNAL]",
        "Send a signal to a container's first process, TERM by default",
        (("all", "bool", "false", "send it to all processes of the container", "a"),),
        1,
        2,
        False,
    ),
    "delete": (
        "delete [flags] ID",
        "Delete a container",
        (("force", "bool", "false", "kill a container that runs; one that is not there is no error", "f"),),
        1,
        1,
        False,
    ),
    "state": ("state ID", "Print the state of a container", (), 1, 1, False),
    "list": (
        "list [flags]",
        "List containers",
        (
            ("format", "text", "table", "table or json", "f"),
            ("quiet", "bool", "false", "only IDs", "q"),
        ),
        0,
        0,
        False,
    ),
    "ps": (
        "ps [flags] ID [OPTION OF PS...]",
        "List the processes of a container",
        (("format", "text", "table", "table or json", "f"),),
        1,
        -1,
        True,
    ),
    "pause": ("pause ID", "Freeze the processes of a container", (), 1, 1, False),
    "resume": ("resume ID", "Let the processes of a paused container go on", (), 1, 1, False),
    "update": ("update [flags] ID", "Change the limits of a container", _UPDATE, 1, 1, False),
    "events": (
        "events [flags] ID",
        "Print statistics of a container, and when it is out of memory",
        (
            ("interval", "duration", "5s", "time between two statistics", ""),
            ("stats", "bool", "false", "print statistics once and end", ""),
        ),
        1,
        1,
        False,
    ),
    "spec": (
        "spec [flags]",
        "Write a configuration to begin with",
        (
            _BUNDLE,
            ("rootless", "bool", "false", "one that works without being root", ""),
        ),
        0,
        0,
        False,
    ),
    "features": ("features", "Print what the runtime can do", (), 0, 0, False),
    "checkpoint": (
        "checkpoint [flags] ID",
        "Write a running container to disk with criu",
        (
            ("image-path", "text", "", "directory of the checkpoint", ""),
            ("work-path", "text", "", "directory of criu's log", ""),
            ("parent-path", "text", "", "checkpoint that this one adds to, as seen from image-path", ""),
            ("leave-running", "bool", "false", "let the container go on", ""),
            ("tcp-established", "bool", "false", "also open TCP connections", ""),
            ("ext-unix-sk", "bool", "false", "also sockets that lead out of the container", ""),
            ("shell-job", "bool", "false", "also a terminal that is not the container's", ""),
            ("file-locks", "bool", "false", "also file locks", ""),
            ("pre-dump", "bool", "false", "only memory, and go on", ""),
            ("lazy-pages", "bool", "false", "leave memory to a page server", ""),
            ("manage-cgroups-mode", "text", "", "soft, full, strict or ignore", ""),
            ("auto-dedup", "bool", "false", "drop pages of earlier checkpoints", ""),
        ),
        1,
        1,
        False,
    ),
    "restore": (
        "restore [flags] ID",
        "Make a container of a checkpoint with criu",
        (
            *_CREATE,
            ("detach", "bool", "false", "do not wait for the container's end", "d"),
            ("no-subreaper", "bool", "false", "do not adopt orphans of the container", ""),
            ("image-path", "text", "", "directory of the checkpoint", ""),
            ("work-path", "text", "", "directory of criu's log", ""),
            ("tcp-established", "bool", "false", "also open TCP connections", ""),
            ("ext-unix-sk", "bool", "false", "also sockets that lead out of the container", ""),
            ("shell-job", "bool", "false", "also a terminal that is not the container's", ""),
            ("file-locks", "bool", "false", "also file locks", ""),
            ("lazy-pages", "bool", "false", "leave memory to a page server", ""),
            ("manage-cgroups-mode", "text", "", "soft, full, strict or ignore", ""),
            ("auto-dedup", "bool", "false", "drop pages of earlier checkpoints", ""),
        ),
        1,
        1,
        False,
    ),
}
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")


class BadUsage(RuntimeFailure):
    """A command line that cannot be read."""


class UnknownCommand(RuntimeFailure):
    """A command that there is none; runc's exit status for it is 3."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no help topic for '{name}'", 3)


class Arguments:
    """What a command line says. ``command`` is ``help`` or ``version`` when these were asked for, for ``topic`` if not empty."""

    __slots__ = ("args", "command", "given", "lists", "topic")

    def __init__(self) -> None:
        self.command = ""
        self.topic = ""
        self.args: list[str] = []
        self.given: dict[str, str] = {}
        self.lists: dict[str, list[str]] = {}

    def text(self, name: str, default: str = "") -> str:
        """The value of a flag, ``default`` when it was not given."""
        return self.given.get(name, default)

    def switch(self, name: str) -> bool:
        """The value of a truth flag."""
        return self.given.get(name) == "true"

    def number(self, name: str) -> int:
        """The value of a number flag, 0 when it was not given."""
        return int(self.given.get(name, "0"))

    def repeated(self, name: str) -> list[str]:
        """All values of a flag that may be repeated."""
        return self.lists.get(name, [])


def parse(words: list[str]) -> Arguments:
    """Read a command line without the program's name. Raises BadUsage, UnknownCommand."""
    arguments = Arguments()
    table = {flag[0]: flag for flag in GLOBAL}
    last = False  # no more flags
    stop = False
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if word[:1] != "-" or word == "-" or last:
            if arguments.command:
                arguments.args.append(word)
                last = last or stop
                continue
            if word in ("help", "h"):
                arguments.command, arguments.topic = "help", words[index] if index < len(words) else ""
                return arguments
            known = COMMANDS.get(word)
            if known is None:
                raise UnknownCommand(word)
            arguments.command, stop = word, known[5]
            for flag in known[2]:
                table[flag[0]] = flag
                if flag[4]:
                    table[flag[4]] = flag
            continue
        if word == "--":
            last = True
            continue
        name, equals, value = word.lstrip("-").partition("=")
        found = table.get(name)
        if found is None or word[:3] == "---":
            if name in ("h", "help"):
                arguments.topic, arguments.command = arguments.command, "help"
                return arguments
            if name in ("v", "version") and not arguments.command:
                arguments.command = "version"
                return arguments
            if arguments.command == "kill" and name.isdigit() and arguments.args:
                arguments.args.append(name)  # "kill ID -9"
                continue
            raise BadUsage(f"flag provided but not defined: -{name}")
        if not equals:
            if found[1] == "bool":
                value = "true"
            elif index < len(words):
                value = words[index]
                index += 1
            else:
                raise BadUsage(f"flag needs an argument: -{name}")
        _set(arguments, found, value)
    if not arguments.command:
        arguments.command = "help"
        return arguments
    _use, _short, _flags, fewest, most, _stop = COMMANDS[arguments.command]
    if len(arguments.args) < fewest or len(arguments.args) > most >= 0:
        wanted = (
            f"exactly {fewest}" if fewest == most else f"at least {fewest}" if len(arguments.args) < fewest else f"at most {most}"
        )
        raise BadUsage(f'"{arguments.command}" requires {wanted} argument(s)')
    return arguments


def _set(arguments: Arguments, flag: Flag, value: str) -> None:
    name, kind = flag[0], flag[1]
    if kind == "bool":
        if value not in _TRUE and value not in _FALSE:
            raise BadUsage(f'invalid boolean value "{value}" for -{name}')
        value = "true" if value in _TRUE else "false"
    elif kind == "number":
        digits = value[1:] if value[:1] == "-" else value
        if not digits.isascii() or not digits.isdigit() or len(digits) > 19:
            raise BadUsage(f'invalid value "{value}" for flag -{name}')
    elif kind == "list":
        arguments.lists.setdefault(name, []).append(value)
        return
    arguments.given[name] = value
