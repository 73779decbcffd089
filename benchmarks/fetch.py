"""Fetch and render a Debian image from docker-registry on loopback, beside podman, skopeo + umoci and buildah.

python3 -m benchmarks.fetch [ROUNDS]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from benchmarks.debian_image import VARIANTS, Registry, make_layouts
from benchmarks.peers import POLICY, Podman
from benchmarks.setting import Setting
from benchmarks.timing import BARE, BARE_ARGV, Contender, measure, need_root, table


def main() -> None:
    need_root()
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with Setting("fetch") as setting:
        layouts = make_layouts(setting.cache / "images")
        policy = setting.work / "policy.json"
        policy.write_text(POLICY)
        podman = Podman(setting.work / "podman")
        with Registry(setting.work / "registry") as registry:
            for variant in VARIANTS:
                reference = registry.push(layouts / f"debian-{variant}", f"debian-{variant}")
                print(one_table(setting, podman, reference, variant, rounds, str(policy)))


def one_table(setting: Setting, podman: Podman, reference: str, variant: str, rounds: int, policy: str) -> str:
    """All contenders for one image."""
    number = 0

    def fresh() -> None:
        # ext4 gets several times slower when a tree is unpacked right where the same tree was just removed.
        nonlocal number
        number += 1
        setting.data = setting.work / f"data-{number}"

    def drop() -> None:
        shutil.rmtree(setting.data)
        os.sync()

    layout = setting.work / "copy"
    bundle = setting.work / "unpacked"

    def drop_copy() -> None:
        shutil.rmtree(layout, ignore_errors=True)
        shutil.rmtree(bundle, ignore_errors=True)
        os.sync()

    def drop_podman() -> None:
        subprocess.run(podman.argv("rmi", "-af"), env={**os.environ, **podman.env}, check=True, capture_output=True)
        os.sync()

    def drop_buildah() -> None:
        env = {**os.environ, **podman.env}
        subprocess.run(["buildah", "rmi", "-af"], env=env, check=True, capture_output=True)
        os.sync()

    both = (
        f"skopeo --policy {policy} copy -q --src-tls-verify=false docker://{reference} oci:{layout}:1"
        f" && umoci unpack --image {layout}:1 {bundle}"
    )
    bare = Contender(BARE, BARE_ARGV)
    ours = Contender("rktpy fetch", lambda: setting.argv("fetch", f"docker://{reference}"), before=fresh, after=drop)
    contenders = [
        bare,
        ours,
        Contender(
            "podman pull",
            podman.argv("pull", "-q", "--tls-verify=false", f"--signature-policy={policy}", reference),
            after=drop_podman,
            env=podman.env,
        ),
        Contender(
            "buildah pull",
            ["buildah", "pull", "-q", "--tls-verify=false", f"--signature-policy={policy}", reference],
            after=drop_buildah,
            env=podman.env,
        ),
    ]
    if variant == "gzip":  # umoci reads no zstd
        contenders.append(Contender("skopeo copy + umoci unpack", ["sh", "-c", both], before=drop_copy, after=drop_copy))
    measure(contenders, rounds)
    return table(f"fetch and render, Debian image, {variant}", contenders, bare, ours)


if __name__ == "__main__":
    main()
