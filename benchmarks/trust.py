"""What it costs to ask the trust policy: ``run`` of a stored image by a policy of each family, against switching it off.

    python3 tests/sandbox.py .venv/bin/python -m benchmarks.trust [ROUNDS] [--images=100]

Measured are whole commands, in one run and interleaved: ``run`` with fly under each policy and with ``--insecure-options=image``;
judging all of 100 stored images, with what is remembered of their signatures and without; and skopeo's policy check (a copy from
the registry under a policy, against the same copy under none), which is the nearest that a peer has. Needs root, skopeo, gpg and
docker-registry.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.setting import Setting
from benchmarks.signed import KEYED, Signed
from benchmarks.targets import Targets
from benchmarks.timing import BARE, BARE_ARGV, Contender, measure, need_root, table

NAMES = {
    "anything": "insecureAcceptAnything",
    "aci": "ACI, OpenPGP",
    "simple": "simple signing",
    "cosign": "cosign key",
    "bundle": "sigstore bundle, key",
    "keyless": "sigstore bundle, keyless",
    "notation": "notation",
}
#: What a policy may add to a start, in milliseconds.
LIMIT = 15.0


def difference(asked: Contender, off: Contender) -> float:
    """What ``asked`` takes longer than ``off`` in the same round, in milliseconds."""
    return _paired(asked.times, off.times)


def _paired(ones: list[float], others: list[float]) -> float:
    return statistics.median([one - other for one, other in zip(ones, others, strict=True)]) * 1e3


def differences(title: str, pairs: Sequence[tuple[str, Contender, Contender]]) -> str:
    """A Markdown table of what the first of each pair costs over the second.

    The median is that of the differences within each round, for on a shared machine the rounds differ more than the commands.
    """
    lines = [
        f"### {title}",
        "",
        "| policy | median ms more | min ms more | CPU ms more | ratio of medians |",
        "|---|---|---|---|---|",
    ]
    for name, asked, off in pairs:
        more = difference(asked, off)
        least = (min(asked.times) - min(off.times)) * 1e3
        cpu = _paired(asked.cpu, off.cpu)
        lines.append(f"| {name} | {more:.1f} | {least:.1f} | {cpu:.1f} | {asked.median / off.median:.2f} |")
    return "\n".join(lines) + "\n"


def starts(signed: Signed, rounds: int, targets: Targets) -> str:
    """``run`` of a stored image."""
    bare = Contender(BARE, BARE_ARGV)
    contenders = [bare]
    pairs: list[tuple[str, Contender, Contender]] = []
    for family, name in NAMES.items():
        image = signed.fetched_aci() if family == "aci" else signed.fetched(family)
        run = ("run", "--stage1=fly", image, "--exec=/bin/true")
        asked = Contender(f"run, {name}", signed.argv(family, *run), env=signed.env)
        off = Contender(f"run, {name}, --insecure-options=image", signed.argv(family, *run, trusting=False), env=signed.env)
        contenders += [asked, off]
        pairs.append((name, asked, off))
    measure(contenders, rounds, warm_up=2)
    for name, asked, off in pairs:
        targets.below(f"processor time that a policy of {name} adds to a start", _paired(asked.cpu, off.cpu), LIMIT, "ms")
    title = "what a policy adds to a start"
    return table("run of a stored image, exit to exit", contenders, bare) + "\n" + differences(title, pairs)


def many(signed: Signed, rounds: int, images: int) -> str:
    """Judging many stored images at once."""
    signed.fetched_many(images)
    facts = signed.work / "data-many/cas/db"

    def forget() -> None:
        found = list(facts.glob("facts-*"))
        assert len(found) == images, "what is remembered of signatures is kept elsewhere"
        for path in found:
            path.unlink()

    bare = Contender(BARE, BARE_ARGV)
    listed = Contender(f"image list, {images} images", signed.argv("many", "image", "list", trusting=False), env=signed.env)
    contenders = [
        bare,
        listed,
        Contender(f"trust recheck, {images} images, remembered", signed.argv("many", "trust", "recheck"), env=signed.env),
        Contender(
            f"trust recheck, {images} images, all verified anew",
            signed.argv("many", "trust", "recheck"),
            before=forget,
            env=signed.env,
        ),
    ]
    # The one that forgets must leave facts for the others, and does: it finds them out again.
    measure(contenders, rounds)
    return table(f"judging {images} images (cosign keys)", contenders, bare)


def skopeo(signed: Signed, rounds: int) -> str:
    """skopeo's check, as the difference between two copies of an image from the registry."""
    accept = {"default": [{"type": "insecureAcceptAnything"}]}
    open_policy = signed.work / "policy-open.json"
    open_policy.write_text(json.dumps(accept))
    target = signed.work / "copied"

    def copy(policy: Path, family: str) -> list[str]:
        source = f"docker://{signed.registry.host}/bench/{family}:1"
        own = ["--policy", str(policy), "--registries.d", str(signed.registries_d)]
        return ["skopeo", *own, "copy", "--quiet", "--src-tls-verify=false", source, f"dir:{target}"]

    def clear() -> None:
        shutil.rmtree(target, ignore_errors=True)

    bare = Contender(BARE, BARE_ARGV)
    contenders = [bare]
    pairs: list[tuple[str, Contender, Contender]] = []
    left_out: list[str] = []
    for family in ("simple", "cosign"):
        asked = Contender(f"skopeo copy, {NAMES[family]}", copy(signed.policy(family), family), before=clear, env=signed.env)
        off = Contender("skopeo copy of the same, any accepted", copy(open_policy, family), before=clear, env=signed.env)
        try:
            asked.once()
        except SystemExit as error:
            left_out.append(f"skopeo does not do it for {NAMES[family]}: {str(error).strip().splitlines()[-1]}")
            continue
        asked.reset()
        contenders += [asked, off]
        pairs.append((f"skopeo, {NAMES[family]}", asked, off))
    fetches: list[Contender] = []
    for family in ("simple", "cosign"):
        for trusting in (True, False):
            image = f"docker://{signed.registry.host}/bench/{family}:1"
            fetch = signed.argv(f"{family}", "fetch", "--pull-policy=update", image, trusting=trusting)
            name = f"rktpy fetch again, {NAMES[family]}" + ("" if trusting else ", --insecure-options=image")
            fetches.append(Contender(name, fetch, env=signed.env))
        pairs.append((f"rktpy fetch again, {NAMES[family]}", fetches[-2], fetches[-1]))
    contenders += fetches
    measure(contenders, rounds)
    text = table("a copy or a fetch from the registry", contenders, bare)
    return "\n".join([text, differences("what a policy adds to it", pairs), *left_out])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trust")
    parser.add_argument("rounds", nargs="?", type=int, default=25)
    parser.add_argument("--images", type=int, default=100)
    options = parser.parse_args()
    need_root()
    missing = [program for program in ("skopeo", "gpg", "docker-registry") if shutil.which(program) is None]
    if missing:
        raise SystemExit(f"benchmarks.trust: needs {', '.join(missing)}")
    assert set(KEYED) < set(NAMES)
    targets = Targets()
    with Setting("trust") as setting, Signed(setting) as signed:
        print(starts(signed, options.rounds, targets))
        print(skopeo(signed, max(5, options.rounds // 2)))
        print(many(signed, max(5, options.rounds // 2), options.images))
    print(targets.table())


if __name__ == "__main__":
    main()
