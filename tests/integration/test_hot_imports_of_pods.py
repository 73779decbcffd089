"""What the commands that make, enter, stop and remove pods load: of Python only what is free, of rktpy only hot-path modules.

A module says of itself, in the docstring at its head, that it is one. Taken from the interpreter's own report, because ``run``
ends by becoming the app.
"""

from __future__ import annotations

import ast
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.linux.constants import AT_EMPTY_PATH, AT_FDCWD, MOUNT_ATTR_RDONLY, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE
from rktpy.linux.syscalls import mount_setattr, open_tree
from tests.conftest import ROOT, SYSTEM_PYTHON, Rktpy
from tests.support.gpg import Gpg
from tests.support.registry import Registry
from tests.support.signed_images import ANYTHING, SignedImages, write_policy

pytestmark = pytest.mark.root

NAME = "example.com/busybox"
# Built into the interpreter or frozen.
FREE = frozenset(
    "__future__ _collections_abc _json _sha1 _sha256 _sha512 _socket _stat _struct binascii errno fcntl gc genericpath os "  # noqa: SIM905
    "os.path posixpath select stat struct termios time".split()
)


# By command, exactly what of rktpy is loaded for a pod with systemd, without the name of the package.
_EVERY = """
    __main__ cli cli.command cli.commands cli.durations cli.flags cli.image_commands cli.output cli.parse cli.report cli.settings
    cli.usage
    cli.values errors formats formats.aci formats.aci.document formats.aci.types formats.entry_arguments formats.jsondoc
    formats.stage1 isolate isolate.holder isolate.plan isolate.root linux linux._sys linux.constants linux.syscalls log
    record stage0 stage0.options stage0.pod_files stage0.pod_states stage0.pods stage0.stage1_image stage1 stage1.systemd
"""
_APP = """
    cgroup cgroup.hierarchy cgroup.recorded cgroup.subtree cgroup.walk formats.aci.isolators formats.aci.manifest
    formats.aci.quantity formats.pod isolate.capabilities isolate.capability_numbers isolate.environment isolate.executable
    isolate.labels
    isolate.pod_app isolate.privileges isolate.process isolate.rlimits isolate.seccomp_names isolate.seccomp_sets isolate.users
"""
_MAKING = """
    cgroup.delegation cgroup.limits cli.images fetch fetch.app_string fetch.reference fetch.url formats.aci.isolator_flags
    formats.cli_values formats.oci formats.oci.digest formats.oci.image_name isolate.enforcement isolate.host_mounts
    isolate.mounts isolate.protected_paths isolate.stream_modes isolate.volumes net net.pod_bandwidth pod pod.limits
    pod.pod stage0.app_settings stage0.images stage0.mtab stage0.overlay stage0.podmanifest stage0.prepare
    stage0.replace_file stage1.systemd.app_root stage1.systemd.app_units
    stage1.systemd.first_process stage1.systemd.pod stage1.systemd.pod_files stage1.systemd.pod_paths stage1.systemd.pod_root
    stage1.systemd.pod_units
    stage1.systemd.resources stage1.systemd.streams stage1.systemd.unit_text store store.dependencies store.image_record
    store.locks store.lookup store.paths store.store store.tree_ready trust trust.decision
"""
_INTO = """
    isolate.asking pod pod.added_app stage0.app_files stage0.crossing stage0.enter stage0.mutable stage0.wait
    stage1.systemd.inside stage1.systemd.pod_process
"""
_RUN = """
    cgroup.pod cli.pod_options cli.pull cli.run cli.run_options formats.cni formats.cni.configuration formats.cni.versions
    isolate.detached net net.builtin net.selection pod.disconnect pod.end pod.network stage0.run stage1.systemd.launch
    stage1.systemd.machine stage1.systemd.run
"""
_APP_ADD = """
    cli.app_add linux.remove_tree stage0.app_add stage0.app_removal stage0.app_rm stage1.systemd.app_add
"""
_APP_START = """
    cli.app_start cli.pod_arguments stage0.app_start stage0.replace_file stage1.systemd.app_start stage1.systemd.manager
    stage1.systemd.pod_paths
    store store.locks
"""
_ENTER = """
    cgroup.joining cli.enter isolate.become isolate.entering isolate.handoff isolate.seccomp isolate.syscall_table
    isolate.unwritable stage0.enter stage0.wait stage1.systemd.app_process stage1.systemd.enter stage1.systemd.pod_process
"""
EXACTLY = {
    "run": _EVERY + _APP + _MAKING + _RUN,
    "app add": _EVERY + _APP + _MAKING + _INTO + _APP_ADD,
    "app start": _EVERY + _INTO + _APP_START,
    "enter": _EVERY + _APP + _ENTER,
}


