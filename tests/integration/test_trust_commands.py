"""``trust add|list|rm|explain|recheck`` and ``image verify --signatures``, and that rkt's ``trust`` is what it was."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.gpg import Gpg
from tests.support.signed_images import ANYTHING, REJECT, write_policy

pytestmark = [pytest.mark.root]

ACI = "example.com/busybox"


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    need_tool("gpg")
    keys = Gpg(tmp_path_factory.mktemp("gpg") / "home")
    keys.key("alice")
    keys.key("bob", expire="30d")
    yield keys
    keys.close()


@pytest.fixture
def keys(gpg: Gpg, tmp_path: Path) -> Path:
    directory = tmp_path / "keys"
    directory.mkdir()
    for name in ("alice", "bob"):
        (directory / name).write_bytes(gpg.export(name))
    return directory


@pytest.fixture
def aci(busybox_images: Path, gpg: Gpg, tmp_path: Path) -> Path:
    path = Path(shutil.copy(busybox_images / "busybox.aci", tmp_path / "busybox.aci"))
    path.with_name("busybox.aci.asc").write_bytes(gpg.sign(path, "alice"))
    return path


def add(rktpy: Rktpy, *args: str) -> None:
    rktpy("trust", "add", "--skip-fingerprint-review", *args)


def listed(rktpy: Rktpy, *args: str) -> list[dict[str, object]]:
    keys: list[dict[str, object]] = json.loads(rktpy("trust", "list", "--format=json", *args).stdout)
    return keys


def test_keys_are_added_listed_and_removed(rktpy: Rktpy, keys: Path, gpg: Gpg) -> None:
    assert rktpy("trust", "list", "--no-legend").stdout == ""
    add(rktpy, "--prefix=example.com/a", str(keys / "alice"))
    add(rktpy, "--root", str(keys / "bob"))
    alice, bob = gpg.fingerprint("alice"), gpg.fingerprint("bob")
    header, *lines = rktpy("trust", "list").stdout.splitlines()
    assert header.split() == ["FINGERPRINT", "SCOPE", "EXPIRES", "USER", "FILE"]
    assert [line.split("\t")[0] for line in lines] == [bob, alice]
    assert "never" in lines[1]
    assert "alice <alice@example.com>" in lines[1]
    assert str(rktpy.config / "trustedkeys/prefix.d/example.com/a" / alice) in lines[1]
    root, prefixed = listed(rktpy)
    assert (root["prefix"], prefixed["prefix"]) == ("", "example.com/a")
    assert isinstance(root["expires"], int)
    assert root["expires"] > time.time() + 29 * 86400
    assert [key["fingerprint"] for key in listed(rktpy, "example.com/a/app")] == [bob, alice]
    assert [key["fingerprint"] for key in listed(rktpy, "example.com/ab")] == [bob]

    done = rktpy("trust", "rm", "--prefix=example.com", alice, status=254)
    assert f"key {alice} is not trusted for prefix 'example.com'" in done.stderr
    spaced = " ".join([alice[at : at + 4].upper() for at in range(0, 40, 4)])
    assert "Removed key" in rktpy("trust", "rm", "--prefix=example.com/a", spaced).stdout
    assert [key["fingerprint"] for key in listed(rktpy)] == [bob]
    assert "is not a whole fingerprint" in rktpy("trust", "rm", "--root", bob[-16:], status=254).stderr
    assert "wants --prefix or --root" in rktpy("trust", "rm", bob, status=254).stderr


def test_a_key_of_the_distribution_is_masked(rktpy: Rktpy, keys: Path, gpg: Gpg, aci: Path) -> None:
    alice = gpg.fingerprint("alice")
    system = rktpy.system / "trustedkeys/prefix.d/example.com" / alice
    system.parent.mkdir(parents=True)
    system.write_bytes((keys / "alice").read_bytes())
    rktpy("fetch", str(aci))
    done = rktpy("trust", "rm", "--prefix=example.com", alice)
    mask = rktpy.config / "trustedkeys/prefix.d/example.com" / alice
    assert done.stdout == f'Masked key {alice} for prefix "example.com" at {mask}\n'
    assert mask.read_bytes() == b""
    assert system.exists()
    assert listed(rktpy) == []
    assert "signature made by unknown entity" in rktpy("run", ACI, status=254).stderr
    assert "is not trusted" in rktpy("trust", "rm", "--prefix=example.com", alice, status=254).stderr
    add(rktpy, "--prefix=example.com", str(keys / "alice"))
    assert "hello" in rktpy("run", ACI).stdout


def test_revoked_and_broken_keys_are_shown(rktpy: Rktpy, tmp_path: Path, keys: Path) -> None:
    own = Gpg(tmp_path / "own")
    try:
        fingerprint = own.key("carol")
        revocation = (own.home / "openpgp-revocs.d" / f"{fingerprint.upper()}.rev").read_text()
        own("--import", stdin=revocation[revocation.index(":-----BEGIN") + 1 :].encode())
        (keys / "carol").write_bytes(own.export("carol"))
    finally:
        own.close()
    add(rktpy, "--root", str(keys / "carol"))
    broken = rktpy.config / "trustedkeys/root.d" / ("0" * 40)
    broken.write_bytes(b"no key")
    assert [key["problem"] for key in listed(rktpy)][1] == "revoked"
    assert "not an OpenPGP packet" in str(listed(rktpy)[0]["problem"])


def test_rkt_s_grammar_is_unchanged(rktpy: Rktpy, keys: Path, gpg: Gpg, tmp_path: Path) -> None:
    """A key file may be called like a command below: as soon as it does not stand where the command would, it is a file."""
    shutil.copy(keys / "alice", tmp_path / "list")
    shutil.copy(keys / "bob", tmp_path / "rm")
    review = "--skip-fingerprint-review"
    rktpy("trust", "--prefix=example.com", review, "list", "rm", cwd=tmp_path)
    assert {key["fingerprint"] for key in listed(rktpy)} == {gpg.fingerprint("alice"), gpg.fingerprint("bob")}
    assert "wants --prefix or --root" in rktpy("trust", status=254).stderr
    rktpy("trust", "--root", review, "./list", cwd=tmp_path)
    # No prefix of a name is a command here, and rkt's are still found by theirs.
    assert "error accessing the key lis" in rktpy("trust", "lis", "--root", review, status=254).stderr
    rktpy("tr", "--root", review, "./rm", cwd=tmp_path)
    assert "rktpy trust list" in rktpy("help", "trust", "list").stdout
    assert "unable to ask user to review fingerprint" in rktpy("trust", "add", "--root", str(keys / "bob"), status=254).stderr


def test_explain(rktpy: Rktpy, aci: Path, busybox_images: Path, keys: Path, gpg: Gpg) -> None:
    add(rktpy, "--prefix=example.com", str(keys / "alice"))
    image = rktpy("fetch", "--full", str(aci)).stdout.strip()
    shown = rktpy("trust", "explain", ACI).stdout
    assert shown.startswith(f"{ACI} ({image}")
    assert ")\n  accepted: signed by a trusted key\n" in shown
    assert f"yes openpgp signature by {gpg.fingerprint('alice')}: trusted by prefix example.com" in shown
    reference = f"oci:{busybox_images}/busybox-oci:1"
    policy = write_policy(rktpy, {"default": ANYTHING})
    other = rktpy("fetch", "--full", reference).stdout.strip()
    write_policy(rktpy, {"default": REJECT})
    done = rktpy("trust", "explain", "--format=json", ACI, reference, status=254)
    accepted, refused = json.loads(done.stdout)
    assert (accepted["verdict"], refused["verdict"]) == ("accepted", "rejected")
    assert refused["image"] == {"id": other, "format": "oci", "name": reference}
    assert refused["policy"] == str(policy)
    assert refused["steps"] == [
        {"rule": "reject at default[0]", "outcome": "rejects", "reason": "the policy rejects every image here"}
    ]
    assert "cannot find image" in rktpy("trust", "explain", "docker://registry.example/a:1", status=254).stderr


def test_explain_while_a_pod_is_made(rktpy: Rktpy, aci: Path, keys: Path) -> None:
    add(rktpy, "--root", str(keys / "alice"))
    for command in (("fetch", "--explain", str(aci)), ("prepare", "--quiet", "--explain", ACI), ("run", "--explain", ACI)):
        done = rktpy(*command)
        assert done.stderr.count(f"{ACI} (sha512-") == 1
        assert "accepted: signed by a trusted key" in done.stderr
    uuid = rktpy("prepare", "--quiet", ACI).stdout.strip()
    shutil.rmtree(rktpy.config / "trustedkeys")
    for command in (("run", "--explain", ACI), ("run-prepared", "--explain", uuid), ("prepare", "--explain", ACI)):
        done = rktpy(*command, status=254)
        assert done.stderr.count("rejected: openpgp: signature made by unknown entity") == 1
        assert "no  openpgp signature by" in done.stderr


def test_recheck_of_images(rktpy: Rktpy, aci: Path, busybox_images: Path, keys: Path, gpg: Gpg) -> None:
    add(rktpy, "--root", str(keys / "alice"))
    assert rktpy("trust", "recheck").stderr == "recheck: 0 of 0 stored image(s) refused\n"
    image = rktpy("fetch", "--full", str(aci)).stdout.strip()
    assert rktpy("trust", "recheck").stdout == ""
    reference = f"oci:{busybox_images}/busybox-oci:1"
    other = rktpy("--insecure-options=image", "fetch", "--full", reference).stdout.strip()
    done = rktpy("trust", "recheck", status=254)
    assert done.stdout.startswith(f"{other} ({reference}): rejected: no trust policy says")
    assert done.stderr == "recheck: 1 of 2 stored image(s) refused\n"
    write_policy(rktpy, {"default": ANYTHING})
    assert rktpy("trust", "recheck").stdout == ""
    rktpy("trust", "rm", "--root", gpg.fingerprint("alice"))
    done = rktpy("trust", "recheck", status=254)
    assert done.stdout.startswith(image)
    assert done.stdout.endswith(f" ({ACI}): rejected: openpgp: signature made by unknown entity\n")
    (record,) = (rktpy.data / "cas/images").glob("sha512-*")
    record.write_bytes(b"{")
    assert f"{record.name}: undecided: " in rktpy("trust", "recheck", status=254).stdout


def test_recheck_of_running_pods(rktpy: Rktpy, aci: Path, keys: Path, gpg: Gpg, tmp_path: Path) -> None:
    add(rktpy, "--root", str(keys / "alice"))
    rktpy("fetch", str(aci))
    assert "0 of 0 image(s) of running pods refused" in rktpy("trust", "recheck", "--running").stderr
    processes = []
    try:
        for number, option in enumerate(((), ("--insecure-options=image",))):
            saved = tmp_path / f"uuid{number}"
            argv = rktpy.argv(*option, "run", "--net=none", f"--uuid-file-save={saved}", ACI, "--exec=/bin/sleep", "--", "60")
            processes.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            rktpy("status", "--wait-ready=30s", f"--uuid-file={_wait_for(saved)}")
        assert "0 of 2 image(s) of running pods refused" in rktpy("trust", "recheck", "--running").stderr
        rktpy("trust", "rm", "--root", gpg.fingerprint("alice"))
        done = rktpy("trust", "recheck", "--running", status=254)
        lines = done.stdout.splitlines()
        assert len(lines) == 2
        assert len([line for line in lines if "(it was let in by --insecure-options=image)" in line]) == 1
        assert all(line.startswith("pod ") and ", app busybox, sha512-" in line for line in lines)
    finally:
        for process in processes:
            process.kill()
            process.wait(30)
        for pod in rktpy("list", "--full", "--no-legend").stdout.splitlines():
            rktpy("stop", "--force", pod.split("\t")[0], status=None)


def _wait_for(path: Path) -> Path:
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path


def test_verifying_the_signatures_of_stored_images(rktpy: Rktpy, aci: Path, keys: Path, gpg: Gpg) -> None:
    add(rktpy, "--root", str(keys / "alice"))
    image = rktpy("fetch", "--full", str(aci)).stdout.strip()
    assert f'signatures of "{ACI}": accepted: signed by a trusted key' in rktpy("image", "verify", "--signatures", image).stdout
    # What is remembered of the key is not believed.
    assert "cannot run gpg" in rktpy("image", "verify", "--signatures", image, status=254, env={"PATH": "/nonexistent"}).stderr
    rktpy("trust", "rm", "--root", gpg.fingerprint("alice"))
    done = rktpy("image", "verify", "--signatures", image, status=254)
    assert "rejected: openpgp: signature made by unknown entity" in done.stdout
    assert "signatures" not in rktpy("image", "verify", image).stdout
