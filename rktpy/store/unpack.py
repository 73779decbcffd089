"""Writing the entries of archives into a tree, safely and fast.

One :class:`Unpacker` lays one or more layers over each other in one directory. Each entry replaces what was there, except that a
directory over a directory merges. Nothing outside of the root is touched whatever the archive says; see ``directories``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from errno import EFBIG, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR

from rktpy.errors import ArchiveError, RktpyError, StoreError
from rktpy.formats.tar import TarEntry, TarReader
from rktpy.formats.tar_fields import printable
from rktpy.record import Record
from rktpy.store.attributes import Attributes
from rktpy.store.directories import Directories, Directory
from rktpy.store.limits import Limits
from rktpy.store.whiteout import hidden_name, hide, is_reserved

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = 1 << 20
_AT_FAULT = {ENAMETOOLONG, EFBIG, EINVAL, ELOOP, ENOENT, ENOTDIR}


class UnpackOptions(Record):
    """``devices``: whether device nodes are made ("create"), left out ("skip") or an error ("refuse")."""

    devices: str = "create"


class Unpacker:
    """Writes archives into the empty directory open as ``root_fd``. Needs root.

    Call :meth:`apply` for each layer, bottom first, then :meth:`finish`; :meth:`close` in any case. Raises
    :class:`ArchiveError` for what is wrong with an archive and :class:`StoreError` for what is wrong with the disk.
    """

    def __init__(self, root_fd: int, limits: Limits, options: UnpackOptions) -> None:
        self._limits = limits
        self._options = options
        self._directories = directories = Directories(root_fd, limits.max_depth, limits.max_path_bytes, self._made_here)
        self._attributes = Attributes(limits.max_xattr_bytes, directories.inherited)
        self._umask = _umask()
        # What the current layer made, with the directories above; None in the first one, where everything is its own.
        self._made: set[bytes] | None = None
        # The whiteouts that the current layer has had.
        self._hidden: set[bytes] = set()
        self._what = ""
        self.entries = 0
        self.bytes = 0
        self._made_bytes = 0
        os.fchmod(root_fd, 0o755)
        os.fchown(root_fd, 0, 0)
        self._directories.refresh_root()

    @property
    def attributes_left_out(self) -> int:
        """How many extended attributes were not set, because the file system has no such ones or because they are overlayfs's."""
        return self._attributes.left_out

    @property
    def tree_bytes(self) -> int | None:
        """What :func:`rktpy.store.tree_size.measure` would count; None when that is not known, because files were replaced."""
        return None if self._directories.replaced else self._made_bytes

    def apply(
        self, reader: TarReader, what: str, *, select: Callable[[TarEntry], bytes | None] | None = None, first: bool
    ) -> None:
        """Write all entries of ``reader``; ``what`` names the archive in errors, ``first`` that nothing lies below it.

        ``select`` gives the clean path of an entry, None to leave it out. Without it names are those of an OCI layer: relative to
        the root however they are spelt, ``..`` refused, whiteouts obeyed.
        """
        self._what = what
        self._made = None if first else set()
        self._hidden = set()
        directories = self._directories
        limits = self._limits
        max_entries = limits.max_entries
        max_bytes = limits.max_unpacked_bytes
        while (entry := reader.next()) is not None:
            self.entries += 1
            self.bytes += entry.size
            if self.entries + directories.implied > max_entries:
                raise ArchiveError(f"{what}: more than {max_entries} entries")
            if directories.names_bytes > limits.max_names_bytes:
                raise ArchiveError(f"{what}: the names of its files take more than {limits.max_names_bytes} bytes")
            if self.bytes > max_bytes:
                raise ArchiveError(f"{what}: {printable(entry.name)}: more than {max_bytes} bytes of files")
            try:
                if select is not None:
                    path = select(entry)
                    if path is None:
                        continue
                else:
                    path = clean(entry.name)
                    if b".wh." in path and self._whiteout(path):
                        continue
                self._add(entry, path, reader)
            except OSError as error:
                raise self._failed(entry.name, error) from error
            except ArchiveError as error:
                if str(error).startswith(what):
                    raise  # the reader's own
                raise ArchiveError(f"{what}: {printable(entry.name)}: {error}") from None

    def finish(self) -> None:
        """Set what must come last: the modification times of directories, and attributes that files would inherit."""
        directories = self._directories
        # Otherwise every directory that was made is still there.
        look = directories.replaced
        path = b""
        try:
            for path, mtime_ns in sorted(directories.times.items()):
                above, _, name = path.rpartition(b"/")
                if path and (parent := directories.existing(above)) is not None:
                    try:
                        if not look or stat.S_ISDIR(os.stat(name, dir_fd=parent.fd, follow_symlinks=False).st_mode):
                            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent.fd, follow_symlinks=False)
                    except FileNotFoundError:
                        pass  # removed again by a later layer
            for path, inherited in directories.inherited.items():
                if (directory := directories.existing(path)) is not None:
                    self._attributes.set_inherited(directory.fd, inherited)
            mtime_ns = directories.times.get(b"", 0)
            os.utime(directories.root.fd, ns=(mtime_ns, mtime_ns))
        except OSError as error:
            raise self._failed(path, error) from error

    def close(self) -> None:
        """Close all directories but the root."""
        self._directories.close()

    def _made_here(self, path: bytes) -> bool:
        return self._made is None or path in self._made

    def _mark(self, path: bytes) -> None:
        made = self._made
        assert made is not None
        while path not in made:
            made.add(path)
            self._directories.names_bytes += len(path)
            path = path.rpartition(b"/")[0]

    def _whiteout(self, path: bytes) -> bool:
        """Obey ``path`` if it is a whiteout; False if it is an ordinary name."""
        if is_reserved(path):
            return True
        above, _, name = path.rpartition(b"/")
        target = hidden_name(name)
        if target is None:
            return False
        if self._made is not None and path not in self._hidden:
            # A second time there is nothing left to hide, and looking for it could go on for ever.
            self._hidden.add(path)
            self._directories.names_bytes += len(path)
            hide(self._directories, above, target, self._made_here)
        return True

    def _add(self, entry: TarEntry, path: bytes, reader: TarReader) -> None:
        if not path:
            if entry.type != "dir":
                raise ArchiveError("the root of an archive must be a directory")
            self._root(entry)
            return
        above, _, name = path.rpartition(b"/")
        directories = self._directories
        mtime_ns = entry.mtime_ns
        if not directories.times:
            directories.set_time(b"", mtime_ns)
        directory = directories.get(above, mtime_ns)
        if self._made is not None:
            self._mark(path)
        kind = entry.type
        if kind == "file":
            self._file(entry, directory, path, name, reader)
            return
        if kind == "dir":
            self._directory(entry, directory, path, name)
            return
        if kind == "hardlink":
            self._hard_link(entry, above, path, name)
            return
        self._special(entry, directory, path, name)

    def _root(self, entry: TarEntry) -> None:
        fd = self._directories.root.fd
        os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode)
        self._attributes.set_directory(fd, b"", entry.xattrs, fresh=False)
        self._directories.set_time(b"", entry.mtime_ns)
        self._directories.refresh_root()

    def _file(self, entry: TarEntry, directory: Directory, path: bytes, name: bytes, reader: TarReader) -> None:
        mode = entry.mode
        self._made_bytes += entry.size
        try:
            fd = os.open(name, _CREATE, mode & 0o777, dir_fd=directory.fd)
        except FileExistsError:
            self._directories.remove(directory, path, name)
            fd = os.open(name, _CREATE, mode & 0o777, dir_fd=directory.fd)
        try:
            if entry.sparse is None:
                if reader.remaining:
                    _copy(fd, reader)
            else:
                _copy_sparse(fd, entry, reader)
            if not directory.owned or entry.uid or entry.gid:
                os.fchown(fd, entry.uid, entry.gid)
            # After the owner: changing that takes set-id bits and capabilities away.
            if mode & (self._umask | 0o7000):
                os.fchmod(fd, mode)
            if entry.xattrs:
                self._attributes.set_file(fd, entry.xattrs)
            mtime_ns = entry.mtime_ns
            os.utime(fd, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(fd)

    def _directory(self, entry: TarEntry, directory: Directory, path: bytes, name: bytes) -> None:
        mode = entry.mode
        fresh = True
        try:
            os.mkdir(name, mode & 0o777, dir_fd=directory.fd)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_mode):
                fresh = False
            else:
                self._directories.replaced = True
                os.unlink(name, dir_fd=directory.fd)
                os.mkdir(name, mode & 0o777, dir_fd=directory.fd)
        if not fresh or not directory.owned or entry.uid or entry.gid:
            os.chown(name, entry.uid, entry.gid, dir_fd=directory.fd, follow_symlinks=False)
        if not fresh or not directory.owned or mode & (self._umask | 0o7000):
            os.chmod(name, mode, dir_fd=directory.fd)
        if not fresh or entry.xattrs:
            self._directories.forget(path)
            opened = self._directories.existing(path)
            assert opened is not None
            self._attributes.set_directory(opened.fd, path, entry.xattrs, fresh)
        self._directories.set_time(path, entry.mtime_ns)

    def _hard_link(self, entry: TarEntry, above: bytes, path: bytes, name: bytes) -> None:
        target = clean(entry.link)
        target_above, _, target_name = target.rpartition(b"/")
        if target == path or not target:
            raise ArchiveError(f"hard link to itself or to the root: {printable(entry.link)}")
        directories = self._directories
        source = directories.existing(target_above)
        directory = directories.get(above, entry.mtime_ns)
        if directories.existing(target_above) is not source:
            # It was closed to make room. Now there is room.
            source = directories.existing(target_above)
            directory = directories.get(above, entry.mtime_ns)
        if source is None:
            raise ArchiveError(f"hard link to {printable(entry.link)}, which is not there")
        try:
            try:
                self._link(source, target_name, directory, name)
            except FileExistsError:
                directories.remove(directory, path, name)
                self._link(source, target_name, directory, name)
        except FileNotFoundError:
            raise ArchiveError(f"hard link to {printable(entry.link)}, which is not there") from None
        except PermissionError:
            raise ArchiveError(f"hard link to {printable(entry.link)}, which cannot have one") from None

    def _link(self, source: Directory, target_name: bytes, directory: Directory, name: bytes) -> None:
        os.link(target_name, name, src_dir_fd=source.fd, dst_dir_fd=directory.fd, follow_symlinks=False)

    def _special(self, entry: TarEntry, directory: Directory, path: bytes, name: bytes) -> None:
        """Symbolic links, fifos and devices."""
        if entry.type in ("char", "block"):
            if self._options.devices == "refuse":
                raise ArchiveError("device nodes are not allowed")
            if self._options.devices == "skip":
                return
            if entry.major >= 1 << 12 or entry.minor >= 1 << 20:
                raise ArchiveError(f"no such device: {entry.major}:{entry.minor}")
        try:
            self._make(entry, directory.fd, name)
        except FileExistsError:
            self._directories.remove(directory, path, name)
            self._make(entry, directory.fd, name)
        if not directory.owned or entry.uid or entry.gid:
            os.chown(name, entry.uid, entry.gid, dir_fd=directory.fd, follow_symlinks=False)
        if entry.type != "symlink":
            os.chmod(name, entry.mode, dir_fd=directory.fd)
        if entry.xattrs:
            self._attributes.set_at(directory.fd, name, entry.xattrs)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=directory.fd, follow_symlinks=False)

    def _make(self, entry: TarEntry, dir_fd: int, name: bytes) -> None:
        if entry.type == "symlink":
            os.symlink(entry.link, name, dir_fd=dir_fd)
            self._made_bytes += len(entry.link)
        elif entry.type == "fifo":
            os.mkfifo(name, entry.mode & 0o777, dir_fd=dir_fd)
        else:
            kind = stat.S_IFCHR if entry.type == "char" else stat.S_IFBLK
            os.mknod(name, kind | entry.mode & 0o777, os.makedev(entry.major, entry.minor), dir_fd=dir_fd)

    def _failed(self, name: bytes, error: OSError) -> RktpyError:
        shown = f"{self._what}: {printable(name)}" if name else self._what
        if error.errno in _AT_FAULT:
            return ArchiveError(f"{shown}: cannot be unpacked")
        if os.geteuid():
            return StoreError(f"{shown}: cannot be unpacked, which needs root")
        return StoreError(f"{shown}: cannot be unpacked")


