"""Certificates for single registries: ``certs.d/<host[:port]>`` with CAs in ``*.crt``, our own in ``*.cert`` + ``*.key``.

containers-certs.d(5). The first directory that exists for a host counts, as in podman.
"""

from __future__ import annotations

import os

from rktpy.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SYSTEM = ("/etc/containers/certs.d", "/etc/docker/certs.d")


def certificates_for(host: str, environ: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, str] | None]:
    """(CA files, (certificate file, key file) or None) for ``host[:port]``.

    Raises :class:`ConfigError` for a certificate without its key, or a pair that cannot be used.
    """
    home = environ.get("HOME")
    config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    for base in ((f"{config}/containers/certs.d",) if config else ()) + _SYSTEM:
        directory = f"{base}/{host}"
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        authorities = tuple(f"{directory}/{name}" for name in names if name.endswith(".crt"))
        for name in names:
            if name.endswith(".cert"):
                key = name.removesuffix(".cert") + ".key"
                if key not in names:
                    raise ConfigError(f"{directory}/{name}: the key {key} is missing beside it")
                from rktpy.fetch.client_certificate import check_pair

                check_pair(f"{directory}/{name}", f"{directory}/{key}")
                return authorities, (f"{directory}/{name}", f"{directory}/{key}")
        return authorities, None
    return (), None
