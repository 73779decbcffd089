"""Make rktpy/isolate/syscall_table.py from the kernel's headers (linux-libc-dev).

``python -m tests.support.syscall_table > rktpy/isolate/syscall_table.py``
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap

X86_64 = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
I386 = "/usr/include/x86_64-linux-gnu/asm/unistd_32.h"
GENERIC = "asm-generic/unistd.h"
#: What arm64's own unistd.h asks the generic one for (arch/arm64/include/uapi/asm/unistd.h).
AARCH64 = ("RENAMEAT", "NEW_STAT", "SET_GET_RLIMIT", "TIME32_SYSCALLS", "SYS_CLONE3", "MEMFD_SECRET")

_DEFINE = re.compile(r"^#define __NR_(\w+) (\w+)$")


def numbers(path: str) -> dict[str, int]:
    """Names and numbers of a header with plain definitions."""
    with open(path) as file:
        return {match[1]: int(match[2]) for line in file if (match := _DEFINE.match(line))}


def aarch64() -> dict[str, int]:
    """The generic table as the preprocessor sees it for arm64."""
    program = "".join(f"#define __ARCH_WANT_{name}\n" for name in AARCH64) + f"#include <{GENERIC}>\n"
    done = subprocess.run(["gcc", "-E", "-dM", "-x", "c", "-"], input=program, capture_output=True, text=True, check=True)
    defined = dict(line.split(" ", 2)[1:] for line in done.stdout.splitlines() if line.startswith("#define __NR"))
    found: dict[str, int] = {}
    for name, value in defined.items():
        value = defined.get(value, value)
        if name.startswith("__NR_") and value.isdigit() and name not in ("__NR_syscalls", "__NR_arch_specific_syscall"):
            found[name.removeprefix("__NR_")] = int(value)
    return found


def table() -> dict[str, tuple[int | None, int | None, int | None]]:
    """Numbers on x86_64, i386 and aarch64 by name."""
    first, second, third = numbers(X86_64), numbers(I386), aarch64()
    return {name: (first.get(name), second.get(name), third.get(name)) for name in sorted({*first, *second, *third})}


def main() -> None:
    """Write the module."""
    words = [f"{name}={'/'.join('-' if number is None else str(number) for number in row)}" for name, row in table().items()]
    text = textwrap.fill(" ".join(words), 120, break_long_words=False, break_on_hyphens=False)
    sys.stdout.write(
        '"""System call numbers, generated from the headers of Linux 6.1 by tests/support/syscall_table.py. Do not edit.\n\n'
        "``name=x86_64/i386/aarch64``, ``-`` where an architecture does not have the call. Hot-path module.\n"
        '"""\n\n'
        f'TABLE = """\n{text}\n"""\n'
    )


if __name__ == "__main__":
    main()
