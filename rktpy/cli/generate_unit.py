"""``rktpy generate unit``."""

from __future__ import annotations

import os
import sys

from rktpy.cli import flags
from rktpy.cli.images import of
from rktpy.cli.output import out
from rktpy.cli.pod_options import pod_options
from rktpy.cli.run_options import run_options
from rktpy.cli.settings import settings
from rktpy.errors import NotFoundError, RktpyError, UsageError
from rktpy.units.service import service, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments

_TYPES = ("notify", "exec")
_RESTARTS = ("no", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort", "always")
_LOCAL = ("oci:", "oci-archive:", "docker-archive:")
_HEX = frozenset("0123456789abcdef-")


def run(arguments: Arguments) -> int:
    """Print the unit that runs the images, or the pod, of the command line."""
    for flag, allowed in (("type", _TYPES), ("restart", _RESTARTS)):
        if arguments.text(flag) not in allowed:
            raise UsageError(f"--{flag} must be one of {', '.join(allowed)}")
    for flag in ("description", "wanted-by"):
        if "\n" in arguments.text(flag):
            raise UsageError(f"--{flag} cannot have a line break")
    images = [draft.image for draft in of(arguments).drafts]
    words = carried_over(arguments, frozenset(images))
    manifest = _manifest(arguments, images)
    if manifest:
        index = words.index(images[0])
        words[index : index + 1] = [f"--pod-manifest={manifest}"]
        images = [f"manifest {manifest}"]
    else:
        # Whether they make sense together is told now, not when the unit starts.
        run_options(arguments)
        from rktpy.stage0.podmanifest import check_options

        check_options(pod_options(arguments))
    if not arguments.has("description"):
        arguments.given["description"] = f"Pod of {' '.join(images) or 'a manifest'}"
    wanted = arguments.text("wanted-by")
    text = service(
        _program(),
        [word(one, specifiers=False) for one in words],
        description=_plain(arguments.text("description")),
        pins="%N",
        settings=(("Restart", arguments.text("restart")), *_type(arguments.text("type"))),
        install=(("WantedBy", _plain(wanted)),) if wanted else (),
    )
    out(text.rstrip("\n"))
    return 0


def carried_over(arguments: Arguments, images: frozenset[str]) -> list[str]:
    """The words of the command line that are meant for ``run``; local files by absolute paths."""
    own = {flag[0] for flag in flags.UNIT}
    words = arguments.words
    kept: list[str] = []
    index = 0
    inside = False
    while index < len(words):
        one = words[index]
        index += 1
        if inside or not one.startswith("--") or one in ("--", "---"):
            inside = one != "---" and (inside or one == "--")
            kept.append(_absolute(one) if not inside and one in images else one)
            continue
        name, equals, _value = one[2:].partition("=")
        separate = not equals and name not in flags.OPTIONAL_VALUES and arguments.table[name][1] != "bool"
        taken = [one, *words[index : index + separate]]
        index += separate
        if name not in own:
            kept += taken
    return kept


def _absolute(image: str) -> str:
    for prefix in _LOCAL:
        if image.startswith(prefix) and not image.startswith("/", len(prefix)):
            return f"{prefix}{os.path.abspath('.')}/{image[len(prefix) :]}"
    return os.path.abspath(image) if os.path.isfile(image) else image


def _manifest(arguments: Arguments, images: list[str]) -> str:
    """The file with the manifest of the pod that the only argument names; empty when that is an image. Raises RktpyError."""
    path = arguments.text("manifest-file")
    pod = None
    if len(images) == 1 and len(images[0]) >= 8 and _HEX.issuperset(images[0]):
        from rktpy.stage0.pods import find_pod

        try:
            pod = find_pod(settings(arguments).data_dir, images[0], "problem retrieving pod")
        except NotFoundError:
            pass
    if pod is None:
        if path:
            raise UsageError("--manifest-file is for the UUID of a pod")
        return ""
    if not path:
        raise UsageError(f"pod {pod.uuid} is run by its manifest: say with --manifest-file=FILE where that shall be kept")
    path = os.path.abspath(path)
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(pod.manifest().to_bytes().decode())
    except OSError as error:
        raise RktpyError(f"cannot write the pod's manifest to {path}") from error
    return path


def _type(value: str) -> tuple[tuple[str, str], ...]:
    return () if value == "notify" else (("Type", value),)


def _plain(text: str) -> str:
    return text.replace("%", "%%")


def _program() -> str:
    """The path of this program, as a unit can name it."""
    path = os.path.abspath(sys.argv[0])
    return path if os.access(path, os.X_OK) and not path.endswith(".py") else "/usr/bin/rktpy"
