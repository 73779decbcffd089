"""How the per-image flags of a command line change an image's app section.

Order and messages as rkt's stage0/common.go and stage0/run.go. Pure; hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import FormatError, UsageError
from rktpy.formats.aci.manifest import App, is_environment_name
from rktpy.formats.aci.types import NameValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from rktpy.formats.aci.isolators import Isolator
    from rktpy.stage0.options import AppOptions

#: The flags of an image that set isolators, by their names in AppOptions.
_ISOLATORS = ("memory", "cpu", "cpu_shares", "oom_score_adj", "caps_retain", "caps_remove", "seccomp", "no_new_privileges")


def override_app(app: App | None, options: AppOptions) -> App:
    """The image's app section with the flags of ``options`` applied, the environment excepted.

    ``app`` may be missing when ``--exec`` is given; the app then runs as the caller. Raises UsageError, FormatError.
    """
    if app is None:
        app = App(user=str(os.getuid()), group=str(os.getgid()))
    changes: dict[str, Any] = {}
    command = app.exec if options.exec is None else (options.exec,)
    if options.exec is not None or options.args:
        changes["exec"] = (*command, *options.args)
    if options.working_directory:
        changes["working_directory"] = options.working_directory
    isolators = _override_isolators(app.isolators, options)
    if isolators is not app.isolators:
        changes["isolators"] = isolators
    if options.user:
        changes["user"] = options.user
    if options.group:
        changes["group"] = options.group
    if options.supplementary_gids is not None:
        changes["supplementary_gids"] = options.supplementary_gids
    if options.user_annotations:
        changes["user_annotations"] = {pair.name: pair.value for pair in options.user_annotations}
    if options.user_labels:
        changes["user_labels"] = {pair.name: pair.value for pair in options.user_labels}
    return app.replace(**changes) if changes else app


def _override_isolators(isolators: tuple[Isolator, ...], options: AppOptions) -> tuple[Isolator, ...]:
    wanted: dict[str, Any] = {name: value for name in _ISOLATORS if (value := getattr(options, name)) not in (None, "")}
    if not wanted:
        return isolators
    from rktpy.formats.aci.isolator_flags import apply_cli_isolators

    return apply_cli_isolators(isolators, **wanted)


def merge_environment(
    image: tuple[NameValue, ...],
    *,
    inherited: Mapping[str, str] | None = None,
    files: Iterable[NameValue] = (),
    pod: Iterable[NameValue] = (),
    app: Iterable[NameValue] = (),
) -> tuple[NameValue, ...]:
    """The environment of an app. Who wins, from the last to the first: inherited, image, env files, --set-env, --environment.

    Inherited variables that a manifest cannot hold (names of shell functions, values that are not UTF-8) are left out.
    """
    values = {pair.name: pair.value for pair in image}
    if inherited is not None:
        for name, value in inherited.items():
            if name not in values and is_environment_name(name) and _is_utf8(value):
                values[name] = value
    for source in (files, pod, app):
        for pair in source:
            values[pair.name] = pair.value
    return tuple([NameValue(name, value) for name, value in values.items()])


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_env_file(path: str) -> tuple[NameValue, ...]:
    """The variables of an ``--set-env-file``: ``name=value`` lines; empty lines and those that begin with # or ; do not count.

    Raises UsageError with rkt's messages, FormatError for what is not UTF-8, OSError.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f'environment file "{path}"', "", f"not UTF-8 at byte {error.start}") from None
    values: dict[str, str] = {}
    for line in text.split("\n"):
        line = line.removesuffix("\r")
        if not line or line[0] in "#;":
            continue
        name, equals, value = line.partition("=")
        if not equals or not name:
            raise UsageError(f'environment variable must be specified as name=value (file "{path}")')
        if name in values:
            raise UsageError(f'environment variable "{name}" already set (file "{path}")')
        values[name] = value
    return tuple([NameValue(name, value) for name, value in values.items()])
