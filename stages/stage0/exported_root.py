"""The root of an app that its stage1 keeps in a form of its own: asked for as a tar stream.

A stage1 whose manifest has the annotation ``rktpy.io/stage1/export`` is called so, in the pod's directory::

    export [--local-config=D] --app=NAME --root=PATH UUID

``--root`` is the tree of the app's image, empty when the root is a copy in the pod's directory. It writes to standard output.
Nothing of the stream is believed: it is what a guest says.
"""

from __future__ import annotations

import os

from rktpy.errors import ArchiveError, RktpyError, Stage1Error, innermost
from rktpy.formats import jsondoc
from rktpy.formats.stage1 import EXPORT, STAGE1_MANIFEST
from rktpy.formats.tar import TarReader
from rktpy.log import note
from rktpy.stage0 import stage1_image
from rktpy.stage0.pod_files import objects_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rktpy.formats.tar import TarEntry
    from rktpy.stage0.options import Globals
    from rktpy.stage0.pods import Pod

_CHUNK = 1 << 18


def keeps_roots(pod: Pod) -> bool:
    """Whether the pod's stage1 has the apps' roots in a form of its own."""
    if pod.bundled_stage1 is None:
        return False
    document = jsondoc.parse_object(pod.read_optional(STAGE1_MANIFEST) or b"{}", "stage1 manifest")
    if not any(pair.get("name") == EXPORT for pair in objects_in(document.get("annotations"))):
        return False
    module = stage1_image.bundled_module(pod.bundled_stage1, "export")
    kept: bool = module.has_root(pod.fileno())
    return kept


def exported_entries(
    g: Globals, pod: Pod, app: str, tree: str, spool: int
) -> list[tuple[TarEntry, Callable[[int], bytes] | None]]:
    """Every file of the app's root; their content is read from the file ``spool``. Raises Stage1Error, ArchiveError, OSError."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        status = 254
        try:
            os.dup2(writer, 1)
            os.fchdir(pod.fileno())
            arguments = [f"--app={app}", f"--root={tree}", pod.uuid]
            if g.local_config:
                arguments.insert(0, f"--local-config={g.local_config}")
            assert pod.bundled_stage1 is not None
            status = stage1_image.bundled_module(pod.bundled_stage1, "export").main(arguments)
        except (RktpyError, OSError) as error:
            note("stage1", innermost(error))
        finally:
            os._exit(status)
    os.close(writer)
    try:
        found = list(_read(reader, spool))
    finally:
        os.close(reader)
        status = os.waitpid(child, 0)[1]
    if status:
        raise Stage1Error(f"the stage1 could not export app {app}")
    return found


def _read(stream: int, spool: int) -> Iterator[tuple[TarEntry, Callable[[int], bytes] | None]]:
    archive = TarReader(lambda size: os.read(stream, size), "the root of the app")
    at = 0
    while (entry := archive.next()) is not None:
        if entry.sparse is not None:
            raise ArchiveError("the root of the app: a file with holes")
        if entry.type != "file":
            yield entry, None
            continue
        start = at
        while data := archive.read(_CHUNK):
            view = memoryview(data)
            while view:
                view = view[os.write(spool, view) :]
            at += len(data)
        yield entry, _Piece(spool, start, entry.size)


class _Piece:
    """A part of the spool file, read from its beginning."""

    def __init__(self, fd: int, start: int, size: int) -> None:
        self._fd = fd
        self._at = start
        self._end = start + size

    def __call__(self, size: int) -> bytes:
        data = os.pread(self._fd, min(size, self._end - self._at), self._at)
        self._at += len(data)
        return data
