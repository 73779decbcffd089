"""Find what an app executes, inside its root.

appc/spec 0.8.11 ``spec/aci.md``: a name without a slash is searched for in the app's PATH, or without one in the working
directory and then /bin and /usr/bin; a relative path counts from the working directory. Hot-path module.
"""

from __future__ import annotations

import os
import stat

from rktpy.errors import NotFoundError
from rktpy.isolate.plan import shown
from rktpy.isolate.root import Root


def find_executable(root: Root, name: str, search_path: str | None, directory: str) -> str:
    """The absolute path, inside the root, of the program ``name``.

    ``search_path`` is the app's own PATH (``None`` when it has none), ``directory`` its working directory. A name with a slash
    is not looked at: execve(2) tells best what is wrong with it. Raises :class:`NotFoundError`.
    """
    if name.startswith("/"):
        return name
    directory = directory or "/"
    if "/" in name:
        return os.path.join(directory, name)
    directories = [directory, "/bin", "/usr/bin"] if search_path is None else search_path.split(":")
    for entry in directories:
        path = os.path.join(directory, entry, name)
        status = _regular(root, path)
        if status is not None and status.st_mode & 0o111:
            return path
    raise NotFoundError(f"unable to find {shown(name)} in {shown(':'.join(directories))}")


def check_executable(root: Root, path: str) -> None:
    """Refuse a program, named by its path inside the root, that execve(2) would: one that is not there or is not executable.

    Raises :class:`NotFoundError`.
    """
    status = _regular(root, path)
    if status is None:
        raise NotFoundError(f"unable to find {shown(path)}")
    if not status.st_mode & 0o111:
        raise NotFoundError(f"{shown(path)} is not executable")


def _regular(root: Root, path: str) -> os.stat_result | None:
    try:
        status = root.stat(path)
    except OSError:  # a loop of links, a name that is too long: not there
        return None
    return status if status is not None and stat.S_ISREG(status.st_mode) else None
