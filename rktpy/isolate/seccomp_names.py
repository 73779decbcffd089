"""The system calls that the entries of a seccomp isolator name, one by one or as a set: all that systemd has to be told.

appc/spec 0.8.11 ``spec/ace.md`` (os/linux/seccomp-retain-set, -remove-set). Hot-path module.
"""

from __future__ import annotations

from rktpy.isolate.seccomp_sets import SETS

DEFAULT_SET = "@rkt/default-whitelist"
EVERYTHING = "@appc.io/all"


def expand(entries: tuple[str, ...]) -> tuple[set[str], bool, list[str]]:
    """Names of system calls for the entries of an isolator, whether they are all calls, and the entries that nobody knows."""
    names: set[str] = set()
    everything = False
    single: list[str] = []
    for entry in entries:
        if entry == EVERYTHING:
            everything = True
        elif entry in SETS:
            names.update(SETS[entry].split())
        else:
            single.append(entry)
    if not single:
        return names, everything, []
    # Sets are most of what is used, and need no table.
    from rktpy.isolate.syscall_table import TABLE

    known = frozenset([word.partition("=")[0] for word in TABLE.split()])
    names.update([entry for entry in single if entry in known])
    return names, everything, [entry for entry in single if entry not in known]
