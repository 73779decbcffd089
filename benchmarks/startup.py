"""Short commands: run, prepare, list, status, image list, version, rm, gc, beside podman, runc and crun.

    python3 -m benchmarks.startup [ROUNDS]

Run it through tests/sandbox.py or as root on a machine that may run containers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers import Podman, runc_bundle
from benchmarks.setting import ROOT, Setting
from benchmarks.timing import BARE, BARE_ARGV, Contender, measure, need_root, table


def clean(argv: list[str]) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run_table(setting: Setting, rounds: int) -> str:
    """``run`` of a stored image, exit to exit."""
    images = setting.work / "images"
    subprocess.run(["sh", str(ROOT / "examples/busybox-images.sh"), str(images)], check=True)
    aci = setting.call("fetch", str(images / "busybox.aci")).strip()
    oci = setting.call("fetch", f"oci:{images}/busybox-oci:1").strip()
    podman = Podman(setting.work / "podman")
    podman.call("pull", "-q", f"oci:{images}/busybox-oci:1")
    ids = subprocess.run(
        podman.argv("images", "-q"), env={**os.environ, **podman.env}, check=True, capture_output=True, text=True
    )
    image = ids.stdout.split()[0]
    rootfs = setting.work / "rootfs"
    layer = setting.work / "layer"
    subprocess.run(["umoci", "unpack", "--image", f"{images}/busybox-oci:1", str(layer)], check=True, capture_output=True)
    (layer / "rootfs").rename(rootfs)
    bundle = runc_bundle(setting.work / "bundle", rootfs)
    state = setting.work / "runc"
    common = ("run", "--rm", "--network=none", "--log-driver=none")

    bare = Contender(BARE, BARE_ARGV)
    ours = Contender("rktpy run (fly, ACI)", setting.argv("run", "--stage1=fly", aci, "--exec=/bin/true"))
    ours_oci = Contender("rktpy run (fly, OCI)", setting.argv("run", "--stage1=fly", oci, "--exec=/bin/true"))
    contenders = [
        bare,
        ours,
        ours_oci,
        Contender(
            "podman run, crun", podman.argv(*common, "--runtime=crun", "--cgroups=disabled", image, "/bin/true"), env=podman.env
        ),
        Contender("podman run, runc", podman.argv(*common, "--runtime=runc", image, "/bin/true"), env=podman.env),
        Contender("runc run (no image)", ["runc", "--root", str(state), "run", "-b", str(bundle), "bench"]),
        Contender(
            "crun run (no image)",
            ["crun", "--root", f"{state}-crun", "--cgroup-manager=disabled", "run", "-b", str(bundle), "bench-crun"],
        ),
    ]
    try:
        measure(contenders, rounds)
    finally:
        subprocess.run(podman.argv("rmi", "-af"), env={**os.environ, **podman.env}, check=False, capture_output=True)
    return table("run of a stored image, exit to exit", contenders, bare, ours)


def prepare_pods(setting: Setting, image: str, number: int) -> list[str]:
    return [setting.call("prepare", "--quiet", "--stage1=fly", image, "--exec=/bin/true").strip() for _ in range(number)]


def listing_table(setting: Setting, image: str, pods: int, rounds: int) -> str:
    """``list``, ``status`` and their like with a number of pods in the data directory."""
    have = len(setting.call("list", "--no-legend").splitlines())
    uuids = prepare_pods(setting, image, max(0, pods - have)) or [setting.call("list", "--full", "--no-legend").split()[0]]
    bare = Contender(BARE, BARE_ARGV)
    contenders = [
        bare,
        Contender("version", setting.argv("version")),
        Contender("image list", setting.argv("image", "list")),
        Contender(f"list, {pods} pods", setting.argv("list")),
        Contender(f"status UUID, {pods} pods", setting.argv("status", uuids[0])),
        Contender(f"status prefix, {pods} pods", setting.argv("status", uuids[0][:13])),
    ]
    measure(contenders, rounds)
    return table(f"looking, {pods} pods", contenders, bare)


def removal_table(setting: Setting, image: str, rounds: int) -> str:
    """``rm`` of one pod, ``rm`` and ``gc`` of many."""
    bare = Contender(BARE, BARE_ARGV)
    batch = 50
    pending: dict[str, list[str]] = {"one": [], "many": [], "gc": []}

    def ran(number: int) -> list[str]:
        uuids = []
        for _ in range(number):
            file = setting.work / "uuid"
            setting.call("run", "--stage1=fly", f"--uuid-file-save={file}", image, "--exec=/bin/true")
            uuids.append(file.read_text().strip())
        return uuids

    def make(key: str, number: int) -> None:
        pending[key] = ran(number)

    prepare = Contender("prepare", setting.argv("prepare", "--quiet", "--stage1=fly", image, "--exec=/bin/true"))
    one = Contender("rm, one pod", lambda: setting.argv("rm", *pending["one"]), before=lambda: make("one", 1))
    many = Contender(f"rm, {batch} pods", lambda: setting.argv("rm", *pending["many"]), before=lambda: make("many", batch))
    collect = Contender(f"gc, {batch} pods", setting.argv("gc", "--grace-period=0s"), before=lambda: make("gc", batch))
    contenders = [bare, prepare, one, many, collect]
    measure(contenders, rounds)
    text = table("preparing and removing", contenders, bare)
    for contender in (many, collect):
        text += f"\n{contender.name}: {contender.median * 1e3 / batch:.2f} ms a pod\n"
    return text


def main() -> None:
    need_root()
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with Setting("startup") as setting:
        print(run_table(setting, rounds))
        image = setting.call("image", "list", "--no-legend", "--full").split()[0]
        setting.call("gc", "--grace-period=0s")
        for pods in (1, 1000):
            print(listing_table(setting, image, pods, rounds))
        for uuid in [line.split()[0] for line in setting.call("list", "--full", "--no-legend").splitlines()]:
            shutil.rmtree(Path(setting.data) / "pods/prepared" / uuid, ignore_errors=True)
        print(removal_table(setting, image, max(3, rounds // 4)))


if __name__ == "__main__":
    main()
