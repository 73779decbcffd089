"""The API service as a process, asked by a client that protoc made."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

from rktpy import __version__
from tests.conftest import ROOT, SYSTEM_PYTHON, Rktpy, need_tool
from tests.support.api import API, generate, names
from tests.support.pods import UNSIGNED, Running, document, prepare, shell, wait_for

pytestmark = pytest.mark.root

SLEEP = "exec sleep 600"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleType, ModuleType]:
    return generate(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def pb(generated: tuple[ModuleType, ModuleType]) -> Any:
    return generated[0]


@pytest.fixture
def service(stored: Rktpy, tmp_path: Path) -> Iterator[API]:
    with API(stored, tmp_path) as started:
        started.said("running")
        yield started


@pytest.fixture
def api(service: API, generated: tuple[ModuleType, ModuleType]) -> Iterator[Any]:
    with grpc.insecure_channel(service.address) as channel:
        yield generated[1].PublicAPIStub(channel)


def fails(call: Any, *arguments: Any, **options: Any) -> tuple[str, str]:
    """The code and the text that a call is refused with."""
    with pytest.raises(grpc.RpcError) as caught:
        result = call(*arguments, timeout=20, **options)
        list(result)
    error: Any = caught.value
    return error.code().name, error.details()


def test_info(stored: Rktpy, api: Any, pb: Any) -> None:
    info = api.GetInfo(pb.GetInfoRequest()).info
    assert (info.rkt_version, info.appc_version, info.api_version) == (f"1.30.0+rktpy.{__version__}", "0.8.11", "1.0.0-alpha")
    flags = info.global_flags
    assert (flags.dir, flags.local_config_dir, flags.system_config_dir) == (
        str(stored.data),
        str(stored.config),
        str(stored.system),
    )
    assert (flags.user_config_dir, flags.insecure_flags, flags.trust_keys_from_https) == ("", "none", False)


def test_pods(stored: Rktpy, api: Any, pb: Any, tmp_path: Path) -> None:
    assert not api.ListPods(pb.ListPodsRequest()).pods
    prepared = prepare(stored, "example.com/busybox", "--annotation=example.com/a=1")
    shell(stored, "exit 7", "--name=seven", status=7)
    with Running(stored, tmp_path, SLEEP, "--name=sleeper") as running:
        pods = {pod.apps[0].name: pod for pod in api.ListPods(pb.ListPodsRequest(detail=True)).pods}
        assert set(pods) == {"busybox", "seven", "sleeper"}
        image_id = json.loads(stored("cat-manifest", prepared).stdout)["apps"][0]["image"]["id"]
        for pod in pods.values():
            known = document(stored, pod.id)
            assert pod.created_at == known["created_at"] and pod.started_at == known.get("started_at", 0)
            assert json.loads(pod.manifest) == json.loads(stored("cat-manifest", pod.id).stdout)
            (app,) = pod.apps
            assert (app.image.id, app.image.name, app.image.version) == (image_id, "example.com/busybox", "1")
            assert (app.image.base_format.type, app.image.base_format.version) == (pb.IMAGE_TYPE_APPC, "0.8.11")
            assert not app.image.manifest and pod.gc_marked_at == 0

        sleeper = pods["sleeper"]
        assert (sleeper.id, sleeper.state) == (running.uuid, pb.POD_STATE_RUNNING)
        assert (sleeper.apps[0].state, sleeper.apps[0].exit_code) == (pb.APP_STATE_RUNNING, -1)
        assert f"pid={sleeper.pid}\n" in stored("status", running.uuid).stdout
        assert list(Path("/sys/fs/cgroup").glob(f"*{sleeper.cgroup}")) and running.uuid in sleeper.cgroup

        seven = pods["seven"]
        assert (seven.state, seven.apps[0].state, seven.apps[0].exit_code) == (pb.POD_STATE_EXITED, pb.APP_STATE_EXITED, 7)
        assert seven.pid > 0 and seven.cgroup == ""

        waiting = pods["busybox"]
        assert (waiting.id, waiting.state, waiting.pid, waiting.started_at) == (prepared, pb.POD_STATE_PREPARED, -1, 0)
        assert (waiting.apps[0].state, waiting.apps[0].exit_code) == (pb.APP_STATE_UNDEFINED, -1)
        assert [(one.Key, one.value) for one in waiting.apps[0].annotations] == [("example.com/a", "1")]

        for pod in api.ListPods(pb.ListPodsRequest()).pods:
            wanted = pods[pod.apps[0].name]
            assert not pod.manifest
            pod.manifest = wanted.manifest
            assert pod == wanted
        for pod in pods.values():
            assert api.InspectPod(pb.InspectPodRequest(id=pod.id[:13])).pod == pod

        def listed(*filters: Any) -> set[str]:
            return names(api.ListPods(pb.ListPodsRequest(filters=filters)).pods)

        assert listed(pb.PodFilter(states=[pb.POD_STATE_RUNNING])) == {sleeper.id}
        assert listed(pb.PodFilter(image_ids=[image_id])) == names(pods.values())
        assert listed(pb.PodFilter(app_names=["seven"]), pb.PodFilter(ids=[prepared])) == {seven.id, prepared}
        assert listed(pb.PodFilter(app_names=["seven"], ids=[prepared])) == set()
        assert listed(pb.PodFilter(cgroups=[sleeper.cgroup])) == {sleeper.id}
        assert listed(pb.PodFilter(pod_sub_cgroups=[sleeper.cgroup + "/below"])) == {sleeper.id}
    stored("gc", "--mark-only")
    marked = api.InspectPod(pb.InspectPodRequest(id=seven.id)).pod
    assert marked.state == pb.POD_STATE_GARBAGE and marked.gc_marked_at > marked.started_at
    assert fails(api.InspectPod, pb.InspectPodRequest(id="0000")) == (
        "NOT_FOUND",
        'problem retrieving pod: no matches found for "0000"',
    )
    assert fails(api.InspectPod, pb.InspectPodRequest()) == ("INVALID_ARGUMENT", "problem retrieving pod: UUID cannot be empty")
    assert fails(api.InspectPod, pb.InspectPodRequest(id="../../etc"))[0] == "NOT_FOUND"


def test_exit_codes_while_the_pod_runs(stored: Rktpy, api: Any, pb: Any, tmp_path: Path) -> None:
    with Running(stored, tmp_path, SLEEP, pod=("--stage1=fly",)) as pod:
        found = api.InspectPod(pb.InspectPodRequest(id=pod.uuid)).pod
        groups = [line.split(":", 2) for line in Path(f"/proc/{found.pid}/cgroup").read_text().splitlines()]
        assert found.cgroup in [group for _number, controllers, group in groups if controllers in ("name=systemd", "")]
        # As a stage1 writes it that outlives its apps.
        status = stored.data / f"pods/run/{pod.uuid}/stage1/rootfs/rkt/status/busybox"
        status.parent.mkdir(parents=True, exist_ok=True)
        for text, code in (("7\n", 7), ("0", 0), ("-3", -3), ("", -1), ("x", -1), ("9" * 15, -1)):
            status.write_text(text)
            found = api.InspectPod(pb.InspectPodRequest(id=pod.uuid)).pod
            ended = text[:1] not in ("", "x")
            state = pb.APP_STATE_EXITED if ended else pb.APP_STATE_RUNNING
            assert (found.state, found.apps[0].state, found.apps[0].exit_code) == (pb.POD_STATE_RUNNING, state, code)


def test_networks_and_damaged_pods(stored: Rktpy, service: API, api: Any, pb: Any) -> None:
    shell(stored, "true")
    uuid = json.loads(stored("list", "--format=json").stdout)[0]["name"]
    pod = stored.data / f"pods/run/{uuid}"
    (pod / "net-info.json").write_text('[{"netName":"default","ip":"172.16.28.2"},{"netName":"six","ip":"fd00::2"}]')
    networks = api.InspectPod(pb.InspectPodRequest(id=uuid)).pod.networks
    assert [(one.name, one.ipv4, one.ipv6) for one in networks] == [("default", "172.16.28.2", ""), ("six", "", "fd00::2")]
    assert names(api.ListPods(pb.ListPodsRequest(filters=[pb.PodFilter(network_names=["six"])])).pods) == {uuid}
    (pod / "appsinfo/busybox/manifest").unlink()
    found = api.InspectPod(pb.InspectPodRequest(id=uuid)).pod
    assert found.apps[0].image.id and not found.apps[0].image.name
    (pod / "pod").write_text("{")
    (found,) = api.ListPods(pb.ListPodsRequest()).pods
    assert (found.id, found.state, len(found.apps)) == (uuid, pb.POD_STATE_EXITED, 0)
    service.said(f'pod "{uuid}" cannot be read')


def test_images(stored: Rktpy, api: Any, pb: Any, busybox_images: Path) -> None:
    before = int(time.time())
    stored(UNSIGNED, "fetch", f"oci:{busybox_images}/busybox-oci:1")
    images = {image.base_format.type: image for image in api.ListImages(pb.ListImagesRequest(detail=True)).images}
    assert set(images) == {pb.IMAGE_TYPE_APPC, pb.IMAGE_TYPE_OCI}
    known = json.loads(stored("image", "list", "--format=json", "--full").stdout)
    for image in images.values():
        (row,) = [one for one in known if image.id.startswith(one["id"])]
        assert (image.size, image.import_timestamp) == (row["size"], row["import_time"] // 10**9)
        assert json.loads(image.manifest) == json.loads(stored("image", "cat-manifest", image.id).stdout)
        assert api.InspectImage(pb.InspectImageRequest(id=image.id)).image == image
        assert api.InspectImage(pb.InspectImageRequest(id=image.id[:20])).image == image
    aci, oci = images[pb.IMAGE_TYPE_APPC], images[pb.IMAGE_TYPE_OCI]
    assert (aci.name, aci.version) == ("example.com/busybox", "1") and oci.name == "busybox-oci"
    assert ("version", "1") in [(label.Key, label.value) for label in aci.labels]
    assert all(not image.manifest for image in api.ListImages(pb.ListImagesRequest()).images)

    def listed(*filters: Any) -> set[str]:
        return names(api.ListImages(pb.ListImagesRequest(filters=filters)).images)

    assert listed(pb.ImageFilter(base_names=["busybox"])) == {aci.id}
    assert listed(pb.ImageFilter(keywords=["busybox"])) == {aci.id, oci.id}
    assert listed(pb.ImageFilter(prefixes=["example.com/"]), pb.ImageFilter(ids=[oci.id])) == {aci.id, oci.id}
    assert listed(pb.ImageFilter(labels=[pb.KeyValue(Key="version", value="1")], full_names=["busybox-oci"])) <= {oci.id}
    assert listed(pb.ImageFilter(imported_after=before - 1)) >= {oci.id}
    assert listed(pb.ImageFilter(imported_before=1)) == set()
    assert fails(api.InspectImage, pb.InspectImageRequest(id="sha512-00"))[0] == "NOT_FOUND"
    assert fails(api.InspectImage, pb.InspectImageRequest(id="../x"))[0] == "NOT_FOUND"


def test_pods_of_oci_images(stored: Rktpy, api: Any, pb: Any, busybox_images: Path) -> None:
    uuid = prepare(stored, f"oci:{busybox_images}/busybox-oci:1")
    image = api.InspectPod(pb.InspectPodRequest(id=uuid)).pod.apps[0].image
    assert image.base_format.type == pb.IMAGE_TYPE_OCI and image.id.startswith("sha256-") and image.name == "busybox-oci"
    # Also when the image is not in the store any more.
    (stored.data / f"cas/images/{image.id}").unlink()
    assert image.id not in names(api.ListImages(pb.ListImagesRequest()).images)
    assert api.InspectPod(pb.InspectPodRequest(id=uuid)).pod.apps[0].image == image


def test_a_data_directory_that_is_not_there(
    rktpy: Rktpy, tmp_path: Path, pb: Any, generated: tuple[ModuleType, ModuleType]
) -> None:
    with API(rktpy, tmp_path) as service, grpc.insecure_channel(service.address) as channel:
        api = generated[1].PublicAPIStub(channel)
        assert not api.ListPods(pb.ListPodsRequest()).pods and not api.ListImages(pb.ListImagesRequest()).images
        assert not rktpy.data.exists()


def test_events_are_not_implemented(api: Any, pb: Any) -> None:
    assert fails(api.ListenEvents, pb.ListenEventsRequest()) == ("UNIMPLEMENTED", "not implemented yet")


def test_many_calls_at_once(stored: Rktpy, api: Any, pb: Any) -> None:
    uuid = prepare(stored)
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _n: names(api.ListPods(pb.ListPodsRequest(detail=True), timeout=30).pods), range(200)))
    assert answers == [{uuid}] * 200


def test_hostile_clients(service: API, api: Any, pb: Any) -> None:
    host, _colon, port = service.address.rpartition(":")
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 5000, os.urandom(4096), b""):
        with socket.create_connection((host, int(port)), timeout=20) as client:
            client.sendall(data)
    large = pb.ListPodsRequest(filters=[pb.PodFilter(ids=["x" * 100] * 20_000)])
    assert fails(api.ListPods, large)[0] == "RESOURCE_EXHAUSTED"
    assert api.GetInfo(pb.GetInfoRequest(), timeout=20).info.api_version
    assert "internal error" not in service.log()


def test_the_end(service: API, api: Any, pb: Any) -> None:
    assert api.GetInfo(pb.GetInfoRequest()).info.api_version
    assert service.end() == 0
    assert service.log().splitlines()[-1] == "api-service: API service exiting..."


def test_only_loopback_listens_unless_asked(service: API, rktpy: Rktpy) -> None:
    assert service.address.startswith("127.0.0.1:")
    done = rktpy("api-service", f"--listen={service.address}", status=254)
    assert done.stderr.splitlines()[-1] == f"api-service: could not open tcp socket: cannot listen on {service.address}"
    assert "missing port in address" in rktpy("api-service", "--listen=0.0.0.0", status=254).stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_socket_activation(stored: Rktpy, tmp_path: Path, pb: Any, generated: tuple[ModuleType, ModuleType]) -> None:
    uuid = prepare(stored)
    port, unix = free_port(), tmp_path / "api.sock"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    activate = (
        need_tool("systemd-socket-activate"),
        "-E",
        f"TMPDIR={temporary}",
        f"--listen=127.0.0.1:{port}",
        f"--listen={unix}",
    )
    with API(stored, tmp_path, "", activate) as service:
        service.said("Listening on .* as 4")
        for address in (f"127.0.0.1:{port}", f"unix:{unix}"):
            with grpc.insecure_channel(address) as channel:
                api = generated[1].PublicAPIStub(channel)
                with ThreadPoolExecutor(8) as threads:
                    calls = threads.map(
                        lambda _n, api=api: names(api.ListPods(pb.ListPodsRequest(detail=True), timeout=30).pods), range(50)
                    )
                    assert list(calls) == [{uuid}] * 50
        service.said(r"Listening on 2 systemd-provided socket\(s\)")
        (directory,) = temporary.iterdir()
        assert directory.stat().st_mode & 0o777 == 0o700
        # A crowd that says nothing is borne.
        crowd = [socket.create_connection(("127.0.0.1", port), timeout=20) for _number in range(20)]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert generated[1].PublicAPIStub(channel).GetInfo(pb.GetInfoRequest(), timeout=20).info.api_version
        for client in crowd:
            client.close()
        assert service.end() == 0
        assert not list(temporary.iterdir())


def test_large_answers_through_a_passed_socket(
    stored: Rktpy, tmp_path: Path, pb: Any, generated: tuple[ModuleType, ModuleType]
) -> None:
    large = "x" * 100_000
    prepared = [prepare(stored, "example.com/busybox", f"--user-annotation=large={large}") for _number in range(4)]
    port = free_port()
    activate = (need_tool("systemd-socket-activate"), f"--listen=127.0.0.1:{port}")
    with API(stored, tmp_path, "", activate) as service:
        service.said("Listening on")
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            pods = generated[1].PublicAPIStub(channel).ListPods(pb.ListPodsRequest(detail=True), timeout=30).pods
        assert names(pods) == set(prepared) and all(large.encode() in pod.manifest for pod in pods)


def test_a_passed_socket_and_listen_exclude_each_other(stored: Rktpy, tmp_path: Path) -> None:
    port = free_port()
    activate = (need_tool("systemd-socket-activate"), f"--listen=127.0.0.1:{port}")
    with API(stored, tmp_path, "localhost:0", activate) as service:
        service.said("Listening on")
        wait_for("the service", lambda: _pokes(port))
        assert service.process.wait(20) == 254
        assert "started under systemd.socket(5), but --listen passed! Quitting." in service.log()


def _pokes(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    lines = (
        f"import sys; sys.path += [{str(ROOT)!r}]",
        "sys.argv = ['rktpy', 'api-service']",
        "from rktpy.__main__ import console; console()",
    )
    argv = [SYSTEM_PYTHON, "-I", "-S", "-c", "\n".join(lines)]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 254
    assert "api-service: grpcio and protobuf are needed (pip install 'rktpy[api]')" in done.stderr
