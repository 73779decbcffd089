"""What a user that is not root does in another way."""

from __future__ import annotations

import os

from rktpy.cgroup.scope import run_program
from rktpy.isolate.id_maps import write_map
from rktpy.isolate.userns import deny_setgroups
from rktpy.oci.failure import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.oci.runtime.document import IDMapping
    from rktpy.formats.oci.runtime.linux import Linux


def write_ids_rootless(pid: int, linux: Linux) -> None:
    """One ID of our own is mapped by ourselves, more by the set-user-ID helpers of shadow. Raises RuntimeFailure, OSError."""
    for program, name, mappings, own in (
        ("newuidmap", "uid_map", linux.uid_mappings, os.geteuid()),
        ("newgidmap", "gid_map", linux.gid_mappings, os.getegid()),
    ):
        if len(mappings) == 1 and mappings[0].host_id == own and mappings[0].size == 1:
            if name == "gid_map":
                deny_setgroups(pid)
            write_map(pid, name, f"{mappings[0].container_id} {own} 1")
            continue
        problem = run_program([program, str(pid), *_words(mappings)])
        if problem:
            raise RuntimeFailure(f"{program} cannot map IDs: {problem}")


def _words(mappings: tuple[IDMapping, ...]) -> list[str]:
    return [str(number) for one in mappings for number in (one.container_id, one.host_id, one.size)]
