"""Simple-signing signatures in a lookaside storage: reading them, and writing new ones.

``<base>/<repository>@<algorithm>=<hex>/signature-<N>``, N = 1, 2, … up to the first that is missing (containers/image
``docs/signature-protocols.md``). The registry's host is no part of it. A base is a ``file://`` URL, or an http(s) one that can
only be read.

Cold-path module.
"""

from __future__ import annotations

import os
from urllib.parse import unquote

from rktpy.errors import FetchError, HTTPError, UsageError
from rktpy.fetch.http_url import parse_url
from rktpy.formats.trust.evidence import MAX_COUNT, MAX_SIZE, SIMPLE_SIGNING, Evidence
from rktpy.log import debug, note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.fetch.http import Client
    from rktpy.fetch.sink import Sink

MEDIA_TYPE = "application/pgp-signature"
# Beyond those that are looked at: how many more are counted, so that it can be said that there are more.
_COUNTED = 1


def read_signatures(client: Client, base: str, repository: str, digest: str, sink: Sink) -> tuple[Evidence, ...]:
    """The signatures of the manifest ``digest`` in ``repository``, put into ``sink``.

    At most :data:`~rktpy.formats.trust.evidence.MAX_COUNT` are taken; that there are more, or one is too large, is told. Raises
    :class:`FetchError` when the storage cannot be read.
    """
    found: list[Evidence] = []
    for number in range(1, MAX_COUNT + _COUNTED + 1):
        url = signature_url(base, repository, digest, number)
        data = _read(client, url)
        if data is None:
            break
        if number > MAX_COUNT:
            note("image", f"{url.rpartition('/')[0]} has more than {MAX_COUNT} signatures, the rest is not looked at")
            break
        if len(data) > MAX_SIZE:
            note("image", f"signature {url} is passed over: it is larger than {MAX_SIZE} bytes")
            continue
        found.append(Evidence(SIMPLE_SIGNING, url, MEDIA_TYPE, (("signature", sink.put_blob(data)),)))
    debug("image", f"{len(found)} signatures at {signature_url(base, repository, digest, 1).rpartition('/')[0]}")
    return tuple(found)


def write_signature(base: str, repository: str, digest: str, data: bytes) -> str:
    """Add a signature to a storage on this machine; the path of the new file.

    Raises :class:`UsageError` for a storage that is elsewhere, :class:`FetchError` when it cannot be written.
    """
    if not base.startswith("file://"):
        raise UsageError(f"signatures cannot be written to {base}: only to a file URL (see lookaside-staging in registries.d)")
    directory = os.path.dirname(_path(signature_url(base, repository, digest, 1)))
    temporary = f"{directory}/.new-{os.urandom(6).hex()}"
    try:
        os.makedirs(directory, 0o755, exist_ok=True)
        with open(temporary, "xb") as file:
            try:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
                return _link(temporary, directory)
            finally:
                os.unlink(temporary)
    except OSError as error:
        raise FetchError(f"cannot write a signature to {directory}") from error


def _link(temporary: str, directory: str) -> str:
    """Give a complete file the first free name. A link never takes the place of another file. Raises OSError, FetchError."""
    for number in range(1, MAX_COUNT + 1):
        path = f"{directory}/signature-{number}"
        try:
            os.link(temporary, path)
        except FileExistsError:
            continue
        return path
    raise FetchError(f"cannot add a signature to {directory}: there are {MAX_COUNT} already")


def signature_url(base: str, repository: str, digest: str, number: int) -> str:
    """The URL of one signature."""
    return f"{base.rstrip('/')}/{repository}@{digest.replace(':', '=', 1)}/signature-{number}"


def _path(url: str) -> str:
    return unquote(url.removeprefix("file://"))


def _read(client: Client, url: str) -> bytes | None:
    """One signature, or one byte too many of it; None when it is not there."""
    if not url.startswith("file://"):
        try:
            return client.document(parse_url(url), MAX_SIZE).data
        except HTTPError as error:
            if error.code == 404:
                return None
            raise FetchError("cannot look for signatures") from error
    try:
        fd = os.open(_path(url), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FetchError("cannot look for signatures") from error
    with open(fd, "rb") as file:
        try:
            return file.read(MAX_SIZE + 1)
        except OSError as error:
            raise FetchError(f"cannot read signature {url}") from error
