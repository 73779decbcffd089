"""The Debian package: built by dpkg-buildpackage from a copy, installed over a copy of this machine's root, used, removed.

On the test host of tests/vm, which is made for it, it is installed for real.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.cgroup.delegation import systemd_runs
from tests.conftest import ROOT, need_tool
from tests.integration.test_packaging import source

assert source  # a fixture

pytestmark = [pytest.mark.root, pytest.mark.slow]

ON_THE_HOST = systemd_runs() and os.environ.get("RKTPY_TEST_SANDBOX") == "host"
FILES = (
    "/usr/bin/rktpy",
    "/usr/bin/rktpy-oci",
    "/usr/lib/rktpy/python/rktpy/oci/launch",
    "/usr/lib/systemd/system-generators/rktpy-system-generator",
    "/usr/lib/systemd/user-generators/rktpy-user-generator",
    "/lib/systemd/system/rktpy-gc.timer",
    "/lib/systemd/system/rktpy-image-gc.timer",
    "/lib/systemd/system/rktpy-update@.timer",
    "/usr/lib/tmpfiles.d/rktpy.conf",
    "/usr/lib/sysusers.d/rktpy.conf",
    "/usr/share/bash-completion/completions/rktpy",
    "/usr/share/zsh/vendor-completions/_rktpy",
    "/usr/share/fish/vendor_completions.d/rktpy.fish",
    "/usr/share/man/man1/rktpy-update.1.gz",
    "/usr/share/man/man5/rktpy-unit.5.gz",
    "/usr/share/rktpy/apparmor.d/rktpy",
    "/usr/lib/rktpy/python/rktpy/stage1/systemd/monitor",
    "/usr/lib/rktpy/python/rktpy/isolate/handoff",
)


def wheels() -> str:
    """Where test.sh has put the wheels that the package carries: there is no network in the sandbox."""
    directory = os.environ.get("RKTPY_WHEELS") or f"{sys.prefix}/wheels"
    if not os.path.isdir(directory):
        message = f"no wheels in {directory}: pip download -d {directory} -r debian/vendored.txt"
        if os.environ.get("RKTPY_TEST_REQUIRE_TOOLS"):
            pytest.fail(message)
        pytest.skip(message)
    return directory


@pytest.fixture(scope="module")
def package(source: Path) -> Path:
    need_tool("dpkg-buildpackage")
    need_tool("dh")
    done = subprocess.run(
        ["dpkg-buildpackage", "-b", "-us", "-uc", "-d"],
        cwd=source, env={**os.environ, "RKTPY_WHEELS": wheels(), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout[-4000:], done.stderr[-4000:])
    (built,) = source.parent.glob("rktpy_*.deb")
    return built


class Machine:
    """A root with dpkg, in which commands are run."""

    def __init__(self, root: Path | None) -> None:
        self.root = root

    def __call__(self, *argv: str, status: int = 0) -> str:
        before = ["chroot", str(self.root)] if self.root else []
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"}
        done = subprocess.run([*before, *argv], env=environment, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == status, (argv, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture(scope="module")
def machine(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if ON_THE_HOST:
        one = Machine(None)
        one("dpkg", "-i", "--force-depends", str(package))
        yield one
        return
    directory = tmp_path_factory.mktemp("machine")
    root, layers = directory / "root", directory / "layers"
    root.mkdir()
    layers.mkdir()
    # In memory: the sandbox may be on an overlay already, which cannot be the upper layer of another.
    subprocess.run(["mount", "-t", "tmpfs", "layers", str(layers)], check=True)
    (layers / "upper").mkdir()
    (layers / "work").mkdir()
    options = f"lowerdir=/,upperdir={layers}/upper,workdir={layers}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "machine", str(root)], check=True)
    try:
        for name, kind in (("proc", "proc"), ("run", "tmpfs"), ("tmp", "tmpfs"), ("dev/shm", "tmpfs")):
            subprocess.run(["mount", "-t", kind, kind, str(root / name)], check=True)
        (root / "tmp" / package.name).write_bytes(package.read_bytes())
        one = Machine(root)
        one("dpkg", "-i", "--force-depends", f"/tmp/{package.name}")
        yield one
    finally:
        subprocess.run(["umount", "-R", str(root)], check=False)
        subprocess.run(["umount", str(layers)], check=False)


def test_what_is_in_it(package: Path) -> None:
    listed = subprocess.run(["dpkg-deb", "-c", str(package)], capture_output=True, text=True, check=True).stdout
    names = {line.split()[5].removeprefix(".") for line in listed.splitlines()}
    assert set(FILES) <= names, set(FILES) - names
    assert not [name for name in names if "/tests/" in name and "/rktpy/python/rktpy/" in name]
    assert not [name for name in names if name.endswith(".pyc")]
    fields = subprocess.run(["dpkg-deb", "-f", str(package)], capture_output=True, text=True, check=True).stdout
    assert "python3-systemd" in fields and "libc6" in fields


def test_vendored_is_what_the_project_wants() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {*project["dependencies"], *project["optional-dependencies"]["api"], *project["optional-dependencies"]["fast"]}
    vendored = {line for line in (ROOT / "debian/vendored.txt").read_text().splitlines() if not line.startswith("#")}
    assert vendored <= wanted
    control = (ROOT / "debian/control").read_text()
    for left in wanted - vendored:
        name, _at_least, version = left.partition(">=")
        debian = f"python3-{name.lower().removeprefix('python-').removesuffix('-python').removeprefix('py')}"
        assert f"{debian} (>= {version})" in control, left


def test_it_is_used_and_removed(machine: Machine, busybox_images: Path) -> None:
    assert machine("rktpy", "version").startswith("rktpy Version: ")
    assert "1." in machine("rktpy-oci", "--version")
    assert "rktpy:x:" in machine("getent", "group", "rktpy")
    assert machine("stat", "-c", "%a %U %G", "/var/lib/rktpy").strip() == "2750 root rktpy"
    modules = machine("/usr/bin/python3", "-IS", "-c",
        "import sys; sys.path += ['/usr/lib/rktpy/python', '/usr/lib/python3/dist-packages']\n"
        "import cryptography, pyzstd, isal, grpc, google.protobuf, networkx, gnupg, systemd.journal, lz4, nacl, yaml\n"
        "print(cryptography.__file__, networkx.__file__)")  # fmt: skip
    assert modules.split() == [
        "/usr/lib/rktpy/python/cryptography/__init__.py", "/usr/lib/python3/dist-packages/networkx/__init__.py",
    ]  # fmt: skip
    root = machine.root or Path("/")
    image = root / "var/tmp/rktpy-test-busybox.aci"
    image.write_bytes((busybox_images / "busybox.aci").read_bytes())
    path = f"/{image.relative_to(root)}"
    run = machine("rktpy", "--insecure-options=image", "run", "--stage1=fly", "--no-overlay", path)
    assert run == "hello from busybox, an ACI\n"
    # A member of the group fetches and inspects; it cannot run.
    as_member = ("setpriv", "--reuid=65534", "--regid=65534", "--groups", machine("getent", "group", "rktpy").split(":")[2])
    assert "example.com/busybox" in machine(*as_member, "rktpy", "image", "list")
    assert "sha512-" in machine(*as_member, "rktpy", "--insecure-options=image", "fetch", path)
    assert "busybox" in machine(*as_member, "rktpy", "list", "--full")
    machine(*as_member, "rktpy", "--insecure-options=image", "run", path, status=254)
    machine("rktpy", "gc", "--grace-period=0s")
    machine("rktpy", "image", "gc", "--grace-period=0s")
    for unit in ("rktpy-gc.timer", "rktpy-image-gc.timer", "rktpy-api.socket", "rktpy-update@.timer", "rktpy-update@.service"):
        instance = unit.replace("@.", "@x.")
        checked = f"/usr/lib/systemd/system/{unit}" if "@" not in unit else instance
        machine("systemd-analyze", "verify", "--man=no", checked)
    (root / "etc/rktpy/systemd/web.app").write_text("[App]\nImage=example.com/busybox:1\n")
    dry = machine("/usr/lib/systemd/system-generators/rktpy-system-generator", "--dryrun")
    assert "# web.service\n" in dry and "ExecStart=:/usr/bin/rktpy run" in dry
    (root / "etc/rktpy/systemd/web.app").unlink()
    machine("dpkg", "--purge", "--force-depends", "rktpy")
    assert not (root / "usr/bin/rktpy").exists() and not (root / "usr/lib/rktpy").exists()
    assert (root / "var/lib/rktpy").exists(), "images and pods are the administrator's"
