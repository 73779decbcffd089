"""What stage1-kvm builds and decides, as data: initramfs, modules, kernel, settings, size and shape of a machine."""

from __future__ import annotations

import json
import lzma
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from rktpy.errors import ConfigError, NotFoundError, Stage1Error
from rktpy.stage1.kvm.initramfs import archive
from rktpy.stage1.kvm.kernel import Kernel, find_kernel, unpack_kernel
from rktpy.stage1.kvm.machine import Backends, Shape, disks_for, memory_for
from rktpy.stage1.kvm.modules import Modules, file_name
from rktpy.stage1.kvm.settings import Settings, load_settings
from tests.conftest import need_tool


def test_an_archive_is_what_cpio_reads(tmp_path: Path) -> None:
    data = archive(("dev", "a"), {"init": (0o755, b"#!x"), "a/b": (0o644, b"12345")})
    (tmp_path / "archive").write_bytes(data)
    need_tool("cpio")
    listed = subprocess.run(["cpio", "-tv", "-F", str(tmp_path / "archive")], capture_output=True, text=True, check=True).stdout
    assert [(line.split()[0], line.split()[4], line.split()[-1]) for line in listed.splitlines()] == [
        ("drwxr-xr-x", "0", "dev"),
        ("drwxr-xr-x", "0", "a"),
        ("-rwxr-xr-x", "3", "init"),
        ("-rw-r--r--", "5", "a/b"),
    ]


def modules(directory: Path) -> Modules:
    (directory / "modules.dep").write_text("k/a.ko.xz: k/b.ko k/c-d.ko\nk/b.ko: k/c-d.ko\nk/c-d.ko:\n")
    (directory / "modules.builtin").write_text("k/inside.ko\n")
    (directory / "k").mkdir()
    (directory / "k/a.ko.xz").write_bytes(lzma.compress(b"module a"))
    return Modules(str(directory))


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    found = modules(tmp_path)
    assert found.order(("a", "inside")) == ["k/c-d.ko", "k/b.ko", "k/a.ko.xz"]
    assert [file_name(path) for path in found.order(("b",))] == ["c_d.ko", "b.ko"]
    assert found.read("k/a.ko.xz") == b"module a"
    with pytest.raises(NotFoundError, match="has no module missing"):
        found.order(("missing",))


def bz_image(payload: bytes, release: str = "6.1.0-test") -> bytes:
    """The head of a bzImage as far as it is looked at, with a payload."""
    head = bytearray(1024)
    head[0x1F1] = 1
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x20E, 0x300 - 0x200)
    text = f"{release} (somebody) #1".encode() + b"\0"
    head[0x300 : 0x300 + len(text)] = text
    struct.pack_into("<II", head, 0x248, 0, len(payload))
    return bytes(head) + payload


@pytest.mark.parametrize("kind", ["gzip", "xz", "plain", "lz4"])
def test_a_kernel_is_unpacked(tmp_path: Path, kind: str) -> None:
    image = b"\x7fELF" + b"kernel " * 1000
    if kind == "gzip":
        packer = zlib.compressobj(wbits=31)
        payload = packer.compress(image) + packer.flush()
    elif kind == "xz":
        payload = lzma.compress(image)
    elif kind == "lz4":
        import lz4.block

        block = lz4.block.compress(image, store_size=False)
        payload = b"\x02\x21\x4c\x18" + struct.pack("<I", len(block)) + block + struct.pack("<I", len(image))
    else:
        payload = image
    path = tmp_path / "vmlinuz"
    path.write_bytes(bz_image(payload))
    assert unpack_kernel(Kernel(str(path), "6.1.0-test", "/nowhere")) == image


@pytest.mark.parametrize("data", [b"", b"\0" * 4096, bz_image(b"nonsense"), bz_image(b"\x1f\x8bnonsense")])
def test_what_is_no_kernel(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "vmlinuz"
    path.write_bytes(data)
    with pytest.raises((Stage1Error, NotFoundError)):
        find_kernel(str(path))
    with pytest.raises(Stage1Error):
        unpack_kernel(Kernel(str(path), "x", "/nowhere"))


def test_settings_of_the_machine_and_of_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "kvm.d"
    directory.mkdir()
    document = {"rktKind": "kvm", "rktVersion": "v1", "accelerator": "tcg", "memory": 512}
    (directory / "a.json").write_text(json.dumps(document))
    (directory / "b.json").write_text(json.dumps({"rktKind": "kvm", "rktVersion": "v1", "memory": 300, "snapshot": False}))
    (directory / "c.txt").write_text("not looked at")
    assert load_settings(str(tmp_path)) == Settings("tcg", "", 300, 0, 16384, False)
    monkeypatch.setenv("RKTPY_KVM_SNAPSHOT", "yes")
    monkeypatch.setenv("RKTPY_KVM_KERNEL", "/boot/mine")
    assert load_settings(str(tmp_path)) == Settings("tcg", "/boot/mine", 300, 0, 16384, True)
    assert load_settings("") == Settings(kernel="/boot/mine")


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"accelerator": "magic"}, "accelerator must be one of"),
        ({"memory": True}, "memory must be a number"),
        ({"memory": 1}, "memory must be a number from 64"),
        ({"kernel": "vmlinuz"}, "absolute path"),
        ({"snapshot": "no"}, "must be true or false"),
        ({"colour": "red"}, "unknown setting 'colour'"),
        ({"rktKind": "paths"}, 'rktKind must be "kvm"'),
    ],
)
def test_wrong_settings(tmp_path: Path, members: dict[str, object], problem: str) -> None:
    (tmp_path / "kvm.d").mkdir()
    (tmp_path / "kvm.d/a.json").write_text(json.dumps({"rktKind": "kvm", "rktVersion": "v1", **members}))
    with pytest.raises(ConfigError, match=problem):
        load_settings(str(tmp_path))


def test_machines_come_in_few_sizes() -> None:
    assert [memory_for(apps) for apps in (1, 128, 176, 177, 432, 433)] == [256, 256, 256, 512, 512, 1024]
    assert [disks_for(apps) for apps in (1, 2, 3, 4, 14)] == [2, 4, 4, 8, 16]


def test_a_machine_has_no_device_that_it_does_not_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rktpy.stage1.kvm import machine
    from rktpy.stage1.kvm.guest import Guest

    monkeypatch.setattr(machine, "qemu_program", lambda: "/qemu")
    line = machine.command(
        Shape("tcg", 256, disks=2, networks=1),
        Guest("k", "/g/kernel", "/g/initramfs", {}),
        Backends(7, ((8, False), (9, True)), (10,), throttle=(1000, None)),
        memory_file="/memory",
    )
    devices = [line[index + 1].partition(",")[0] for index, word in enumerate(line) if word == "-device"]
    assert devices == [
        "virtio-serial-device", "virtserialport", "virtio-blk-device", "virtio-blk-device", "virtio-net-device",
    ]  # fmt: skip
    assert {"-nodefaults", "-no-user-config", "-sandbox"} <= set(line)
    assert "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny" in line
    assert "throttle-group,id=limits,x-bps-read=1000,x-bps-write=1000" in line
    assert sum("read-only=on" in word and "fdset/2" in word for word in line) == 1
