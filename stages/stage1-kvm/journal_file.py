"""Writing the pod's log as a journal that journalctl(1) and ``rktpy logs`` read.

There is no journald in the guest, and one outside would be a process more for every pod. The format is systemd's "Journal File
Format", in its first form (no compression, no keyed hash, no compact mode), which every version reads. A file is written by one
process and only ever grows; a reader sees an entry when the header counts it. Hot-path module.
"""

from __future__ import annotations

import os
from struct import Struct, pack

from rktpy.stage1.kvm.journal_hash import hash64

_SIGNATURE = b"LPKSHHRH"
_OFFLINE, _ONLINE, _ARCHIVED = 0, 1, 2
_DATA, _FIELD, _ENTRY, _DATA_TABLE, _FIELD_TABLE, _ARRAY = 1, 2, 3, 4, 5, 6
_HEADER_SIZE = 256
_OBJECT = Struct("<BB6xQ")
_DATA_BUCKETS, _FIELD_BUCKETS = 4093, 61
#: Bytes of a file; then another one is begun, of which so many are kept.
_LARGEST, _MOST = 64 << 20, 4
#: Values that are remembered so that they are written once.
_REMEMBERED = 4096


class _Chain:
    """Entry arrays of one owner: where the next item goes. ``owner`` is where the first array's offset is written."""

    __slots__ = ("array", "capacity", "owner", "used")

    def __init__(self, owner: int) -> None:
        self.owner = owner
        self.array = 0
        self.capacity = 4
        self.used = 0


class _Datum:
    """A data object: its offset and hash, how many entries have it, and the arrays of those after the first."""

    __slots__ = ("chain", "count", "hash", "offset")

    def __init__(self, offset: int, hashed: int) -> None:
        self.offset = offset
        self.hash = hashed
        self.count = 0
        self.chain = _Chain(offset + 48)


