"""Write the launcher of the ``rktpy`` command.

    python3 launcher.py TARGET INTERPRETER DIRECTORY...

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
from rktpy.__main__ import console
console()
"""


def write_launcher(target: str, python: str, directories: list[str]) -> None:
    """Write an executable launcher at ``target`` that runs ``python`` (an absolute path) with ``directories`` on its path."""
    temporary = f"{target}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(_TEXT.format(python=python, directories=directories))
    os.chmod(temporary, 0o755)
    os.rename(temporary, target)


if __name__ == "__main__":
    write_launcher(sys.argv[1], sys.argv[2], sys.argv[3:])
