"""All modules that a command loads, in one file: finding and reading sixty files takes longer than running a container.

    python3 -IS -X no_debug_ranges bundle.py DIRECTORY

writes ``oci-<command>.<cache tag>.bundle`` for each command to DIRECTORY (this package's ``__pycache__``): the marshalled tuple
(version, time and size of each source file, portions), where a portion is a list of modules, marshalled for itself: what is
loaded at once, what the process loads that was cloned (``child``), and what the runtime loads meanwhile (``parent``). A bundle
is to sources what ``.pyc`` files are: made when there is none, passed over when a source has changed, never needed.
``rktpy-oci`` reads it; what is not in it is imported as ever.
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

_FIRST = ("oci.loading", "formats.oci.runtime.resources")
_CHILD = (
    "oci.first_process",
    "oci.cgroup_mounts",
    "isolate.rlimits",
    "isolate.process",
)
_PARENT = ("oci.accompany", "oci.groups", "cgroup.resources", "oci.destroy")
_FILTER = ("formats.oci.runtime.seccomp", "oci.filter", "isolate.process")
#: Command to the modules that it begins with, and those that most configurations make it load, by portions.
COMMANDS: dict[str, dict[str, tuple[str, ...]]] = {
    "run": {"": ("oci.commands.run", "oci.foreground", *_FIRST), "child": _CHILD, "parent": _PARENT, "filter": _FILTER},
    "create": {
        "": ("oci.commands.create", *_FIRST),
        "child": (*_CHILD, "oci.terminal"),
        "parent": _PARENT[:-1],
        "filter": _FILTER,
    },
    "exec": {
        "": ("oci.commands.exec",),
        "exec": (
            *("oci.exec_process", "oci.foreground", *_FIRST, "isolate.rlimits", "isolate.process"),
            "oci.accompany",
        ),
        "filter": _FILTER,
    },
    "start": {"": ("oci.commands.start",)},
    "state": {"": ("oci.commands.state", "cgroup.subtree")},
    "kill": {"": ("oci.commands.kill", "cgroup.subtree", "formats.oci.runtime.config", "formats.oci.runtime.resources")},
    "delete": {"": ("oci.commands.delete", "cgroup.subtree")},
    "list": {"": ("oci.commands.list", "cgroup.subtree")},
    "ps": {"": ("oci.commands.ps", "cgroup.subtree")},
    "pause": {"": ("oci.commands.pause", "cgroup.freezer", "cgroup.subtree")},
    "resume": {"": ("oci.commands.resume", "cgroup.freezer", "cgroup.subtree")},
}
_VERSION = 2


def bundle_path(directory: str, command: str) -> str:
    """The file of a command's bundle for this interpreter."""
    return f"{directory}/oci-{command}.{sys.implementation.cache_tag}.bundle"


def modules_of(portions: dict[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Load ``rktpy.<name>`` anew; the modules of ours that each portion adds to the first, each behind those that it needs."""
    import importlib._bootstrap as bootstrap

    load: Any = vars(bootstrap)["_load_unlocked"]
    order: list[str] = []

    def load_and_tell(spec: Any) -> Any:
        module: Any = load(spec)
        order.append(str(spec.name))
        return module

    found: dict[str, list[str]] = {}
    bootstrap._load_unlocked = load_and_tell  # type: ignore[attr-defined]
    try:
        for portion, names in portions.items():
            for name in [name for name in sys.modules if name.partition(".")[0] == "rktpy"]:
                del sys.modules[name]
            order.clear()
            for name in ("oci.main", *portions[""], *names):
                __import__(f"rktpy.{name}")
            first = found.get("", [])
            found[portion] = [name for name in order if name.partition(".")[0] == "rktpy" and name not in first]
    finally:
        bootstrap._load_unlocked = load  # type: ignore[attr-defined]
    return found


def write_bundle(path: str, portions: dict[str, tuple[str, ...]]) -> None:
    """Write the bundle of a command to ``path``, by rename. Raises OSError."""
    stamps: dict[str, tuple[int, int]] = {}
    parts: dict[str, bytes] = {}
    for portion, names in modules_of(portions).items():
        modules: list[Module] = []
        for name in names:
            file = str(sys.modules[name].__file__) if name in sys.modules else _file(name)
            status = os.stat(file)
            stamps[file] = (status.st_mtime_ns, status.st_size)
            code: CodeType | None = None
            if file.endswith(".py"):
                with open(file, "rb") as source:
                    code = stripped(compile(source.read(), file, "exec", dont_inherit=True, optimize=2))
            modules.append((name, file, code, file.endswith("/__init__.py")))
        parts[portion] = marshal.dumps(modules)
    listed = tuple([(file, changed, size) for file, (changed, size) in stamps.items()])
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "wb") as target:
        target.write(marshal.dumps((_VERSION, listed, parts)))
    os.rename(temporary, path)


def _file(name: str) -> str:
    __import__(name)
    return str(sys.modules[name].__file__)


def stripped(code: CodeType) -> CodeType:
    """The same code without line numbers: nobody is shown them, and they are a fifth of what has to be read."""
    constants = tuple([stripped(one) if isinstance(one, type(code)) else one for one in code.co_consts])
    return code.replace(co_linetable=b"", co_consts=constants)


def write_all(directory: str) -> None:
    """Write the bundles of all commands. Raises OSError."""
    os.makedirs(directory, exist_ok=True)
    for command, portions in COMMANDS.items():
        write_bundle(bundle_path(directory, command), portions)


if __name__ == "__main__":
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    sys.path.append(top)
    write_all(sys.argv[1])
