"""``rktpy image check``."""

from __future__ import annotations

from rktpy.cli.output import out
from rktpy.cli.pod_arguments import no_arguments
from rktpy.cli.pods_in_use import trees_and_images
from rktpy.cli.settings import settings
from rktpy.errors import RktpyError
from rktpy.log import note
from rktpy.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Print what is wrong with the store, a line each; the status is 254 if something stays broken."""
    no_arguments(arguments)
    repair = arguments.switch("repair")
    data_dir = settings(arguments).data_dir
    trees: frozenset[str] = frozenset()
    try:
        trees, _images = trees_and_images(data_dir)
    except RktpyError:
        if repair:
            raise
    problems = Store(data_dir, create=False).check(repair=repair, deep=not arguments.switch("quick"), trees_in_use=trees)
    broken = 0
    for problem in problems:
        out(f"{problem.severity}: {problem.subject}: {problem.detail}{' (repaired)' if problem.repaired else ''}")
        broken += problem.severity == "broken" and not problem.repaired
    if not problems:
        note("check", "the store is sound")
    elif broken:
        note("check", f"{broken} problem(s) left" + ("" if repair else ": try --repair"))
    return 254 if broken else 0
