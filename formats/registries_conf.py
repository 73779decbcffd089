"""Registries: where images really come from, by ``registries.conf`` version 2 (containers-registries.conf(5)).

An image keeps its logical name, by which policies judge it; the file only says which hosts to ask for it. Unknown and mistyped
members are errors, because ``blcoked = true`` must not pass for nothing. Pure; ``tomllib`` is imported only to parse.
"""

from __future__ import annotations

from rktpy.errors import ConfigError, UsageError
from rktpy.formats.oci.image_name import parse_host
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TOP = ("unqualified-search-registries", "credential-helpers", "short-name-mode", "aliases", "registry")
_TOP_IGNORED = ("additional-layer-store-auth-helper",)
_REGISTRY = ("prefix", "location", "insecure", "blocked", "mirror-by-digest-only", "mirror")
_MIRROR = ("location", "insecure", "pull-from-mirror")
_PULL_FROM = ("all", "digest-only", "tag-only")
_SHORT_NAME_MODES = ("", "enforcing", "permissive", "disabled")


class Mirror(Record):
    """A place that is asked before the registry itself. ``pull_from`` is ``all``, ``digest-only`` or ``tag-only``."""

    location: str
    insecure: bool = False
    pull_from: str = "all"


class RegistryRule(Record):
    """What holds for the images under ``prefix`` (``host[:port][/path]`` or ``*.domain``).

    ``location`` takes the place of the prefix in what is asked for, empty means that nothing is replaced; ``insecure`` allows
    HTTP and unverified TLS; ``blocked`` forbids to pull.
    """

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()


class Endpoint(Record):
    """One place to ask: ``host`` may have a port. ``mirror`` tells whether it is another than the image's own registry."""

    host: str
    repository: str
    insecure: bool = False
    mirror: bool = False


class RegistriesConf(Record):
    """All rules, with what the files say about short names (which ``docker://`` references never use)."""

    rules: tuple[RegistryRule, ...] = ()
    unqualified_search: tuple[str, ...] = ()
    credential_helpers: tuple[str, ...] = ()
    short_name_mode: str = ""
    aliases: tuple[tuple[str, str], ...] = ()

    def rule_for(self, host: str, repository: str) -> RegistryRule | None:
        """The rule whose prefix matches most of ``host/repository``, by whole components; an exact host beats a wildcard."""
        best: RegistryRule | None = None
        for rule in self.rules:
            if _matched(rule.prefix, host, repository) and (best is None or _rank(rule.prefix) > _rank(best.prefix)):
                best = rule
        return best

    def endpoints(self, host: str, repository: str, *, by_digest: bool) -> tuple[Endpoint, ...]:
        """Where to ask for an image, in order: the mirrors that serve this kind of request, then the registry itself.

        ``by_digest`` tells that the image is asked for by digest. Raises :class:`ConfigError` when the registry is blocked.
        """
        rule = self.rule_for(host, repository)
        if rule is None:
            return (Endpoint(host, repository),)
        if rule.blocked:
            raise ConfigError(f"registry {rule.prefix} is blocked by registries.conf: cannot pull {host}/{repository}")
        rest = _rest(rule.prefix, host, repository)
        unwanted = "tag-only" if by_digest else "digest-only"
        found = [_place(mirror.location, rest, mirror.insecure, True) for mirror in rule.mirrors if mirror.pull_from != unwanted]
        if rule.location:
            found.append(_place(rule.location, rest, rule.insecure, False))
        else:
            found.append(Endpoint(host, repository, rule.insecure))
        return tuple(found)


def parse_registries_conf(data: bytes, source: str) -> RegistriesConf:
    """Read one file; ``source`` is its path. Raises :class:`ConfigError`."""
    import tomllib

    try:
        doc = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{source}: not TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{source}: not TOML: nested too deeply") from None
    if "registries" in doc:
        raise ConfigError(f"{source}: version 1 of the format ([registries.…] tables) is not supported; use [[registry]]")
    _known(doc, (*_TOP, *_TOP_IGNORED), source, "")
    rules: list[RegistryRule] = []
    for number, table in enumerate(_tables(doc, "registry", source, "")):
        rule = _rule(table, source, f"registry[{number}]")
        if any(other.prefix == rule.prefix for other in rules):
            raise ConfigError(f"{source}: registry[{number}].prefix: {rule.prefix} has a table already")
        rules.append(rule)
    aliases = doc.get("aliases", {})
    if not isinstance(aliases, dict) or not all(isinstance(target, str) for target in aliases.values()):  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        raise ConfigError(f"{source}: aliases: must be a table of strings")
    mode = _text(doc, "short-name-mode", source, "")
    if mode not in _SHORT_NAME_MODES:
        raise ConfigError(f"{source}: short-name-mode: must be enforcing, permissive or disabled")
    search = _texts(doc, "unqualified-search-registries", source)
    for number, location in enumerate(search):
        _location(location, source, f"unqualified-search-registries[{number}]")
    return RegistriesConf(
        rules=tuple(rules),
        unqualified_search=search,
        credential_helpers=_texts(doc, "credential-helpers", source),
        short_name_mode=mode,
        aliases=tuple(aliases.items()),  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
    )


