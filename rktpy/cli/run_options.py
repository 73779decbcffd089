"""The flags that ``run`` and ``run-prepared`` share, as the record for stage0. Hot-path module."""

from __future__ import annotations

from rktpy.errors import UsageError
from rktpy.stage0.options import RunOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run_options(arguments: Arguments) -> RunOptions:
    """How the pod shall be run. Raises :class:`UsageError` for what cannot be read; stage0 sees to the rest."""
    ipc = arguments.text("ipc")
    if ipc not in ("", "auto", "private", "parent"):
        raise UsageError(f'invalid value for --ipc: "{ipc}" (must be auto, private or parent)')
    return sandbox_options(arguments).replace(
        ipc=ipc,
        interactive=arguments.switch("interactive"),
        mds_register=arguments.switch("mds-register"),
        strict=arguments.switch("strict"),
        dry_run=arguments.switch("dry-run"),
    )


def sandbox_options(arguments: Arguments) -> RunOptions:
    """The part that ``app sandbox`` has too. Raises :class:`UsageError`."""
    return RunOptions(
        net=arguments.repeated("net") or ("default",),
        dns=tuple([server for value in arguments.repeated("dns") for server in value.split(",")]),
        dns_search=arguments.repeated("dns-search"),
        dns_options=arguments.repeated("dns-opt"),
        dns_domain=arguments.text("dns-domain"),
        hosts_entries=_hosts_entries(arguments.repeated("hosts-entry")),
        hostname=arguments.text("hostname"),
        uuid_file_save=arguments.given.get("uuid-file-save", ""),
    )


def _hosts_entries(values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    entries: list[tuple[str, str]] = []
    for value in values:
        if value == "host":
            entries.append(("host", ""))
            continue
        for entry in value.split(","):
            address, equals, name = entry.partition("=")
            if not equals or address == "host":
                raise UsageError(f"error with dns flags: Did not understand --hosts-entry {entry}")
            entries.append((address, name))
    return tuple(entries)
