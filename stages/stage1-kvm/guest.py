"""What a machine starts from: the unpacked kernel and the initramfs, built once for every kernel and kept.

::

    <data>/stage1-kvm/guest/<key>/{kernel,initramfs,modules}

``key`` is made of all that goes in: the kernel's file, its modules, our first process. Hot-path module.
"""

from __future__ import annotations

import os
from _sha512 import sha512

from rktpy.errors import Stage1Error
from rktpy.log import debug
from rktpy.record import Record
from rktpy.stage1.kvm.kernel import Kernel, find_kernel

_HERE = os.path.dirname(os.path.abspath(__file__))
_LAYOUT = b"1"
_DIRECTORIES = ("dev", "proc", "sys", "root", "modules")


class Guest(Record):
    """``later`` are the modules that are loaded when they are needed, by what they are for, as file names in order."""

    key: str
    kernel: str
    initramfs: str
    later: dict[str, tuple[str, ...]]


def init_program() -> str:
    """The path of the guest's first process. Raises Stage1Error when it was not built."""
    path = f"{_HERE}/guest/init"
    if not os.access(path, os.R_OK):
        raise Stage1Error(f"{path} is missing: rktpy was installed without a C compiler (try --stage1=systemd)")
    return path


def cache_directory(pod_directory: str) -> str:
    """Where this stage1 keeps what it has built, beside the pods: below the data directory."""
    return f"{os.path.dirname(os.path.dirname(os.path.dirname(pod_directory)))}/stage1-kvm"


def guest(cache: str, kernel_path: str) -> Guest:
    """The guest for a kernel (empty: the host's), built if it is not there. Raises RktpyError, OSError."""
    kernel = find_kernel(kernel_path)
    key = _key(kernel)
    directory = f"{cache}/guest/{key}"
    try:
        return _read(key, directory)
    except FileNotFoundError:
        pass
    debug("stage1", f"building the guest of kernel {kernel.release}")
    _build(kernel, directory)
    return _read(key, directory)


def _read(key: str, directory: str) -> Guest:
    with open(f"{directory}/modules", "rb", buffering=0) as file:
        lines = file.read(65536).decode().splitlines()
    later = {words[0]: tuple(words[1:]) for words in [line.split() for line in lines]}
    return Guest(key, f"{directory}/kernel", f"{directory}/initramfs", later)


def _key(kernel: Kernel) -> str:
    """Changes with anything that the guest is made of; sizes and times stand for what is in files."""
    state = sha512(_LAYOUT)
    for path in (kernel.path, f"{kernel.modules}/modules.dep", init_program()):
        status = os.stat(path)
        state.update(f"{path} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n".encode())
    return state.hexdigest()[:32]


def _build(kernel: Kernel, directory: str) -> None:
    from rktpy.linux.remove_tree import remove_tree
    from rktpy.stage1.kvm import modules as kinds
    from rktpy.stage1.kvm.initramfs import archive
    from rktpy.stage1.kvm.kernel import unpack_kernel
    from rktpy.stage1.kvm.modules import Modules, file_name

    modules = Modules(kernel.modules)
    early = modules.order(kinds.EARLY)
    later = {
        name: [path for path in modules.order(wanted) if path not in early]
        for name, wanted in (("block", kinds.BLOCK), ("network", kinds.NETWORK), ("shared", kinds.SHARED))
    }
    files: dict[str, tuple[int, bytes]] = {}
    with open(init_program(), "rb") as file:
        files["init"] = (0o755, file.read())
    for path in (*early, *[path for paths in later.values() for path in paths]):
        files[f"modules/{file_name(path)}"] = (0o644, modules.read(path))
    files["modules/order"] = (0o644, "".join([f"{file_name(path)}\n" for path in early]).encode())
    listing = "".join([f"{name} {' '.join([file_name(path) for path in paths])}\n" for name, paths in later.items()])
    os.makedirs(os.path.dirname(directory), 0o755, exist_ok=True)
    temporary = f"{directory}.{os.getpid()}"
    os.mkdir(temporary, 0o755)
    try:
        for name, content in (
            ("kernel", unpack_kernel(kernel)),
            ("initramfs", archive(_DIRECTORIES, files)),
            ("modules", listing.encode()),
        ):
            with open(f"{temporary}/{name}", "xb") as file:
                file.write(content)
                os.fchmod(file.fileno(), 0o644)
        os.rename(temporary, directory)
    except FileExistsError:
        pass  # somebody else was faster
    except OSError:
        if not os.path.exists(f"{directory}/modules"):
            raise
    finally:
        if os.path.isdir(temporary):
            remove_tree(temporary)
