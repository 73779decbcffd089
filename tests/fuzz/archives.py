"""What must hold for any bytes that are taken for an ACI or a layer: a tree inside the root, or one line of refusal."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from pathlib import Path

from rktpy.errors import ArchiveError, InputError, StoreError
from rktpy.formats.aci.archive import ArchiveRules
from rktpy.formats.decompress import open_stream
from rktpy.formats.tar import TarEntry, TarReader
from rktpy.store.limits import Limits
from rktpy.store.pipeline import LayerSource
from rktpy.store.render import AciSource, render_aci, render_oci
from tests.support.trees import snapshot

LIMITS = Limits(max_unpacked_bytes=1 << 22, max_entries=2000, ratio_floor_bytes=1 << 20, max_depth=64)


def read(data: bytes) -> None:
    """The readers alone. The outcome may not depend on how the bytes come in portions."""
    outcomes = {str(_read(data, step)) for step in (1 << 20, 512, 700)}
    assert len(outcomes) == 1, outcomes


def _read(data: bytes, step: int) -> list[object]:
    source = io.BytesIO(data)
    seen: list[object] = []
    try:
        stream = open_stream(lambda n: source.read(min(n, step)), "input", LIMITS)
        reader = TarReader(lambda n: stream.read(min(n, step)), "input")
        rules = ArchiveRules("input")
        broken = False
        while (entry := reader.next()) is not None:
            assert_sane(entry)
            content = hashlib.sha256()
            while part := reader.chunk(1 << 16):
                content.update(part)
            seen.append((*(getattr(entry, name) for name in TarEntry.__slots__), content.hexdigest()))
            try:
                rules.add(entry)
            except ArchiveError:
                broken = True
        if not broken:
            rules.finish()
        while stream.read():
            pass
    except ArchiveError as error:
        text = str(error)
        assert text.isprintable(), text
        # Where damaged compressed data are noticed may depend on the portions; that they are may not.
        seen.append(text if open_stream(io.BytesIO(data).read).compression == "none" else "error")
        if seen[-1] == "error":
            return ["error"]
    return seen


def assert_sane(entry: TarEntry) -> None:
    """What the reader promises of an entry."""
    assert entry.name and b"\0" not in entry.name
    assert 0 <= entry.size < 1 << 63
    assert 0 <= entry.uid < 0xFFFFFFFF and 0 <= entry.gid < 0xFFFFFFFF
    assert 0 <= entry.mode <= 0o7777
    assert all(name and b"\0" not in name for name in entry.xattrs)
    position = 0
    for offset, length in entry.sparse or ():
        assert offset >= position and length >= 0
        position = offset + length
    assert position <= entry.size


class Unpacking:
    """Unpacks inputs as layers and as ACIs next to a canary. Needs root, a private mount namespace, and room in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._root = directory / "root"
        self._outside = directory / "outside"
        self._outside.mkdir()
        (self._outside / "canary").write_bytes(b"untouched")
        self._before = snapshot(directory)
        self._base = _base()

    def __call__(self, data: bytes) -> None:
        """Unpack ``data`` over a base layer, and as an ACI."""
        self._attempt(data, False)
        self._attempt(data, True)

    def _attempt(self, data: bytes, as_aci: bool) -> None:
        self._root.mkdir()
        try:
            try:
                plain = _plain(data)
            except ArchiveError:
                plain = b""
            if as_aci:
                identity = "sha512-" + hashlib.sha512(plain).hexdigest()
                whitelists = (("/a/f", "/h"),) if len(data) % 2 else ()
                render_aci([AciSource(identity, lambda: io.BytesIO(data), whitelists)], str(self._root), LIMITS)
            else:
                layers = [_layer(self._base, self._base), _layer(data, plain)]
                render_oci(layers, str(self._root), LIMITS)
        except (InputError, StoreError) as error:
            assert str(error).isprintable(), str(error)
            # A refused attribute, say a capability of the wrong size, is an OSError behind the line.
            assert not isinstance(error, StoreError) or isinstance(error.__cause__, OSError)
            assert os.listdir(self._root) == []
        finally:
            shutil.rmtree(self._root)
        after = snapshot(self._directory)
        after[b""] = self._before[b""]  # its time is that of making the root
        assert after == self._before, "something outside of the root was changed"


def _layer(data: bytes, plain: bytes) -> LayerSource:
    return LayerSource(lambda: io.BytesIO(data), "sha256:input", "sha256:" + hashlib.sha256(plain).hexdigest())


def _plain(data: bytes) -> bytes:
    stream = open_stream(io.BytesIO(data).read, "input", LIMITS)
    parts: list[bytes] = []
    while part := stream.read():
        parts.append(part)
    return b"".join(parts)


def _base() -> bytes:
    from tests.support.archives import directory, file, symlink, tar

    return tar([directory("a"), file("a/f", b"low"), file("a/g", b"low"), symlink("l", "../outside"), directory("rootfs")])
