"""The options of a mount, from their words to the kernel's flags.

runtime-spec 1.2 ``config.md``, Linux mount options; what is none of those goes to the file system. Words that begin with ``r``
act on all mounts below too. Extensions, as crun has them: ``copy-symlink``, ``src-nofollow``, ``dest-nofollow``. Hot-path
module.
"""

from __future__ import annotations

from rktpy.linux import constants as c

#: Word to the flag of mount(2), and whether it takes the flag away.
FLAGS: dict[str, tuple[int, bool]] = {
    "acl": (0, False),
    "async": (c.MS_SYNCHRONOUS, True),
    "atime": (c.MS_NOATIME, True),
    "bind": (c.MS_BIND, False),
    "defaults": (0, False),
    "dev": (c.MS_NODEV, True),
    "diratime": (c.MS_NODIRATIME, True),
    "dirsync": (c.MS_DIRSYNC, False),
    "exec": (c.MS_NOEXEC, True),
    "iversion": (c.MS_I_VERSION, False),
    "lazytime": (c.MS_LAZYTIME, False),
    "loud": (c.MS_SILENT, True),
    "mand": (c.MS_MANDLOCK, False),
    "noatime": (c.MS_NOATIME, False),
    "nodev": (c.MS_NODEV, False),
    "nodiratime": (c.MS_NODIRATIME, False),
    "noexec": (c.MS_NOEXEC, False),
    "noiversion": (c.MS_I_VERSION, True),
    "nolazytime": (c.MS_LAZYTIME, True),
    "nomand": (c.MS_MANDLOCK, True),
    "norelatime": (c.MS_RELATIME, True),
    "nostrictatime": (c.MS_STRICTATIME, True),
    "nosuid": (c.MS_NOSUID, False),
    "nosymfollow": (c.MS_NOSYMFOLLOW, False),
    "rbind": (c.MS_BIND | c.MS_REC, False),
    "relatime": (c.MS_RELATIME, False),
    "remount": (c.MS_REMOUNT, False),
    "ro": (c.MS_RDONLY, False),
    "rw": (c.MS_RDONLY, True),
    "silent": (c.MS_SILENT, False),
    "strictatime": (c.MS_STRICTATIME, False),
    "suid": (c.MS_NOSUID, True),
    "symfollow": (c.MS_NOSYMFOLLOW, True),
    "sync": (c.MS_SYNCHRONOUS, False),
}
PROPAGATION: dict[str, int] = {
    "private": c.MS_PRIVATE,
    "rprivate": c.MS_PRIVATE | c.MS_REC,
    "rshared": c.MS_SHARED | c.MS_REC,
    "rslave": c.MS_SLAVE | c.MS_REC,
    "runbindable": c.MS_UNBINDABLE | c.MS_REC,
    "shared": c.MS_SHARED,
    "slave": c.MS_SLAVE,
    "unbindable": c.MS_UNBINDABLE,
}
#: Flags of mount(2) that are attributes of a mount (mount_setattr(2)). A way of keeping access times is a number, not a bit.
ATTRIBUTES: dict[int, int] = {
    c.MS_RDONLY: c.MOUNT_ATTR_RDONLY,
    c.MS_NOSUID: c.MOUNT_ATTR_NOSUID,
    c.MS_NODEV: c.MOUNT_ATTR_NODEV,
    c.MS_NOEXEC: c.MOUNT_ATTR_NOEXEC,
    c.MS_NODIRATIME: c.MOUNT_ATTR_NODIRATIME,
    c.MS_NOSYMFOLLOW: c.MOUNT_ATTR_NOSYMFOLLOW,
    c.MS_NOATIME: c.MOUNT_ATTR_NOATIME,
    c.MS_STRICTATIME: c.MOUNT_ATTR_STRICTATIME,
    c.MS_RELATIME: 0,
}
_ATIMES = (c.MS_NOATIME, c.MS_STRICTATIME, c.MS_RELATIME)
#: Words that act on the whole tree: the same words with an ``r`` before them.
RECURSIVE = frozenset(
    [
        f"r{word}"
        for word in (
            *("atime", "dev", "diratime", "exec", "noatime", "nodev", "nodiratime", "noexec", "norelatime", "nostrictatime"),
            *("nosuid", "nosymfollow", "relatime", "ro", "rw", "strictatime", "suid", "symfollow"),
        )
    ]
)
EXTENSIONS = ("tmpcopyup", "idmap", "ridmap", "copy-symlink", "src-nofollow", "dest-nofollow")


class MountOptions:
    """What a list of words asks for.

    ``flags`` are those of mount(2); ``set`` and ``clear`` the attributes of the mount that were asked for, ``tree_set`` and
    ``tree_clear`` those of it and all below; ``propagation`` flags in their order; ``data`` is for the file system; ``special``
    holds the words of :data:`EXTENSIONS` that are there.
    """

    __slots__ = ("clear", "data", "flags", "propagation", "set", "special", "tree_clear", "tree_set")

    def __init__(self, words: tuple[str, ...]) -> None:
        self.flags = self.set = self.clear = self.tree_set = self.tree_clear = 0
        self.propagation: list[int] = []
        self.special: list[str] = []
        data: list[str] = []
        for word in words:
            known = FLAGS.get(word)
            if known is not None:
                self._flag(*known)
            elif word in PROPAGATION:
                self.propagation.append(PROPAGATION[word])
            elif word in RECURSIVE:
                flag, off = FLAGS[word[1:]]
                attributes, mask = _attributes(flag, off)
                self.tree_set = self.tree_set & ~mask | attributes
                self.tree_clear = (
                    self.tree_clear | mask & ~attributes if off or mask & c.MOUNT_ATTR__ATIME else self.tree_clear & ~mask
                )
                if self.tree_set & c.MOUNT_ATTR__ATIME:
                    self.tree_clear |= c.MOUNT_ATTR__ATIME
            elif word in EXTENSIONS:
                self.special.append(word)
            elif word:
                data.append(word)
        self.data = ",".join(data)

    def _flag(self, flag: int, off: bool) -> None:
        self.flags = self.flags & ~flag if off else self.flags | flag
        if flag not in ATTRIBUTES:
            return
        attributes, mask = _attributes(flag, off)
        self.set = self.set & ~mask | attributes
        self.clear = self.clear | mask if off or flag in _ATIMES else self.clear & ~mask

    @property
    def bind(self) -> bool:
        """Whether the mount shows what is there already."""
        return bool(self.flags & c.MS_BIND)

    @property
    def recursive(self) -> bool:
        """Whether a bind takes along what is mounted below its source."""
        return bool(self.flags & c.MS_REC)


def _attributes(flag: int, off: bool) -> tuple[int, int]:
    """The attributes that a flag sets, and those that it decides about."""
    attribute = ATTRIBUTES[flag]
    if flag in _ATIMES:
        # Without noatime, or with norelatime and nostrictatime, it is the kernel's default: relatime, which is 0.
        return (0 if off else attribute), c.MOUNT_ATTR__ATIME
    return (0 if off else attribute), attribute
