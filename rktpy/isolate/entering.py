"""What a process that enters an app takes over from it, so that it may do what the app may and not more. Hot-path module."""

from __future__ import annotations

from rktpy.formats import stage1 as names
from rktpy.formats.aci import isolators as iso
from rktpy.isolate.pod_app import read_file
from rktpy.log import note


class SwitchedOff:
    """What ``run`` left out of the app's protection because it could not or was told not to, from the pod's report."""

    __slots__ = ("capabilities", "seccomp")

    def __init__(self, app: str) -> None:
        try:
            report = names.read_report(read_file(names.REPORT_FILE))
        except FileNotFoundError:
            report = ()
        ignored = frozenset([entry.isolator for entry in report if entry.outcome == "ignored" and entry.app == app])
        self.capabilities = not ignored.isdisjoint((iso.CAPS_RETAIN_NAME, iso.CAPS_REMOVE_NAME))
        self.seccomp = not ignored.isdisjoint((iso.SECCOMP_RETAIN_NAME, iso.SECCOMP_REMOVE_NAME))


def take_oom_score(score: bytes) -> None:
    """Take over the app's oom_score_adj; a lower one than ours needs CAP_SYS_RESOURCE."""
    try:
        with open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:
            if file.read(16) != score:
                file.write(score)
    except PermissionError:
        note("enter", f"oom-score-adj {score.decode().strip()} is not set: this process lacks CAP_SYS_RESOURCE")
