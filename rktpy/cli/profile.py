"""``--cpuprofile`` and ``--memprofile``: profiles of one command, for those who make rktpy faster."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rktpy.cli.parse import Arguments


def profiled(run: Callable[[Arguments], int], arguments: Arguments) -> int:
    """Run a command and write the profiles asked for: one for ``pstats``, one a snapshot of ``tracemalloc``.

    A command that ends by executing another program writes none.
    """
    import cProfile
    import tracemalloc

    processor = cProfile.Profile() if arguments.text("cpuprofile") else None
    memory = arguments.text("memprofile")
    if memory:
        tracemalloc.start()
    try:
        return run(arguments) if processor is None else processor.runcall(run, arguments)
    finally:
        if processor is not None:
            processor.dump_stats(arguments.text("cpuprofile"))
        if memory:
            tracemalloc.take_snapshot().dump(memory)
