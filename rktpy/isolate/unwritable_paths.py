"""Paths of /proc and /sys, relative to these, that apps of a pod with kernel files of its own cannot write to or cannot see.

As rkt 1.30, whose systemd-nspawn kept apps from the kernel's parameters as well: to write to those of the whole machine takes no
capability, but to be its root. Hot-path module.
"""

READ_ONLY_PROC = ("acpi", "asound", "bus", "fs", "irq", "scsi", "sys", "sysrq-trigger")
HIDDEN_PROC = ("config.gz", "kallsyms", "sched_debug", "kcore", "kmem", "mem")
HIDDEN_SYS = ("firmware", "fs", "hypervisor", "module", "power")
