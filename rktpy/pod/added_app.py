"""What entry points about one app of a mutable pod have in common: who is meant, its root, the report.

Hot-path module: to start an app no manifest has to be read, so what reads them is imported by the function that needs it.
"""

from __future__ import annotations

import os

from rktpy.errors import NotFoundError, UsageError
from rktpy.formats import stage1 as names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.stage1 import Enforcement
    from rktpy.isolate.pod_app import PodApp


def named_app(name: str) -> str:
    """The name of an app, which becomes part of paths. Raises UsageError."""
    from rktpy.formats.aci.types import ac_name_problem

    problem = ac_name_problem(name)
    if problem:
        from rktpy.isolate.plan import shown

        raise UsageError(f"invalid app name {shown(name)}: {problem}")
    return name


def find_app(uuid: str, name: str) -> PodApp:
    """An app of the pod in the working directory. Raises NotFoundError, FormatError, OSError."""
    from rktpy.isolate.pod_app import load_apps

    _manifest, apps = load_apps(uuid)
    for app in apps:
        if app.name == name:
            return app
    from rktpy.isolate.plan import shown

    raise NotFoundError(f"app {shown(name)} is not in the pod")


def root_descriptor() -> int:
    """The added app's root, as stage0 hands it over; -1 when it is a copy in the pod's directory."""
    text = os.environ.get(names.APP_ROOT_FD, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else -1


def add_to_report(app: str, report: tuple[Enforcement, ...]) -> None:
    """Write what became of an added app's isolators into the pod's report, and tell it. Raises NotEnforced, OSError."""
    from rktpy.isolate.enforcement import tell

    replace_in_report(app, report)
    tell(report, strict=os.path.exists("strict"))


def replace_in_report(app: str, report: tuple[Enforcement, ...] = ()) -> None:
    """Let the pod's report say this of an app, and nothing else. Raises FormatError, OSError."""
    from rktpy.isolate.pod_app import read_file, write_file

    before = names.read_report(read_file(names.REPORT_FILE))
    write_file(names.REPORT_FILE, names.write_report((*[entry for entry in before if entry.app != app], *report)))
