"""HTTP clients, registries and discovery with the user's options, credentials and mirrors. Cold-path module."""

from __future__ import annotations

from rktpy.config import load_config
from rktpy.fetch import registry
from rktpy.fetch.host_auth import HostAuth
from rktpy.fetch.http import Client, HTTPOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.config import Config
    from rktpy.fetch.reference import DockerReference
    from rktpy.fetch.registry import Registry
    from rktpy.stage0.options import Globals


def configuration(g: Globals) -> Config:
    """The user's configuration files."""
    return load_config(g.system_config, g.local_config, g.user_config)


def open_client(g: Globals, *, allow_http: bool | None = None) -> Client:
    """A client that allows what the user allowed (``--insecure-options=http,tls``)."""
    return Client(HTTPOptions(insecure_tls=g.insecure.tls, allow_http=g.insecure.http if allow_http is None else allow_http))


def host_auth(g: Globals) -> HostAuth:
    """The credentials of auth.d for HTTP servers."""
    return HostAuth(configuration(g).auth)


def open_registry(g: Globals, reference: DockerReference) -> Registry:
    """The places to ask for an image in a registry: mirrors first. A context manager."""
    return registry.open_registry(open_client(g), reference, configuration(g))
