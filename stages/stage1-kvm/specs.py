"""The spec of an app for the guest: program, environment, who it is and what it may do. ``guest/process.c`` is the other side.

It is computed here, from the image's own files and the isolators, and applied there by the process itself before it executes the
program. Hot-path module.
"""

from __future__ import annotations

from rktpy.cgroup.devices import CLOSED, device_program
from rktpy.errors import Stage1Error
from rktpy.formats import stage1 as names
from rktpy.formats.aci.isolators import Landlock
from rktpy.formats.stage1 import Enforcement
from rktpy.isolate.environment import app_environment
from rktpy.isolate.executable import check_executable, find_executable
from rktpy.isolate.pod_app import write_file
from rktpy.isolate.privileges import Restrictions, app_privileges
from rktpy.isolate.process import Credentials, NoNewPrivs, Seccomp, SetCaps
from rktpy.isolate.stream_modes import stream_modes
from rktpy.isolate.users import app_user
from rktpy.record import Record
from rktpy.stage1.kvm.frames import strings
from rktpy.stage1.kvm.guest_plan import app_cgroup, app_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.isolate.landlock import RestrictWithLandlock
    from rktpy.isolate.pod_app import PodApp
    from rktpy.isolate.root import Root

#: Where an app that says when it is ready says it.
NOTIFY_SOCKET = "/run/systemd/notify"
_MODES = {"null": "n", "journal": "p", "stream": "p", "tty": "t"}


class Restricted(Record):
    """What the user switched off, and the version of the guest's Landlock."""

    no_capabilities: bool = False
    no_seccomp: bool = False
    landlock: int = 0


class Spec(Record):
    """``pairs`` are the words for the guest, ``streams`` the modes of the three streams, one letter each; ``environment`` is for
    those who enter."""

    pairs: tuple[str | bytes, ...]
    streams: str
    notifies: bool
    environment: dict[str, str]

    def data(self) -> bytes:
        """As data of a frame."""
        return strings(self.pairs)

    def entered(self, command: tuple[str, ...], streams: str, environment: dict[str, str]) -> bytes:
        """The same for another command in the app: as data of a frame."""
        kept: list[str | bytes] = []
        left_out = ("argument", "program", "variable", "streams", "directory", "before", "after", "notifies", "devices")
        for key, value in zip(self.pairs[::2], self.pairs[1::2], strict=True):
            if key not in left_out:
                kept += (key, value)
        kept += ("streams", streams)
        for word in command:
            kept += ("argument", word)
        for name, value in {**self.environment, **environment}.items():
            kept += ("variable", f"{name}={value}")
        return strings(kept)


def app_spec(
    app: PodApp,
    root: Root,
    restricted: Restricted,
    *,
    oom_score: str = "",
    interactive: bool = False,
    metadata: str = "",
    added: bool = False,
) -> tuple[Spec, list[Enforcement]]:
    """The spec of an app whose root, as the image has it, is ``root``, and the report about its privileges. ``metadata`` is the
    address of the metadata service, ``added`` says that the app comes to a pod that runs. Raises RktpyError, OSError."""
    user = app_user(app, root)
    environment = app_environment(app.name, app.app, user)
    if metadata:
        environment[names.METADATA_URL] = metadata
    notifies = app.image.annotation(names.SUPPORTS_NOTIFY) == "true"
    if notifies:
        environment["NOTIFY_SOCKET"] = NOTIFY_SOCKET
    streams = "ttt" if interactive else "".join([_MODES[mode] for mode in stream_modes(app).values()])
    if streams[1:] == "pp" and "stream" not in stream_modes(app).values():
        streams = f"{streams[0]}ps"  # what goes to one log is one stream, in the order in which it was written
    pairs: list[str | bytes] = ["name", app.name, "root", app_directory(app.name), "cgroup", app_cgroup(app.name)]
    pairs += ["directory", app.app.working_directory or "/", "streams", streams]
    search = next((variable.value for variable in app.app.environment if variable.name == "PATH"), None)
    directory = app.app.working_directory or "/"
    program = find_executable(root, app.app.exec[0], search, directory)
    if added:
        # It is somebody's call to tell, unlike the later start, which waits for no execve(2).
        check_executable(root, program)
    pairs += ["program", program]
    for word in app.app.exec:
        pairs += ["argument", word]
    for handler in app.app.event_handlers:
        found = find_executable(root, handler.exec[0], search, directory)
        pairs += ["before" if handler.name == "pre-start" else "after", strings((found, *handler.exec[1:]))]
    if oom_score:
        pairs += ["oom", oom_score]
    if notifies:
        pairs += ["notifies", "yes"]
    pairs += ["devices", device_program(CLOSED)]
    own, report = _privileges(app, root, restricted)
    pairs += own
    written = dict(environment)
    for name, value in environment.items():
        pairs += ["variable", f"{name}={value}"]
    return Spec(tuple(pairs), streams, notifies, written), report


def _privileges(app: PodApp, root: Root, restricted: Restricted) -> tuple[list[str | bytes], list[Enforcement]]:
    user = app_user(app, root)
    others = tuple([one for one in app.app.isolators if not isinstance(one.parsed, Landlock)])
    rules = Restrictions(no_capabilities=restricted.no_capabilities, no_seccomp=restricted.no_seccomp)
    decided = app_privileges(app.name, others, user, rules)
    report = list(decided.report)
    pairs: list[str | bytes] = []
    for operation in decided.operations:
        if isinstance(operation, SetCaps):
            pairs += ["capabilities", f"{operation.bounding:x}"]
        elif isinstance(operation, Credentials):
            pairs += ["uid", str(operation.uid), "gid", str(operation.gid)]
            for group in operation.groups:
                pairs += ["group", str(group)]
        elif isinstance(operation, NoNewPrivs):
            pairs += ["no-new-privileges", "yes"]
        elif isinstance(operation, Seccomp):
            pairs += ["seccomp", operation.program]
        else:
            raise Stage1Error(f"app {app.name}: stage1-kvm cannot {operation.describe()}")
    for one in app.app.isolators:
        if isinstance(one.parsed, Landlock):
            from rktpy.isolate.landlock import plan_landlock

            # Rules for ports came with version 4, which no kernel that this was made for has.
            planned, entry = plan_landlock(app.name, one.parsed, min(restricted.landlock, 3), root)
            report.append(entry)
            if planned is not None:
                pairs += ["landlock", _landlock(planned)]
    return pairs, report


def _landlock(planned: RestrictWithLandlock) -> bytes:
    words = [f"{planned.files:x}", "0"]
    for path, rights in planned.paths:
        words += [f"{rights:x}", path]
    return strings(words)


def write_environment(app: PodApp, spec: Spec) -> None:
    """Write ``rkt/env/<app>``. Raises OSError."""
    from rktpy.isolate.environment import environment_file

    write_file(f"{names.STAGE1_ROOTFS}/{names.ENV_DIR}/{app.name}", environment_file(spec.environment), 0o600)
