"""Finding images: by ID prefix, name and labels, reference.

Up to FIND_BY_INDEX_FROM images the record files themselves are scanned: that costs some 10 us a file (30 to read it whole, for
a listing), while importing and opening sqlite costs 5 ms before the first answer. Above it the index (``index``) tells which
files are worth reading. Either way the answer comes from the record files.

Hot-path module.
"""

from __future__ import annotations

from posix import O_CLOEXEC, O_RDONLY, close, fstat, listdir, read
from posix import open as open_fd

from rktpy.errors import AmbiguousError, FormatError, ImageGone, NotFoundError, StoreError
from rktpy.formats import jsondoc
from rktpy.store.image_record import ImageRecord
from rktpy.store.paths import is_hex, is_image_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.aci.types import NameValue
    from rktpy.store.paths import Layout

FIND_BY_INDEX_FROM = 500


def _names(layout: Layout) -> list[str]:
    try:
        return listdir(layout.images)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreError("cannot open store") from error


def image_ids(layout: Layout) -> list[str]:
    """The IDs of all stored images, sorted. A store that does not exist holds none."""
    return sorted([name for name in _names(layout) if is_image_id(name)])


def read_file(path: str) -> bytes:
    """The bytes of a small file. Raises OSError."""
    fd = open_fd(path, O_RDONLY | O_CLOEXEC)
    try:
        data = read(fd, 65536)
        if len(data) == 65536 or len(data) < fstat(fd).st_size:
            chunks = [data]
            while data := read(fd, 1 << 20):
                chunks.append(data)
            data = b"".join(chunks)
        return data
    finally:
        close(fd)


def read_record(layout: Layout, image_id: str) -> ImageRecord:
    """An image's record. Raises :class:`NotFoundError`, or :class:`StoreError` when the file is damaged."""
    path = layout.image(image_id)
    try:
        data = read_file(path)
    except FileNotFoundError:
        raise ImageGone(f"image {image_id} is not in the store") from None
    except OSError as error:
        raise StoreError(f"cannot read the record of image {image_id}") from error
    return _parse(data, image_id)


def _parse(data: bytes, image_id: str) -> ImageRecord:
    try:
        record = ImageRecord.from_bytes(data)
    except (FormatError, StoreError) as error:
        raise StoreError(f"the record of image {image_id} is damaged (see image check)") from error
    if record.id != image_id:
        raise StoreError(f"the record of image {image_id} is that of {record.id} (see image check)")
    return record


def sound_records(layout: Layout, ids: list[str], needle: bytes = b"") -> list[ImageRecord]:
    """The records of ``ids``, those left out that are damaged or have vanished, or whose file does not contain ``needle``.

    One damaged file must not stop commands that do not need it; ``image check`` tells of it.
    """
    records: list[ImageRecord] = []
    images = layout.images
    for image_id in ids:
        try:
            data = read_file(f"{images}/{image_id}")
        except OSError:
            continue
        if needle in data:
            try:
                records.append(_parse(data, image_id))
            except StoreError:
                continue
    return records


def _candidates(layout: Layout, by: str, text: str) -> list[str]:
    names = _names(layout)
    if len(names) >= FIND_BY_INDEX_FROM:
        from rktpy.store.index import candidates

        found = candidates(layout, by, text)
        if found is not None:
            return found
    return [name for name in names if is_image_id(name)]


def resolve_id(layout: Layout, prefix: str) -> str:
    """The whole ID that begins with ``prefix``: ``sha512-…``, ``sha256-…``, or bare hex digits, at least two of them.

    Raises :class:`NotFoundError` or :class:`AmbiguousError` (rkt's words).
    """
    wanted = prefix.lower().replace(":", "-", 1)
    algorithm, dash, value = wanted.rpartition("-")
    if (dash and algorithm not in ("sha512", "sha256")) or (value and not is_hex(value)):
        raise NotFoundError(f"{prefix!r} is not an image ID")
    if len(value) < 2:
        raise NotFoundError("image ID too short")
    if dash:
        matches = [name for name in _names(layout) if name.startswith(wanted) and is_image_id(name)]
    else:
        matches = [name for name in _names(layout) if name.startswith(value, 7) and is_image_id(name)]
    if not matches:
        raise NotFoundError(f'no image IDs found for "{prefix}"')
    if len(matches) > 1:
        raise AmbiguousError(f'ambiguous image ID: "{prefix}"')
    return matches[0]


def find_by_name(layout: Layout, name: str, labels: tuple[NameValue, ...]) -> ImageRecord | None:
    """The image with that name and all of ``labels`` that rkt would choose (``imagestore.GetACI``).

    Without a version label, images that once came as the latest are preferred; otherwise the last import wins.
    """
    needle = b'"name":' + jsondoc.dump(name)
    versioned = any(label.name == "version" for label in labels)
    best: ImageRecord | None = None
    for record in sound_records(layout, _candidates(layout, "name", name), needle):
        if record.name != name or not record.has_labels(labels):
            continue
        if best is None or _rank(record, versioned) > _rank(best, versioned):
            best = record
    return best


def _rank(record: ImageRecord, versioned: bool) -> tuple[bool, int, str]:
    return (record.latest and not versioned, record.import_time, record.id)


def find_by_reference(layout: Layout, text: str) -> ImageRecord | None:
    """The image last fetched by the reference ``text``, written as in :attr:`ImageRecord.references`; or None."""
    best: ImageRecord | None = None
    for record in sound_records(layout, _candidates(layout, "reference", text), jsondoc.dump(text)):
        if text in record.references and (best is None or record.import_time > best.import_time):
            best = record
    return best
