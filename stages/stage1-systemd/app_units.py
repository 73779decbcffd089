"""The units of one app: a service, its sockets, and the unit that runs its event handlers.

    <app>.service           the app
    iomux@<app>.service     the multiplexer of an app that can be attached to
    handlers@<app>.service  pre-start as its start, post-stop as its stop; confined as the app is
    failed@<app>.service    notes that a pre-start handler has failed, because of which the app never starts
    <app>@<port>.socket     a port marked socketActivated: the app starts when somebody connects

The end of an app is written to ``rkt/status/<app>`` by a shell of the host's that runs outside the app's root; the first
failure of all to ``rkt/first-failure``, where the monitor finds it. Source: systemd.service(5), systemd.exec(5),
systemd.socket(5); appc/spec 0.8.11 ``spec/aci.md`` (eventHandlers, ports). Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import Stage1Error
from rktpy.formats import stage1 as names
from rktpy.formats.stage1 import Enforcement
from rktpy.isolate.plan import shown
from rktpy.isolate.stream_modes import stream_modes
from rktpy.record import Record
from rktpy.stage1.systemd.pod_paths import CONFINE, FIRST_FAILURE, STATUS_SCRIPT, TERMINAL, WORKING_DIRECTORY
from rktpy.stage1.systemd.pod_units import APPS
from rktpy.stage1.systemd.streams import mux_command, uses_mux
from rktpy.stage1.systemd.unit_text import command, plain, quoted, unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rktpy.isolate.landlock import RestrictWithLandlock
    from rktpy.isolate.pod_app import PodApp
    from rktpy.isolate.users import User

    Setting = tuple[str, str]

#: What the file of the first failure holds as long as no app has failed.
NO_FAILURE = "-\n"
_JOURNAL_SOCKETS = "systemd-journald.socket systemd-journald-dev-log.socket"
#: What systemd would add to the environment.
_OF_SYSTEMD = ("INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "LANG")
_SIGNALS = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ "
    "VTALRM PROF WINCH IO PWR SYS"
)


class AppUnit(Record):
    """What the units of an app are made of. ``settings`` limit and confine; ``program`` and ``find`` name executables in its
    root."""

    app: PodApp
    user: User
    environment: dict[str, str]
    program: str
    settings: tuple[Setting, ...] = ()
    mutable: bool = False
    interactive: bool = False
    device_nodes: tuple[str, ...] = ()
    restriction: RestrictWithLandlock | None = None
    watchdog_usec: int = 0
    context: str = ""

    def command(self, program: str, argv: tuple[str, ...]) -> str:
        """The command line of a program of the app's. ``argv`` is with the program's name."""
        if self.restriction is None and not self.context:
            return command((program, *argv[1:]))
        from rktpy.isolate.landlock import confined

        return command(confined(self.restriction, f"/{CONFINE}", program, (program, *argv[1:]), self.context))


def status_script() -> str:
    """The script that systemd runs after an app: it knows how the app ended from the environment (systemd.exec(5)).

    With a second argument it runs after the handlers have failed, which matters if it was before the app.
    """
    cases = " ".join([f"{name}) s={number};;" for number, name in enumerate(_SIGNALS.split(), 1)])
    return (
        f'if [ -n "$2" ]; then [ ! -e "/{names.STATUS_DIR}/$1" ] || exit 0\n'
        "EXIT_CODE=$MONITOR_EXIT_CODE EXIT_STATUS=$MONITOR_EXIT_STATUS; fi\n"
        f'if [ "$EXIT_CODE" = exited ]; then s=$EXIT_STATUS; else case $EXIT_STATUS in {cases} RTMIN*) s=34;; *) s=1;; esac; fi\n'
        f'{{ echo "$s" > "/{names.STATUS_DIR}/$1"; }} 2>/dev/null\n'
        # Written in place, which works on a full disk as well; the directory, in memory, tells who is the first.
        f'[ "$s" = 0 ] || {{ mkdir /run/rktpy-failed && echo "$s" 1<> /{FIRST_FAILURE}; }} 2>/dev/null\n'
        "exit 0\n"
    )


def app_units(spec: AppUnit, find: Callable[[str], str]) -> dict[str, str]:
    """Unit files of an app by name. ``find`` resolves a handler's program. Raises Stage1Error."""
    app = spec.app
    service, handlers = f"{app.name}.service", f"handlers@{app.name}.service"
    confined = _confinement(spec)
    pre = [handler.exec for handler in app.app.event_handlers if handler.name == "pre-start"]
    post = [handler.exec for handler in app.app.event_handlers if handler.name == "post-stop"]
    needs = [] if spec.mutable else [APPS]
    units: dict[str, str] = {}
    mine = needs
    if pre or post:
        run = [("ExecStart", spec.command(find(argv[0]), argv)) for argv in pre]
        run += [("ExecStop", spec.command(find(argv[0]), argv)) for argv in post]
        units[handlers] = unit(
            (
                "Unit",
                (
                    ("Description", f"Event handlers of {app.name}"),
                    *_common(needs, mutable=True),
                    # Needed by the app alone: stopped, and so post-stop run, when the app has ended.
                    ("StopWhenUnneeded", "yes"),
                    ("OnFailure", f"failed@{app.name}.service"),
                ),
            ),
            (
                "Service",
                (
                    ("Type", "oneshot"),
                    ("RemainAfterExit", "yes"),
                    *confined,
                    ("RootDirectoryStartOnly", "no"),
                    *_streams(spec, handlers=True),
                    *run,
                ),
            ),
        )
        units[f"failed@{app.name}.service"] = unit(
            (
                "Unit",
                (
                    *_common(needs, mutable=True),
                    *([] if spec.mutable else [("SuccessAction", "exit"), ("FailureAction", "exit")]),
                ),
            ),
            ("Service", (("Type", "oneshot"), ("ExecStart", command(("/bin/sh", f"/{STATUS_SCRIPT}", app.name, "handlers"))))),
        )
        mine = [*needs, handlers]
    sockets = socket_units(app)
    mux = uses_mux(app)
    image = app.runtime.image.name or app.runtime.image.id
    units[service] = unit(
        (
            "Unit",
            (
                ("Description", f"Application={plain(app.name)} Image={plain(image)}"),
                *_common([*mine, *([f"iomux@{app.name}.service"] if mux else []), *sockets], spec.mutable),
            ),
        ),
        (
            "Service",
            (
                # Not "exec": an app that is executed and fails at once might count as one that could not be started.
                *_readiness(app, spec.watchdog_usec),
                *([("Sockets", " ".join(sockets))] if sockets else []),
                *confined,
                *_streams(spec),
                ("ExecStart", spec.command(spec.program, app.app.exec)),
                ("ExecStopPost", command(("/bin/sh", f"/{STATUS_SCRIPT}", app.name), "+")),
            ),
        ),
    )
    units.update(sockets)
    if mux:
        units[f"iomux@{app.name}.service"] = mux_unit(app)
    return units


