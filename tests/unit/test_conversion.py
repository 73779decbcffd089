"""Conversion between OCI configurations and appc manifests (formats/conversion.py)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rktpy.errors import FormatError
from rktpy.formats import conversion
from rktpy.formats.aci.manifest import ImageManifest, Port
from rktpy.formats.aci.types import NameValue, is_ac_identifier
from rktpy.formats.conversion import manifest_to_oci_config, oci_config_to_manifest, restore_manifest
from rktpy.formats.oci.config import ImageConfig
from rktpy.formats.stage1 import DOCKER_REPOSITORY, GROUP_OF_USER
from tests.unit.test_formats_aci import WORKER, altered

DIGEST = "sha256:" + "5d" * 32
ROOTFS = {"type": "layers", "diff_ids": [DIGEST]}

WEB: dict[str, Any] = {
    "created": "2021-05-06T07:08:09.123456789Z",
    "author": "Ann",
    "architecture": "amd64",
    "os": "linux",
    "config": {
        "User": "www:web",
        "ExposedPorts": {"80/tcp": {}, "443": {}, "8000-8010/UDP": {}},
        "Env": ["PATH=/bin:/usr/bin", "A=1", "EMPTY=", "A=2"],
        "Entrypoint": ["/entry", "-x"],
        "Cmd": ["serve"],
        "Volumes": {"/var/lib/data": {}, "/srv": {}},
        "WorkingDir": "/srv",
        "Labels": {"org.example.Any": "thing"},
        "StopSignal": "SIGQUIT",
    },
    "rootfs": ROOTFS,
}


def config(**changes: Any) -> ImageConfig:
    """WEB with members of ``config`` replaced (or removed with None)."""
    inner = {**WEB["config"], **changes}
    return ImageConfig.from_dict({**WEB, "config": {name: value for name, value in inner.items() if value is not None}})


def convert(image: ImageConfig, **options: str) -> ImageManifest:
    return oci_config_to_manifest(image, **{"name": "registry.example.org/team/web", **options})


def test_everything_is_mapped() -> None:
    manifest = convert(
        config(),
        tag="v1.2",
        manifest_digest=DIGEST,
        image_id="sha256-" + "5d" * 32,
        original_name="docker://registry.example.org/team/web:v1.2",
        registry="registry.example.org",
        repository="team/web",
    )
    assert manifest.name == "registry.example.org/team/web"
    assert manifest.labels == (NameValue("version", "v1.2"), NameValue("os", "linux"), NameValue("arch", "amd64"))
    app = manifest.app
    assert app is not None
    assert app.exec == ("/entry", "-x", "serve")
    assert (app.user, app.group) == ("www", "web")
    assert app.environment == (NameValue("PATH", "/bin:/usr/bin"), NameValue("A", "2"), NameValue("EMPTY", ""))
    assert app.working_directory == "/srv"
    assert [(point.name, point.path) for point in app.mount_points] == [
        ("volume-srv", "/srv"),
        ("volume-var-lib-data", "/var/lib/data"),
    ]
    assert app.ports == (Port("80-tcp", "tcp", 80), Port("443", "tcp", 443), Port("8000-8010-udp", "udp", 8000, 11))
    assert app.user_labels == {"org.example.Any": "thing"}
    assert {one.name: one.value for one in manifest.annotations} == {
        "created": "2021-05-06T07:08:09.123456789Z",
        "authors": "Ann",
        "appc.io/docker/originalname": "docker://registry.example.org/team/web:v1.2",
        "appc.io/docker/registryurl": "registry.example.org",
        "appc.io/docker/repository": "team/web",
        "appc.io/docker/tag": "v1.2",
        "appc.io/docker/imageid": "sha256-" + "5d" * 32,
        "appc.io/docker/manifesthash": DIGEST,
        "appc.io/docker/entrypoint": '["/entry","-x"]',
        "appc.io/docker/cmd": '["serve"]',
        "rktpy/oci/stop-signal": "SIGQUIT",
    }
    assert ImageManifest.from_bytes(manifest.to_bytes()) == manifest


def test_an_empty_configuration() -> None:
    manifest = convert(ImageConfig.from_dict({"rootfs": {"type": "layers", "diff_ids": []}}))
    assert manifest.app is not None
    assert manifest.app.to_dict() == {"exec": [], "user": "0", "group": "0"}
    assert manifest.labels == ()
    assert manifest.annotation(DOCKER_REPOSITORY) == "registry.example.org/team/web"


@pytest.mark.parametrize(
    ("user", "wanted"),
    [
        ("", ("0", "0")),
        ("www", ("www", GROUP_OF_USER)),
        ("1000", ("1000", GROUP_OF_USER)),
        ("1000:", ("1000", GROUP_OF_USER)),
        ("1000:50", ("1000", "50")),
        (":50", ("0", "50")),
    ],
)
def test_users(user: str, wanted: tuple[str, str]) -> None:
    app = convert(config(User=user)).app
    assert app is not None
    assert (app.user, app.group) == wanted


@pytest.mark.parametrize("user", ["/etc/passwd", "a:/etc/passwd", "a:b:c", "a\0b"])
def test_users_that_mean_something_else_to_appc(user: str) -> None:
    with pytest.raises(FormatError):
        convert(config(User=user))


@pytest.mark.parametrize(
    ("platform", "labels", "annotation"),
    [
        (("linux", "arm64", "v8"), {"os": "linux", "arch": "aarch64"}, None),
        (("linux", "arm", ""), {"os": "linux", "arch": "armv6l"}, None),
        (("linux", "arm", "v7"), {"os": "linux", "arch": "armv7l"}, None),
        (("linux", "386", ""), {"os": "linux", "arch": "i386"}, None),
        (("linux", "arm", "v5"), {"os": "linux"}, "linux/arm/v5"),
        (("linux", "riscv64", ""), {"os": "linux"}, "linux/riscv64"),
        (("windows", "amd64", ""), {}, "windows/amd64"),
        (("freebsd", "arm", "v7"), {"os": "freebsd", "arch": "arm"}, None),
    ],
)
def test_platforms(platform: tuple[str, str, str], labels: dict[str, str], annotation: str | None) -> None:
    os, architecture, variant = platform
    image = ImageConfig.from_dict({"os": os, "architecture": architecture, "variant": variant, "rootfs": ROOTFS})
    manifest = convert(image)
    assert {label.name: label.value for label in manifest.labels} == labels
    assert manifest.annotation(conversion.PLATFORM) == annotation


def test_architectures_map_back() -> None:
    for (os, arch), (architecture, variant) in conversion._ARCHITECTURE.items():
        assert conversion.appc_arch(os, architecture, variant) == arch


def test_what_cannot_be_kept_is_listed() -> None:
    image = ImageConfig.from_dict(
        {
            **WEB,
            "created": "last week",
            "config": {
                "Env": ["NOVALUE", "1X=2", "A B=3", "=4", "OK=5"],
                "ExposedPorts": {"http": {}, "0/tcp": {}, "70000": {}, "90-80/tcp": {}, "53/udp": {}},
                "Volumes": {"/": {}, "x/../..": {}},
            },
        }
    )
    manifest = convert(image)
    assert manifest.app is not None
    assert manifest.app.environment == (NameValue("OK", "5"),)
    assert [port.name for port in manifest.app.ports] == ["53-udp"]
    assert manifest.app.mount_points == ()
    ignored = json.loads(manifest.annotation(conversion.IGNORED) or "")
    assert len(ignored) == 4 + 4 + 1 + 1
    assert "config.ExposedPorts: 'http' is not a port" in ignored
    assert "created: 'last week' is not a date" in ignored


def test_clashing_names() -> None:
    manifest = convert(
        config(
            Volumes={"/a_b": {}, "/a-b": {}, "/a-b-1": {}, "/a-b/": {}, "data": {}},
            ExposedPorts={"80": {}, "80/tcp": {}, "80/udp": {}},
        )
    )
    assert manifest.app is not None
    assert [(point.name, point.path) for point in manifest.app.mount_points] == [
        ("volume-a-b", "/a-b"),
        ("volume-a-b-1", "/a-b-1"),
        ("volume-a-b-2", "/a_b"),
        ("volume-data", "/data"),
    ]
    assert [(port.name, port.protocol, port.port) for port in manifest.app.ports] == [
        ("80-tcp", "tcp", 80),
        ("80-udp", "udp", 80),
    ]


def test_relative_working_directory() -> None:
    app = convert(config(WorkingDir="srv/www")).app
    assert app is not None
    assert app.working_directory == "/srv/www"


def test_names() -> None:
    assert convert(config(), name="localhost:5000/Team/App__x").name == "localhost_5000/team/app__x"
    assert conversion.image_name_of("localhost:5000", "team/app") == "localhost_5000/team/app"
    assert conversion.image_name_of("", "busybox") == "busybox"
    with pytest.raises(FormatError):
        convert(config(), name="///")
    with pytest.raises(FormatError):
        conversion.image_name_of("", "~")


TEXT = st.text(max_size=10)
CONFIGS = st.fixed_dictionaries(
    {"rootfs": st.just(ROOTFS)},
    optional={
        "os": st.sampled_from(["linux", "windows", ""]) | TEXT,
        "architecture": st.sampled_from(["amd64", "arm", "riscv64"]) | TEXT,
        "variant": st.sampled_from(["v7", "v8"]) | TEXT,
        "created": TEXT,
        "author": TEXT,
        "config": st.fixed_dictionaries(
            {},
            optional={
                "User": TEXT,
                "Env": st.lists(TEXT | st.builds("{}={}".format, TEXT, TEXT), max_size=4),
                "Entrypoint": st.lists(TEXT, max_size=3),
                "Cmd": st.lists(TEXT, max_size=3),
                "WorkingDir": TEXT,
                "Volumes": st.dictionaries(TEXT, st.just({}), max_size=4),
                "ExposedPorts": st.dictionaries(
                    TEXT
                    | st.builds("{}-{}/{}".format, st.integers(0, 70000), st.integers(0, 70000), st.sampled_from(["tcp", "UDP"])),
                    st.just({}),
                    max_size=4,
                ),
                "Labels": st.dictionaries(TEXT, TEXT, max_size=3),
                "StopSignal": TEXT,
            },
        ),
    },
)


@settings(deadline=None)
@given(CONFIGS, TEXT)
def test_any_configuration_gives_a_valid_manifest_or_an_error(document: dict[str, Any], tag: str) -> None:
    try:
        image = ImageConfig.from_dict(document)
    except FormatError:
        return
    try:
        manifest = convert(image, tag=tag)
    except FormatError as error:
        assert "NUL" in error.problem or "surrogate" in error.problem or "user[:group]" in error.problem, error
        return
    again = ImageManifest.from_bytes(manifest.to_bytes())
    assert again == manifest
    assert is_ac_identifier(again.name)
    assert convert(image, tag=tag).to_bytes() == manifest.to_bytes()


def test_manifest_to_oci() -> None:
    manifest = ImageManifest.from_dict(WORKER)
    document, annotations = manifest_to_oci_config(manifest, (DIGEST,))
    assert document == {
        "created": "2014-10-27T19:32:27.67021798Z",
        "author": "Ann <ann@example.org>",
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": "100:300",
            "ExposedPorts": {"4000/tcp": {}, "20000-20999/tcp": {}},
            "Env": ["INDEXER_DEBUG=true"],
            "Entrypoint": ["/usr/bin/indexer", "--quiet"],
            "Volumes": {"/var/lib/work": {}},
            "WorkingDir": "/opt/work",
            "Labels": {"tier": "back"},
        },
        "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
    }
    assert annotations["org.opencontainers.image.title"] == "example.org/tools/indexer"
    assert annotations["org.opencontainers.image.version"] == "2.1.0"
    assert annotations["org.opencontainers.image.url"] == "https://example.org"
    ImageConfig.from_dict(document)


@settings(deadline=None)
@given(
    st.sampled_from(
        [
            ("labels", None),
            ("labels", [{"name": "os", "value": "linux"}, {"name": "arch", "value": "armv7l"}]),
            ("app", None),
            ("app.group", GROUP_OF_USER),
            ("app.user", "/owner/of/this"),
            ("app.isolators", [{"name": "made/up", "value": {"x": [None]}}]),
            ("annotations", []),
            ("pathWhitelist", None),
        ]
    ),
    st.dictionaries(TEXT.filter(lambda name: name.isascii() and name.lower() not in {"ackind", "name"}), TEXT, max_size=3),
    st.sampled_from([None, 1, "\t"]),
    st.sampled_from(["amd64", "riscv64", "arm64"]),
)
def test_aci_to_oci_to_aci_loses_nothing(
    change: tuple[str, object], unknown: dict[str, str], indent: int | str | None, architecture: str
) -> None:
    document = {**altered(*change), **{f"future-{name}": value for name, value in unknown.items()}}
    data = json.dumps(document, indent=indent).encode()
    manifest = ImageManifest.from_bytes(data)
    made, annotations = manifest_to_oci_config(manifest, (DIGEST,), default_architecture=architecture)
    wire = json.dumps(made).encode()
    restored = restore_manifest(ImageConfig.from_bytes(wire), annotations)
    assert restored is not None
    assert restored.to_bytes() == data


def test_a_changed_configuration_is_not_the_old_image() -> None:
    manifest = ImageManifest.from_dict(WORKER)
    made, annotations = manifest_to_oci_config(manifest, (DIGEST,))
    made["history"] = [{"created_by": "x"}]
    assert restore_manifest(ImageConfig.from_dict(made), annotations) == manifest
    made["config"]["Entrypoint"] = ["/bin/evil"]
    assert restore_manifest(ImageConfig.from_dict(made), annotations) is None
    assert restore_manifest(ImageConfig.from_dict(made), {}) is None
    with pytest.raises(FormatError):
        restore_manifest(ImageConfig.from_dict(made), {conversion.ACI_MANIFEST: "{}"})
    with pytest.raises(FormatError):
        restore_manifest(ImageConfig.from_dict(made), {conversion.ACI_MANIFEST: "\ud800"})


def test_an_architecture_that_oci_does_not_have() -> None:
    labels = [{"name": "os", "value": "linux"}, {"name": "arch", "value": "armv7b"}]
    with pytest.raises(FormatError, match="OCI has no name for the architecture 'armv7b'"):
        manifest_to_oci_config(ImageManifest.from_dict(altered("labels", labels)), ())
