"""Hooks: programs that the runtime calls at certain points (runtime-spec 1.2 ``config.md``, POSIX-platform Hooks).

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.oci import members
from rktpy.formats.oci.runtime.document import I32, WHAT
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


class Hook(Record):
    """One program: ``args`` with its name, ``timeout`` in seconds (0: none)."""

    path: str
    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    timeout: int = 0


def read_hooks(doc: dict[str, Any], path: str = "hooks") -> dict[str, tuple[Hook, ...]]:
    """Hooks by kind; kinds without any are left out. Raises FormatError."""
    found: dict[str, tuple[Hook, ...]] = {}
    for kind in KINDS:
        if doc.get(kind):
            found[kind] = tuple([_hook(item, where) for item, where in members.objects(doc, kind, WHAT, path)])
    return found


def _hook(doc: dict[str, Any], path: str) -> Hook:
    program = members.text(doc, "path", WHAT, path, required=True)
    if not program.startswith("/"):
        raise FormatError(WHAT, f"{path}.path", "must be an absolute path")
    timeout = members.integer(doc, "timeout", WHAT, path, -I32, I32)
    if timeout is not None and timeout <= 0:
        raise FormatError(WHAT, f"{path}.timeout", "must be more than 0")
    args = members.texts(doc, "args", WHAT, path) or (program,)
    return Hook(program, args, members.texts(doc, "env", WHAT, path) or (), timeout or 0)