def _readiness(app: PodApp, watchdog_usec: int) -> list[Setting]:
    """An app that speaks sd_notify(3) says when it is ready, and keeps the watchdog of the unit of the host away itself."""
    if not app.speaks_notify:
        return [("Type", "simple")]
    return [("Type", "notify"), *([("WatchdogSec", f"{watchdog_usec}us")] if watchdog_usec else [])]


def mux_unit(app: PodApp) -> str:
    """The unit of the app's multiplexer: there before the app is, and after it has ended until all is passed on."""
    return unit(
        (
            "Unit",
            (
                ("Description", f"Streams of {app.name}"),
                *_common([], mutable=True),
                ("StopWhenUnneeded", "yes"),
            ),
        ),
        (
            "Service",
            (
                ("Type", "notify"),
                ("ExecStart", command(mux_command(app))),
                ("SyslogIdentifier", app.name),
                ("StandardOutput", "journal"),
                ("StandardError", "journal"),
                ("TimeoutStopSec", "5"),
            ),
        ),
    )


def start_units(app: PodApp) -> tuple[str, ...]:
    """What has to be started for an app: itself, or the sockets that start it."""
    return tuple(socket_units(app)) or (f"{app.name}.service",)


def socket_units(app: PodApp) -> dict[str, str]:
    """Socket units of the ports that start the app. Raises Stage1Error for a protocol that systemd does not listen for."""
    units: dict[str, str] = {}
    for port in app.app.ports:
        if not port.socket_activated:
            continue
        listen = {"tcp": "ListenStream", "udp": "ListenDatagram"}.get(port.protocol)
        if listen is None:
            raise Stage1Error(
                f"app {app.name}: port {shown(port.name)}: no socket activation for protocol {shown(port.protocol)}"
            )
        settings = [(listen, str(number)) for number in range(port.port, port.port + port.count)]
        settings += [("Service", f"{app.name}.service"), ("FileDescriptorName", port.name)]
        units[f"{app.name}@{port.name}.socket"] = unit(
            ("Unit", (("DefaultDependencies", "no"), ("Conflicts", "shutdown.target"), ("Before", "shutdown.target"))),
            ("Socket", settings),
        )
    return units