class JournalFile:
    """The journal in one directory, which is made for the pod alone."""

    def __init__(self, directory: str, machine_id: str, boot_id: str) -> None:
        """Begin a journal. IDs are 32 hexadecimal digits. Raises OSError."""
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._machine = bytes.fromhex(machine_id)
        self._boot = bytes.fromhex(boot_id)
        self._seqnum_id = os.urandom(16)
        self._seqnum = 0
        self._fd = -1
        self._begin()

    def _begin(self) -> None:
        self._fd = os.open("system.journal", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640, dir_fd=self._directory)
        self._file_id = os.urandom(16)
        self._data: dict[bytes, _Datum] = {}
        self._fields: dict[bytes, int] = {}
        self._heads: dict[int, int] = {}
        self._tails: dict[int, int] = {}
        self._objects = self._entries = self._data_objects = self._arrays = 0
        self._head_seqnum = self._first = self._last = self._monotonic = self._tail_object = 0
        data_table, field_table = _DATA_BUCKETS * 16, _FIELD_BUCKETS * 16
        self._data_table = _HEADER_SIZE + 16
        self._field_table = self._data_table + data_table + 16
        self._end = self._field_table + field_table
        self._new: list[bytes] = []
        self._patches: dict[int, bytes] = {}
        os.ftruncate(self._fd, self._end)
        os.pwrite(self._fd, _OBJECT.pack(_DATA_TABLE, 0, data_table + 16), _HEADER_SIZE)
        os.pwrite(self._fd, _OBJECT.pack(_FIELD_TABLE, 0, field_table + 16), self._field_table - 16)
        self._objects = 2
        self._tail_object = self._field_table - 16
        self._chain = _Chain(176)
        self._written = self._end
        self._write_header(_ONLINE)

    def append(self, fields: dict[str, bytes], realtime_us: int, monotonic_us: int) -> None:
        """Add an entry: values by the names of fields. Raises OSError."""
        if self._end > _LARGEST:
            self._rotate()
        items: dict[int, _Datum] = {}
        for name, value in fields.items():
            datum = self._datum(name.encode(), value)
            items[datum.offset] = datum
        ordered = [items[offset] for offset in sorted(items)]
        mixed = 0
        for datum in ordered:
            mixed ^= datum.hash
        self._seqnum += 1
        body = pack("<QQQ16sQ", self._seqnum, realtime_us, monotonic_us, self._boot, mixed)
        body += b"".join([pack("<QQ", datum.offset, datum.hash) for datum in ordered])
        entry = self._object(_ENTRY, body)
        for datum in ordered:
            self._link(datum, entry)
        self._add(self._chain, entry)
        self._entries += 1
        if not self._head_seqnum:
            self._head_seqnum, self._first = self._seqnum, realtime_us
        self._last, self._monotonic = realtime_us, monotonic_us
        self._flush()
        if len(self._data) > _REMEMBERED:
            self._forget()

    def close(self) -> None:
        """Say that the file is complete."""
        if self._fd >= 0:
            self._write_header(_OFFLINE)
            os.close(self._fd)
            os.close(self._directory)
            self._fd = -1

    def _object(self, kind: int, body: bytes) -> int:
        offset = self._end
        size = 16 + len(body)
        data = _OBJECT.pack(kind, 0, size) + body
        data += b"\0" * (-size % 8)
        self._new.append(data)
        self._end += len(data)
        self._objects += 1
        self._tail_object = offset
        return offset

    def _datum(self, name: bytes, value: bytes) -> _Datum:
        payload = name + b"=" + value
        found = self._data.get(payload)
        if found is not None:
            return found
        hashed = hash64(payload)
        field = self._fields.get(name)
        if field is None:
            field = self._new_field(name)
        offset = self._object(_DATA, pack("<QQQQQQ", hashed, 0, self._heads.get(field, 0), 0, 0, 0) + payload)
        self._data_objects += 1
        self._heads[field] = offset
        self._patch(field + 32, offset)
        self._chain_in(self._data_table + hashed % _DATA_BUCKETS * 16, offset)
        datum = self._data[payload] = _Datum(offset, hashed)
        return datum

    def _new_field(self, name: bytes) -> int:
        hashed = hash64(name)
        offset = self._object(_FIELD, pack("<QQQ", hashed, 0, 0) + name)
        self._chain_in(self._field_table + hashed % _FIELD_BUCKETS * 16, offset)
        self._fields[name] = offset
        return offset

    def _chain_in(self, bucket: int, offset: int) -> None:
        """Put an object at the end of its bucket's chain."""
        tail = self._tails.get(bucket)
        if tail is None:
            self._patch(bucket, offset)
        else:
            self._patch(tail + 24, offset)
        self._patch(bucket + 8, offset)
        self._tails[bucket] = offset

    def _link(self, datum: _Datum, entry: int) -> None:
        if datum.count:
            self._add(datum.chain, entry)
        else:
            self._patch(datum.offset + 40, entry)
        datum.count += 1
        self._patch(datum.offset + 56, datum.count)

    def _add(self, chain: _Chain, entry: int) -> None:
        if not chain.array or chain.used == chain.capacity:
            if chain.array:
                chain.capacity *= 2
            array = self._object(_ARRAY, bytes(8 + chain.capacity * 8))
            self._arrays += 1
            self._patch(chain.owner, array)
            chain.array, chain.owner, chain.used = array, array + 16, 0
        self._patch(chain.array + 24 + chain.used * 8, entry)
        chain.used += 1

    def _patch(self, offset: int, value: int) -> None:
        self._patches[offset] = pack("<Q", value)

    def _flush(self) -> None:
        """What is new first, then what leads to it, the header last."""
        os.pwrite(self._fd, b"".join(self._new), self._written)
        self._written = self._end
        self._new.clear()
        header = [offset for offset in self._patches if offset < _HEADER_SIZE]
        for offset, value in self._patches.items():
            if offset >= _HEADER_SIZE:
                os.pwrite(self._fd, value, offset)
        for offset in header:
            os.pwrite(self._fd, self._patches[offset], offset)
        self._patches.clear()
        self._write_header(_ONLINE)

    def _write_header(self, state: int) -> None:
        head = _SIGNATURE + pack("<IIB7x", 0, 0, state) + self._file_id + self._machine + self._boot + self._seqnum_id
        head += pack(
            "<QQQQQQQQQQQ",
            _HEADER_SIZE,
            self._end - _HEADER_SIZE,
            self._data_table,
            _DATA_BUCKETS * 16,
            self._field_table,
            _FIELD_BUCKETS * 16,
            self._tail_object,
            self._objects,
            self._entries,
            self._seqnum,
            self._head_seqnum,
        )
        os.pwrite(self._fd, head, 0)
        tail = pack("<QQQ", self._first, self._last, self._monotonic)
        tail += pack("<QQQQQQ", self._data_objects, len(self._fields), 0, self._arrays, 0, 0)
        os.pwrite(self._fd, tail, 184)

    def _forget(self) -> None:
        """Keep what many entries have."""
        self._data = {payload: datum for payload, datum in self._data.items() if datum.count > 16}

    def _rotate(self) -> None:
        self._write_header(_ARCHIVED)
        os.close(self._fd)
        name = f"system@{self._seqnum_id.hex()}-{self._head_seqnum:016x}-{self._first:016x}.journal"
        os.rename("system.journal", name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        archived = sorted([one for one in os.listdir(self._directory) if one.startswith("system@")])
        for old in archived[: max(0, len(archived) - _MOST + 1)]:
            os.unlink(old, dir_fd=self._directory)
        self._begin()
