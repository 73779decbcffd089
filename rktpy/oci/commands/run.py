"""``run``. Hot-path module."""

from __future__ import annotations

from rktpy.oci import create as making
from rktpy.oci.command_line import Arguments
from rktpy.oci.create import create
from rktpy.oci.messages import flush_warnings
from rktpy.oci.request import request_of


def run(arguments: Arguments) -> int:
    """Make and start a container; the status of its first process, 0 with ``--detach``. Raises RktpyError, OSError."""
    request = request_of(arguments)
    request.start = True
    request.detach = arguments.switch("detach")
    if request.detach:
        made = create(request)
        _let_go(made)
        return 0
    from rktpy.oci.foreground import hold_signals, wait_for

    request.signal_mask = hold_signals(subreaper=not arguments.switch("no-subreaper"))
    made = create(request)
    try:
        _let_go(made)
        flush_warnings()
        if made.terminal is None:
            status = wait_for(made.pid, made.pidfd)
        else:
            from rktpy.oci.relay import receive_master, relay

            status = relay(made.pid, made.pidfd, receive_master(made.terminal))
    finally:
        from rktpy.oci.destroy import destroy

        if not arguments.switch("keep"):
            destroy(made.container, made.config)
    return status


def _let_go(made: making.Making) -> None:
    from rktpy.oci.accompany import let_go, undo

    try:
        let_go(made)
    except BaseException:
        made.hooked = True
        undo(made)
        raise
