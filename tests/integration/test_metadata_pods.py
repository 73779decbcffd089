"""Pods that register with the metadata service by ``run --mds-register``, and what becomes of them when it is restarted."""

from __future__ import annotations

import json
import shutil
import signal
import socket
from pathlib import Path

import pytest

from rktpy.formats.stage1 import METADATA_PORT
from tests.conftest import Rktpy, need_tool
from tests.support.metadata import Metadata
from tests.support.pods import BUSYBOX, UNSIGNED, Running, report, wait_for

pytestmark = pytest.mark.root

REGISTER = ("--mds-register", "--net=host")
SLEEP = "exec sleep 600"


@pytest.fixture
def stored_pods(rktpy: Rktpy, template: Path, run_dir: Path) -> Rktpy:
    """The command with a store that holds busybox, in the namespace of the services."""
    shutil.copytree(template, rktpy.data, symlinks=True)
    return rktpy


def token_of(rktpy: Rktpy, uuid: str) -> str:
    path = next(rktpy.data.glob(f"pods/*/{uuid}/mds-registered"))
    assert path.stat().st_mode & 0o777 == 0o600
    return path.read_text()


def test_a_pod_registers_and_is_forgotten(stored_pods: Rktpy, run_dir: Path, tmp_path: Path) -> None:
    rktpy = stored_pods
    with Metadata(rktpy, tmp_path, run_dir) as service:
        service.said("running")
        with Running(rktpy, tmp_path, SLEEP, pod=REGISTER) as pod:
            token = token_of(rktpy, pod.uuid)
            assert len(token) == 32
            assert service.get("pod/uuid", token)[2] == pod.uuid
            manifest = json.loads(service.get("pod/manifest", token)[2])
            assert manifest == json.loads(rktpy("cat-manifest", pod.uuid).stdout)
            assert service.get("apps/busybox/image/id", token)[2] == manifest["apps"][0]["image"]["id"]
            image = json.loads(service.get("apps/busybox/image/manifest", token)[2])
            assert image["name"] == "example.com/busybox"
        rktpy("status", "--wait=10s", pod.uuid)
        assert service.get("pod/uuid", token)[0] == 200
        rktpy("gc", "--grace-period=0s")
        assert service.get("pod/uuid", token)[0] == 401
        service.said(f'DELETE "/pods/{pod.uuid}"')


def test_the_app_asks(stored_pods: Rktpy, run_dir: Path, tmp_path: Path) -> None:
    rktpy = stored_pods
    script = (
        'U="$AC_METADATA_URL/acMetadata/v1"; W="busybox wget -q -O -"; $W $U/pod/uuid; echo; $W $U/apps/$AC_APP_NAME/annotations;'
        " echo; S=$($W --post-data content=x $U/pod/hmac/sign); echo ${#S}"
    )
    with Metadata(rktpy, tmp_path, run_dir, port=METADATA_PORT) as service:
        service.said("running")
        uuid_file = tmp_path / "uuid"
        done = rktpy(
            UNSIGNED, "run", f"--uuid-file-save={uuid_file}", *REGISTER, BUSYBOX, "--name=web", "--annotation=example.com/a=1",
            "--exec", "/bin/sh", "--", "-c", script,
        )  # fmt: skip
        lines = [line.partition(": ")[2] for line in done.stdout.splitlines()]
        assert lines[0] == uuid_file.read_text() and lines[2] == "88"
        assert {"name": "example.com/a", "value": "1"} in json.loads(lines[1])


