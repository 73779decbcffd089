"""The index: a sqlite database that says which record files are worth reading when there are many.

It is a cache and nothing more. It carries a stamp of the ``images`` directory that it was made from; when the stamp is not that
of the directory any more, changed files are read again before an answer is given. Missing, damaged or of another schema it is
made anew from the record files. Where it cannot be written (read-only store) and is not in step, there is no answer, and the
caller scans the files.

Not imported while there are few images (``lookup``, ``listing``). The C module is used as it is: ``sqlite3`` on top of it
costs 10 ms more.
"""

from __future__ import annotations

import _sqlite3
import time
from os import scandir, stat, unlink

from rktpy.errors import StoreError
from rktpy.store.lookup import image_ids, read_record, sound_records
from rktpy.store.paths import is_image_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqlite3 import Connection
    from typing import Any

    from rktpy.store.paths import Layout

SCHEMA = 2
# A directory changed twice within one tick of the kernel's clock has one mtime. A stamp this young may be such a one.
RACY_NS = 50_000_000
# Waiting for another process that brings the index into step; scanning every record takes less than waiting much longer.
BUSY_S = 0.2

_TABLES = """
CREATE TABLE stamp (directory TEXT NOT NULL);
CREATE TABLE image (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, import_time INTEGER NOT NULL, size INTEGER NOT NULL, version TEXT NOT NULL,
    inode INTEGER NOT NULL, ctime INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX image_name ON image (name);
CREATE TABLE reference (text TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (text, id)) WITHOUT ROWID;
CREATE INDEX reference_id ON reference (id);
INSERT INTO stamp VALUES ('');
PRAGMA user_version = 2;
"""

_QUERIES = {
    "name": "SELECT id FROM image WHERE name = ?",
    "reference": "SELECT id FROM reference WHERE text = ?",
}


def candidates(layout: Layout, by: str, text: str) -> list[str] | None:
    """IDs of the images whose ``name`` or one of whose ``reference`` texts is ``text``; None if the index has no answer."""
    rows = _ask(layout, _QUERIES[by], (text,))
    return None if rows is None else [row[0] for row in rows]


def all_images(layout: Layout) -> list[tuple[str, str, int, int, str]] | None:
    """ID, name, size in bytes, import time in nanoseconds and version label (or "") of all images; None if there is no answer."""
    return _ask(layout, "SELECT id, name, size, import_time, version FROM image", ())


def what_is_wrong(layout: Layout) -> str:
    """Why the index, if there is one, is not what the record files say; empty if it is, or if it cannot be brought into step
    here..

    """
    try:
        stat(layout.index)
    except OSError:
        return ""
    try:
        connection = _connect(layout)
        try:
            if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                return "damaged"
            _bring_into_step(layout, connection)
            rows = {row[0]: row[1:] for row in connection.execute("SELECT id, name, import_time, size, version FROM image")}
            texts = set(connection.execute("SELECT text, id FROM reference").fetchall())
        finally:
            connection.close()
    except (_sqlite3.OperationalError, OSError):
        # Read-only, busy, or no room: no one uses it in that state either.
        return ""
    except _sqlite3.Error as error:
        return f"damaged: {error}"
    records = sound_records(layout, image_ids(layout))
    wanted = {record.id: (record.name, record.import_time, record.size, record.label("version") or "") for record in records}
    if rows != wanted:
        return "not in step with the records"
    if texts != {(text, record.id) for record in records for text in record.references}:
        return "not in step with the records' references"
    return ""


def drop(layout: Layout) -> None:
    """Remove the index; the next use makes it anew. Raises OSError."""
    for suffix in ("", "-wal", "-shm"):
        try:
            unlink(layout.index + suffix)
        except FileNotFoundError:
            pass


def _ask(layout: Layout, query: str, values: tuple[str, ...]) -> list[Any] | None:
    for attempt in (0, 1):
        try:
            connection = _connect(layout)
            try:
                _bring_into_step(layout, connection)
                return connection.execute(query, values).fetchall()
            finally:
                connection.close()
        except _sqlite3.OperationalError:
            # Busy for too long, read-only, or the disk is full: no answer, but nothing is wrong with the file either.
            return None
        except _sqlite3.Error:
            if attempt:
                return None
            try:
                drop(layout)
            except OSError:
                return None
        except (OSError, StoreError):
            return None
    return None


def _connect(layout: Layout) -> Connection:
    connection = _sqlite3.connect(layout.index, timeout=BUSY_S, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _stamp(layout: Layout) -> tuple[str, bool]:
    facts = stat(layout.images)
    age = time.time_ns() - facts.st_mtime_ns
    return f"{facts.st_dev}:{facts.st_ino}:{facts.st_mtime_ns}", age > RACY_NS


def _bring_into_step(layout: Layout, connection: Connection) -> None:
    stamp, settled = _stamp(layout)
    if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA:
        if connection.execute("SELECT directory FROM stamp").fetchone()[0] == stamp:
            return
    else:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
            _create(connection)
        _update(layout, connection)
        connection.execute("UPDATE stamp SET directory = ?", (stamp if settled else "",))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _create(connection: Connection) -> None:
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (name,) in tables:
        connection.execute(f'DROP TABLE "{name}"')
    for statement in _TABLES.split(";"):
        if statement.strip():
            connection.execute(statement)


def _update(layout: Layout, connection: Connection) -> None:
    """Read the record files that are new or changed since the index last saw them; forget those that are gone."""
    known = {row[0]: (row[1], row[2]) for row in connection.execute("SELECT id, inode, ctime FROM image")}
    with scandir(layout.images) as entries:
        for entry in entries:
            if not is_image_id(entry.name):
                continue
            try:
                facts = entry.stat(follow_symlinks=False)
                seen = known.pop(entry.name, None)
                if seen == (facts.st_ino, facts.st_ctime_ns):
                    continue
                if seen is not None:
                    _forget(connection, entry.name)
                record = read_record(layout, entry.name)
            except Exception as error:
                if isinstance(error, _sqlite3.Error):
                    raise
                continue
            connection.execute(
                "INSERT INTO image VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    record.id,
                    record.name,
                    record.import_time,
                    record.size,
                    record.label("version") or "",
                    facts.st_ino,
                    facts.st_ctime_ns,
                ),
            )
            for text in record.references:
                connection.execute("INSERT OR IGNORE INTO reference VALUES (?, ?)", (text, record.id))
    for image_id in known:
        _forget(connection, image_id)


def _forget(connection: Connection, image_id: str) -> None:
    connection.execute("DELETE FROM image WHERE id = ?", (image_id,))
    connection.execute("DELETE FROM reference WHERE id = ?", (image_id,))
