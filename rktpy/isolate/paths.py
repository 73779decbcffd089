"""Paths of /proc and /sys that an app without the host's privileges does not need (rkt 1.30 ``stage1/init/common/app.go``).

Read-only are those through which the kernel is steered, hidden those that tell about the machine or its memory. Hot-path
module.
"""

READ_ONLY = (
    "/proc/bus",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sysrq-trigger",
    "/sys/block",
    "/sys/bus",
    "/sys/class",
    "/sys/dev",
    "/sys/devices",
    "/sys/kernel",
)
MASKED_DIRECTORIES = ("/sys/firmware", "/sys/fs", "/sys/hypervisor", "/sys/module", "/sys/power")
MASKED_FILES = ("/proc/config.gz", "/proc/kallsyms", "/proc/sched_debug", "/proc/kcore", "/proc/kmem", "/proc/mem")
MASKED = MASKED_DIRECTORIES + MASKED_FILES
