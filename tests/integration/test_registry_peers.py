"""Images in the forms that other tools write, and registries with certificates of their own."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.errors import FetchError
from rktpy.fetch.http import Client, HTTPOptions
from rktpy.fetch.pulled import PulledImage
from rktpy.fetch.reference import DockerReference
from rktpy.fetch.registry import open_registry
from rktpy.formats.oci.media_types import DOCKER_MANIFEST, OCI_MANIFEST
from rktpy.formats.oci.platform import platform_of_machine
from tests.conftest import need_tool
from tests.support.http_server import make_certificate
from tests.support.registry import Registry as Running
from tests.support.registry import make_image
from tests.support.sink import DirectorySink

HERE = platform_of_machine(platform.machine())


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_image(tmp_path_factory.mktemp("image"), [{"/bin/app": os.urandom(50_000)}, {"/etc/a": b"a"}])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def sink(tmp_path: Path) -> DirectorySink:
    return DirectorySink(tmp_path / "sink")


def pull(
    sink: DirectorySink,
    host: str,
    name: str = "team/app",
    tag: str = "v1",
    *,
    options: HTTPOptions | None = None,
    environ: dict[str, str] | None = None,
) -> PulledImage:
    environ = environ or {"CONTAINERS_REGISTRIES_CONF": "/dev/null"}
    client = Client(options or HTTPOptions(attempts=1), environ=environ)
    with open_registry(client, DockerReference(host, name, tag), None, environ) as registry:
        return registry.pull(sink, HERE)


INSECURE = HTTPOptions(allow_http=True)


def test_docker_schema_2(running: Running, image: str, sink: DirectorySink) -> None:
    running.push(image, "team/v2s2:v1", "--format=v2s2")
    pulled = pull(sink, running.host, "team/v2s2", options=INSECURE)
    assert pulled.manifest.media_type == DOCKER_MANIFEST
    assert len(pulled.layers) == 2


def test_zstd_layers(running: Running, sink: DirectorySink, tmp_path: Path) -> None:
    # skopeo compresses only what is not compressed yet, and what it has not pushed before.
    image = make_image(tmp_path, [{"/bin/app": os.urandom(50_000)}])
    plain = f"dir:{tmp_path}/plain"
    subprocess.run([need_tool("skopeo"), "copy", "-q", "--dest-decompress", image, plain], check=True, timeout=60)
    running.push(plain, "team/zstd:v1", "--format=oci", "--dest-compress", "--dest-compress-format=zstd")
    pulled = pull(sink, running.host, "team/zstd", options=INSECURE)
    assert {layer.media_type for layer in pulled.layers} == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    assert Path(sink.blob_path(pulled.layers[0].digest)).read_bytes()[:4] == b"\x28\xb5\x2f\xfd"


def test_an_image_of_buildah(running: Running, sink: DirectorySink, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("buildah without root needs subordinate user IDs")
    buildah = [need_tool("buildah"), f"--root={tmp_path}/root", f"--runroot={tmp_path}/run", "--storage-driver=vfs"]

    def run(*arguments: str) -> str:
        done = subprocess.run([*buildah, *arguments], check=True, capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    (tmp_path / "hello").write_text("hello")
    container = run("from", "scratch")
    run("copy", container, str(tmp_path / "hello"), "/hello")
    run("config", "--cmd=/hello", "--label=a=b", container)
    run("commit", "--quiet", container, "built")
    run("push", "--quiet", "--tls-verify=false", "built", f"docker://{running.host}/team/built:v1")
    pulled = pull(sink, running.host, "team/built", options=INSECURE)
    assert pulled.manifest.media_type == OCI_MANIFEST
    assert len(pulled.layers) == 1


@pytest.fixture
def secure(tmp_path: Path, image: str) -> Iterator[tuple[Running, Path]]:
    """A registry with a certificate that nobody trusts, and that certificate."""
    pair = make_certificate(tmp_path)
    with Running(tmp_path / "registry", tls=pair) as registry:
        registry.push(image, "team/app:v1")
        yield registry, pair[0]


def test_a_certificate_is_trusted_by_the_systems_rules(
    secure: tuple[Running, Path], sink: DirectorySink, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FetchError, match="certificate is not accepted"):
        pull(sink, secure[0].host)
    monkeypatch.setenv("SSL_CERT_FILE", str(secure[1]))
    pull(sink, secure[0].host)


def test_insecure_tls_and_allowed_http_do_not_mix_up(secure: tuple[Running, Path], sink: DirectorySink) -> None:
    pull(sink, secure[0].host, options=HTTPOptions(insecure_tls=True, attempts=1))
    with pytest.raises(FetchError, match="certificate is not accepted"):
        pull(DirectorySink(sink.directory / "other"), secure[0].host, options=HTTPOptions(allow_http=True, attempts=1))


def test_certs_d(secure: tuple[Running, Path], sink: DirectorySink, tmp_path: Path) -> None:
    directory = tmp_path / f"config/containers/certs.d/{secure[0].host}"
    directory.mkdir(parents=True)
    (directory / "ca.crt").write_bytes(secure[1].read_bytes())
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "CONTAINERS_REGISTRIES_CONF": "/dev/null"}
    pull(sink, secure[0].host, environ=environ)


def test_an_insecure_registry_by_registries_conf(secure: tuple[Running, Path], sink: DirectorySink, tmp_path: Path) -> None:
    conf = tmp_path / "registries.conf"
    conf.write_text(f'[[registry]]\nlocation = "{secure[0].host}"\ninsecure = true\n')
    pull(sink, secure[0].host, environ={"CONTAINERS_REGISTRIES_CONF": str(conf)})


def test_a_mirror_by_registries_conf(running: Running, image: str, sink: DirectorySink, tmp_path: Path) -> None:
    running.push(image, "cache/team/app:v1")
    conf = tmp_path / "registries.conf"
    conf.write_text(
        '[[registry]]\nprefix = "registry.test/team"\nlocation = "nowhere.test/team"\n'
        f'[[registry.mirror]]\nlocation = "{running.host}/cache/team"\ninsecure = true\n'
    )
    pulled = pull(sink, "registry.test", environ={"CONTAINERS_REGISTRIES_CONF": str(conf)})
    assert pulled.reference_text == "docker://registry.test/team/app:v1"
