"""The configuration of rktpy, merged from three directories: system, then local, then user.

Source: rkt 1.30 ``rkt/config/config.go``::

    <dir>/auth.d/*.json      kinds auth, dockerAuth    a later directory replaces it per domain, per registry
    <dir>/paths.d/*.json     kind paths                per field
    <dir>/stage1.d/*.json    kind stage1               name and version as a pair, location alone, ociRuntime alone

Saying the same thing twice in one directory is an error. Sub-directories are not entered. Unlike rkt, symbolic links to files
are followed instead of passed over.

Each sub-directory is read when it is first asked about: commands that need no credentials work for users who may not read them.

Hot-path module.
"""

from __future__ import annotations

import os
import stat

from rktpy.errors import ConfigError, FormatError
from rktpy.formats.config import (
    SUB_DIRS,
    AuthDocument,
    AWSAuth,
    BasicAuth,
    ConfigDocument,
    DockerAuthDocument,
    OAuth,
    PathsDocument,
    Stage1Document,
    auth_to_dict,
    docker_auth_to_dict,
    kind_of,
    parse_config,
    paths_to_dict,
    stage1_to_dict,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LARGEST = 1 << 20  # bytes of one file
_HUB = ("registry-1.docker.io", "index.docker.io", "docker.io")


class Config:
    """Merged configuration. ``dirs`` are read in order, later ones override; empty names and missing directories are skipped.

    Every attribute may raise :class:`ConfigError`, naming the file.
    """

    def __init__(self, dirs: tuple[str, ...]) -> None:
        self._dirs = tuple(name for name in dirs if name)
        self._paths: PathsDocument | None = None
        self._stage1: Stage1Document | None = None
        self._auth: tuple[dict[str, BasicAuth | OAuth | AWSAuth], dict[str, BasicAuth]] | None = None

    @property
    def paths(self) -> PathsDocument:
        """The configured directories; empty ones are not configured."""
        if self._paths is None:
            merged = PathsDocument()
            for config_dir in self._dirs:
                merged = _merge_paths(merged, config_dir)
            self._paths = merged
        return self._paths

    @property
    def stage1(self) -> Stage1Document:
        """The configured default stage1 image; empty fields are not configured."""
        if self._stage1 is None:
            merged = Stage1Document()
            for config_dir in self._dirs:
                merged = _merge_stage1(merged, config_dir)
            self._stage1 = merged
        return self._stage1

    @property
    def auth(self) -> dict[str, BasicAuth | OAuth | AWSAuth]:
        """Credentials for HTTP servers, by domain as it is written in the files."""
        return self._credentials()[0]

    @property
    def docker_auth(self) -> dict[str, BasicAuth]:
        """Credentials for registries, by registry as it is written in the files."""
        return self._credentials()[1]

    def docker_credentials(self, registry: str) -> BasicAuth | None:
        """The credentials for a registry (``host[:port]``); Docker Hub answers to any of its names."""
        for name in (registry, *_HUB) if registry.lower() in _HUB else (registry,):
            found = self.docker_auth.get(name)
            if found is not None:
                return found
        return None

    def to_dict(self) -> dict[str, Any]:
        """What ``rktpy config`` prints: one document per domain and registry, sorted, then paths and stage1."""
        documents = [auth_to_dict(domain, self.auth[domain]) for domain in sorted(self.auth)]
        documents += [docker_auth_to_dict(registry, self.docker_auth[registry]) for registry in sorted(self.docker_auth)]
        documents += [paths_to_dict(self.paths), stage1_to_dict(self.stage1)]
        return {"stage0": documents}

    def _credentials(self) -> tuple[dict[str, BasicAuth | OAuth | AWSAuth], dict[str, BasicAuth]]:
        if self._auth is None:
            auth: dict[str, BasicAuth | OAuth | AWSAuth] = {}
            docker: dict[str, BasicAuth] = {}
            for config_dir in self._dirs:
                _merge_auth(auth, docker, config_dir)
            self._auth = (auth, docker)
        return self._auth


def load_config(system_dir: str, local_dir: str, user_dir: str = "") -> Config:
    """The configuration of three directories, from the weakest to the strongest. Files are read when they are needed."""
    return Config((system_dir, local_dir, user_dir))


def _merge_paths(base: PathsDocument, config_dir: str) -> PathsDocument:
    here = PathsDocument()
    for path, document in _documents(config_dir, "paths.d"):
        assert isinstance(document, PathsDocument)
        if document.data:
            if here.data:
                raise ConfigError(f"{path}: data directory is already specified")
            here = here.replace(data=document.data)
        if document.stage1_images:
            if here.stage1_images:
                raise ConfigError(f"{path}: stage1 images directory is already specified")
            here = here.replace(stage1_images=document.stage1_images)
    return PathsDocument(here.data or base.data, here.stage1_images or base.stage1_images)


def _merge_stage1(base: Stage1Document, config_dir: str) -> Stage1Document:
    here = Stage1Document()
    for path, document in _documents(config_dir, "stage1.d"):
        assert isinstance(document, Stage1Document)
        if document.name:
            if here.name:
                raise ConfigError(f"{path}: name and version of a default stage1 image are already specified")
            here = here.replace(name=document.name, version=document.version)
        if document.location:
            if here.location:
                raise ConfigError(f"{path}: location of a default stage1 image is already specified")
            here = here.replace(location=document.location)
        if document.oci_runtime:
            if here.oci_runtime:
                raise ConfigError(f"{path}: the OCI runtime is already specified")
            here = here.replace(oci_runtime=document.oci_runtime)
    named = here if here.name else base
    return Stage1Document(named.name, named.version, here.location or base.location, here.oci_runtime or base.oci_runtime)


def _merge_auth(auth: dict[str, BasicAuth | OAuth | AWSAuth], docker: dict[str, BasicAuth], config_dir: str) -> None:
    domains: set[str] = set()
    registries: set[str] = set()
    for path, document in _documents(config_dir, "auth.d"):
        if isinstance(document, AuthDocument):
            for domain in document.domains:
                if domain in domains:
                    raise ConfigError(f"{path}: auth for domain {domain!r} is already specified")
                domains.add(domain)
                auth[domain] = document.credentials
        else:
            assert isinstance(document, DockerAuthDocument)
            for registry in document.registries:
                if registry in registries:
                    raise ConfigError(f"{path}: credentials for docker registry {registry!r} are already specified")
                registries.add(registry)
                docker[registry] = document.credentials


def _documents(config_dir: str, sub_dir: str) -> list[tuple[str, ConfigDocument]]:
    """The documents of one sub-directory with their paths, in the order of their names."""
    directory = f"{config_dir}/{sub_dir}"
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise ConfigError(f"expected {directory!r} to be a directory") from None
    except OSError as error:
        raise ConfigError(f"cannot read the configuration in {directory!r}") from error
    documents: list[tuple[str, ConfigDocument]] = []
    for name in names:
        path = f"{directory}/{name}"
        if not name.endswith(".json"):
            continue
        data = _read(path)
        if data is None:
            continue
        try:
            document = parse_config(data, path)
        except FormatError as error:
            raise ConfigError(str(error)) from None
        kind = kind_of(document)
        if kind not in SUB_DIRS[sub_dir]:
            wanted = " or ".join(SUB_DIRS[sub_dir])
            raise ConfigError(f"{path}: kind {kind!r} does not belong in {directory!r}, which holds {wanted}")
        documents.append((path, document))
    return documents


def _read(path: str) -> bytes | None:
    """The content of a regular file, ``None`` when it is something else (a directory is passed over, as is a device)."""
    try:
        # Nonblocking: opening a FIFO that somebody put there must not hang every command.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path!r}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        parts: list[bytes] = []
        left = _LARGEST + 1
        while left > 0:
            part = os.read(descriptor, left)
            if not part:
                break
            parts.append(part)
            left -= len(part)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path!r}") from error
    finally:
        os.close(descriptor)
    if left <= 0:
        raise ConfigError(f"{path}: larger than {_LARGEST} bytes")
    return b"".join(parts)
