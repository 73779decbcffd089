"""Rendering stored images: where the bytes come from, and that they stay there meanwhile."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from rktpy.errors import NotFoundError, StoreError
from rktpy.store import locks, lookup
from rktpy.store.pipeline import FileSource, LayerSource
from rktpy.store.render import AciSource, RenderStats, render_aci, render_oci

if TYPE_CHECKING:
    from rktpy.store.dependencies import Step
    from rktpy.store.image_record import ImageRecord
    from rktpy.store.paths import Layout


def render_steps(layout: Layout, steps: list[Step], rootfs: str) -> RenderStats:
    """Make the directory ``rootfs`` and lay the images of ``steps`` down in it.

    Raises NotFoundError, ArchiveError, DigestMismatch, StoreError.
    """
    with ExitStack() as stack:
        for image_id in sorted({step.image_id for step in steps}):
            stack.enter_context(locks.acquire(layout.image_lock(image_id), exclusive=False))
        records = {step.image_id: lookup.read_record(layout, step.image_id) for step in steps}
        try:
            os.mkdir(rootfs, 0o755)
        except OSError as error:
            raise StoreError(f"cannot render into {rootfs}") from error
        top = records[steps[-1].image_id]
        if top.format == "oci":
            return render_oci(_layers(layout, top), rootfs)
        return render_aci([_aci(layout, records[step.image_id], step) for step in steps], rootfs)


def _aci(layout: Layout, record: ImageRecord, step: Step) -> AciSource:
    return AciSource(step.image_id, partial(_open, layout, record.blobs[0]), step.whitelists)


def _layers(layout: Layout, record: ImageRecord) -> list[LayerSource]:
    return [
        LayerSource(partial(_open, layout, layer.digest), layer.digest, layer.diff_id, layer.media_type, layer.size)
        for layer in record.layers
    ]


def _open(layout: Layout, digest: str) -> FileSource:
    try:
        return FileSource(layout.blob(digest))
    except FileNotFoundError:
        raise NotFoundError(f"{digest} is not in the store") from None
    except OSError as error:
        raise StoreError(f"cannot read {digest}") from error
