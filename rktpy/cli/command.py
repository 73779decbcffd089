"""One command of the command line: what the parser and the help texts need to know of it. Hot-path module."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.flags import Flag


class Command:
    """A command, described by data.

    ``path`` are its words (``image``, ``list``); ``use`` the synopsis after the parents' names; ``module`` the module in
    ``rktpy.cli`` whose ``run`` does it (empty for a group of commands). ``images`` says that arguments are images with flags
    of their own: ``args`` when app arguments may follow ``--``, ``plain`` when not; ``pod`` that a pod's UUID comes before them.
    ``first`` stops flag parsing at the first
    argument. ``root`` commands need uid 0. ``listed`` commands appear in help. ``added`` marks what rkt does not have: a prefix
    stands for such a command only when no command of rkt's begins so. ``single_dash`` flags may also be written ``-name``, as
    programs call it that know only that form.
    """

    __slots__ = (
        "added",
        "first",
        "flags",
        "images",
        "listed",
        "long",
        "module",
        "path",
        "pod",
        "root",
        "short",
        "single_dash",
        "use",
    )

    def __init__(
        self,
        path: tuple[str, ...],
        use: str,
        short: str,
        long: str,
        flags: tuple[Flag, ...] = (),
        *,
        images: str = "",
        pod: bool = False,
        first: bool = False,
        root: bool = False,
        listed: bool = True,
        added: bool = False,
        single_dash: bool = False,
        module: str | None = None,
    ) -> None:
        self.path = path
        self.use = use
        self.short = short
        self.long = long
        self.flags = flags
        self.images = images
        self.pod = pod
        self.first = first or bool(images)
        self.root = root
        self.listed = listed
        self.added = added
        self.single_dash = single_dash
        self.module = "_".join(path).replace("-", "_") if module is None else module

    @property
    def name(self) -> str:
        """The last word, which is also the prefix of the command's diagnostics."""
        return self.path[-1] if self.path else "rktpy"

    @property
    def full_name(self) -> str:
        """``rktpy image list``."""
        return " ".join(("rktpy", *self.path))
