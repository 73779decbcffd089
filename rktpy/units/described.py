"""What a ``.app`` or ``.pod`` file says, as words for ``rktpy run``. The keys are those of rktpy-unit(5), and no others.

Keys have podman's names (podman-systemd.unit(5)) where they mean the same. Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.aci.types import ac_name_problem
from rktpy.units.unit_file import Setting, UnitFileError, truth, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rktpy.units.service import Line

_NETWORKS_OF_OTHERS = ("bridge", "container", "ns", "pasta", "private", "slirp4netns")
_PULL = {"always": "update", "missing": "new", "newer": "update", "never": "never"}
_BYTES = {"": "", "b": "", "k": "Ki", "m": "Mi", "g": "Gi"}
_COPIED = ("Unit", "Service", "Install")


class Described:
    """One file: what concerns the pod, what concerns the app, and the sections for the unit."""

    def __init__(self, path: str, kind: str) -> None:
        self.path = path
        self.kind = kind  # "App" or "Pod"
        self.pod: list[str] = []
        self.image = ""
        self.name = ""
        self.app: list[str] = []
        self.arguments: list[str] = []
        self.of_pod = ""
        self.service_name = ""
        self.auto_update = False
        self.volumes = 0
        self.add: list[str] = []
        self.drop: list[str] = []
        self.sections: dict[str, list[Line]] = {name: [] for name in _COPIED}
        self.more: dict[str, list[Line]] = {}
        self._pod_lines: list[Setting] = []
        self._unit_lines: list[Setting] = []

    def take(self, settings: list[Setting], ours: tuple[str, ...]) -> None:
        """Take the settings in. ``ours`` are keys of [Service] that the file cannot set. Raises UnitFileError."""
        for one in settings:
            if one.section in _COPIED:
                if one.section == "Service" and one.key in ours:
                    raise one.problem("is written by rktpy")
                if one.section == "Service" and one.key == "Type" and one.value not in ("notify", "exec", "simple", "oneshot"):
                    raise one.problem("must be notify, exec, simple or oneshot")
                self.sections[one.section].append((one.key, one.value))
                self._unit_lines.append(one)
            elif one.section.startswith("X-"):
                self.more.setdefault(one.section, []).append((one.key, one.value))
            elif one.section != self.kind:
                raise UnitFileError(one.path, one.line, f"unknown section [{one.section}]: wanted [{self.kind}]")
            else:
                self._key(one)
        self._finish()

    def _key(self, one: Setting) -> None:
        handler = _BOTH.get(one.key)
        if handler is not None:
            self._pod_lines.append(one)
        else:
            handler = (_APP if self.kind == "App" else _POD).get(one.key)
        if handler is None:
            raise one.problem(f"unknown key of [{self.kind}]")
        if not one.value and one.key not in ("Exec", "Environment"):
            raise one.problem("has no value")
        handler(self, one)

    def _finish(self) -> None:
        if self.kind == "App" and not self.image:
            raise UnitFileError(self.path, 0, "[App] has no Image=")
        if self.of_pod:
            for one in self._pod_lines:
                raise one.problem(f"belongs into {self.of_pod}, as the app shares that pod")
            for one in self._unit_lines:
                raise one.problem(f"[{one.section}] belongs into {self.of_pod}: an app of a pod is no unit of its own")
        if self.add or self.drop:
            self.app += capability_words(self.add, self.drop)

    def app_words(self) -> list[str]:
        """The image with its flags and arguments."""
        named = [f"--name={self.name}"] if self.name else []
        more = ["--", *self.arguments, "---"] if self.arguments else []
        return [self.image, *named, *self.app, *more]


def capability_words(add: list[str], drop: list[str]) -> list[str]:
    """The flags for ``AddCapability=`` and ``DropCapability=``, which change the set that an app has by default."""
    from rktpy.formats.aci.isolators import DEFAULT_CAPABILITIES

    keep = [] if "CAP_ALL" in drop else [name for name in DEFAULT_CAPABILITIES if name not in drop]
    keep += [name for name in dict.fromkeys(add) if name not in keep]
    if not keep:
        return [f"--caps-remove={','.join(DEFAULT_CAPABILITIES)}"]
    removed = [name for name in DEFAULT_CAPABILITIES if name not in keep]
    if "CAP_ALL" not in drop and len(keep) + len(removed) == len(DEFAULT_CAPABILITIES):
        return [f"--caps-remove={','.join(removed)}"] if removed else []
    return [f"--caps-retain={','.join(keep)}"]


def _one_word(one: Setting) -> str:
    found = words(one)
    if len(found) != 1 or not found[0]:
        raise one.problem("wants one word")
    return found[0]


def _flag(flag: str) -> Callable[[Described, Setting], None]:
    """A key whose value becomes one flag of the pod."""

    def take(file: Described, one: Setting) -> None:
        file.pod.append(f"--{flag}={_one_word(one)}")

    return take


def _app_flag(flag: str) -> Callable[[Described, Setting], None]:
    def take(file: Described, one: Setting) -> None:
        file.app.append(f"--{flag}={_one_word(one)}")

    return take


def _app_truth(flag: str) -> Callable[[Described, Setting], None]:
    def take(file: Described, one: Setting) -> None:
        file.app.append(f"--{flag}={'true' if truth(one) else 'false'}")

    return take


def _pairs(flag: str) -> Callable[[Described, Setting], None]:
    """A key of words NAME=VALUE, each a flag of the app, or with [Pod] of the pod."""

    def take(file: Described, one: Setting) -> None:
        for pair in words(one):
            if not pair.partition("=")[1] or pair.startswith("="):
                raise one.problem(f"{pair!r} is not NAME=VALUE")
            (file.app if file.kind == "App" else file.pod).append(f"--{flag}={pair}")

    return take


def _image(file: Described, one: Setting) -> None:
    image = _one_word(one)
    if image.startswith("-") or image.endswith((".image", ".build")):
        raise one.problem(f"{image!r} is no reference to an image")
    file.image = image


def _exec(file: Described, one: Setting) -> None:
    arguments = words(one)
    for argument in arguments:
        if argument == "---":
            raise one.problem("an argument cannot be ---, which ends the arguments of an app")
    file.arguments = arguments


def _volume(file: Described, one: Setting) -> None:
    source, target, options = "", _one_word(one), ""
    if ":" in target:
        source, _colon, target = target.partition(":")
        target, _colon, options = target.partition(":")
    if not target.startswith("/") or "," in target:
        raise one.problem(f"{target!r} is not an absolute path without commas")
    read_only = False
    for option in options.split(",") if options else ():
        if option not in ("ro", "rw"):
            raise one.problem(f"unknown option {option!r}: wanted ro or rw")
        read_only = option == "ro"
    if source and not source.startswith(("/", "%")):
        raise one.problem(f"{source!r} is not an absolute path: there are no volumes with names")
    if "," in source:
        raise one.problem("a path cannot have a comma")
    # Volumes of a pod are known to all its apps by name, so each file has names of its own.
    stem = file.path.rpartition("/")[2].rpartition(".")[0].lower()
    name = "".join([character if character.isalnum() and character.isascii() else "-" for character in stem]).strip("-") or "v"
    while "--" in name:
        name = name.replace("--", "-")
    name = f"{name}-{'p' if file.kind == 'Pod' else 'a'}{file.volumes}"
    file.volumes += 1
    kind = f"kind=host,source={source}" if source else "kind=empty"
    file.pod.append(f"--volume={name},{kind}{',readOnly=true' if read_only else ''}")
    (file.app if file.kind == "App" else file.pod).append(f"--mount=volume={name},target={target}")


def _port(file: Described, one: Setting) -> None:
    text = _one_word(one)
    text, _slash, protocol = text.partition("/")
    rest, _colon, inner = text.rpartition(":")
    address, _colon, outer = rest.rpartition(":")
    protocol = protocol or "tcp"
    if protocol not in ("tcp", "udp"):
        raise one.problem(f"unknown protocol {protocol!r}: wanted tcp or udp")
    if not outer:
        raise one.problem("wants [ADDRESS:]HOSTPORT:PODPORT[/PROTOCOL]")
    for number in (inner, outer):
        if not number.isascii() or not number.isdigit() or not 1 <= int(number[:6]) <= 65535:
            raise one.problem(f"{number!r} is not a port")
    file.pod.append(f"--port={protocol}-{outer}:{protocol}:{inner}:{address or '0.0.0.0'}:{outer}")


def _network(file: Described, one: Setting) -> None:
    name = _one_word(one)
    if name.partition(":")[0] in _NETWORKS_OF_OTHERS or name.endswith(".network"):
        raise one.problem(f"unknown network {name!r}: wanted host, none, or the name of a CNI network (rktpy-net(5))")
    file.pod.append(f"--net={name}")


def _host(file: Described, one: Setting) -> None:
    name, colon, address = _one_word(one).partition(":")
    if not colon or not name or not address:
        raise one.problem("wants NAME:ADDRESS")
    file.pod.append(f"--hosts-entry={address}={name}")


def _users(file: Described, one: Setting) -> None:
    if one.value not in ("auto", "host"):
        raise one.problem("must be auto or host")
    if one.value == "auto":
        file.pod.append("--private-users")


def _pull(file: Described, one: Setting) -> None:
    if one.value not in _PULL:
        raise one.problem(f"must be one of {', '.join(_PULL)}")
    file.pod.append(f"--pull-policy={_PULL[one.value]}")


def _environment_file(file: Described, one: Setting) -> None:
    path = _one_word(one)
    if not path.startswith(("/", "%")):
        raise one.problem(f"{path!r} is not an absolute path")
    file.pod.append(f"--set-env-file={path}")


def _more_flags(file: Described, one: Setting) -> None:
    for flag in words(one):
        if not flag.startswith("--") or len(flag) == 2 or flag.startswith(("---", "--uuid-file-save", "--pins", "--interactive")):
            raise one.problem(f"{flag!r} is not a flag of the pod: wanted --NAME=VALUE")
        file.pod.append(flag)


def _of_pod(file: Described, one: Setting) -> None:
    if not one.value.endswith(".pod") or "/" in one.value:
        raise one.problem("wants the name of a .pod file")
    file.of_pod = one.value


def _app_name(file: Described, one: Setting) -> None:
    problem = ac_name_problem(one.value)
    if problem:
        raise one.problem(problem)
    file.name = one.value


def _service_name(file: Described, one: Setting) -> None:
    from rktpy.units.pins import unit_stem

    try:
        file.service_name = unit_stem(_one_word(one))
    except Exception as error:
        raise one.problem(str(error)) from None


def _auto_update(file: Described, one: Setting) -> None:
    if one.value != "registry":
        raise one.problem("must be registry")
    file.auto_update = True


def _capabilities(which: str) -> Callable[[Described, Setting], None]:
    def take(file: Described, one: Setting) -> None:
        for name in words(one):
            upper = name.upper()
            upper = upper if upper.startswith("CAP_") else f"CAP_{upper}"
            if not upper.replace("_", "").isalnum() or (upper == "CAP_ALL" and which == "add"):
                raise one.problem(f"{name!r} is not a capability")
            (file.add if which == "add" else file.drop).append(upper)

    return take


def _memory(file: Described, one: Setting) -> None:
    digits = one.value.rstrip("bkmgBKMG")
    suffix = one.value[len(digits) :].lower()
    if not digits.isascii() or not digits.isdigit() or suffix not in _BYTES:
        raise one.problem("wants a number of bytes, with b, k, m or g behind it")
    file.app.append(f"--memory={digits}{_BYTES[suffix]}")


def _notify(file: Described, one: Setting) -> None:
    said = "true" if truth(one) else "false"
    file.app.append(f"--annotation=appc.io/executor/supports-systemd-notify={said}")


def _group_add(file: Described, one: Setting) -> None:
    file.app.append(f"--supplementary-gids={','.join(words(one))}")


def _stop_timeout(file: Described, one: Setting) -> None:
    if not one.value.isascii() or not one.value.isdigit():
        raise one.problem("wants a number of seconds")
    file.sections["Service"].append(("TimeoutStopSec", one.value))


#: Keys of both kinds: they say something about the pod as a whole.
_BOTH: dict[str, Callable[[Described, Setting], None]] = {
    "AddHost": _host,
    "AutoUpdate": _auto_update,
    "DNS": _flag("dns"),
    "DNSOption": _flag("dns-opt"),
    "DNSSearch": _flag("dns-search"),
    "EnvironmentFile": _environment_file,
    "HostName": _flag("hostname"),
    "Network": _network,
    "PublishPort": _port,
    "Pull": _pull,
    "RktpyArgs": _more_flags,
    "ServiceName": _service_name,
    "Stage1": _flag("stage1"),
    "StopTimeout": _stop_timeout,
    "UserNS": _users,
}
_POD: dict[str, Callable[[Described, Setting], None]] = {"Environment": _pairs("set-env"), "Volume": _volume}
_APP: dict[str, Callable[[Described, Setting], None]] = {
    "AddCapability": _capabilities("add"),
    "Annotation": _pairs("annotation"),
    "AppName": _app_name,
    "CPU": _app_flag("cpu"),
    "DropCapability": _capabilities("drop"),
    "Entrypoint": _app_flag("exec"),
    "Environment": _pairs("environment"),
    "Exec": _exec,
    "Group": _app_flag("group"),
    "GroupAdd": _group_add,
    "Image": _image,
    "Label": _pairs("user-label"),
    "Memory": _memory,
    "NoNewPrivileges": _app_truth("no-new-privileges"),
    "Notify": _notify,
    "Pod": _of_pod,
    "ReadOnly": _app_truth("readonly-rootfs"),
    "User": _app_flag("user"),
    "Volume": _volume,
    "WorkingDir": _app_flag("working-dir"),
}
#: All keys by section, for the manual page's test.
KEYS = {"App": (*_BOTH, *_APP), "Pod": (*_BOTH, *_POD)}
