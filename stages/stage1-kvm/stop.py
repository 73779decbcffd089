"""Entry point ``stop`` of stage1-kvm: the apps are ended in order, or with ``--force`` the machine at once.

The monitor is told (SIGTERM), which tells the guest; so the pod's exit status says that it was stopped. Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.stage1 import PID_FILE
from rktpy.pod import stopping


def main(argv: list[str]) -> int:
    """Stop the pod in the working directory. Raises StateError when nothing of it runs."""
    return stopping.stop(argv, PID_FILE)