def merge_registries_conf(files: tuple[RegistriesConf, ...]) -> RegistriesConf:
    """Lay drop-in files over the main file, in order: a rule replaces the one of its prefix, as do settings."""
    merged = RegistriesConf()
    for file in files:
        rules = {rule.prefix: rule for rule in (*merged.rules, *file.rules)}
        aliases = {**dict(merged.aliases), **dict(file.aliases)}
        merged = RegistriesConf(
            rules=tuple(rules.values()),
            unqualified_search=file.unqualified_search or merged.unqualified_search,
            credential_helpers=file.credential_helpers or merged.credential_helpers,
            short_name_mode=file.short_name_mode or merged.short_name_mode,
            aliases=tuple(aliases.items()),
        )
    return merged


def _rank(prefix: str) -> tuple[bool, int]:
    return not prefix.startswith("*."), len(prefix)


def _matched(prefix: str, host: str, repository: str) -> bool:
    if prefix.startswith("*."):
        # As in containers/image the port is not part of the domain, and the bare domain does not match.
        return host.partition(":")[0].endswith(prefix[1:])
    name = f"{host}/{repository}"
    return name == prefix or name.startswith(prefix + "/")


def _rest(prefix: str, host: str, repository: str) -> str:
    """What follows the matched prefix, with its slash; a wildcard matches the host."""
    return "/" + repository if prefix.startswith("*.") else f"{host}/{repository}"[len(prefix) :]


def _place(location: str, rest: str, insecure: bool, mirror: bool) -> Endpoint:
    host, _slash, repository = (location + rest).partition("/")
    return Endpoint(host, repository, insecure, mirror)


def _rule(table: dict[str, Any], source: str, path: str) -> RegistryRule:
    _known(table, _REGISTRY, source, path)
    location = _text(table, "location", source, path)
    if location:
        location = _location(location, source, f"{path}.location")
    prefix = _text(table, "prefix", source, path) or location
    if not prefix:
        raise ConfigError(f"{source}: {path}: needs a prefix or a location")
    if prefix.startswith("*."):
        _location(prefix[2:], source, f"{path}.prefix", wildcard=True)
        prefix = prefix.lower()
    else:
        prefix = _location(prefix, source, f"{path}.prefix")
        if not location:
            raise ConfigError(f"{source}: {path}.location: is missing")
    by_digest = _flag(table, "mirror-by-digest-only", source, path)
    mirrors: list[Mirror] = []
    for number, item in enumerate(_tables(table, "mirror", source, path)):
        mirrors.append(_mirror(item, by_digest, source, f"{path}.mirror[{number}]"))
    return RegistryRule(
        prefix,
        location,
        _flag(table, "insecure", source, path),
        _flag(table, "blocked", source, path),
        tuple(mirrors),
    )


def _mirror(table: dict[str, Any], by_digest: bool, source: str, path: str) -> Mirror:
    _known(table, _MIRROR, source, path)
    location = _location(_text(table, "location", source, path), source, f"{path}.location")
    pull_from = _text(table, "pull-from-mirror", source, path)
    if pull_from and pull_from not in _PULL_FROM:
        raise ConfigError(f"{source}: {path}.pull-from-mirror: must be all, digest-only or tag-only")
    if pull_from and by_digest:
        raise ConfigError(f"{source}: {path}.pull-from-mirror: cannot be set together with mirror-by-digest-only")
    return Mirror(location, _flag(table, "insecure", source, path), pull_from or ("digest-only" if by_digest else "all"))


def _location(text: str, source: str, path: str, *, wildcard: bool = False) -> str:
    """Check ``host[:port][/path]`` and bring its host into lower case."""
    if not text:
        raise ConfigError(f"{source}: {path}: is missing")
    if "://" in text:
        raise ConfigError(f"{source}: {path}: must be host[:port][/path], without a scheme")
    host, slash, rest = text.partition("/")
    if "@" in text or ":" in rest:
        raise ConfigError(f"{source}: {path}: must not name a tag, a digest or a user")
    if wildcard and (slash or ":" in host):
        raise ConfigError(f"{source}: {path}: a wildcard stands for a host name without port and path")
    try:
        host = parse_host(host)
    except UsageError as error:
        raise ConfigError(f"{source}: {path}: {error}") from None
    rest = rest.rstrip("/")
    if any(not part or not part.isascii() or not part.isprintable() for part in rest.split("/") if rest):
        raise ConfigError(f"{source}: {path}: the path is malformed")
    return f"{host}/{rest}" if rest else host


def _known(table: dict[str, Any], names: tuple[str, ...], source: str, path: str) -> None:
    for name in table:
        if name not in names:
            shown = name if name.isprintable() else ascii(name)[1:-1]
            raise ConfigError(f"{source}: {path}{'.' if path else ''}{shown}: is not a known setting")


def _text(table: dict[str, Any], name: str, source: str, path: str) -> str:
    value = table.get(name, "")
    if not isinstance(value, str):
        raise ConfigError(f"{source}: {path}{'.' if path else ''}{name}: must be a string")
    return value


def _flag(table: dict[str, Any], name: str, source: str, path: str) -> bool:
    value = table.get(name, False)
    if not isinstance(value, bool):
        raise ConfigError(f"{source}: {path}.{name}: must be true or false")
    return value


def _texts(table: dict[str, Any], name: str, source: str) -> tuple[str, ...]:
    value = table.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):  # pyright: ignore[reportUnknownVariableType]
        raise ConfigError(f"{source}: {name}: must be a list of strings")
    return tuple(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _tables(table: dict[str, Any], name: str, source: str, path: str) -> list[dict[str, Any]]:
    value = table.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):  # pyright: ignore[reportUnknownVariableType]
        raise ConfigError(f"{source}: {path}{'.' if path else ''}{name}: must be [[{name}]] tables")
    return value  # pyright: ignore[reportUnknownVariableType]
