"""The generator of units (systemd.generator(7)): what ``.app`` and ``.pod`` files describe becomes services.

    rktpy-system-generator [--dryrun] NORMAL-DIR [EARLY-DIR LATE-DIR]

It is run at boot and at each ``systemctl daemon-reload``, as ``rktpy-user-generator`` for a user's manager. Of files with one
name that of the first directory counts; an empty one, or a link to /dev/null, means that there is none. A file that is wrong
is told about, with its line, and left out; the others are written all the same. Hot-path module.
"""

from __future__ import annotations

import os
import sys

from rktpy.errors import RktpyError, describe
from rktpy.units.described import Described
from rktpy.units.service import OURS, service, word
from rktpy.units.unit_file import UnitFileError, parse, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: In the order in which they count.
SYSTEM_DIRECTORIES = ("/run/rktpy/systemd", "/etc/rktpy/systemd", "/usr/share/rktpy/systemd")
_KINDS = {".app": "App", ".pod": "Pod"}
#: Files of all directories together: more is a mistake, or somebody's joke.
_MOST_FILES = 10_000
_LINKS = {"WantedBy": "wants", "RequiredBy": "requires"}
_UPDATE = "rktpy-update@{}.timer"


class Service:
    """A unit to be written: its name, its text, the links to it by path relative to the directory for units."""

    def __init__(self, name: str, text: str, links: tuple[tuple[str, str], ...]) -> None:
        self.name = name
        self.text = text
        self.links = links


def directories(*, user: bool) -> tuple[str, ...]:
    """Where files are looked for. ``$RKTPY_UNIT_DIRS`` names others, separated by colons."""
    own = os.environ.get("RKTPY_UNIT_DIRS")
    if own is not None:
        return tuple([one for one in own.split(":") if one.startswith("/")])
    if not user:
        return SYSTEM_DIRECTORIES
    home = os.environ.get("XDG_CONFIG_HOME") or f"{os.environ.get('HOME', '')}/.config"
    return (f"{home}/rktpy/systemd", "/etc/rktpy/systemd/users") if home.startswith("/") else ("/etc/rktpy/systemd/users",)


