"""The units of a pod that do not depend on its apps: its journal, its end.

The pod's systemd sees these units and those of the apps, and no others: it starts in a twentieth of a second because of that.

    rktpy.target            what is started: journal, apps
    apps.target             is needed by every app of a pod that is not mutable; when the last one has stopped, the pod ends
    over.socket             a FIFO that systemd closes after all else has stopped; the monitor outside then ends the pod
    exit.target             the end in order, also when an app fails; halt.target the same when somebody asks for it
    no-journal.service      the end of a pod whose journal cannot be started
    systemd-journald.*      the pod's log, written into the pod's directory

Source: systemd.special(7), systemd.unit(5), bootup(7), journald.conf(5). Hot-path module.
"""

from __future__ import annotations

from rktpy.stage1.systemd.pod_paths import FIRST_FAILURE, OVER_FIFO, TERMINAL
from rktpy.stage1.systemd.unit_text import command, unit

JOURNALD = "systemd-journald.service"
NO_JOURNAL = "no-journal.service"
#: Services that no app can be called after.
OWN_SERVICES = (JOURNALD, "systemd-exit.service", NO_JOURNAL)
APPS = "apps.target"
TARGET = "rktpy.target"

_NO_DEFAULTS = ("DefaultDependencies", "no")
#: Without these no app runs, which nobody would be told otherwise.
_OR_NOTHING = (("FailureAction", "exit-force"), ("FailureActionExitStatus", "254"))
_STOP_AT_END = (("Conflicts", "shutdown.target"), ("Before", "shutdown.target"))
#: The monitor, which sees the end before it sees a status, finds this as it finds the failure of an app.
_SAY_NO_JOURNAL = f"echo '254 the journal of the pod cannot be started' 1<> /{FIRST_FAILURE}; exit 1"
_JOURNAL_SOCKETS = "systemd-journald.socket systemd-journald-dev-log.socket"


def pod_units(programs: str, apps: tuple[str, ...], others: tuple[str, ...] = ()) -> dict[str, str]:
    """Unit files by name. ``programs`` is the directory of systemd's programs, ``apps`` the units to start; ``others`` are
    started too, but the pod is ready without them."""
    after = " ".join((*apps, JOURNALD))
    end = (
        "Unit",
        (_NO_DEFAULTS, ("Requires", "systemd-exit.service"), ("After", "systemd-exit.service"), ("AllowIsolate", "yes")),
    )
    return {
        TARGET: unit(("Unit", (_NO_DEFAULTS, ("Requires", JOURNALD), ("Wants", " ".join((*apps, *others))), ("After", after)))),
        APPS: unit(("Unit", (_NO_DEFAULTS, ("StopWhenUnneeded", "yes"), ("SuccessAction", "exit")))),
        "over.socket": unit(
            ("Unit", (_NO_DEFAULTS, *_STOP_AT_END, *_OR_NOTHING)),
            ("Socket", (("ListenFIFO", f"/{OVER_FIFO}"), ("SocketMode", "0600"), ("Service", "systemd-exit.service"))),
        ),
        "shutdown.target": unit(("Unit", (_NO_DEFAULTS, ("RefuseManualStart", "yes")))),
        "systemd-exit.service": unit(
            (
                "Unit",
                (_NO_DEFAULTS, ("Requires", "shutdown.target"), ("After", "shutdown.target"), ("SuccessAction", "exit-force")),
            )
        ),
        NO_JOURNAL: unit(
            ("Unit", (_NO_DEFAULTS, *_OR_NOTHING)),
            ("Service", (("Type", "oneshot"), ("ExecStart", command(("/bin/sh", "-c", _SAY_NO_JOURNAL))))),
        ),
        "exit.target": unit(end),
        "halt.target": unit(end),
        "poweroff.target": unit(end),
        "systemd-journald.socket": unit(
            ("Unit", (_NO_DEFAULTS, *_loaded_early(apps))),
            (
                "Socket",
                (
                    ("ListenDatagram", "/run/systemd/journal/socket"),
                    ("ListenStream", "/run/systemd/journal/stdout"),
                    ("PassCredentials", "yes"),
                    ("PassSecurity", "yes"),
                    ("ReceiveBuffer", "8M"),
                    ("SocketMode", "0666"),
                    ("Timestamping", "us"),
                    ("Service", JOURNALD),
                ),
            ),
        ),
        "systemd-journald-dev-log.socket": unit(
            ("Unit", (_NO_DEFAULTS,)),
            (
                "Socket",
                (
                    ("ListenDatagram", "/run/systemd/journal/dev-log"),
                    ("PassCredentials", "yes"),
                    ("PassSecurity", "yes"),
                    ("ReceiveBuffer", "8M"),
                    ("SendBuffer", "8M"),
                    ("SocketMode", "0666"),
                    ("Timestamping", "us"),
                    ("Service", JOURNALD),
                ),
            ),
        ),
        JOURNALD: unit(
            (
                "Unit",
                (
                    _NO_DEFAULTS,
                    ("Requires", f"over.socket {_JOURNAL_SOCKETS}"),
                    ("After", f"over.socket {_JOURNAL_SOCKETS}"),
                    *_STOP_AT_END,
                    # FailureAction= would end the pod at once, although it is started again.
                    ("OnFailure", NO_JOURNAL),
                ),
            ),
            (
                "Service",
                (
                    ("Type", "notify"),
                    ("ExecStart", f"{programs}/systemd-journald"),
                    ("Sockets", _JOURNAL_SOCKETS),
                    ("StandardOutput", "null"),
                    ("Restart", "always"),
                    ("RestartSec", "0"),
                    # Streams of apps survive a journald that is killed.
                    ("FileDescriptorStoreMax", "4224"),
                    ("OOMScoreAdjust", "-250"),
                ),
            ),
        ),
    }


def _loaded_early(apps: tuple[str, ...]) -> list[tuple[str, str]]:
    """What lets systemd know apps' sockets before it gives away those that it was started with.

    It looks at the units that are loaded by then, which are its mounts and what these mention: the journal's socket is one.
    """
    sockets = " ".join([name for name in apps if name.endswith(".socket")])
    return [("Before", sockets)] if sockets else []


def journald_conf(*, lines: bool, debug: bool) -> str:
    """The pod's journald.conf; ``lines`` prints what apps write on the console of the pod's lines."""
    settings = [
        ("Storage", "persistent"),
        ("SplitMode", "none"),
        ("RateLimitIntervalSec", "0"),
        ("SystemMaxUse", "256M"),
        ("ReadKMsg", "no"),
        ("Audit", "no"),
        ("ForwardToSyslog", "no"),
        ("ForwardToWall", "no"),
        ("ForwardToConsole", "yes" if lines else "no"),
    ]
    if lines:
        settings += [("TTYPath", f"/{TERMINAL}"), ("MaxLevelConsole", "debug" if debug else "info")]
    return unit(("Journal", settings))
