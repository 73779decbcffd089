"""What every start of a pod asks the store must not import anything that is slow to import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.support import archives

SLOW = {
    *("argparse", "ast", "collections", "contextlib", "ctypes", "dataclasses", "datetime", "enum", "functools", "hashlib"),
    *("inspect", "json", "logging", "pathlib", "queue", "random", "re", "shutil", "signal", "socket", "sqlite3", "_sqlite3"),
    *("subprocess", "tarfile", "tempfile", "threading", "typing", "urllib", "networkx", "pyzstd"),
}

LOOK_UPS = """
import sys
from rktpy.store.store import Store
store = Store(sys.argv[1])
record = store.find_by_name("example.com/app")
assert record is not None and store.find_by_reference("docker://x").id == record.id
assert store.resolve_id(record.id[:20]) == record.id
assert [image.id for image in store.list_images()] == [record.id] == store.image_ids()
assert store.manifest(record.id).name == "example.com/app"
assert store.tree_ready(store.tree_id([record.id]))
assert store.ensure_tree(record.id) in store.tree_path(store.tree_id([record.id]))
store.touch(record.id), store.last_used(record.id), store.remote("https://x")
assert store.blob_size(record.blobs[0]) == record.size and store.read_blob(record.blobs[0])
with store.prepare_lock(exclusive=False):
    pass
print(*sys.modules)
"""


def test_look_ups_import_nothing_slow(tmp_path: Path) -> None:
    from rktpy.store.image_record import ImageRecord
    from rktpy.store.store import Store
    from rktpy.store.tree_ready import SYNCED

    store = Store(str(tmp_path))
    data = archives.aci([archives.file("f", b"x")])
    (tmp_path / "a.aci").write_bytes(data)
    imported = store.import_aci(str(tmp_path / "a.aci"))
    facts = {"size": imported.size, "blobs": (imported.digest,), "references": ("docker://x",)}
    store.add_image(ImageRecord(imported.id, "aci", imported.manifest.name).replace(**facts), imported.manifest_bytes)
    tree = Path(store.tree_path(store.tree_id([imported.id])))
    (tree / "rootfs").mkdir(parents=True)
    (tree / "rendered").write_bytes(SYNCED)
    (tree / "size").write_text("1\n")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{LOOK_UPS}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert SLOW & set(done.stdout.split()) == set()
