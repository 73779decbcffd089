"""Images on the command line, each with flags and program arguments of its own.

Hot-path module, loaded only by commands that take images.
"""

from __future__ import annotations

from rktpy.cli.durations import parse_bool
from rktpy.cli.usage import HelpRequested
from rktpy.cli.values import integer
from rktpy.errors import UsageError
from rktpy.formats.aci.isolator_flags import (
    caps_remove_isolator,
    caps_retain_isolator,
    cpu_isolator,
    cpu_shares_isolator,
    memory_isolator,
    oom_score_adj_isolator,
    seccomp_isolator,
)
from rktpy.formats.aci.types import NameValue
from rktpy.formats.cli_values import parse_mount, parse_mount_volume
from rktpy.stage0.options import AppOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments
    from rktpy.formats.pod import Mount

_STREAM_MODES = {"stdin": ("null", "stream", "tty"), "stdout": ("log", "null", "stream", "tty")}
_STREAM_MODES["stderr"] = _STREAM_MODES["stdout"]


class ImageDraft:
    """One image with what its flags have said so far."""

    __slots__ = ("args", "gids", "image", "limits", "lists", "mount_volumes", "mounts", "pairs", "readonly", "switches", "texts")

    def __init__(self, image: str) -> None:
        self.image = image
        self.args: list[str] = []
        self.texts: dict[str, str] = {}
        self.pairs: dict[str, dict[str, str]] = {}
        self.lists: dict[str, tuple[str, ...]] = {}
        self.limits: dict[str, int] = {}
        self.gids: list[int] | None = None
        self.mounts: list[tuple[str, str]] = []
        self.mount_volumes: list[Mount] = []
        self.readonly = False
        self.switches: dict[str, bool] = {}

    def options(self) -> AppOptions:
        """The finished record for stage0."""
        texts = self.texts
        return AppOptions(
            image=self.image,
            args=tuple(self.args),
            signature=texts.get("signature", ""),
            name=texts.get("name"),
            exec=texts.get("exec"),
            user=texts.get("user"),
            group=texts.get("group"),
            supplementary_gids=None if self.gids is None else tuple(self.gids),
            working_directory=texts.get("working-dir"),
            readonly_rootfs=self.readonly,
            mounts=tuple(self.mounts),
            mount_volumes=tuple(self.mount_volumes),
            environment=self._pairs("environment"),
            annotations=self._pairs("annotation"),
            user_annotations=self._pairs("user-annotation"),
            user_labels=self._pairs("user-label"),
            memory=texts.get("memory"),
            cpu=texts.get("cpu"),
            cpu_shares=self.limits.get("cpu-shares"),
            oom_score_adj=self.limits.get("oom-score-adj"),
            caps_retain=self.lists.get("caps-retain"),
            caps_remove=self.lists.get("caps-remove"),
            seccomp=texts.get("seccomp"),
            no_new_privileges=self.switches.get("no-new-privileges"),
            stdin=texts.get("stdin", ""),
            stdout=texts.get("stdout", ""),
            stderr=texts.get("stderr", ""),
        )

    def _pairs(self, name: str) -> tuple[NameValue, ...]:
        return tuple([NameValue(key, value) for key, value in self.pairs.get(name, {}).items()])


class Images:
    """The images in order, and the mounts that stood before the first."""

    __slots__ = ("drafts", "mounts")

    def __init__(self) -> None:
        self.drafts: list[ImageDraft] = []
        self.mounts: list[tuple[str, str]] = []

    def apps(self) -> tuple[AppOptions, ...]:
        """One finished record per image."""
        return tuple([draft.options() for draft in self.drafts])


def of(arguments: Arguments) -> Images:
    """The images of a command line; created when first asked for."""
    if arguments.images is None:
        arguments.images = Images()
    return arguments.images


