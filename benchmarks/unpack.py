"""Unpacking one big layer: rktpy against GNU tar and umoci, interleaved in one run, by medians.

    python3 benchmarks/unpack.py [--runs N] [--directory DIR] [--tar FILE]

Run as root. The layer is a Debian tree of about 215 MB made by mmdebstrap, kept in ``--directory`` (default: a cache in the
user's home) with its gzip and zstd forms, or any tar given with ``--tar``. Every run unpacks into a new directory: on ext4,
unpacking right after removing the same tree is several times slower, so what was unpacked is removed only at the end.

Each line gives the median and the minimum in seconds, the ratio of the medians to ours, and our peak memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rktpy-benchmarks"

RENDER = """
import os, resource, sys, time
from rktpy.store.pipeline import FileSource, LayerSource
from rktpy.store.render import render_oci
path, diff_id, target = sys.argv[1:]
os.mkdir(target)
start = time.perf_counter()
render_oci([LayerSource(lambda: FileSource(path), "sha256:layer", diff_id)], target)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def make_layer(directory: Path, given: Path | None) -> dict[str, Path]:
    """The layer's tar and its compressed forms, made once."""
    directory.mkdir(parents=True, exist_ok=True)
    tar = given or directory / "debian.tar"
    if not tar.exists():
        partial = directory / "partial.tar"
        command = ["mmdebstrap", "--variant=minbase", "--include=python3,curl,perl", "bookworm", str(partial)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        partial.rename(tar)
    forms = {"tar": tar}
    for kind, suffix, command in (("gzip", ".gz", ["gzip", "-6", "-c"]), ("zstd", ".zst", ["zstd", "-q", "-3", "-c"])):
        path = directory / f"{tar.name}{suffix}"
        if not path.exists():
            partial = directory / f"partial{suffix}"
            with partial.open("wb") as out:
                subprocess.run([*command, str(tar.resolve())], check=True, stdout=out)
            partial.rename(path)
        forms[kind] = path
    return forms


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_layout(directory: Path, layer: Path, media: str, diff_id: str) -> Path:
    """An OCI layout with one image of one layer, for umoci."""
    layout = directory / f"layout-{media}"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> dict[str, object]:
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {"digest": f"sha256:{name}", "size": len(data)}

    layer_digest = digest(layer)
    shutil.copyfile(layer, blobs / layer_digest)
    image = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", **put(json.dumps(image).encode())}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [
            {
                "mediaType": f"application/vnd.oci.image.layer.v1.tar+{media}",
                "digest": f"sha256:{layer_digest}",
                "size": layer.stat().st_size,
            }
        ],
    }
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        **put(json.dumps(manifest).encode()),
        "annotations": {"org.opencontainers.image.ref.name": "bench"},
    }
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return layout


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=CACHE)
    parser.add_argument("--tar", type=Path)
    options = parser.parse_args()
    forms = make_layer(options.directory, options.tar)
    diff_id = f"sha256:{digest(forms['tar'])}"
    peak = 0

    def ours(layer: Path) -> Callable[[str], float]:
        def run(target: str) -> float:
            nonlocal peak
            command = [sys.executable, "-c", RENDER, str(layer), diff_id, target]
            done = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
            seconds, memory = done.stdout.split()
            peak = max(peak, int(memory))
            return float(seconds)

        return run

    def gnu_tar(layer: Path, *flags: str) -> Callable[[str], float]:
        def run(target: str) -> float:
            os.mkdir(target)
            return timed(["tar", "-C", target, *flags, "--xattrs", "--xattrs-include=*", "-xpf", str(layer)])

        return run

    with tempfile.TemporaryDirectory(dir=options.directory, prefix="work") as work:
        rows: dict[str, Callable[[str], float]] = {
            "rktpy, gzip": ours(forms["gzip"]),
            "rktpy, zstd": ours(forms["zstd"]),
            "rktpy, plain": ours(forms["tar"]),
            "tar -x, gzip": gnu_tar(forms["gzip"], "-z"),
            "tar -x, zstd": gnu_tar(forms["zstd"], "--zstd"),
            "tar -x, plain": gnu_tar(forms["tar"]),
        }
        if shutil.which("umoci"):
            layout = make_layout(Path(work), forms["gzip"], "gzip", diff_id)
            rows["umoci, gzip"] = lambda target: timed(["umoci", "unpack", "--image", f"{layout}:bench", target])
        times: dict[str, list[float]] = {name: [] for name in rows}
        for number in range(options.runs):
            for name, run in rows.items():
                times[name].append(run(f"{work}/{number}.{name.replace(' ', '_')}"))
    size = forms["tar"].stat().st_size
    sys.stdout.write(f"{size / 1e6:.0f} MB, gzip {forms['gzip'].stat().st_size / 1e6:.0f} MB, {options.runs} runs\n")
    for name, taken in times.items():
        median = statistics.median(taken)
        reference = statistics.median(times["rktpy, " + name.rpartition(" ")[2]])
        sys.stdout.write(f"{name:16} {median:6.2f} ({min(taken):.2f})  x {median / reference:.2f}\n")
    sys.stdout.write(f"peak memory of rktpy: {peak / 1024:.0f} MiB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
