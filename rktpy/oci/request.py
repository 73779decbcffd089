"""From the command line to what is to be made. Hot-path module."""

from __future__ import annotations

import os

from rktpy.oci.command_line import Arguments
from rktpy.oci.create import Request
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.main import state_root


def request_of(arguments: Arguments) -> Request:
    """The flags that ``create``, ``run`` and ``restore`` have. Raises RuntimeFailure."""
    request = Request(state_root(arguments), arguments.args[0], arguments.text("bundle"))
    request.console_socket = arguments.text("console-socket")
    request.pidfd_socket = arguments.text("pidfd-socket")
    request.pid_file = arguments.text("pid-file")
    request.preserved = preserved_of(arguments)
    request.no_pivot = arguments.switch("no-pivot")
    request.keep_keyring = arguments.switch("no-new-keyring")
    manager = arguments.text("cgroup-manager")
    if manager not in ("", "cgroupfs", "systemd", "disabled"):
        raise RuntimeFailure(f"--cgroup-manager {manager!r} is none of cgroupfs, systemd and disabled")
    request.systemd = manager == "systemd" or (not manager and arguments.switch("systemd-cgroup"))
    request.without_groups = manager == "disabled"
    rootless = arguments.text("rootless", "auto")
    request.rootless = rootless == "true" or (rootless == "auto" and os.geteuid() != 0)
    return request


def preserved_of(arguments: Arguments) -> int:
    """``--preserve-fds``. Raises RuntimeFailure."""
    count = arguments.number("preserve-fds")
    if not 0 <= count < 65536:
        raise RuntimeFailure(f"--preserve-fds {count} is no number of descriptors")
    return count
