"""registries.d: where simple-signing signatures are kept beside a registry (containers-registries.d(5)).

Pure: the YAML has been read, what is in it is checked here. Source also of the default places: containers/image
``docker/registries_d.go``. The most specific scope that says something about what is asked counts.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.trust.members import as_object, join
from rktpy.formats.trust.scopes import docker_scopes
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.oci.image_name import ImageName

_READ = ("lookaside", "sigstore")  # the second is the name of old, as in containers/image
_WRITE = ("lookaside-staging", "sigstore-staging", *_READ)


class RegistriesD(Record):
    """The lookaside storages by scope. The scope "" is ``default-docker``; ``fallback`` counts where no scope says anything."""

    scopes: dict[str, dict[str, str]]
    fallback: str

    def lookaside(self, image: ImageName, *, write: bool = False) -> str:
        """The URL below which the signatures of an image lie, or with ``write`` the one where new ones are put."""
        for scope in (*docker_scopes(image), ""):
            for member in _WRITE if write else _READ:
                url = self.scopes.get(scope, {}).get(member)
                if url:
                    return url
        return self.fallback


def parse_registries_d(document: Any, what: str) -> dict[str, dict[str, str]]:
    """The scopes in one file; "" is ``default-docker``. Raises :class:`FormatError`."""
    if document is None:
        return {}
    members = as_object(document)
    if members is None:
        raise FormatError(what, "", "must be a mapping")
    scopes: dict[str, dict[str, str]] = {}
    default = members.get("default-docker")
    if default is not None:
        scopes[""] = _storage(default, what, "default-docker")
    docker = members.get("docker")
    if docker is not None:
        named = as_object(docker)
        if named is None:
            raise FormatError(what, "docker", "must be a mapping")
        for scope, storage in named.items():
            # YAML reads 1 as a number and no as a truth value.
            if not isinstance(scope, str) or not scope:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise FormatError(what, "docker", "must be a mapping of names")
            scopes[scope] = _storage(storage, what, join("docker", scope))
    return scopes


def _storage(value: Any, what: str, path: str) -> dict[str, str]:
    if value is None:
        return {}
    members = as_object(value)
    if members is None:
        raise FormatError(what, path, "must be a mapping")
    found: dict[str, str] = {}
    for name in _WRITE:
        url = members.get(name)
        if url is None or url == "":
            continue
        if type(url) is not str or not url.startswith(("file:///", "http://", "https://")):
            raise FormatError(what, join(path, name), "must be a file, http or https URL")
        found[name] = url
    return found
