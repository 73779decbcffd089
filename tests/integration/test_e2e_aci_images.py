"""ACIs as others pack them, with dependencies and path whitelists, run through the command."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.aci import make_aci
from tests.support.archives import compress
from tests.support.pods import UNSIGNED

pytestmark = [pytest.mark.root, pytest.mark.stage1("fly", "oci", "systemd")]

#: Dependencies that are in the store are not looked for again.
NEW = "--pull-policy=new"


@pytest.mark.parametrize("kind", ["none", "gzip", "bzip2", "xz", "zstd"])
def test_compressions(rktpy: Rktpy, tmp_path: Path, kind: str) -> None:
    files: dict[str, bytes | str | None] = {"/bin/busybox": need_tool("busybox")}
    aci = make_aci(tmp_path / "a.aci", "example.com/packed", files, exec=["/bin/busybox", "echo", "unpacked"])
    plain = gzip.decompress(aci.read_bytes())
    aci.write_bytes(compress(plain, kind))
    assert rktpy(UNSIGNED, "run", str(aci)).stdout == "unpacked\n"
    image = rktpy(UNSIGNED, "fetch", "--full", str(aci)).stdout.strip()
    (blob,) = (rktpy.data / "cas/blobs/sha512").iterdir()
    assert blob.name.startswith(image.removeprefix("sha512-"))
    assert blob.read_bytes() == plain


def dependent(directory: Path, name: str, needs: list[str], files: list[str], whitelist: list[str] | None = None) -> str:
    """An ACI ``example.com/<name>`` whose files say who brought them; ``/who`` is in all."""
    content: dict[str, bytes | str | None] = {path: f"{name}\n".encode() for path in ["/who", *files]}
    if name == "a":
        content["/bin/busybox"] = need_tool("busybox")
    members: dict[str, Any] = {"dependencies": [{"imageName": f"example.com/{need}"} for need in needs]}
    if whitelist is not None:
        members["pathWhitelist"] = whitelist
    show = "cd /; for f in who *-file */*-file; do if [ -f $f ]; then echo $f $(busybox cat $f); fi; done"
    app = {"environment": [{"name": "PATH", "value": "/bin"}]}
    main = ["/bin/busybox", "sh", "-c", show]
    return str(make_aci(directory / f"{name}.aci", f"example.com/{name}", content, exec=main, app=app, **members))


def test_dependencies_in_order(rktpy: Rktpy, tmp_path: Path) -> None:
    """A needs B and C, C needs D: B, D, C, A, and later files win (appc spec, ace.md, Filesystem Setup)."""
    for name, needs, files in (
        ("b", [], ["/x-file", "/b-file"]),
        ("d", [], ["/x-file", "/y-file", "/d-file", "/dir/d-file"]),
        ("c", ["d"], ["/y-file", "/c-file"]),
    ):
        rktpy(UNSIGNED, "fetch", NEW, dependent(tmp_path, name, needs, files))
    done = rktpy(UNSIGNED, "run", dependent(tmp_path, "a", ["b", "c"], ["/a-file"]))
    assert dict(line.split() for line in done.stdout.splitlines()) == {
        "who": "a",
        "a-file": "a",
        "b-file": "b",
        "c-file": "c",
        "d-file": "d",
        "x-file": "d",
        "y-file": "c",
        "dir/d-file": "d",
    }


def test_dependency_that_two_need(rktpy: Rktpy, tmp_path: Path) -> None:
    """A needs B and C, both need D: D, B, D, C, A. D's second coming hides what B had put over it."""
    for name, needs, files in (("d", [], ["/x-file"]), ("b", ["d"], ["/x-file", "/b-file"]), ("c", ["d"], ["/c-file"])):
        rktpy(UNSIGNED, "fetch", NEW, dependent(tmp_path, name, needs, files))
    done = rktpy(UNSIGNED, "run", dependent(tmp_path, "a", ["b", "c"], []))
    assert dict(line.split() for line in done.stdout.splitlines()) == {"who": "a", "x-file": "d", "b-file": "b", "c-file": "c"}


def test_whitelists(rktpy: Rktpy, tmp_path: Path) -> None:
    """A file must pass its own image's list and that of every image that needs it."""
    rktpy(
        UNSIGNED,
        "fetch",
        NEW,
        dependent(tmp_path, "d", [], ["/d-file", "/not-d-file", "/e-file"], ["/d-file", "/e-file", "/who"]),
    )
    rktpy(
        UNSIGNED, "fetch", NEW, dependent(tmp_path, "c", ["d"], ["/c-file", "/not-c-file"], ["/c-file", "/d-file", "/not-d-file"])
    )
    whitelist = ["/bin/busybox", "/who", "/c-file", "/d-file", "/e-file", "/not-c-file"]
    done = rktpy(UNSIGNED, "run", dependent(tmp_path, "a", ["c"], ["/a-file"], whitelist))
    assert dict(line.split() for line in done.stdout.splitlines()) == {"who": "a", "c-file": "c", "d-file": "d"}


def test_dependencies_that_cannot_be_had(rktpy: Rktpy, tmp_path: Path) -> None:
    done = rktpy(UNSIGNED, "run", "--pull-policy=never", dependent(tmp_path, "a", ["missing"], []), status=254)
    assert "example.com/missing" in done.stderr
    assert "internal error" not in done.stderr
    rktpy("gc", "--grace-period=0s")
    rktpy("image", "gc", "--grace-period=0s")
    assert rktpy("image", "list", "--no-legend").stdout == ""
