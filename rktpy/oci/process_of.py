"""What ``exec`` runs: a file with a process, or the container's own with what the flags say. Hot-path module."""

from __future__ import annotations

from rktpy.formats.jsondoc import parse_object
from rktpy.formats.oci.runtime.process import Capabilities, Process, User
from rktpy.oci.command_line import Arguments
from rktpy.oci.failure import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.oci.runtime.config import RuntimeConfig

_LARGEST = 2**32 - 2


def process_of(arguments: Arguments, config: RuntimeConfig) -> Process:
    """The process. Raises RuntimeFailure, FormatError."""
    path = arguments.text("process")
    if path:
        if len(arguments.args) > 1:
            raise RuntimeFailure("a command and --process exclude each other")
        with open(path, "rb", buffering=0) as file:
            process = Process.from_dict(parse_object(file.readall() or b"", path), "", path)
        if arguments.switch("tty"):
            process = process.replace(terminal=True)
        return _checked(process)
    base = config.process
    assert base is not None
    if len(arguments.args) < 2:
        raise RuntimeFailure("process args cannot be empty")
    process = base.replace(
        args=tuple(arguments.args[1:]),
        terminal=arguments.switch("tty"),
        env=(*base.env, *arguments.repeated("env")),
        console_size=None,
        cwd=arguments.text("cwd") or base.cwd,
    )
    if not process.cwd.startswith("/"):
        raise RuntimeFailure(f"--cwd {process.cwd!r} must be an absolute path")
    if arguments.text("apparmor"):
        process = process.replace(apparmor_profile=arguments.text("apparmor"))
    if arguments.text("process-label"):
        process = process.replace(selinux_label=arguments.text("process-label"))
    if "no-new-privs" in arguments.given:
        process = process.replace(no_new_privileges=arguments.switch("no-new-privs"))
    if arguments.repeated("cap"):
        process = process.replace(capabilities=_with_capabilities(process, arguments.repeated("cap")))
    if arguments.text("user"):
        process = process.replace(user=_user(arguments.text("user"), base.user))
    groups = [_number(one, "--additional-gids") for one in arguments.repeated("additional-gids")]
    if groups:
        process = process.replace(user=process.user.replace(additional_gids=(*process.user.additional_gids, *groups)))
    return _checked(process)


def _user(text: str, base: User) -> User:
    uid, colon, gid = text.partition(":")
    return base.replace(uid=_number(uid, "--user"), gid=_number(gid, "--user") if colon else base.gid)


def _number(text: str, what: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) > _LARGEST:
        raise RuntimeFailure(f"{what}: {text!r} is no number of a user or group")
    return int(text)


def _with_capabilities(process: Process, names: list[str]) -> Capabilities:
    base = process.capabilities or Capabilities()
    more = tuple([name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}" for name in names])
    ambient = base.ambient
    return Capabilities((*base.bounding, *more), (*base.effective, *more), base.inheritable, (*base.permitted, *more), ambient)


def _checked(process: Process) -> Process:
    if process.apparmor_profile:
        from rktpy.isolate.labels import apparmor_enabled

        if not apparmor_enabled():
            raise RuntimeFailure("apparmor profile is set, but apparmor is not supported or disabled on this machine")
    if process.selinux_label:
        from rktpy.isolate.labels import selinux_active

        if not selinux_active():
            raise RuntimeFailure("selinux label is set, but selinux is disabled or not supported")
    initial = process.exec_cpu_affinity[0]
    if initial:
        from rktpy.isolate.scheduling import set_affinity

        set_affinity(initial, "process.execCPUAffinity.initial")  # while the process is moved; it is ours by inheritance
    return process
