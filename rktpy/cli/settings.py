"""The global flags, resolved to the record that stage0 works with. Hot-path module."""

from __future__ import annotations

from posix import readlink, stat

from rktpy.cli import flags
from rktpy.errors import ConfigError
from rktpy.stage0.options import Globals, InsecureOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments

_GROUPS = {
    "all-fetch": ("image", "tls", "http", "pubkey"),
    "all-run": ("capabilities", "paths", "seccomp"),
    "all": ("image", "tls", "http", "pubkey", "capabilities", "paths", "seccomp"),
    "none": (),
    "ondisk": (),  # rkt's, without effect there too
}


def settings(arguments: Arguments) -> Globals:
    """The global settings of this command line.

    The data directory is that of ``--dir``, else the configured one, else the default, with symbolic links resolved.
    """
    system = arguments.text("system-config")
    local = arguments.text("local-config")
    user = arguments.text("user-config")
    if arguments.has("image-limits"):
        from rktpy.store.limits import limits_from_text, use_limits

        use_limits(limits_from_text(arguments.text("image-limits")))
    data = arguments.text("dir") if arguments.has("dir") else _configured_data_dir(system, local, user)
    return Globals(
        data_dir=_resolved(data or flags.DATA_DIR),
        local_config=local,
        system_config=system,
        user_config=user,
        insecure=insecure_options(arguments.text("insecure-options")),
        trust_keys_from_https=arguments.switch("trust-keys-from-https"),
        debug=arguments.switch("debug"),
        trust_policy=arguments.text("trust-policy"),
        explain="explain" in arguments.table and arguments.switch("explain"),
    )


def insecure_options(value: str) -> InsecureOptions:
    """The checks that a value of ``--insecure-options`` switches off. The value has been checked when it was parsed."""
    if value == "none":
        return InsecureOptions()
    chosen: dict[str, bool] = {}
    for word in value.lower().split(",") if value else ():
        for name in _GROUPS.get(word, (word,)):
            chosen[name] = True
    return InsecureOptions(**chosen)


def _configured_data_dir(*directories: str) -> str:
    # The configuration is read only when there is some about paths: most machines have none, and list and status are in a hurry.
    for directory in directories:
        if directory:
            try:
                stat(directory + "/paths.d")
            except FileNotFoundError:
                continue
            except OSError as error:
                raise ConfigError("cannot get configuration") from error
            from rktpy.config import load_config

            try:
                return load_config(*directories).paths.data
            except ConfigError as error:
                raise ConfigError("cannot get configuration") from error
    return ""


def _resolved(path: str) -> str:
    """``path`` without symbolic links, as far as it exists."""
    done = ""
    left = path.split("/")
    links = 0
    while left:
        part = left.pop(0)
        if not part or part == ".":
            continue
        if part == "..":
            done = done.rpartition("/")[0]
            continue
        here = f"{done}/{part}"
        try:
            target = readlink(here)
        except OSError:
            done = here
            continue
        links += 1
        if links > 40:
            raise ConfigError(f'cannot evaluate data directory "{path}": too many symbolic links')
        if target[:1] == "/":
            done = ""
        left[:0] = target.split("/")
    return done or "/"
