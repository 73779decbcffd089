"""Bind mounts that show files with other owners. Made by the runtime, which has the rights that the container has not."""

from __future__ import annotations

import os

from rktpy.isolate.id_maps import map_tree, open_mapped_namespace
from rktpy.isolate.mount_entries import BindTree
from rktpy.isolate.plan import Operation
from rktpy.oci.namespaces import map_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.oci.runtime.document import IDMapping
    from rktpy.isolate.root import Root


class MappedBind(Operation):
    """``bind`` with the mappings, or without any with those of the user namespace at ``namespace``."""

    bind: BindTree
    uids: tuple[IDMapping, ...]
    gids: tuple[IDMapping, ...]
    namespace: str
    recursive: bool

    def describe(self) -> str:
        return f"{self.bind.describe()} with other IDs"

    def opened(self) -> BindTree:
        """The source, open and mapped. Raises OSError."""
        bind = self.bind.opened()
        if self.uids:
            users = open_mapped_namespace(map_text(self.uids), map_text(self.gids))
        else:
            users = os.open(self.namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            map_tree(bind.tree, users, recursive=self.recursive)
        finally:
            os.close(users)
        return bind

    def execute(self, root: Root) -> None:
        self.opened().execute(root)