def _common(needs: list[str], mutable: bool) -> list[Setting]:
    settings = [
        ("DefaultDependencies", "no"),
        ("Requires", " ".join([_JOURNAL_SOCKETS, *needs])),
        ("After", " ".join([_JOURNAL_SOCKETS, "systemd-journald.service", *needs])),
        ("Conflicts", "shutdown.target"),
        ("Before", "shutdown.target"),
    ]
    # An app that fails ends the pod, in order; the apps of a mutable pod do not concern one another.
    return [*settings, ("CollectMode", "inactive-or-failed")] if mutable else [*settings, ("FailureAction", "exit")]


def _confinement(spec: AppUnit) -> list[Setting]:
    user = spec.user
    settings = [
        ("RootDirectory", f"/{names.STAGE2_DIR}/{spec.app.name}/rootfs"),
        ("RootDirectoryStartOnly", "yes"),  # the shell that notes the end runs in the pod's root
        ("PrivateMounts", "yes"),
        ("MountAPIVFS", "no"),
        ("WorkingDirectory", WORKING_DIRECTORY[0]),
        ("User", str(user.uid)),
        ("Group", str(user.gid)),
    ]
    if user.groups:
        settings.append(("SupplementaryGroups", " ".join(map(str, user.groups))))
    settings += [("Environment", quoted(f"{name}={value}")) for name, value in spec.environment.items() if _valid(name)]
    settings.append(("UnsetEnvironment", " ".join([name for name in _OF_SYSTEMD if name not in spec.environment])))
    settings.append(("EnvironmentFile", f"-/{names.METADATA_FILE}"))
    settings += [
        ("DevicePolicy", "closed"),
        ("DeviceAllow", "/dev/char/10:200 rwm"),  # net/tun
        *[("DeviceAllow", f"{node} rwm") for node in spec.device_nodes],
        ("SyslogIdentifier", spec.app.name),
        ("KillMode", "mixed"),
        ("TimeoutStartSec", "infinity"),
        ("IgnoreSIGPIPE", "no"),
    ]
    return [*settings, *spec.settings]


def _streams(spec: AppUnit, *, handlers: bool = False) -> list[Setting]:
    app = spec.app
    if spec.interactive and not handlers:
        return [*_terminal(f"/{TERMINAL}"), ("StandardInput", "tty"), ("StandardOutput", "tty"), ("StandardError", "tty")]
    modes = stream_modes(app)
    directory = f"/{names.IOMUX_DIR}/{app.name}"
    settings = _terminal(f"{directory}/tty") if "tty" in modes.values() and not handlers else []
    for setting, name in (("StandardInput", "stdin"), ("StandardOutput", "stdout"), ("StandardError", "stderr")):
        mode = modes[name]
        if handlers and mode in ("tty", "stream"):
            mode = "null" if name == "stdin" else "journal"
        settings.append((setting, f"file:{directory}/{name}" if mode == "stream" else mode))
    return settings


def _terminal(path: str) -> list[Setting]:
    # A shell at a terminal ends when that hangs up, and ignores SIGTERM.
    return [("TTYPath", path), ("SendSIGHUP", "yes")]


def _valid(name: str) -> bool:
    """Whether systemd passes a variable of this name."""
    return name.replace("_", "a").isalnum() and name.isascii() and not name[0].isdigit()


def environment_report(app: str, environment: dict[str, str]) -> list[Enforcement]:
    """Entries for variables that systemd does not pass: appc allows dots and dashes in their names."""
    return [
        Enforcement("environment", app, "ignored", f"systemd passes no variable of the name {shown(name)}")
        for name in environment
        if not _valid(name)
    ]
