"""The guest's kernel: found among the host's packages, its modules, and the uncompressed image that QEMU starts without firmware.

A bzImage (the kernel's ``arch/x86/boot.rst``) has the real kernel, an ELF file, compressed in it. With a PVH note, which Debian's
have, QEMU enters that at once; to let the image decompress itself takes a third of a second under emulation.
"""

from __future__ import annotations

import os
from struct import unpack_from

from rktpy.errors import NotFoundError, Stage1Error
from rktpy.isolate.plan import shown
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BOOT = "/boot"
_MODULES = ("/lib/modules", "/usr/lib/modules")
_PREFIX = "vmlinuz-"
_LARGEST = 256 << 20
_MAGIC = b"HdrS"
_SETUP_SECTORS, _MAGIC_AT, _VERSION_AT, _PAYLOAD_AT = 0x1F1, 0x202, 0x20E, 0x248
_ELF = b"\x7fELF"
_LZ4_BLOCK = 8 << 20


class Kernel(Record):
    """A bzImage: ``path``, its release (uname -r), and the directory of its modules."""

    path: str
    release: str
    modules: str


def find_kernel(path: str) -> Kernel:
    """The kernel at ``path``, or with an empty one the newest of the host's: Debian's cloud kernel if there is one.

    Raises NotFoundError, Stage1Error.
    """
    if path:
        return _kernel(path)
    candidates = sorted(_candidates(), reverse=True)
    for _cloud, _version, name in candidates:
        try:
            return _kernel(f"{_BOOT}/{name}")
        except (NotFoundError, Stage1Error):
            continue
    raise NotFoundError(f"no kernel for the virtual machine in {_BOOT} (install linux-image-cloud-amd64, or name one in kvm.d)")


def _candidates() -> list[tuple[bool, list[tuple[bool, int, str]], str]]:
    try:
        names = [name for name in os.listdir(_BOOT) if name.startswith(_PREFIX)]
    except FileNotFoundError:
        return []
    return [("cloud" in name, _version(name), name) for name in names]


def _version(name: str) -> list[tuple[bool, int, str]]:
    """For comparison: numbers as numbers."""
    parts: list[tuple[bool, int, str]] = []
    for part in name.removeprefix(_PREFIX).replace("-", ".").split("."):
        parts.append((True, int(part), "") if part.isascii() and part.isdigit() else (False, 0, part))
    return parts


def _kernel(path: str) -> Kernel:
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(65536)
    except OSError as error:
        raise NotFoundError(f"cannot read the kernel {path}") from error
    release = _release(head, path)
    for directory in _MODULES:
        if os.path.exists(f"{directory}/{release}/modules.dep"):
            return Kernel(path, release, f"{directory}/{release}")
    raise NotFoundError(f"the modules of kernel {path} are not in {_MODULES[0]}/{release}")


def _release(head: bytes, path: str) -> str:
    if len(head) < 0x260 or head[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC:
        raise Stage1Error(f"{path} is no kernel for x86 (bzImage)")
    at = 0x200 + unpack_from("<H", head, _VERSION_AT)[0]
    release = head[at : at + 256].partition(b"\0")[0].split(b" ")[0].decode("ascii", "replace")
    if not release or "/" in release:
        raise Stage1Error(f"kernel {path} does not say its release")
    return release


def unpack_kernel(kernel: Kernel) -> bytes:
    """The ELF image in a bzImage. Raises Stage1Error."""
    with open(kernel.path, "rb") as file:
        data = file.read(_LARGEST)
    try:
        start = (data[_SETUP_SECTORS] + 1) * 512
        offset, length = unpack_from("<II", data, _PAYLOAD_AT)
        payload = data[start + offset : start + offset + length]
        image = _decompressed(payload)
    except Exception as error:  # each decompressor has errors of its own
        raise Stage1Error(f"cannot unpack kernel {shown(kernel.path)}") from error
    if image[:4] != _ELF:
        raise Stage1Error(f"kernel {shown(kernel.path)} is compressed in a way that is not known here")
    return image


def _decompressed(payload: bytes) -> bytes:
    if payload[:2] == b"\x1f\x8b":
        import zlib

        return zlib.decompressobj(31).decompress(payload)
    if payload[:6] == b"\xfd7zXZ\0":
        import lzma

        return lzma.LZMADecompressor().decompress(payload)
    if payload[:4] == b"\x28\xb5\x2f\xfd":
        import pyzstd

        unpacked: bytes = pyzstd.ZstdDecompressor().decompress(payload)
        return unpacked
    if payload[:4] == b"\x02\x21\x4c\x18":
        return _lz4(payload)
    return payload


def _lz4(payload: bytes) -> bytes:
    """The format of ``lz4 -l``: a magic number, then blocks with their sizes before them."""
    import lz4.block

    blocks: list[bytes] = []
    at = 4
    while at + 4 <= len(payload):
        size = unpack_from("<I", payload, at)[0]
        if not size or at + 4 + size > len(payload):
            break  # what follows is the size of the unpacked image
        data: Any = lz4.block.decompress(payload[at + 4 : at + 4 + size], uncompressed_size=_LZ4_BLOCK)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        blocks.append(bytes(data))  # pyright: ignore[reportUnknownArgumentType]
        at += 4 + size
    return b"".join(blocks)
