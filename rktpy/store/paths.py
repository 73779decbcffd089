"""Where everything in the store lies, and in which order its locks are taken.

::

    <data dir>/
        locks/prepareLock                 flock: shared while a pod is prepared or started, exclusive in image gc
        locks/userRanges                  flock: exclusive while a pod's range of user IDs is chosen (stage0, private_users)
        cas/
            blobs/{sha256,sha512}/<hex>   immutable bytes by digest; a valid blob tree of an OCI image layout
            images/<image id>             ImageRecord (JSON), the truth about which images there are; mtime = last used
            imageManifest/<image id>      the runnable view: an appc ImageManifest (JSON); for OCI the converted one
            tree/<tree id>/               a rendered root file system, complete or not there at all
                rootfs/                   the files
                manifest                  the runnable view of the image that it was rendered for
                image                     that image's ID
                size                      bytes of the files in rootfs/, see tree_size.py; made again when it is missing
                hash                      content hash of rootfs/, see trees.py for when it is written
                rendered                  marker, the last file written: "synced", or the boot ID of an unsynced tree
            remotes/<sha256 of the URL>   what is known of a download URL (ETag, expiry), JSON
            db/index.sqlite               an accelerator for many images; rebuilt from images/ at any time
            db/key-<fingerprint>          what GnuPG said of a trusted key file, see stage0's signing_keys.py; asked again
                                          when it is missing
            db/facts-<image id>           what was found out about the image's signatures, see stage0's signature_facts.py;
                                          found out again when it is missing
            tmp/                          everything half-made, see temporary.py
            imagelocks/<image id>         flock: shared while the image's blobs are read, exclusive while it is removed
            imagelocks/records            flock: exclusive while files under images/ are changed
            imagelocks/blobs              flock: shared from a blob's arrival until its image's record is written,
                                          exclusive (only ever tried, not waited for) while blobs are removed
            treestorelocks/<tree id>      flock: exclusive while the tree is rendered or removed

Image IDs are ``sha512-<128 hex>`` (ACI: of the uncompressed tar) or ``sha256-<64 hex>`` (OCI: of the manifest); tree IDs are
``deps-sha512-<64 hex>``. Both become file names, so both are checked here before they are used.

Lock order, outermost first; nobody who holds a lock waits for one that stands above it::

    prepareLock > treestorelocks/<tree id> > imagelocks/<image id> (by ID) > imagelocks/records > imagelocks/blobs > tmp/*

Nothing half-made is visible under its final name: write to tmp/, fsync, rename, fsync the directory.

Hot-path module: imports only ``posix`` and ``errno``.
"""

from __future__ import annotations

from rktpy.errors import StoreError, UsageError

_HEX = "0123456789abcdef"
_LENGTHS = {"sha256": 64, "sha512": 128}

# As rkt creates them (store/imagestore: 0770 with setgid, store/treestore: 0755); a group named GROUP gets them if it exists.
GROUP = "rktpy"
SHARED_MODE = 0o2770
TREE_MODE = 0o755
BLOB_MODE = 0o640
RECORD_MODE = 0o660


def is_hex(text: str) -> bool:
    """Whether ``text`` is made of lower-case hexadecimal digits only (and is not empty)."""
    return bool(text) and not text.strip(_HEX)


def split_digest(digest: str) -> tuple[str, str]:
    """``sha256:<hex>`` or ``sha512:<hex>`` -> (algorithm, hex). Raises :class:`UsageError` for anything else."""
    algorithm, _, value = digest.partition(":")
    if _LENGTHS.get(algorithm) != len(value) or not is_hex(value):
        raise UsageError(f"{digest!r} is not a sha256 or sha512 digest")
    return algorithm, value


def is_image_id(text: str) -> bool:
    """Whether ``text`` is a whole image ID of either format."""
    algorithm, _, value = text.partition("-")
    return _LENGTHS.get(algorithm) == len(value) and is_hex(value)


def is_tree_id(text: str) -> bool:
    """Whether ``text`` is a tree ID."""
    return len(text) == 76 and text.startswith("deps-sha512-") and is_hex(text[12:])


