"""A container that criu makes: its directory, its groups and its state are ours."""

from __future__ import annotations

import os
import select
import time

from rktpy.formats.oci.runtime.config import RuntimeConfig
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.oci.accompany import write_pid_file
from rktpy.oci.container import Container, check_id
from rktpy.oci.create import Request, read_config
from rktpy.oci.destroy import destroy
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.groups import plan
from rktpy.oci.identity import open_process, start_time


class Restoring:
    """The container while criu makes it. Raises what ``create`` raises."""

    def __init__(self, request: Request) -> None:
        check_id(request.container_id)
        request.bundle = os.path.abspath(request.bundle or ".")
        data = read_config(request.bundle)
        self.request = request
        self.config = RuntimeConfig.parse(data)
        self.root = os.path.realpath(os.path.join(request.bundle, self.config.root_path))
        self.container = Container(request.root, request.container_id)
        os.close(self.container.make())
        syscalls.prctl(c.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.groups = plan(self.config.linux, request.container_id, systemd=False, rootless=request.rootless)
        self.container.save_config(data)
        # criu wants the root to be a mount.
        syscalls.unshare(c.CLONE_NEWNS)
        syscalls.mount(None, "/", None, c.MS_REC | c.MS_SLAVE, None)
        syscalls.mount(self.root, self.root, None, c.MS_BIND | c.MS_REC, None)

    def adopt(self, pid: int) -> None:
        """The first process is there. Raises RuntimeFailure when it is not."""
        began, _state = start_time(pid)
        if not began:
            raise RuntimeFailure("the restored container has ended")
        self.container.state = {
            "ociVersion": self.config.version,
            "id": self.container.id,
            "pid": pid,
            "started": began,
            "bundle": self.request.bundle,
            "rootfs": self.root,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "annotations": self.config.annotations,
            "owner": "root",
            "groups": self.groups.subtree.to_text(),
            "scope": "",
        }
        self.container.save()
        if self.request.pid_file:
            write_pid_file(self.request.pid_file, pid)

    def wait(self) -> int:
        """Wait for its end and delete it; gives its status. Raises OSError."""
        fd = open_process(self.container.pid, self.container.began)
        if fd >= 0:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.poll(None)
            os.close(fd)
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(self.container.pid, 0)[1])
        except ChildProcessError:
            status = 0
        destroy(self.container, self.config)
        return status if status >= 0 else 128 - status

    def undo(self) -> None:
        """Take back what was made."""
        try:
            self.groups.subtree.remove_or_kill()
        except (OSError, TimeoutError):
            pass
        self.container.remove()
