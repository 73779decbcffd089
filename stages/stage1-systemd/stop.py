"""Entry point ``stop`` of stage1-systemd: the pod's systemd ends its apps in order, or with ``--force`` everything is killed.

The monitor is told (SIGTERM), which tells systemd; so the pod's exit status says that it was stopped. Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.stage1 import PPID_FILE
from rktpy.pod import stopping


def main(argv: list[str]) -> int:
    """Stop the pod in the working directory. Raises StateError when nothing of it runs."""
    return stopping.stop(argv, PPID_FILE)
