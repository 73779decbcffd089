"""The unit file of a service that runs a pod, as ``rktpy generate unit`` prints it and the generator writes it.

Source: systemd.service(5), systemd.exec(5), systemd.kill(5), systemd.resource-control(5). Hot-path module.
"""

from __future__ import annotations

from rktpy.stage1.systemd.unit_text import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Line = tuple[str, str]

#: Where the pod's UUID is noted: %t is /run, or the run-time directory of a user's manager.
UUID_FILE = "%t/%N.rktpy-uuid"
#: Settings of [Service] that are written here and nowhere else.
OURS = (
    "ExecStart",
    "ExecStopPost",
    "Delegate",
    "KillMode",
    "NotifyAccess",
    "RootDirectory",
    "RootImage",
    "ExecReload",
    "ExecStop",
)


def word(text: str, *, specifiers: bool) -> str:
    """One word of a command line; with ``specifiers`` a % in it is systemd's (systemd.unit(5)), else it is itself.

    systemd takes a word that is a lone semicolon for the end of a command, unless it is quoted as it is here.
    """
    done = quoted(text)
    if specifiers:
        done = done.replace("%%", "%")
    plain = done[1:-1]
    simple = plain and plain == text and all(one.isalnum() or one in "-_=./:,@+" for one in plain) and plain.isascii()
    return plain if simple else done


def service(
    program: str,
    arguments: Iterable[str],
    *,
    description: str,
    pins: str,
    unit: Iterable[Line] = (),
    settings: Iterable[Line] = (),
    install: Iterable[Line] = (),
    more: Iterable[tuple[str, Iterable[Line]]] = (),
) -> str:
    """The text of the unit file.

    ``program`` is the path of rktpy, ``arguments`` are quoted words that follow ``run``; ``pins`` the name for ``--pins``.
    ``unit``, ``settings`` and ``install`` are lines of the three sections, which stand after, and so win over, what is said here;
    ``more`` are further sections.
    """
    arguments = tuple(arguments)
    settings = tuple(settings)
    unit = tuple(unit)
    given = {key for key, _value in settings}
    tool = word(program, specifiers=False)
    run = " \\\n    ".join((f"{tool} run", f"--pins={pins}", f"--uuid-file-save={UUID_FILE}", *arguments))
    lines: list[Line] = []
    # The pod is ready when its apps are; the messages come from the main process.
    lines += [("Type", "notify"), ("NotifyAccess", "main")] if "Type" not in given else []
    lines += [
        # Limits of the unit bound the pod, and the pod makes its own groups below the unit's.
        ("Delegate", "yes"),
        # The main process stops the apps in order; what is left after TimeoutStopSec= is killed.
        ("KillMode", "mixed"),
    ]
    if "Restart" not in given:
        lines.append(("Restart", "on-failure"))
    if "SyslogIdentifier" not in given:
        lines.append(("SyslogIdentifier", "%N"))
    # A colon: no variable is expanded in a command.
    lines.append(("ExecStart", f":{run}"))
    lines.append(("ExecStopPost", " ".join((f"-:{tool} rm", *_directories(arguments), f"--uuid-file={UUID_FILE}"))))
    head: list[Line] = [("Documentation", "man:rktpy-run(1) man:rktpy-unit(5)")]
    if not any(key == "Description" for key, _value in unit):
        head.insert(0, ("Description", description))
    head += [("Wants", "network-online.target"), ("After", "network-online.target")]
    sections: list[tuple[str, Iterable[Line]]] = [("Unit", (*head, *unit)), ("Service", (*lines, *settings)), *more]
    installed = tuple(install)
    if installed:
        sections.append(("Install", installed))
    return "\n".join(["".join([f"[{name}]\n", *[f"{key}={value}\n" for key, value in pairs]]) for name, pairs in sections])


def _directories(arguments: Iterable[str]) -> Iterable[str]:
    """Those of the arguments, before the first image's own, that say where pods are."""
    following = False
    for argument in arguments:
        if argument == "--":
            return
        name, equals, _value = argument.strip('"').partition("=")
        if following or name in ("--dir", "--local-config", "--system-config"):
            yield argument
            following = not equals and not following
