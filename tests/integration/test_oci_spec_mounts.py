"""Mounts, the root, devices and paths of a container: runtime-spec 1.2 ``config.md``, ``config-linux.md``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.oci_bundles import Bundle, Runtime

pytestmark = pytest.mark.root
_AT = "grep ' {0} ' /proc/self/mountinfo"


def options(runtime: Runtime, bundle: Bundle, target: str = "/mnt", name: str = "one") -> tuple[str, str]:
    """What mountinfo says of a mount: its options, its optional fields."""
    line = runtime.run(bundle(_AT.format(target)), name).splitlines()[-1]
    fields = line.split(" - ")[0].split()
    return fields[5], " ".join(fields[6:])


def test_root_is_the_bundles(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "marker").write_text("here\n")
    assert runtime.run(bundle("cat /marker; ls /..")).startswith("here\n")


def test_read_only_root(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = True
    assert runtime.run(bundle("touch /new 2>/dev/null || echo refused; touch /dev/shm/new && echo made")) == "refused\nmade\n"
    assert not (bundle.rootfs / "new").exists()


def test_mounts_are_made_in_order(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "tmpfs", "tmpfs")
    bundle.mount("/mnt/deep/inner", "tmpfs", "tmpfs", "size=1m")
    assert runtime.run(bundle("grep -c /mnt /proc/mounts")) == "2\n"


def test_relative_destinations_count_from_the_root(runtime: Runtime, bundle: Bundle) -> None:
    if not runtime.ours:
        pytest.skip("since 1.2 of the specification")
    bundle.mount("mnt", "tmpfs", "tmpfs")
    assert runtime.run(bundle("grep -c ' /mnt ' /proc/mounts")) == "1\n"


def test_bind_of_a_directory_and_a_file(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_text("content\n")
    bundle.mount("/mnt", "bind", str(tmp_path / "source"), "bind")
    bundle.mount("/etc/one/file", "bind", str(tmp_path / "source/file"), "bind", "ro")
    output = runtime.run(bundle("cat /mnt/file /etc/one/file; touch /mnt/new; echo x >>/etc/one/file || echo refused"))
    assert output == "content\ncontent\nrefused\n"
    assert (tmp_path / "source/new").exists()


def test_sources_count_from_the_bundle(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.path / "beside").write_text("beside\n")
    bundle.mount("/beside", "bind", "beside", "bind")
    assert runtime.run(bundle("cat /beside")) == "beside\n"


@pytest.mark.parametrize(
    ("words", "present", "absent"),
    [
        (("ro",), {"ro"}, {"rw"}),
        (("nosuid", "nodev", "noexec"), {"nosuid", "nodev", "noexec"}, set()),
        (("noatime",), {"noatime"}, {"relatime"}),
        (("strictatime",), set(), {"relatime", "noatime"}),
        (("nodiratime",), {"nodiratime"}, set()),
        (("ro", "rw"), {"rw"}, {"ro"}),
        (("nosuid", "suid"), set(), {"nosuid"}),
    ],
)
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_options(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, kind: str, words: tuple[str, ...], present: set[str], absent: set[str]
) -> None:
    (tmp_path / "source").mkdir()
    bundle.mount("/mnt", kind, str(tmp_path / "source"), *(["bind"] if kind == "bind" else []), *words)
    found = set(options(runtime, bundle)[0].split(","))
    assert present <= found
    assert not absent & found


def test_options_of_the_file_system(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "tmpfs", "tmpfs", "size=3m", "mode=1700")
    output = runtime.run(bundle("grep ' /mnt ' /proc/mounts; stat -c %a /mnt"))
    assert "size=3072k" in output
    assert output.endswith("1700\n")


@pytest.mark.parametrize(("word", "field"), [("rprivate", ""), ("rslave", "master:"), ("rshared", "shared:")])
def test_propagation_of_a_bind(runtime: Runtime, bundle: Bundle, tmp_path: Path, word: str, field: str) -> None:
    source = tmp_path / "shared"
    source.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(source)], check=True)
    subprocess.run(["mount", "--make-shared", str(source)], check=True)
    try:
        bundle.mount("/mnt", "bind", str(source), "rbind", word)
        bundle.linux["rootfsPropagation"] = "rshared" if word == "rshared" else "rslave"
        assert options(runtime, bundle)[1].startswith(field)
        if not field:
            assert options(runtime, bundle, name="two")[1] == ""
    finally:
        subprocess.run(["umount", str(source)], check=True)


def test_what_is_mounted_inside_stays_inside(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    source = tmp_path / "shared"
    source.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(source)], check=True)
    subprocess.run(["mount", "--make-shared", str(source)], check=True)
    try:
        (source / "inner").mkdir()
        bundle.mount("/mnt", "bind", str(source), "rbind")
        for name in ("bounding", "effective", "permitted"):
            bundle.config["process"]["capabilities"][name] = ["CAP_SYS_ADMIN"]
        runtime.run(bundle("mount -t tmpfs tmpfs /mnt/inner && touch /mnt/inner/file"))
        assert os.listdir(source / "inner") == []
    finally:
        subprocess.run(["umount", "-R", str(source)], check=True)


def test_recursive_read_only(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(source / "below")], check=True)
    script = "touch /mnt/new 2>/dev/null || echo refused; touch /mnt/below/new 2>/dev/null || echo refused below"
    try:
        bundle.mount("/mnt", "bind", str(source), "rbind", "ro")
        assert runtime.run(bundle(script)) == "refused\n"
        bundle.config["mounts"][-1]["options"] = ["rbind", "rro"]
        if not runtime.ours:
            return
        assert runtime.run(bundle(script)) == "refused\nrefused below\n"
        bundle.config["mounts"][-1]["options"] = ["rbind", "rnosuid", "rnoatime"]
        lines = runtime.run(bundle("grep ' /mnt' /proc/self/mountinfo")).splitlines()
        assert len(lines) == 2
        assert all("nosuid" in line and "noatime" in line for line in lines)
    finally:
        subprocess.run(["umount", str(source / "below")], check=True)


def test_tmpcopyup(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "etc/kept").write_text("kept\n")
    bundle.mount("/etc", "tmpfs", "tmpfs", "tmpcopyup")
    assert runtime.run(bundle("cat /etc/kept; touch /etc/new; grep -c ' /etc ' /proc/mounts")) == "kept\n1\n"
    assert not (bundle.rootfs / "etc/new").exists()


def test_id_mapped_mount(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    if not runtime.ours:
        pytest.skip("newer than Debian's runc")
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").touch()
    os.chown(source / "file", 1000, 1000)
    mapping = [{"containerID": 1000, "hostID": 5000, "size": 10}]
    bundle.mount("/mnt", "bind", str(source), "bind", "idmap", uidMappings=mapping, gidMappings=mapping)
    assert runtime.run(bundle("stat -c '%u %g' /mnt/file")) == "5000 5000\n"


def test_masked_paths(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "tmp/secret").write_text("secret")
    (bundle.rootfs / "tmp/dir").mkdir()
    (bundle.rootfs / "tmp/dir/file").touch()
    bundle.linux["maskedPaths"] = ["/tmp/secret", "/tmp/dir", "/tmp/nothere", "/sys/firmware"]
    output = runtime.run(bundle("wc -c </tmp/secret; ls /tmp/dir /sys/firmware; touch /tmp/dir/x 2>/dev/null || echo refused"))
    assert output == "0\n/sys/firmware:\n\n/tmp/dir:\nrefused\n"


def test_readonly_paths(runtime: Runtime, bundle: Bundle) -> None:
    output = runtime.run(bundle("grep -c 'proc /proc/sys proc ro' /proc/mounts; echo 1 >/proc/sys/kernel/panic || echo refused"))
    assert output == "1\nrefused\n"


def test_default_devices(runtime: Runtime, bundle: Bundle) -> None:
    names = ("null 1 3", "zero 1 5", "full 1 7", "random 1 8", "urandom 1 9", "tty 5 0")
    script = (
        "for one in null zero full random urandom tty; do stat -c '%n %t %T %a' /dev/$one; done; readlink "
        "/dev/ptmx; readlink /dev/fd"
    )
    lines = runtime.run(bundle(script)).splitlines()
    assert [line.rpartition("/")[2] for line in lines[:6]] == [f"{name} 666" for name in names]
    assert lines[6:] == ["pts/ptmx", "/proc/self/fd"]


def test_devices(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["devices"] = [
        {"path": "/dev/sub/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 5, "gid": 6},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
    ]
    output = runtime.run(bundle("stat -c '%F %t:%T %a %u %g' /dev/sub/mine; stat -c '%F %a' /dev/pipe"))
    assert output == "character special file 1:3 640 5 6\nfifo 600\n"


def test_proc_is_the_containers(runtime: Runtime, bundle: Bundle) -> None:
    assert runtime.run(bundle("echo $$; readlink /proc/self")).split()[0] == "1"


def test_root_that_is_not_there(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["root"]["path"] = "nothing"
    runtime("run", "--bundle", str(bundle("true").path), "one", status=1)
    assert not (runtime.root / "one").exists()


def test_without_pivot(runtime: Runtime, bundle: Bundle) -> None:
    runtime.started.add("one")
    done = runtime("run", "--no-pivot", "--bundle", str(bundle("ls /; cat /proc/self/mountinfo").path), "one")
    assert "bin" in done.stdout
