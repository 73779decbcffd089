"""Where an image may be had: the mirrors of registries.conf in their order, then the registry itself."""

from __future__ import annotations

import os

from rktpy.errors import ConfigError
from rktpy.fetch.reference import DockerReference
from rktpy.fetch.registry_certs import certificates_for
from rktpy.formats.registries_conf import RegistriesConf, merge_registries_conf, parse_registries_conf
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SYSTEM = "/etc/containers/registries.conf"


class Endpoint(Record):
    """One place for one repository.

    ``host`` is the host[:port] that credentials are looked up for, ``api_host`` the one that is connected to. ``insecure`` allows
    plain http and any certificate here. ``ca_files`` and ``client_certificate`` come from certs.d.
    """

    host: str
    api_host: str
    repository: str
    insecure: bool = False
    ca_files: tuple[str, ...] = ()
    client_certificate: tuple[str, str] | None = None


def endpoints_for(
    reference: DockerReference, conf: RegistriesConf, environ: Mapping[str, str] | None = None
) -> tuple[Endpoint, ...]:
    """The places to ask for an image, in order. Raises :class:`ConfigError` when registries.conf blocks its registry."""
    environ = os.environ if environ is None else environ
    found: list[Endpoint] = []
    for place in conf.endpoints(reference.host, reference.repository, by_digest=bool(reference.digest)):
        authorities, client = certificates_for(place.host, environ)
        api_host = DockerReference(place.host, place.repository).api_host
        found.append(Endpoint(place.host, api_host, place.repository, place.insecure, authorities, client))
    return tuple(found)


def push_endpoint(reference: DockerReference, conf: RegistriesConf, environ: Mapping[str, str] | None = None) -> Endpoint:
    """The place to push to: the registry that the reference names, never a mirror or another location (as containers/image).

    Raises :class:`ConfigError` when registries.conf blocks the registry.
    """
    rule = conf.rule_for(reference.host, reference.repository)
    if rule is not None and rule.blocked:
        raise ConfigError(f"registry {rule.prefix} is blocked by registries.conf: cannot push {reference.name}")
    authorities, client = certificates_for(reference.host, os.environ if environ is None else environ)
    insecure = rule is not None and rule.insecure
    return Endpoint(reference.host, reference.api_host, reference.repository, insecure, authorities, client)


def load_registries_conf(environ: Mapping[str, str] | None = None) -> RegistriesConf:
    """The registries.conf of the user or else of the system, with its drop-in directories laid over it.

    ``CONTAINERS_REGISTRIES_CONF`` names another file, which then counts alone. Raises :class:`ConfigError`.
    """
    environ = os.environ if environ is None else environ
    override = environ.get("CONTAINERS_REGISTRIES_CONF") or environ.get("REGISTRIES_CONFIG_PATH")
    if override:
        return _read(override) or _missing(override)
    home = environ.get("HOME") or ""
    config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    user = f"{config}/containers/registries.conf" if config else ""
    main = (_read(user) if user else None) or _read(_SYSTEM)
    files = [main] if main else []
    for path in (_SYSTEM, user):
        files += [part for name in _drop_ins(f"{path}.d") if (part := _read(name))] if path else []
    return merge_registries_conf(tuple(files))


def _missing(path: str) -> RegistriesConf:
    raise ConfigError(f"{path}: there is no such file, though CONTAINERS_REGISTRIES_CONF names it")


def _drop_ins(directory: str) -> list[str]:
    try:
        return [f"{directory}/{name}" for name in sorted(os.listdir(directory)) if name.endswith(".conf")]
    except OSError:
        return []


def _read(path: str) -> RegistriesConf | None:
    try:
        with open(path, "rb") as file:
            return parse_registries_conf(file.read(), path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError("cannot read the registries configuration") from error
