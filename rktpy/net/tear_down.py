"""Take a pod out of its networks.

Works from what is written down in the pod's directory (rktpy.net.records) and nothing else: after a kill at any instant of
set_up or of itself, when the namespace is gone, after a restart of the machine. DEL is sent for every attachment that was
written down, made or not: plugins must take that. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import NetworkError, innermost
from rktpy.log import debug, note
from rktpy.net.attach import delete
from rktpy.net.execute import TIMEOUT
from rktpy.net.masquerade import remove_masquerade
from rktpy.net.namespace import open_held, release_namespace
from rktpy.net.records import NetworkRecords


def tear_down(pod_fd: int) -> None:
    """Take down the networks of the pod whose directory is open as ``pod_fd``; does nothing when there are none.

    May be called again, also after it failed or was killed. Waits for a plugin that a killed command left at work. Raises
    NetworkError, after everything was tried, naming the first thing that went wrong (the others are told); that attachment is
    tried again by the next call, without the namespace, which is not held any longer in any case.
    """
    records = NetworkRecords(pod_fd)
    if not records.lock(TIMEOUT, create=False):
        return  # the lock is made before anything else
    try:
        problems = take_down(records)
    finally:
        records.unlock()
    for problem in problems[1:]:
        note("networking", innermost(problem))
    if problems:
        raise problems[0]


def take_down(records: NetworkRecords) -> list[NetworkError]:
    """As :func:`tear_down`, for who holds the lock; what went wrong."""
    path = records.netns()
    held = open_held(path)
    problems: list[NetworkError] = []
    try:
        netns = _usable_path(path, held)
        for attachment in records.attachments():
            debug("networking", f'deleting network "{attachment.network}"')
            failed = delete(attachment, netns, records.lock_fd)
            failed += remove_masquerade(attachment)
            if not failed:
                records.forget(attachment)
            for error in failed:
                problem = NetworkError(f'error deleting network "{attachment.network}" of pod {attachment.container_id}')
                problem.__cause__ = error
                problems.append(problem)
    finally:
        if held >= 0:
            os.close(held)
    if path:
        try:
            release_namespace(path)
            records.forget_netns()
        except (NetworkError, OSError) as error:
            problem = NetworkError(f"cannot release the network namespace {path}")
            problem.__cause__ = error
            problems.append(problem)
    return problems


def _usable_path(path: str, held: int) -> str:
    """A path by which a plugin can open the namespace; empty when it is gone."""
    if held < 0:
        return ""
    status = os.fstat(held)
    try:
        seen = os.stat(path)
    except OSError:
        seen = None
    if seen is not None and (seen.st_dev, seen.st_ino) == (status.st_dev, status.st_ino):
        return path
    return f"/proc/{os.getpid()}/fd/{held}"  # held where only process 1 sees it
