"""Write the launcher of the ``rktpy`` command.

    python3 launcher.py TARGET INTERPRETER DIRECTORY...
    python3 launcher.py --generator=RKTPY TARGET INTERPRETER DIRECTORY...

The second form writes the program that systemd runs to make units of files (systemd.generator(7)); RKTPY is the path of the
first in those units.

pip's console scripts start the interpreter with ``site``, which costs time and lets the user's environment change what is
imported. The launcher carries ``-IS`` in its shebang and names the DIRECTORYs (the site-packages of the installation, or a
checkout and the site-packages it uses) itself; they come after the standard library, so nothing in them can stand in for one of
its modules.
"""

from __future__ import annotations

import os
import sys

_TEXT = """#!{python} -IS
import sys
sys.path += {directories!r}
from {module} import console
console({arguments})
"""


def write_launcher(target: str, python: str, directories: list[str], generator_of: str = "") -> None:
    """Write an executable launcher at ``target`` that runs ``python`` (an absolute path) with ``directories`` on its path.

    ``generator_of`` makes it the generator that names this path of rktpy.
    """
    module = "rktpy.units.generator" if generator_of else "rktpy.__main__"
    arguments = repr(generator_of) if generator_of else ""
    temporary = f"{target}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(_TEXT.format(python=python, directories=directories, module=module, arguments=arguments))
    os.chmod(temporary, 0o755)
    os.rename(temporary, target)


if __name__ == "__main__":
    words = sys.argv[1:]
    generator = words.pop(0).partition("=")[2] if words[0].startswith("--generator=") else ""
    write_launcher(words[0], words[1], words[2:], generator)
