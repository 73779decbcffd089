"""How pods of this stage1 are run where nobody says otherwise: accelerator, kernel, size, warm start.

From ``<local-config>/kvm.d/*.json``, in the order of the names, and over that from the environment, for one command::

    {"rktKind": "kvm", "rktVersion": "v1", "accelerator": "tcg", "kernel": "/boot/vmlinuz", "memory": 256, "cpus": 1,
     "disk": 16384, "snapshot": false}

    RKTPY_KVM_ACCELERATOR RKTPY_KVM_KERNEL RKTPY_KVM_MEMORY RKTPY_KVM_CPUS RKTPY_KVM_DISK RKTPY_KVM_SNAPSHOT

Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import ConfigError
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SETTINGS_DIR = "kvm.d"
_KIND, _VERSION = "kvm", "v1"
#: Accelerators of QEMU; ``auto`` tries those that this machine has.
ACCELERATORS = ("auto", "kvm", "tcg", "xen", "whpx", "hvf")
_LARGEST_FILE = 1 << 20
_LIMITS = {"memory": (64, 1 << 20), "cpus": (1, 255), "disk": (16, 1 << 24)}
_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off"))


class Settings(Record):
    """``kernel`` is the path of a bzImage, empty for the host's. ``memory`` (MiB) is for the apps, before what the kernel needs;
    ``disk`` (MiB) is the room for what apps write, taken as it is needed. ``cpus`` 0 is one for every core that the apps may
    use."""

    accelerator: str = "auto"
    kernel: str = ""
    memory: int = 128
    cpus: int = 0
    disk: int = 16384
    snapshot: bool = True


def load_settings(local_config: str) -> Settings:
    """The settings of this machine. Raises ConfigError."""
    values: dict[str, Any] = {}
    for path in _files(local_config):
        values.update(_read(path))
    for name in Settings._fields:
        text = os.environ.get(f"RKTPY_KVM_{name.upper()}")
        if text:
            values[name] = _from_text(name, text)
    return Settings(**values)


def _files(local_config: str) -> list[str]:
    directory = f"{local_config}/{SETTINGS_DIR}"
    try:
        names = sorted(os.listdir(directory)) if local_config else []
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [f"{directory}/{name}" for name in names if name.endswith(".json")]


def _read(path: str) -> dict[str, Any]:
    from rktpy.errors import FormatError
    from rktpy.formats import jsondoc

    try:
        with open(path, "rb", buffering=0) as file:
            document = jsondoc.parse_object(file.read(_LARGEST_FILE) or b"", path)
    except (FormatError, OSError) as error:
        raise ConfigError(f"cannot read {path}") from error
    if document.pop("rktKind", None) != _KIND or document.pop("rktVersion", None) != _VERSION:
        raise ConfigError(f'{path}: rktKind must be "{_KIND}" and rktVersion "{_VERSION}"')
    return {name: _checked(name, value, path) for name, value in document.items()}


def _checked(name: str, value: Any, where: str) -> Any:
    if name in _LIMITS:
        least, most = _LIMITS[name]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ConfigError(f"{where}: {name} must be a number from {least} to {most}")
    elif name == "snapshot":
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: snapshot must be true or false")
    elif name == "accelerator":
        if value not in ACCELERATORS:
            raise ConfigError(f"{where}: accelerator must be one of {', '.join(ACCELERATORS)}")
    elif name == "kernel":
        if not isinstance(value, str) or not value.startswith("/"):
            raise ConfigError(f"{where}: kernel must be an absolute path")
    else:
        raise ConfigError(f"{where}: unknown setting {name!r}")
    return value


def _from_text(name: str, text: str) -> Any:
    where = f"RKTPY_KVM_{name.upper()}"
    if name in _LIMITS:
        return _checked(name, int(text) if text.isascii() and text.isdigit() and len(text) < 12 else text, where)
    if name == "snapshot":
        lower = text.lower()
        return _checked(name, True if lower in _TRUE else False if lower in _FALSE else text, where)
    return _checked(name, text, where)
