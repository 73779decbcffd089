"""Platforms and the order in which a host accepts them (OCI image-spec 1.1 image-index.md; defaults as containers/image).

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import UsageError
from rktpy.record import Record

# Most capable first: a host runs its own variant and everything after it.
_VARIANTS = {
    "arm": ("v8", "v7", "v6", "v5"),
    "arm64": ("v9", "v8"),
    "amd64": ("v4", "v3", "v2", "v1"),
}

_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv8l": ("arm", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
    "mips64": ("mips64", ""),
}

_SPELLINGS = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "armhf": "arm", "armel": "arm"}


class Platform(Record):
    """What an image is built for, in Go's spelling (``linux``, ``amd64``). Empty text means: not stated."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """``os/architecture[/variant]``."""
        return f"{self.os}/{self.architecture}/{self.variant}" if self.variant else f"{self.os}/{self.architecture}"

    def __str__(self) -> str:
        return self.text


def platform_of_machine(machine: str, os: str = "linux") -> Platform:
    """The platform of a host whose ``uname -m`` is ``machine``."""
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform(os, architecture, variant)


def parse_platform(text: str) -> Platform:
    """Read ``os/arch[/variant]`` as written on a command line. Raises :class:`UsageError`."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(part and part.isascii() and part.isprintable() and " " not in part for part in parts):
        raise UsageError(f"platform {text!r} is not of the form os/architecture[/variant]")
    os, architecture = parts[0].lower(), parts[1].lower()
    variant = parts[2].lower() if len(parts) == 3 else ""
    if architecture in ("armhf", "armel") and not variant:
        variant = "v7" if architecture == "armhf" else "v6"
    return Platform(os, _SPELLINGS.get(architecture, architecture), variant)


def wanted_variants(platform: Platform) -> tuple[str, ...]:
    """The variants that satisfy ``platform``, best first; the empty one stands for "not stated".

    A stated variant takes itself, then the less capable ones, then images that state none. Without one, images that state none
    come first; then any variant of arm and arm64 (as containers/image), but of amd64 only the v1 that every host has.
    """
    known = _VARIANTS.get(platform.architecture, ())
    if platform.variant:
        if platform.variant in known:
            return (*known[known.index(platform.variant) :], "")
        return (platform.variant, "")
    if platform.architecture == "amd64":
        return ("", "v1")
    return ("", *known)