class Layout:
    """The paths below one data directory. Building it touches nothing on disk."""

    def __init__(self, data_dir: str) -> None:
        self.data_dir = data_dir
        self.cas = cas = f"{data_dir}/cas"
        self.images = f"{cas}/images"
        self.manifests = f"{cas}/imageManifest"
        self.trees = f"{cas}/tree"
        self.remotes = f"{cas}/remotes"
        self.blobs = f"{cas}/blobs"
        self.index = f"{cas}/db/index.sqlite"
        self.temporary = f"{cas}/tmp"
        self.image_locks = f"{cas}/imagelocks"
        self.tree_locks = f"{cas}/treestorelocks"
        self.records_lock = f"{cas}/imagelocks/records"
        self.blobs_lock = f"{cas}/imagelocks/blobs"
        self.prepare_lock = f"{data_dir}/locks/prepareLock"

    def blob(self, digest: str) -> str:
        """Path of a blob, whether it is there or not."""
        algorithm, value = split_digest(digest)
        return f"{self.blobs}/{algorithm}/{value}"

    def image(self, image_id: str) -> str:
        """Path of an image's record."""
        return f"{self.images}/{_checked(image_id)}"

    def manifest(self, image_id: str) -> str:
        """Path of an image's runnable view."""
        return f"{self.manifests}/{_checked(image_id)}"

    def key_state(self, fingerprint: str) -> str:
        """Path of what is known of a key of the keystore, by its hex fingerprint."""
        return f"{self.cas}/db/key-{fingerprint}"

    def facts(self, image_id: str) -> str:
        """Path of what is known of the signatures of an image."""
        return f"{self.cas}/db/facts-{_checked(image_id)}"

    def image_lock(self, image_id: str) -> str:
        """Path of an image's lock file."""
        return f"{self.image_locks}/{_checked(image_id)}"

    def tree(self, tree_id: str) -> str:
        """Directory of a rendered tree."""
        return f"{self.trees}/{_checked_tree(tree_id)}"

    def tree_lock(self, tree_id: str) -> str:
        """Path of a tree's lock file."""
        return f"{self.tree_locks}/{_checked_tree(tree_id)}"

    def directories(self) -> tuple[tuple[str, int], ...]:
        """Every directory of the store with its mode, parents first."""
        cas = self.cas
        return (
            (self.data_dir, 0o2750),
            (f"{self.data_dir}/locks", 0o2750),
            (cas, SHARED_MODE),
            (self.blobs, SHARED_MODE),
            (f"{self.blobs}/sha256", SHARED_MODE),
            (f"{self.blobs}/sha512", SHARED_MODE),
            (self.images, SHARED_MODE),
            (self.manifests, SHARED_MODE),
            (self.trees, TREE_MODE),
            (self.remotes, SHARED_MODE),
            (f"{cas}/db", SHARED_MODE),
            (self.temporary, SHARED_MODE),
            (self.image_locks, SHARED_MODE),
            # The last one made, so its being there means that all are: see create_directories.
            (self.tree_locks, TREE_MODE),
        )


def _checked(image_id: str) -> str:
    if not is_image_id(image_id):
        raise UsageError(f"{image_id!r} is not an image ID")
    return image_id


def _checked_tree(tree_id: str) -> str:
    if not is_tree_id(tree_id):
        raise UsageError(f"{tree_id!r} is not a tree ID")
    return tree_id


def create_directories(layout: Layout, *, anew: bool = False) -> None:
    """Make the store's directories where they are missing. Several processes may do so at once.

    Unless ``anew``, the last one's being there is taken to mean that all are. Raises :class:`StoreError`.
    """
    from os import makedirs
    from posix import chmod, chown, mkdir, stat

    try:
        stat(layout.tree_locks)
        if not anew:
            return
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StoreError("cannot open store") from error
    group = -1
    try:
        import grp

        group = grp.getgrnam(GROUP).gr_gid
    except (ImportError, KeyError):
        pass
    try:
        parent = layout.data_dir.rpartition("/")[0]
        if parent:
            makedirs(parent, exist_ok=True)
        for path, mode in layout.directories():
            try:
                mkdir(path, mode & 0o770)
            except FileExistsError:
                if path == layout.data_dir:
                    # Its owner may have made it, with a mode of his own.
                    continue
            if group != -1 and mode != TREE_MODE:
                try:
                    chown(path, -1, group)
                except PermissionError:
                    group = -1
            chmod(path, mode)
    except OSError as error:
        raise StoreError("cannot create store") from error
