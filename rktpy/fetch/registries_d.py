"""Reading registries.d, the user's or else the system's (containers-registries.d(5)).

YAML is imported here and nowhere else, when signatures are looked for. Cold-path module.
"""

from __future__ import annotations

import os
from typing import Any

import yaml

from rktpy.errors import ConfigError, FormatError
from rktpy.formats.registries_d import RegistriesD, parse_registries_d

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SYSTEM = "/etc/containers/registries.d"
_LARGEST = 1 << 20


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, without mappings that have a key twice: which of the two counts would be anybody's guess."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _value in node.value:
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key_node.value!r}", key_node.start_mark)
            if isinstance(key_node.value, str):
                seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def load_registries_d(environ: Mapping[str, str] | None = None) -> RegistriesD:
    """The lookaside storages. Raises :class:`ConfigError` for files that are wrong, or say the same thing twice."""
    environ = os.environ if environ is None else environ
    home = environ.get("HOME") or ""
    directory = f"{home}/.config/containers/registries.d"
    if not home or not os.path.isdir(directory):
        directory = _SYSTEM
    scopes: dict[str, dict[str, str]] = {}
    said_in: dict[str, str] = {}
    for path in _files(directory):
        for scope, storage in _read(path).items():
            if scope in scopes:
                what = f"docker scope {scope}" if scope else "default-docker"
                raise ConfigError(f"{path}: {what} is said in {said_in[scope]} already")
            scopes[scope], said_in[scope] = storage, path
    own = os.geteuid() != 0 and home
    return RegistriesD(
        scopes, f"file://{home}/.local/share/containers/sigstore" if own else "file:///var/lib/containers/sigstore"
    )


def _files(directory: str) -> list[str]:
    try:
        return [f"{directory}/{name}" for name in sorted(os.listdir(directory)) if name.endswith(".yaml")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError(f"cannot read {directory}") from error


def _read(path: str) -> dict[str, dict[str, str]]:
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}") from error
    if len(data) > _LARGEST:
        raise ConfigError(f"{path} is larger than {_LARGEST} bytes")
    try:
        return parse_registries_d(yaml.load(data, _Loader), path)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    except FormatError as error:
        raise ConfigError(str(error)) from None