def read_images(arguments: Arguments, words: list[str], start: int) -> None:
    """Read images, their flags and program arguments from ``words[start:]``.

    Raises :class:`UsageError`.
    """
    problem = "error parsing app image arguments" if arguments.command.images == "args" else "unable to parse arguments"
    try:
        _read(arguments, words, start)
    except HelpRequested:
        raise
    except UsageError as error:
        raise UsageError(problem) from error


def _read(arguments: Arguments, words: list[str], start: int) -> None:
    images = of(arguments)
    drafts = images.drafts
    with_arguments = 0
    inside = False
    index = start
    while index < len(words):
        word = words[index]
        index += 1
        if not word:
            continue
        if inside:
            if word == "---":
                inside = False
            else:
                drafts[-1].args.append(word)
        elif word == "--":
            if arguments.command.images != "args":
                raise UsageError("app arguments unsupported")
            if not drafts:
                raise UsageError("an image is required before any app arguments")
            if with_arguments == len(drafts):
                raise UsageError("only one set of app arguments allowed per image")
            with_arguments = len(drafts)
            inside = True
        elif word != "---":
            end = arguments.read(words, index - 1, stop_at_argument=True)
            if end >= index:
                index = end
            else:
                drafts.append(ImageDraft(word))


def set_image_value(arguments: Arguments, name: str, kind: str, value: str) -> None:
    """Take in one flag of an image. Raises :class:`UsageError` with the reason alone."""
    images = of(arguments)
    if kind == "mount":
        mount = parse_mount(value)
        (images.drafts[-1].mounts if images.drafts else images.mounts).append((mount.volume, mount.path))
        return
    if not images.drafts:
        raise UsageError(f"--{name} must follow an image")
    draft = images.drafts[-1]
    if kind == "image-mount-volume":
        draft.mount_volumes.append(parse_mount_volume(value))
    elif kind == "image-once":
        if draft.texts.get(name):
            raise UsageError(f"--{name} specified multiple times for the same image")
        draft.texts[name] = value
    elif kind == "image-text":
        draft.texts[name] = value
    elif kind == "image-pair":
        key, equals, text = value.partition("=")
        if not equals:
            raise UsageError(f'invalid format of --{name} flag "{value}"')
        draft.pairs.setdefault(name, {})[key] = text
    elif kind in ("image-bool", "image-switch"):
        try:
            said = parse_bool(value) != 0
        except UsageError:
            raise UsageError(f"--{name} must be set with a boolean") from None
        if kind == "image-bool":
            draft.readonly = said
        else:
            draft.switches[name] = said
    elif kind == "image-gids":
        draft.gids = [*(draft.gids or ()), *_gids(name, value)]
    elif kind == "image-capabilities":
        names = tuple(value.split(","))
        name = name.replace("cap-", "caps-")
        (caps_retain_isolator if name == "caps-retain" else caps_remove_isolator)(names)
        draft.lists[name] = names
    elif kind == "image-memory":
        memory_isolator(value)
        draft.texts[name] = value
    elif kind == "image-cpu":
        cpu_isolator(value)
        draft.texts[name] = value
    elif kind == "image-cpu-shares":
        draft.limits[name] = integer(value)
        cpu_shares_isolator(draft.limits[name])
    elif kind == "image-oom-score-adj":
        draft.limits[name] = integer(value)
        oom_score_adj_isolator(draft.limits[name])
    elif kind == "image-seccomp":
        seccomp_isolator(value)
        draft.texts[name] = value
    else:
        if value not in _STREAM_MODES[name]:
            raise UsageError(f'invalid {name} mode "{value}"')
        draft.texts[name] = value


def _gids(name: str, value: str) -> list[int]:
    try:
        gids = [integer(word) for word in value.split(",")]
    except UsageError:
        raise UsageError(f"--{name} must be integers") from None
    for gid in gids:
        if not 0 <= gid < 2**32 - 1:
            raise UsageError(f"{gid} is not a group ID")
    return gids