def clean(name: bytes) -> bytes:
    """``name`` relative to the root, without ``.``, empty components and slashes around; empty for the root.

    Raises :class:`ArchiveError` for ``..`` and NUL.
    """
    if name.startswith(b"./"):
        name = name[2:]
    if name and name[0] not in b"./" and b"/." not in name and b"//" not in name and b"\0" not in name:
        return name[:-1] if name.endswith(b"/") else name  # as nearly all names are
    parts = [part for part in name.split(b"/") if part and part != b"."]
    if b".." in parts:
        raise ArchiveError("a name with .. in it")
    path = b"/".join(parts)
    if b"\0" in path:
        raise ArchiveError("a name with a NUL byte in it")
    return path


def _copy(fd: int, reader: TarReader) -> None:
    while data := reader.chunk(_WRITE):
        written = os.write(fd, data)
        while written < len(data):
            data = memoryview(data)[written:]
            written = os.write(fd, data)


def _copy_sparse(fd: int, entry: TarEntry, reader: TarReader) -> None:
    os.ftruncate(fd, entry.size)
    for offset, length in entry.sparse or ():
        os.lseek(fd, offset, os.SEEK_SET)
        while length:
            data = reader.chunk(min(length, _WRITE))
            length -= len(data)
            while len(data):
                data = memoryview(data)[os.write(fd, data) :]


def _umask() -> int:
    """The file mode creation mask; read instead of swapped, which would let other threads create files without one."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("Umask:"):
                    return int(line[6:], 8)
    except (OSError, ValueError):
        pass
    return 0o777  # not known: every mode is set explicitly