def loaded(rktpy: Rktpy, *args: str, option: str = "--insecure-options=image") -> list[str]:
    """The modules that the command, with a global ``option``, loads beyond those of a bare interpreter.

    The interpreter is executed from where nobody can write to it, as ``enter`` wants it and would otherwise do it again.
    """
    interpreter = [SYSTEM_PYTHON, "-I", "-S", "-X", "importtime"]
    program = open_tree(AT_FDCWD, os.path.realpath(SYSTEM_PYTHON), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
    mount_setattr(program, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0, 0, 0)

    def names(argv: list[str]) -> list[str]:
        executable = f"/proc/self/fd/{program}"
        done = subprocess.run(
            argv, executable=executable, pass_fds=(program,), capture_output=True, text=True, timeout=60, check=False
        )
        lines = [line for line in done.stderr.split("\n") if line.startswith("import time:")]
        return [line.rpartition("|")[2].strip() for line in lines[1:]]

    try:
        bare = set(names([*interpreter, "-c", "pass"]))
        return [name for name in names([*interpreter, *rktpy.argv(option, *args)]) if name not in bare]
    finally:
        os.close(program)


def is_hot(name: str) -> bool:
    path = ROOT / (name.replace(".", "/") + ".py")
    if not path.exists():
        # A package that holds nothing but its docstring, or the C extension.
        package = ROOT / name.replace(".", "/") / "__init__.py"
        return not package.exists() or len(package.read_text().splitlines()) < 25
    text = path.read_text()
    return "ot-path module" in (ast.get_docstring(ast.parse(text)) or "")


def check(modules: list[str], line: str = "") -> None:
    """``line`` is the one of EXACTLY that the modules are compared with."""
    assert "rktpy.__main__" in modules
    ours = [name for name in modules if name.partition(".")[0] == "rktpy"]
    if line:
        allowed = {f"rktpy.{name}" for name in EXACTLY[line].split()} | {"rktpy"}
        assert sorted(set(ours) - allowed) == []
        # A module that is allowed for no reason would hide the next one.
        assert sorted(allowed - set(ours)) == []
    assert [name for name in ours if not is_hot(name)] == []
    assert sorted(set(modules) - set(ours) - FREE) == []


@pytest.fixture(params=["fly", "systemd"])
def flag(request: pytest.FixtureRequest) -> str:
    """Chooses a stage1; it is not configured, because reading a configuration costs what it costs."""
    return f"--stage1={request.param}"


@pytest.fixture
def stored(rktpy: Rktpy, busybox_images: Path, flag: str) -> Rktpy:
    """rktpy with a rendered busybox."""
    rktpy("--insecure-options=image", "prepare", flag, str(busybox_images / "busybox.aci"), "--exec=/bin/true")
    return rktpy


def test_run(stored: Rktpy, flag: str) -> None:
    check(
        loaded(
            stored,
            "run",
            flag,
            "--net=none",
            "--volume=v,kind=empty",
            NAME,
            "--mount=volume=v,target=/v",
            "--user=0",
            "--exec=/bin/true",
        )
    )
    assert "exited" in stored("list").stdout


def test_run_of_a_pod_with_systemd(stored: Rktpy) -> None:
    volume = ("--volume=v,kind=empty", "--mount=volume=v,target=/v")
    check(loaded(stored, "run", "--stage1=systemd", "--net=none", *volume, NAME, "--exec=/bin/true"), "run")
    assert "exited" in stored("list").stdout


def test_run_prepared_and_the_end_of_a_pod(stored: Rktpy) -> None:
    uuid = stored("list", "--full", "--no-legend").stdout.split("\t")[0]
    check(loaded(stored, "run-prepared", "--net=none", uuid))
    assert "exited" in stored("status", uuid).stdout
    check(loaded(stored, "gc", "--mark-only"))
    check(loaded(stored, "rm", uuid))
    assert stored("list", "--no-legend").stdout == ""


def test_a_running_pod(stored: Rktpy, flag: str) -> None:
    done = stored("--insecure-options=image", "prepare", flag, NAME, "--exec=/bin/sleep", "--", "60")
    uuid = done.stdout.strip()
    with subprocess.Popen(stored.argv("run-prepared", "--net=none", uuid), stdin=subprocess.DEVNULL) as process:
        try:
            check(loaded(stored, "status", "--wait-ready=20s", uuid))
            check(loaded(stored, "enter", uuid, "/bin/true"))
            check(loaded(stored, "stop", "--force", uuid))
            check(loaded(stored, "status", "--wait=20s", uuid))
            check(loaded(stored, "gc", "--grace-period=0s"))
        finally:
            process.kill()
    assert uuid not in stored("list", "--full", "--no-legend").stdout


@pytest.mark.parametrize("flag", ["--stage1=systemd"])
def test_apps_of_a_running_pod(stored: Rktpy, tmp_path: Path) -> None:
    file = tmp_path / "uuid"
    argv = stored.argv("app", "sandbox", "--stage1=systemd", "--net=none", f"--uuid-file-save={file}")
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        try:
            while not (file.exists() and file.stat().st_size):
                assert process.poll() is None
                time.sleep(0.01)
            uuid = file.read_text()
            stored("status", "--wait-ready=20s", uuid)
            added = ("--name=a", "--memory=64M", "--exec=/bin/sleep", "--", "60")
            check(loaded(stored, "app", "add", uuid, NAME, *added), "app add")
            check(loaded(stored, "app", "start", "--app=a", uuid), "app start")
            check(loaded(stored, "enter", "--app=a", uuid, "/bin/true"), "enter")
            for line in (["list"], ["status", "--app=a"], ["stop", "--app=a"], ["rm", "--app=a"]):
                check(loaded(stored, "app", *line, uuid))
            assert stored("app", "list", "--no-legend", uuid).stdout == "\n"
        finally:
            stored("stop", "--force", uuid)
            process.kill()


# What a policy.json adds to a start, by what it asks for.
_POLICY = """
    formats.openpgp formats.oci.media_types formats.trust formats.trust.evidence formats.trust.members formats.trust.policy
    formats.trust.policy_requirements formats.trust.requirements formats.trust.scopes stage0.kept_evidence
    stage0.policy_decisions stage0.signature_facts store.blobs trust.engine trust.families trust.keystore trust.policy
"""
_SIGNED_BY = """
    trust.identity trust.simple_signing
"""


@pytest.fixture
def signed(rktpy: Rktpy, busybox_images: Path, tmp_path: Path) -> Iterator[SignedImages]:
    """A stored OCI image with a simple-signing signature, about which everything is remembered."""
    gpg = Gpg(tmp_path / "gpg")
    try:
        gpg.key("alice")
        with Registry(tmp_path / "registry") as registry:
            images = SignedImages(tmp_path / "images", registry, gpg)
            images.push(f"oci:{busybox_images}/busybox-oci:1", "a/b:1", "alice")
            images.policy(rktpy)
            rktpy("--insecure-options=http", "fetch", images.reference("a/b:1"), env=images.environ)
            yield images
    finally:
        gpg.close()


def added_by(rktpy: Rktpy, reference: str, plain: set[str]) -> set[str]:
    """The modules that a start loads beyond the ``plain`` ones."""
    modules = loaded(rktpy, "run", "--stage1=systemd", "--net=none", reference, "--exec=/bin/true", option="--debug=false")
    check(modules)
    return {name.removeprefix("rktpy.") for name in modules if name.startswith("rktpy.")} - plain


def test_without_a_policy_an_aci_loads_what_it_did(rktpy: Rktpy, busybox_images: Path, tmp_path: Path) -> None:
    gpg = Gpg(tmp_path / "gpg")
    try:
        gpg.key("alice")
        aci = tmp_path / "busybox.aci"
        aci.write_bytes((busybox_images / "busybox.aci").read_bytes())
        aci.with_name("busybox.aci.asc").write_bytes(gpg.sign(aci, "alice"))
        (tmp_path / "key").write_bytes(gpg.export("alice"))
        rktpy("trust", "--root", "--skip-fingerprint-review", str(tmp_path / "key"))
        rktpy("fetch", str(aci))
    finally:
        gpg.close()
    added = added_by(rktpy, NAME, set(EXACTLY["run"].split()))
    assert added == {"formats.openpgp", "stage0.signing_keys", "store.blobs", "trust.keystore"}


def test_a_policy_loads_what_it_needs_and_no_policy_nothing(rktpy: Rktpy, signed: SignedImages) -> None:
    reference = signed.reference("a/b:1")
    plain = set(EXACTLY["run"].split())
    policy = signed.policy(rktpy)
    assert added_by(rktpy, reference, plain) == {*_POLICY.split(), *_SIGNED_BY.split()}
    write_policy(rktpy, {"default": ANYTHING})
    assert added_by(rktpy, reference, plain) == set(_POLICY.split()) - {"formats.oci.media_types"}
    policy.unlink()
    insecure = loaded(rktpy, "run", "--stage1=systemd", "--net=none", reference, "--exec=/bin/true")
    assert {name.removeprefix("rktpy.") for name in insecure if name.startswith("rktpy.")} - plain == set()
