"""What is known of download URLs, so that an image is not fetched again while it is fresh or unchanged.

One small JSON file per URL under ``cas/remotes``, named by the URL's sha256.

Hot-path module.
"""

from __future__ import annotations

from posix import listdir, unlink

from rktpy.errors import FormatError, StoreError
from rktpy.formats import jsondoc
from rktpy.record import Record
from rktpy.store.blobs import hash_of
from rktpy.store.lookup import read_file
from rktpy.store.paths import RECORD_MODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rktpy.store.paths import Layout


class Remote(Record):
    """A URL that an image came from.

    ``max_age`` is Cache-Control's, in seconds, 0 for none; ``download_time`` in nanoseconds since the epoch.
    """

    url: str
    signature_url: str
    etag: str
    image_id: str
    max_age: int
    download_time: int

    def expired(self, now_ns: int) -> bool:
        """Whether the image must be asked for again (rkt: ``useCached``; RFC 9111 section 4.2 with max-age alone).

        A download time that lies in the future is no reason to trust the copy.
        """
        age = now_ns - self.download_time
        return self.max_age <= 0 or age < 0 or age >= self.max_age * 1_000_000_000


_FIELDS = (
    ("url", "url", str),
    ("signature_url", "signatureURL", str),
    ("etag", "etag", str),
    ("image_id", "imageID", str),
    ("max_age", "maxAge", int),
    ("download_time", "downloadTime", int),
)


def _path(layout: Layout, url: str) -> str:
    return f"{layout.remotes}/{hash_of('sha256', url.encode('utf-8', 'surrogateescape'))}"


def _read(path: str) -> Remote | None:
    try:
        document = jsondoc.parse_object(read_file(path), "remote")
    except (FileNotFoundError, FormatError):
        # A damaged entry of a cache is no entry.
        return None
    except OSError as error:
        raise StoreError(f"cannot read {path}") from error
    values = [document.get(member) for _, member, _ in _FIELDS]
    if any(type(value) is not kind for value, (_, _, kind) in zip(values, _FIELDS, strict=True)):
        return None
    return Remote(*values)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def read_remote(layout: Layout, url: str) -> Remote | None:
    """What is known of ``url``, or None."""
    remote = _read(_path(layout, url))
    return remote if remote is not None and remote.url == url else None


def write_remote(layout: Layout, remote: Remote) -> None:
    """Remember a URL. Raises :class:`StoreError`."""
    from rktpy.store.temporary import write_durably

    document = {member: getattr(remote, name) for name, member, _ in _FIELDS}
    write_durably(layout, _path(layout, remote.url), jsondoc.dump(document), RECORD_MODE)


def forget_image(layout: Layout, image_id: str) -> None:
    """Drop every URL that led to an image that is gone."""
    _forget(layout, lambda remote: remote.image_id == image_id)


def forget_missing(layout: Layout, image_ids: Collection[str]) -> None:
    """Drop every URL that leads to none of ``image_ids``, which are all that there are."""
    _forget(layout, lambda remote: remote.image_id not in image_ids)


def _forget(layout: Layout, unwanted: Callable[[Remote], bool]) -> None:
    try:
        names = listdir(layout.remotes)
    except FileNotFoundError:
        return
    for name in names:
        path = f"{layout.remotes}/{name}"
        remote = _read(path)
        if remote is None or unwanted(remote):
            try:
                unlink(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise StoreError(f"cannot remove {path}") from error
