"""Units of a pod that exist for whoever runs it: the watchdog of a service of the host, and machinectl(1).

    alive@pod.timer, .service   say WATCHDOG=1 to the monitor, which passes it on to the host's service manager: as long as the
                                pod's systemd can still start things, the pod is alive
    dbus.socket, .service       a message bus that is started when somebody connects with it, which ``machinectl shell`` does

Both are there only where they are of use. No app can have these names, but for dbus: then there is no bus. Source:
sd_notify(3), systemd.service(5) (WatchdogSec=), systemd.timer(5),
dbus-daemon(1). Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.stage1.systemd.unit_text import command, unit

#: In the pod's root.
DBUS_CONFIGURATION = "rkt/dbus.conf"
_DBUS_DAEMON = "/usr/bin/dbus-daemon"
_DBUS_SOCKET = "dbus.socket"
_WATCHDOG = "alive@pod.timer"
_NO_DEFAULTS = ("DefaultDependencies", "no")
_STOP_AT_END = (("Conflicts", "shutdown.target"), ("Before", "shutdown.target"))
#: Messages in the time after which the host's manager gives the pod up.
_MESSAGES = 3


def host_units(watchdog_usec: int, apps: tuple[str, ...]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Unit files by name, and those of them to start. ``apps`` are the names of the pod's apps."""
    units = watchdog_units(watchdog_usec)
    started = (_WATCHDOG,) if units else ()
    if has_bus(apps):
        units.update(bus_units())
        started = (*started, _DBUS_SOCKET)
    return units, started


def watchdog_units(usec: int) -> dict[str, str]:
    """Unit files by name; none without a watchdog. ``usec`` is what the host's manager waits for a message, in microseconds."""
    if not usec:
        return {}
    period = f"{max(usec // _MESSAGES, 1)}us"
    return {
        _WATCHDOG: unit(
            ("Unit", (_NO_DEFAULTS, *_STOP_AT_END)),
            (
                "Timer",
                (
                    ("OnActiveSec", "0"),
                    ("OnUnitActiveSec", period),
                    ("AccuracySec", f"{max(usec // 10, 1)}us"),
                ),
            ),
        ),
        "alive@pod.service": unit(
            ("Unit", (_NO_DEFAULTS, *_STOP_AT_END, ("StartLimitIntervalSec", "0"))),
            (
                "Service",
                (
                    ("Type", "oneshot"),
                    ("Environment", "NOTIFY_SOCKET=/rkt/notify"),
                    ("ExecStart", command(("/usr/bin/systemd-notify", "--no-block", "WATCHDOG=1"))),
                ),
            ),
        ),
    }


def has_bus(apps: tuple[str, ...]) -> bool:
    """Whether the host has what ``machinectl shell`` needs in a pod with these apps."""
    from rktpy.cgroup.delegation import systemd_runs

    return "dbus" not in apps and systemd_runs() and os.access(_DBUS_DAEMON, os.X_OK)


def bus_units() -> dict[str, str]:
    """Unit files of the pod's message bus by name."""
    # The service of a shell wants to come after these (systemd.service(5), "Default Dependencies").
    targets = {name: unit(("Unit", (_NO_DEFAULTS,))) for name in ("sysinit.target", "basic.target")}
    return {
        **targets,
        _DBUS_SOCKET: unit(
            ("Unit", (_NO_DEFAULTS, *_STOP_AT_END)),
            ("Socket", (("ListenStream", "/run/dbus/system_bus_socket"), ("SocketMode", "0600"))),
        ),
        "dbus.service": unit(
            ("Unit", (_NO_DEFAULTS, *_STOP_AT_END, ("Requires", _DBUS_SOCKET), ("After", _DBUS_SOCKET))),
            (
                "Service",
                (
                    ("Type", "notify"),
                    # What it says is not what the pod's apps say.
                    ("StandardOutput", "null"),
                    ("StandardError", "null"),
                    (
                        "ExecStart",
                        command(
                            (
                                _DBUS_DAEMON,
                                f"--config-file=/{DBUS_CONFIGURATION}",
                                "--address=systemd:",
                                "--nofork",
                                "--nopidfile",
                                "--systemd-activation",
                            )
                        ),
                    ),
                ),
            ),
        ),
    }


def make_way_to_bus(root: str) -> None:
    """The place where machined looks for the bus, below the pod's ``root``. Raises OSError."""
    try:
        os.symlink("../run", f"{root}/var/run")
    except FileExistsError:
        pass


def bus_files() -> dict[str, str]:
    """Files of the bus in the pod's root: only root may use it; a session of ``machinectl shell`` needs no account."""
    allow = "".join([f'<allow {what}="*"/>' for what in ("send_destination", "receive_sender", "own")])
    permit = "".join([f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "password", "session")])
    return {
        DBUS_CONFIGURATION: (
            "<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>"
            '<servicedir>/usr/share/dbus-1/system-services</servicedir><policy context="default"><deny user="*"/>'
            f'<allow user="root"/></policy><policy user="root">{allow}</policy></busconfig>\n'
        ),
        "etc/pam.d/login": permit,
    }
