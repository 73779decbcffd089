"""Between OCI (or Docker) image configurations and appc image manifests, both ways, as pure functions.

Sources: appc/docker2aci ``lib/internal/internal.go`` and ``lib/common/common.go`` for the names and the mapping, OCI image-spec
1.1 ``config.md`` where it says more, appc/spec 0.8.11 for what a manifest may hold.

Where this differs from docker2aci:

- A user without a group gets :data:`rktpy.formats.stage1.GROUP_OF_USER`: the OCI rule is "the group and supplementary groups of
  that user in the image", which appc has no word for, and which only whoever sees the image's files can look up. docker2aci
  takes the user's name as a group's.
- Volumes and ports come in sorted order, so that the same configuration always gives the same manifest.
- What a manifest cannot hold (an environment name with a space, a port that is none) is left out and listed in the annotation
  :data:`IGNORED`.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.aci.document import check_text
from rktpy.formats.aci.manifest import ImageManifest, is_environment_name
from rktpy.formats.aci.types import (
    AC_VERSION,
    OS_ARCH,
    is_ac_identifier,
    is_ac_name,
    is_date,
    sanitize_ac_identifier,
    sanitize_ac_name,
)
from rktpy.formats.stage1 import DOCKER_REPOSITORY, GROUP_OF_USER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.oci.config import ImageConfig

ORIGINAL_NAME = "appc.io/docker/originalname"
REGISTRY_URL = "appc.io/docker/registryurl"
TAG = "appc.io/docker/tag"
IMAGE_ID = "appc.io/docker/imageid"
MANIFEST_HASH = "appc.io/docker/manifesthash"
ENTRYPOINT = "appc.io/docker/entrypoint"
CMD = "appc.io/docker/cmd"
STOP_SIGNAL = "rktpy/oci/stop-signal"
PLATFORM = "rktpy/oci/platform"  # os/architecture[/variant], when appc has no label for it
IGNORED = "rktpy/oci/ignored"  # JSON list of sentences: what the manifest could not hold

_WHAT = "image config"
_ARM = {"": "armv6l", "v6": "armv6l", "v7": "armv7l", "6": "armv6l", "7": "armv7l"}
_ARCH = {
    ("linux", "amd64"): "amd64",
    ("linux", "386"): "i386",
    ("linux", "arm64"): "aarch64",
    ("linux", "ppc64"): "ppc64",
    ("linux", "ppc64le"): "ppc64le",
    ("linux", "s390x"): "s390x",
    ("freebsd", "amd64"): "amd64",
    ("freebsd", "386"): "i386",
    ("freebsd", "arm"): "arm",
    ("darwin", "amd64"): "x86_64",
    ("darwin", "386"): "i386",
}
# appc (os, arch) -> OCI (architecture, variant)
_ARCHITECTURE = {
    ("linux", "aarch64"): ("arm64", ""),
    ("linux", "amd64"): ("amd64", ""),
    ("linux", "armv6l"): ("arm", "v6"),
    ("linux", "armv7l"): ("arm", "v7"),
    ("linux", "i386"): ("386", ""),
    ("linux", "ppc64"): ("ppc64", ""),
    ("linux", "ppc64le"): ("ppc64le", ""),
    ("linux", "s390x"): ("s390x", ""),
    ("freebsd", "amd64"): ("amd64", ""),
    ("freebsd", "i386"): ("386", ""),
    ("freebsd", "arm"): ("arm", "v6"),
    ("darwin", "x86_64"): ("amd64", ""),
    ("darwin", "i386"): ("386", ""),
}


def appc_arch(os: str, architecture: str, variant: str = "") -> str | None:
    """The appc ``arch`` label for an OCI platform, ``None`` when appc has none."""
    if os == "linux" and architecture == "arm":
        return _ARM.get(variant)
    return _ARCH.get((os, architecture))


def oci_architecture(os: str, arch: str) -> tuple[str, str] | None:
    """OCI architecture and variant for appc labels, ``None`` when OCI has no word for them (big-endian arm)."""
    return _ARCHITECTURE.get((os, arch))


def image_name_of(registry: str, repository: str) -> str:
    """The appc name of an image in a registry. Raises :class:`FormatError` when nothing usable is left of it."""
    return sanitize_ac_identifier(f"{registry}/{repository}" if registry else repository)


def oci_config_to_manifest(
    config: ImageConfig,
    *,
    name: str,
    tag: str = "",
    manifest_digest: str = "",
    image_id: str = "",
    original_name: str = "",
    registry: str = "",
    repository: str = "",
) -> ImageManifest:
    """The runnable view of an OCI image.

    ``name`` is made an AC Identifier; ``tag`` becomes the label ``version``; the others are kept as annotations when they are
    not empty. Raises :class:`FormatError` when the configuration holds what no process could be given (NUL characters), or
    asks for a user that does not mean the same to appc.
    """
    ignored: list[str] = []
    labels, platform = _labels(config, tag)
    container = config.config
    user, group = _user(container.user)
    app: dict[str, Any] = {
        "exec": [*(container.entrypoint or ()), *(container.cmd or ())],
        "user": user,
        "group": group,
        "environment": _environment(container.env, ignored),
    }
    if container.working_dir:
        app["workingDirectory"] = "/" + container.working_dir.lstrip("/")
    app["mountPoints"] = _mount_points(container.volumes, ignored)
    app["ports"] = _ports(container.exposed_ports, ignored)
    app["userLabels"] = dict(container.labels)

    annotations: dict[str, str] = {}
    if config.created:
        if is_date(config.created):
            annotations["created"] = config.created
        else:
            ignored.append(f"created: {config.created!r} is not a date")
    annotations["authors"] = config.author
    annotations[ORIGINAL_NAME] = original_name
    annotations[REGISTRY_URL] = registry
    # Its presence makes a stage1 fill empty volumes from the image, which OCI images expect.
    annotations[DOCKER_REPOSITORY] = repository or name
    annotations[TAG] = tag
    annotations[IMAGE_ID] = image_id
    annotations[MANIFEST_HASH] = manifest_digest
    annotations[ENTRYPOINT] = _json_text(list(container.entrypoint)) if container.entrypoint else ""
    annotations[CMD] = _json_text(list(container.cmd)) if container.cmd else ""
    annotations[STOP_SIGNAL] = container.stop_signal
    annotations[PLATFORM] = platform
    annotations[IGNORED] = _json_text(ignored) if ignored else ""

    document: dict[str, Any] = {
        "acKind": ImageManifest.KIND,
        "acVersion": AC_VERSION,
        "name": name if is_ac_identifier(name) else sanitize_ac_identifier(name),
        "labels": labels,
        "app": {member: value for member, value in app.items() if value or member == "exec"},
        "annotations": [{"name": key, "value": value} for key, value in annotations.items() if value],
    }
    return ImageManifest.from_bytes(_bytes(document), _WHAT)


def _bytes(document: object) -> bytes:
    data = jsondoc.dump(document)
    try:
        data.decode()
    except UnicodeDecodeError:
        raise FormatError(_WHAT, "", "contains half of a surrogate pair") from None
    return data


def _json_text(value: object) -> str:
    return _bytes(value).decode()


def _labels(config: ImageConfig, tag: str) -> tuple[list[dict[str, str]], str]:
    labels: list[dict[str, str]] = []
    platform = ""
    if tag:
        labels.append({"name": "version", "value": tag})
    arch = appc_arch(config.os, config.architecture, config.variant)
    if config.os in OS_ARCH:
        labels.append({"name": "os", "value": config.os})
        if arch is not None:
            labels.append({"name": "arch", "value": arch})
    if arch is None and (config.os or config.architecture):
        platform = f"{config.os}/{config.architecture}" + (f"/{config.variant}" if config.variant else "")
    return labels, platform


def _user(text: str) -> tuple[str, str]:
    if not text:
        return "0", "0"
    user, _colon, group = text.partition(":")
    if user.startswith("/") or group.startswith("/") or ":" in group:
        # To appc a path means "the owner of that file".
        raise FormatError(_WHAT, "config.User", f"{text!r} is not of the form user[:group]")
    return user or "0", group or GROUP_OF_USER


def _environment(entries: tuple[str, ...], ignored: list[str]) -> list[dict[str, str]]:
    values: dict[str, str] = {}
    for index, entry in enumerate(entries):
        name, equals, value = entry.partition("=")
        if not equals or not is_environment_name(name):
            ignored.append(f"config.Env[{index}]: {name!r} does not set a variable that appc can name")
            continue
        values[name] = value
    return [{"name": name, "value": value} for name, value in values.items()]


def _clean_path(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _unused(name: str, taken: set[str]) -> str:
    unique, number = name, 1
    while unique in taken:
        unique = f"{name}-{number}"
        number += 1
    taken.add(unique)
    return unique


def _mount_points(volumes: tuple[str, ...], ignored: list[str]) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = []
    taken: set[str] = set()
    for path in sorted({_clean_path(volume) for volume in volumes}):
        if path == "/":
            ignored.append("config.Volumes: a volume cannot cover the whole root")
            continue
        points.append({"name": _unused(sanitize_ac_name("volume" + path), taken), "path": path})
    return points


def _port_range(text: str) -> tuple[str, int, int] | None:
    numbers, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    first, dash, last = numbers.partition("-")
    last = last if dash else first
    if not is_ac_name(protocol) or not all(part.isascii() and part.isdigit() and len(part) <= 5 for part in (first, last)):
        return None
    start, end = int(first), int(last)
    return (protocol, start, end - start + 1) if 1 <= start <= end <= 65535 else None


def _ports(exposed: tuple[str, ...], ignored: list[str]) -> list[dict[str, Any]]:
    named: dict[tuple[str, int, int], str] = {}
    for text in exposed:
        where = _port_range(text)
        if where is None:
            ignored.append(f"config.ExposedPorts: {text!r} is not a port")
        elif where not in named or "/" in text:
            named[where] = text
    ports: list[dict[str, Any]] = []
    taken: set[str] = set()
    for (protocol, port, count), text in sorted(named.items(), key=lambda item: (item[0][1], item[0][0], item[0][2])):
        ports.append({"name": _unused(sanitize_ac_name(text), taken), "protocol": protocol, "port": port, "count": count})
    return ports


# The other way.

ACI_MANIFEST = "appc.io/image/manifest"
"""Annotation of an OCI image manifest: the text of the appc image manifest that the image was made from."""

_OCI_ANNOTATIONS = {
    "created": "org.opencontainers.image.created",
    "authors": "org.opencontainers.image.authors",
    "homepage": "org.opencontainers.image.url",
    "documentation": "org.opencontainers.image.documentation",
}


def manifest_to_oci_config(
    manifest: ImageManifest,
    diff_ids: tuple[str, ...],
    *,
    default_os: str = "linux",
    default_architecture: str = "amd64",
    default_variant: str = "",
) -> tuple[dict[str, Any], dict[str, str]]:
    """The OCI configuration of an ACI, and the annotations for the OCI image manifest that goes with it.

    ``diff_ids`` are the digests of the rendered layers; the defaults stand in for labels that the ACI does not have. OCI has no
    place for dependencies, white lists, event handlers, isolators and more: the whole appc manifest goes along as an
    annotation, from which :func:`restore_manifest` gives it back byte by byte. Raises :class:`FormatError`.
    """
    config: dict[str, Any] = {}
    created = manifest.annotation("created")
    if created is not None:
        config["created"] = created
    authors = manifest.annotation("authors")
    if authors:
        config["author"] = authors
    os = manifest.label("os") or default_os
    arch = manifest.label("arch") if manifest.label("os") is not None else None
    known = oci_architecture(os, arch) if arch is not None else (default_architecture, default_variant)
    if known is None:
        raise FormatError(manifest.WHAT, "labels", f"OCI has no name for the architecture {arch!r}")
    config["architecture"], variant = known
    if variant:
        config["variant"] = variant
    config["os"] = os
    config["config"] = _container(manifest)
    config["rootfs"] = {"type": "layers", "diff_ids": list(diff_ids)}

    annotations = {"org.opencontainers.image.title": manifest.name}
    version = manifest.label("version")
    if version:
        annotations["org.opencontainers.image.version"] = version
    for name, key in _OCI_ANNOTATIONS.items():
        value = manifest.annotation(name)
        if value:
            annotations[key] = value
    annotations[ACI_MANIFEST] = manifest.to_bytes().decode()
    return config, annotations


def _container(manifest: ImageManifest) -> dict[str, Any]:
    app = manifest.app
    if app is None:
        return {}
    container: dict[str, Any] = {}
    if (app.user, app.group) != ("0", "0"):
        # Users and groups by path stay as they are: a runtime that does not know them refuses, instead of running as root.
        container["User"] = app.user if app.group == GROUP_OF_USER else f"{app.user}:{app.group}"
    if app.ports:
        container["ExposedPorts"] = {
            f"{port.port}/{port.protocol}" if port.count == 1 else f"{port.port}-{port.port + port.count - 1}/{port.protocol}": {}
            for port in app.ports
        }
    if app.environment:
        container["Env"] = [f"{variable.name}={variable.value}" for variable in app.environment]
    if app.exec:
        container["Entrypoint"] = list(app.exec)
    if app.mount_points:
        container["Volumes"] = {point.path: {} for point in app.mount_points}
    if app.working_directory:
        container["WorkingDir"] = app.working_directory
    if app.user_labels:
        container["Labels"] = dict(app.user_labels)
    return container


def restore_manifest(config: ImageConfig, annotations: dict[str, str]) -> ImageManifest | None:
    """The appc manifest that an OCI image was made from by :func:`manifest_to_oci_config`, byte by byte.

    ``None`` when the annotations carry none, or when the configuration was changed since and no longer says the same. Raises
    :class:`FormatError` when the annotation is there and is not an image manifest. The name in it is the image's own claim.
    """
    text = annotations.get(ACI_MANIFEST)
    if text is None:
        return None
    manifest = ImageManifest.from_bytes(check_text(text, "annotations", ACI_MANIFEST).encode(), ACI_MANIFEST)
    made, _annotations = manifest_to_oci_config(
        manifest,
        config.rootfs_diff_ids,
        default_os=config.os,
        default_architecture=config.architecture,
        default_variant=config.variant,
    )
    present = config.to_dict()
    return manifest if all(present.get(member) == value for member, value in made.items()) else None
