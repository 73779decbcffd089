"""The flags that ``run`` and ``run-prepared`` share, as the record for stage0. Hot-path module."""

from __future__ import annotations

from rktpy.errors import UsageError
from rktpy.stage0.options import RunOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run_options(arguments: Arguments) -> RunOptions:
    """How the pod shall be run. Raises :class:`UsageError` when the flags contradict one another."""
    net = arguments.repeated("net") or ("default",)
    if arguments.switch("mds-register") and _named(net, "none"):
        raise UsageError(
            "--mds-register flag does not work with --net=none. Please use 'host', 'default' or an equivalent network"
        )
    ipc = arguments.text("ipc")
    if ipc not in ("", "auto", "private", "parent"):
        raise UsageError(f'invalid value for --ipc: "{ipc}" (must be auto, private or parent)')
    dns = arguments.repeated("dns")
    domain = arguments.text("dns-domain")
    search, options = arguments.repeated("dns-search"), arguments.repeated("dns-opt")
    return RunOptions(
        net=net,
        dns=_name_servers(dns, bool(domain or search or options)) if dns else (),
        dns_search=search,
        dns_options=options,
        dns_domain=domain,
        hosts_entries=_hosts_entries(arguments.repeated("hosts-entry")),
        hostname=arguments.text("hostname"),
        ipc=ipc,
        interactive=arguments.switch("interactive"),
        mds_register=arguments.switch("mds-register"),
        uuid_file_save=arguments.given.get("uuid-file-save", ""),
        strict=arguments.switch("strict"),
        dry_run=arguments.switch("dry-run"),
    )


def check_ports(arguments: Arguments) -> None:
    """Refuse ``--port`` where the pod has no network of its own."""
    if arguments.ports:
        for name in ("none", "host"):
            if _named(arguments.repeated("net"), name):
                raise UsageError(f"--port flag does not work with '{name}' networking")


def _named(net: tuple[str, ...], name: str) -> bool:
    return any(network.partition(":")[0] == name for network in net)


def _name_servers(values: tuple[str, ...], other_flags: bool) -> tuple[str, ...]:
    from rktpy.formats.pod import is_ip_address

    for value in values:
        if value in ("host", "none"):
            if len(values) > 1:
                raise UsageError(f"error with dns flags: no other --dns options allowed when --dns={value} is passed")
            if other_flags:
                raise UsageError(f"error with dns flags: Cannot call --dns-opt, --dns-search, or --dns-domain with --dns={value}")
            return values
    servers = tuple([server for value in values for server in value.split(",")])
    for server in servers:
        if not is_ip_address(server):
            raise UsageError(f"error with dns flags: Invalid IP passed to --dns: {server}")
    return servers


def _hosts_entries(values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    if not values:
        return ()
    from rktpy.formats.pod import is_ip_address

    entries: list[tuple[str, str]] = []
    for value in values:
        for entry in () if value == "host" else value.split(","):
            address, equals, name = entry.partition("=")
            if not equals:
                raise UsageError(f"error with dns flags: Did not understand --hosts-entry {entry}")
            if not is_ip_address(address):
                raise UsageError(f"error with dns flags: Invalid IP passed to --hosts-entry: {address}")
            entries.append((address, name))
    if "host" in values:
        if entries:
            raise UsageError("error with dns flags: cannot pass --hosts-entry=host with multiple hosts-entries")
        return (("host", ""),)
    return tuple(entries)