def test_fly_tells_the_app_nothing_and_says_so(stored_pods: Rktpy, run_dir: Path, tmp_path: Path) -> None:
    rktpy = stored_pods
    with Metadata(rktpy, tmp_path, run_dir) as service:
        service.said("running")
        with Running(rktpy, tmp_path, SLEEP, pod=("--stage1=fly", *REGISTER)) as pod:
            assert service.get("pod/uuid", token_of(rktpy, pod.uuid))[2] == pod.uuid
            assert report(rktpy, pod.uuid)["--mds-register"] == "ignored"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_keeps_the_running_pods(stored_pods: Rktpy, run_dir: Path, tmp_path: Path, number: signal.Signals) -> None:
    rktpy = stored_pods
    with Running(rktpy, tmp_path, SLEEP) as stranger, Metadata(rktpy, tmp_path, run_dir) as service:
        service.said("running")
        with Running(rktpy, tmp_path, SLEEP, pod=REGISTER) as ended:
            pass
        with Running(rktpy, tmp_path, SLEEP, pod=REGISTER) as pod:
            token = token_of(rktpy, pod.uuid)
            signature = service.post("pod/hmac/sign", token, content="x")[1]
            assert service.end(number) == (0 if number == signal.SIGTERM else -number)
            rktpy("status", "--wait=10s", ended.uuid)
            with Metadata(rktpy, tmp_path, run_dir) as again:
                again.said(r"1 running pod\(s\) registered again")
                assert again.get("pod/uuid", token)[2] == pod.uuid
                assert again.get("apps/busybox/image/manifest", token)[0] == 200
                good = {"content": "x", "uuid": pod.uuid, "signature": signature}
                assert again.post("pod/hmac/verify", token, **good) == (200, "")
                assert again.get("pod/uuid", token_of(rktpy, ended.uuid))[0] == 401
                # A pod that the service has forgotten is removed without a word.
                assert rktpy("rm", ended.uuid).stderr == ""
                assert not list(rktpy.data.glob(f"pods/*/{stranger.uuid}/mds-registered"))


def test_pods_that_vanish_are_forgotten(stored_pods: Rktpy, run_dir: Path, tmp_path: Path) -> None:
    rktpy = stored_pods
    with Metadata(rktpy, tmp_path, run_dir) as service:
        service.said("running")
        with Running(rktpy, tmp_path, SLEEP, pod=REGISTER) as pod:
            token = token_of(rktpy, pod.uuid)
        assert service.get("pod/uuid", token)[0] == 200
        shutil.rmtree(next(rktpy.data.glob(f"pods/*/{pod.uuid}")))
        assert service.get("pod/uuid", token)[0] == 401
        assert service.tell("DELETE", f"/pods/{pod.uuid}")[0] == 404
        # A pod of another data directory cannot be looked for, so it stays until it is unregistered.
        service.register()
        assert service.get("pod/uuid")[0] == 200


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 32, b"a" * 100_000])
def test_damaged_tokens_are_passed_over(stored_pods: Rktpy, run_dir: Path, tmp_path: Path, content: bytes) -> None:
    rktpy = stored_pods
    with Running(rktpy, tmp_path, SLEEP) as pod:
        (rktpy.data / f"pods/run/{pod.uuid}/mds-registered").write_bytes(content)
        with Metadata(rktpy, tmp_path, run_dir) as service:
            service.said("running")
            assert (f'could not register pod "{pod.uuid}" again: token must have' in service.log()) == bool(content)
            assert "registered again" not in service.log()
            service.register()
            assert service.get("pod/uuid")[0] == 200


def test_socket_activation(stored_pods: Rktpy, run_dir: Path, tmp_path: Path) -> None:
    rktpy = stored_pods
    path = run_dir / "metadata-svc.sock"
    before = (need_tool("systemd-socket-activate"), f"--listen={path}")
    with Metadata(rktpy, tmp_path, run_dir, before) as service:
        wait_for("socket", path.exists)
        with Running(rktpy, tmp_path, SLEEP, pod=REGISTER) as pod:
            assert service.get("pod/uuid", token_of(rktpy, pod.uuid))[2] == pod.uuid
        assert service.end() == 0
        # It is the service manager's to remove.
        assert path.exists()


def test_other_sockets_are_refused(rktpy: Rktpy, run_dir: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    before = (need_tool("systemd-socket-activate"), f"--listen=127.0.0.1:{port}")
    with Metadata(rktpy, tmp_path, run_dir, before) as service:
        wait_for("an answer", lambda: _connects(port))
        assert service.process.wait(20) == 254
        assert "not with one Unix stream socket" in service.log()


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