def find(places: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Paths of files by their names, and what went wrong."""
    found: dict[str, str] = {}
    problems: list[str] = []
    for place in places:
        try:
            names = sorted(os.listdir(place))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            problems.append(f"{place} cannot be read: {describe(OSError(error.errno, error.strerror))}")
            continue
        for name in names:
            if name[-4:] in _KINDS and len(name) > 4:
                if len(found) >= _MOST_FILES:
                    problems.append(f"{place}: more than {_MOST_FILES} files")
                    return found, problems
                found.setdefault(name, f"{place}/{name}")
    return found, problems


def generate(program: str, files: dict[str, str]) -> tuple[list[Service], list[str]]:
    """The services that the files describe, and what is wrong with the others. ``program`` is the path of rktpy."""
    problems: list[str] = []
    described: dict[str, Described] = {}
    for name, path in sorted(files.items()):
        try:
            text = read_file(path)
            if text is None:
                continue
            one = Described(path, _KINDS[name[-4:]])
            _check_name(path, name)
            one.take(parse(text, path), OURS)
        except RktpyError as error:
            problems.append(str(error))
        else:
            described[name] = one
    services: list[Service] = []
    taken: dict[str, str] = {}
    for name, one in described.items():
        try:
            if one.of_pod:
                if one.of_pod not in described:
                    raise UnitFileError(one.path, 0, f"there is no {one.of_pod}, or it is wrong")
                continue
            apps = [one] if one.kind == "App" else [app for app in described.values() if app.of_pod == name]
            if not apps:
                raise UnitFileError(one.path, 0, f"no app says Pod={name}")
            made = _service(program, name, one, apps)
            if made.name in taken:
                raise UnitFileError(one.path, 0, f"{made.name} is described by {taken[made.name]} already")
        except RktpyError as error:
            problems.append(str(error))
        else:
            taken[made.name] = one.path
            services.append(made)
    return services, problems


def _check_name(path: str, name: str) -> None:
    from rktpy.units.pins import unit_stem

    try:
        unit_stem(name[:-4])
    except RktpyError:
        raise UnitFileError(path, 0, "the name of the file cannot be the name of a unit") from None


def _service(program: str, name: str, one: Described, apps: list[Described]) -> Service:
    stem = one.service_name or (name[:-4] if one.kind == "App" else f"{name[:-4]}-pod")
    arguments = list(one.pod)
    for app in apps:
        if app is not one:
            arguments += app.pod
    for app in apps:
        if len(apps) > 1 and not app.name:
            app.name = _app_name(app)
        arguments += app.app_words()
    images = " ".join([app.image for app in apps])
    text = service(
        program,
        [word(argument, specifiers=True) for argument in arguments],
        description=f"Pod of {images}",
        # Of an instance too: %N is the unit's name without its suffix.
        pins="%N",
        unit=(("SourcePath", one.path), *one.sections["Unit"]),
        settings=one.sections["Service"],
        install=one.sections["Install"],
        more=one.more.items(),
    )
    return Service(f"{stem}.service", text, tuple(_links(program, stem, one, apps)))


def _app_name(app: Described) -> str:
    from rktpy.formats.aci.types import ac_name_problem

    stem = app.path.rpartition("/")[2][:-4]
    problem = ac_name_problem(stem)
    if problem:
        raise UnitFileError(app.path, 0, f"{stem!r} cannot be the name of an app ({problem}): say AppName=")
    return stem


def _links(program: str, stem: str, one: Described, apps: list[Described]) -> Iterable[tuple[str, str]]:
    """Links as systemctl(1) would make them for [Install], and the timer of AutoUpdate=: path, target."""
    unit = f"{stem}.service"
    install = one.sections["Install"]
    if stem.endswith("@"):
        instance = next((value for key, value in install if key == "DefaultInstance"), "")
        linked = f"{stem}{instance}.service" if instance else ""
    else:
        linked = unit
    for key, value in install:
        for other in value.split():
            if "/" in other or other.startswith("."):
                raise UnitFileError(one.path, 0, f"{key}: {other!r} is not the name of a unit")
            if key in _LINKS and linked:
                yield f"{other}.{_LINKS[key]}/{linked}", f"../{unit}"
            elif key == "Alias":
                yield other, unit
            elif key not in (*_LINKS, "DefaultInstance", "Also"):
                raise UnitFileError(one.path, 0, f"unknown key {key} of [Install]")
    if any(app.auto_update for app in (one, *apps)) and not stem.endswith("@"):
        yield f"timers.target.wants/{_UPDATE.format(stem)}", f"{_units_of(program)}/{_UPDATE.format('')}"


def _units_of(program: str) -> str:
    """Where the units that were installed with ``program`` lie."""
    return f"{os.path.dirname(os.path.dirname(program))}/lib/systemd/system"


def write(directory: str, services: list[Service]) -> None:
    """Write units and links below ``directory``. Raises OSError."""
    for one in services:
        fd = os.open(f"{directory}/{one.name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            data = one.text.encode("utf-8", "surrogateescape")
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)
        for path, target in one.links:
            parent = path.rpartition("/")[0]
            if parent:
                os.makedirs(f"{directory}/{parent}", 0o755, exist_ok=True)
            try:
                os.symlink(target, f"{directory}/{path}")
            except FileExistsError:
                pass  # two files that want the same alias; the first has it


def main(program: str, argv: list[str], *, user: bool) -> int:
    """Do what the arguments (without the program's name) say, and give the exit status. ``program`` is the path of rktpy."""
    dry = [one for one in argv if one in ("--dryrun", "--dry-run")]
    rest = [one for one in argv if one not in dry]
    if any(one.startswith("-") for one in rest) or (len(rest) not in (1, 3) and not (dry and not rest)):
        _say("usage: rktpy-system-generator [--dryrun] NORMAL-DIR [EARLY-DIR LATE-DIR]")
        return 254
    files, problems = find(directories(user=user))
    services, wrong = generate(program, files)
    if dry:
        text = "".join([f"# {one.name}\n{one.text}\n" for one in services])
        os.write(1, text.encode("utf-8", "surrogateescape"))
    else:
        try:
            write(rest[0], services)
        except OSError as error:
            wrong.append(describe(error))
    for problem in (*problems, *wrong):
        _say(problem)
    return 1 if problems or wrong else 0


def _say(text: str) -> None:
    os.write(2, f"rktpy-generator: {text}\n".encode("utf-8", "backslashreplace"))


def console(program: str) -> None:
    """Entry point of rktpy-system-generator and rktpy-user-generator, which differ by their names."""
    user = os.path.basename(sys.argv[0]) == "rktpy-user-generator" or os.environ.get("SYSTEMD_SCOPE") == "user"
    os._exit(main(program, sys.argv[1:], user=user))
