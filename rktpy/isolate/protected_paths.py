"""Files of the kernel that are kept from the apps of a pod: what of /proc is read-only, what of /proc and /sys is hidden.

As in rkt 1.30, whose systemd-nspawn kept apps from the kernel's parameters as well: to write to those of the whole machine
takes no capability, but to be its root. Names are relative to the mount point. Hot-path module.
"""

from __future__ import annotations

READ_ONLY_PROC = ("acpi", "asound", "bus", "fs", "irq", "scsi", "sys", "sysrq-trigger")
HIDDEN_PROC = ("config.gz", "kallsyms", "sched_debug", "kcore", "kmem", "mem")
HIDDEN_SYS = ("firmware", "fs", "hypervisor", "module", "power")
