"""All modules that a command loads, in one file: finding and reading sixty files takes longer than running a container.

    python3 -IS -X no_debug_ranges bundle.py DIRECTORY

writes ``<command>.<cache tag>.bundle`` for each command to DIRECTORY (this package's ``__pycache__``): the marshalled tuple (time and
size of each source file, modules). It is to sources what ``.pyc`` files are: made when there is none, passed over when a source has
changed, never needed. ``rktpy-oci`` reads it; what is not in it is imported as ever.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

    Module = tuple[str, str, CodeType | None, bool]  # name, file, code (None: an extension), whether it is a package

_LIFE = (
    "formats.oci.runtime.resources",
    "isolate.rlimits",
    "isolate.process",
    "cgroup.resources",
    "cgroup.limits",
    "oci.cgroup_mounts",
)
_FILTER = ("formats.oci.runtime.seccomp", "isolate.seccomp_profile")
#: Command to the modules that it begins with, and those that most configurations make it load.
COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("oci.commands.run", "oci.foreground", *_LIFE),
    "create": ("oci.commands.create", *_LIFE, *_FILTER),
    "exec": ("oci.commands.exec", "oci.foreground", "isolate.unwritable", *_LIFE[:3]),
    "start": ("oci.commands.start",),
    "state": ("oci.commands.state",),
    "kill": ("oci.commands.kill", "formats.oci.runtime.config", "formats.oci.runtime.resources"),
    "delete": ("oci.commands.delete",),
    "list": ("oci.commands.list",),
    "ps": ("oci.commands.ps",),
    "pause": ("oci.commands.pause", "cgroup.freezer"),
    "resume": ("oci.commands.resume", "cgroup.freezer"),
}
_VERSION = 1


def bundle_path(directory: str, command: str) -> str:
    """The file of a command's bundle for this interpreter."""
    return f"{directory}/oci-{command}.{sys.implementation.cache_tag}.bundle"


def modules_of(names: tuple[str, ...]) -> list[str]:
    """Load ``rktpy.<name>`` anew; the modules of ours that are loaded then, each behind those that it needs."""
    import importlib._bootstrap as bootstrap

    for name in [name for name in sys.modules if name.partition(".")[0] == "rktpy"]:
        del sys.modules[name]
    order: list[str] = []
    load: Any = bootstrap._load_unlocked  # type: ignore[attr-defined]

    def load_and_tell(spec: Any) -> Any:
        module = load(spec)
        order.append(spec.name)
        return module

    bootstrap._load_unlocked = load_and_tell  # type: ignore[attr-defined]
    try:
        __import__("rktpy.oci.main")
        for name in names:
            __import__(f"rktpy.{name}")
    finally:
        bootstrap._load_unlocked = load  # type: ignore[attr-defined]
    return [name for name in order if name.partition(".")[0] == "rktpy"]


def write_bundle(path: str, names: tuple[str, ...]) -> None:
    """Write the bundle of modules to ``path``, by rename. Raises OSError."""
    stamps: list[tuple[str, int, int]] = []
    modules: list[Module] = []
    for name in modules_of(names):
        module = sys.modules[name]
        file = str(module.__file__)
        status = os.stat(file)
        stamps.append((file, status.st_mtime_ns, status.st_size))
        code: CodeType | None = None
        if file.endswith(".py"):
            with open(file, "rb") as source:
                code = compile(source.read(), file, "exec", dont_inherit=True, optimize=2)
            code = stripped(code)
        modules.append((name, file, code, hasattr(module, "__path__")))
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "wb") as target:
        target.write(marshal.dumps((_VERSION, tuple(stamps), tuple(modules))))
    os.rename(temporary, path)


def stripped(code: CodeType) -> CodeType:
    """The same code without line numbers: nobody is shown them, and they are a fifth of what has to be read."""
    constants = tuple([stripped(one) if isinstance(one, type(code)) else one for one in code.co_consts])
    return code.replace(co_linetable=b"", co_consts=constants)


def write_all(directory: str) -> None:
    """Write the bundles of all commands. Raises OSError."""
    os.makedirs(directory, exist_ok=True)
    for command, names in COMMANDS.items():
        write_bundle(bundle_path(directory, command), names)


if __name__ == "__main__":
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    sys.path.append(top)
    write_all(sys.argv[1])
