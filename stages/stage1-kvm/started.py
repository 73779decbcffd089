"""What ``run`` found out and those need who come later: the pod's ``machine/started``. Hot-path module."""

from __future__ import annotations

from rktpy.formats import jsondoc
from rktpy.isolate.pod_app import read_file, write_file
from rktpy.record import Record
from rktpy.stage1.kvm.disks import MACHINE_DIR
from rktpy.stage1.kvm.network import name_contents

STARTED_FILE = f"{MACHINE_DIR}/started"


class Started(Record):
    """``landlock`` is the version that the guest has, ``metadata`` the address of the metadata service, ``contents`` the
    files with names that apps get; ``resolv`` and ``hosts`` are modes of ``--dns-conf-mode``."""

    landlock: int
    metadata: str
    resolv: str
    hosts: str
    has_resolv: bool

    @property
    def contents(self) -> dict[str, bytes]:
        """Content of the files with names. Raises OSError."""
        return name_contents(self.resolv, self.hosts, has_resolv=self.has_resolv)


def write_started(started: Started) -> None:
    """Write it down. Raises OSError."""
    document = {name: getattr(started, name) for name in Started._fields}
    write_file(STARTED_FILE, jsondoc.dump(document) + b"\n", 0o600)


def read_started() -> Started:
    """What was written down. Raises FormatError, OSError."""
    document = jsondoc.parse_object(read_file(STARTED_FILE), STARTED_FILE)
    return Started(**{name: document[name] for name in Started._fields})
