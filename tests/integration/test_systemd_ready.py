"""When a systemd pod is ready: apps that say so, whom it is told, ports that start their app when somebody connects."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.aci import make_aci
from tests.support.pod_manifests import PYTHON, app, pod_of, with_python
from tests.support.pods import UNSIGNED, prepare, states, wait_for

pytestmark = [pytest.mark.root, pytest.mark.stage1("systemd")]

NOTIFYING = "example.com/notifying"
#: Waits for a file, then speaks to the service manager; systemd listens to the app's first process.
SAY = """
import os, socket, time
while not os.path.exists('/v/go'):
    time.sleep(0.02)
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ['NOTIFY_SOCKET'].replace('@', chr(0)))
s.send(b'READY=1')
time.sleep(60)
"""


@pytest.fixture
def notifying(stored: Rktpy, tmp_path: Path) -> Rktpy:
    """The command with an image that says in its annotations that its app tells when it is ready."""
    annotations = [{"name": "appc.io/executor/supports-systemd-notify", "value": "true"}]
    files: dict[str, bytes | str | None] = {"/bin/busybox": need_tool("busybox"), "/bin/sh": need_tool("busybox")}
    prepare(stored, str(make_aci(tmp_path / "n.aci", NOTIFYING, files, exec=["/bin/sh"], annotations=annotations)))
    return stored


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(10)
        yield made


def uuid_of(process: subprocess.Popen[bytes], file: Path) -> str:
    wait_for("the pod", lambda: process.poll() is None and file.exists() and file.read_text())
    return file.read_text()


@pytest.mark.stage1("kvm", "systemd")
def test_an_app_that_says_when_it_is_ready(notifying: Rktpy, tmp_path: Path, listener: socket.socket) -> None:
    """Before that, nobody is told and nobody stops waiting."""
    (tmp_path / "v").mkdir()
    go = tmp_path / "v/go"
    main = app(f'exec {PYTHON} -c "{SAY}"', image=NOTIFYING, mounts=[{"volume": "v", "path": "/v"}])
    # The slow start does not keep others of the pod from starting.
    other = app("touch /v/other; exec sleep 60", "other", mounts=[{"volume": "v", "path": "/v"}])
    volumes = [{"name": "v", "kind": "host", "source": str(tmp_path / "v")}]
    argv = notifying.argv(UNSIGNED, "run", f"--uuid-file-save={tmp_path}/u", with_python(tmp_path, main, other, volumes=volumes))
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            uuid = uuid_of(process, tmp_path / "u")
            wait_for("the other app", (tmp_path / "v/other").exists)
            assert "state=running" in notifying("status", uuid).stdout
            notifying("status", "--wait-ready=300ms", uuid, status=None)
            assert select.select([listener], [], [], 0.3)[0] == []
            ready = next(notifying.data.glob(f"pods/run/{uuid}/stage1/rootfs/rkt")) / "supervisor-status"
            assert not ready.is_symlink()
            waiting = subprocess.Popen(notifying.argv("status", "--wait-ready=20s", uuid), stdout=subprocess.PIPE)
            go.touch()
            assert b"state=running" in waiting.communicate(timeout=20)[0]
            assert ready.is_symlink()
            assert "READY=1" in listener.recv(4096).decode().splitlines()
        finally:
            process.kill()


def test_an_app_that_ends_before_it_is_ready(notifying: Rktpy, tmp_path: Path) -> None:
    """As systemd sees it: a failure of the protocol, unless it has a status of its own."""
    notifying(UNSIGNED, "run", pod_of(tmp_path, app("exit 7", image=NOTIFYING)), status=7)
    done = notifying(UNSIGNED, "run", "--dry-run", pod_of(tmp_path, app("exit 0", image=NOTIFYING)))
    assert "Type=notify" in done.stdout.splitlines()


def test_the_app_cannot_speak_for_the_pod(stored: Rktpy, tmp_path: Path, listener: socket.socket) -> None:
    """An app without the annotation has no socket to say anything on, and the caller's is not reached."""
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
    done = stored(UNSIGNED, "run", pod_of(tmp_path, app("echo [$NOTIFY_SOCKET]; ls /rkt 2>/dev/null; true")), env=environment)
    assert done.stdout == "[]\n"
    assert "READY=1" in listener.recv(4096).decode().splitlines()


SERVER = """
import os, socket
names = os.environ['LISTEN_FDNAMES'].split(':')
print('started', os.environ['LISTEN_FDS'], names, os.environ['LISTEN_PID'] == str(os.getpid()), flush=True)
s = socket.socket(fileno=3)
for _ in range(2):
    c, _ = s.accept()
    c.sendall(b'served by ' + os.environ['AC_APP_NAME'].encode())
    c.close()
"""


def activated(directory: Path, port: int) -> str:
    """A pod with an app that is started by its port."""
    (directory / "v").mkdir()
    (directory / "v/server.py").write_text(SERVER)
    ports = [{"name": "http", "protocol": "tcp", "port": port, "socketActivated": True}]
    one = app(f"exec {PYTHON} /v/server.py", "web", ports=ports, mounts=[{"volume": "v", "path": "/v"}])
    return with_python(directory, one, volumes=[{"name": "v", "kind": "host", "source": str(directory / "v")}])


def connect(port: int, pid: str = "") -> str:
    """What a server says to a connection from here, or from the network of a process."""
    script = f"import socket; s = socket.create_connection(('127.0.0.1', {port}), 10); print(s.recv(100).decode())"
    enter = ["nsenter", f"--net=/proc/{pid}/ns/net"] if pid else []
    return subprocess.run([*enter, PYTHON, "-c", script], stdout=subprocess.PIPE, text=True, check=True, timeout=20).stdout


def first_process(rktpy: Rktpy, uuid: str) -> str:
    """The pod's systemd: the child of the process that status tells."""
    outer = dict(line.split("=", 1) for line in rktpy("status", uuid).stdout.splitlines())["pid"]
    return Path(f"/proc/{outer}/task/{outer}/children").read_text().strip()


def test_a_port_that_starts_its_app(stored: Rktpy, tmp_path: Path) -> None:
    out = tmp_path / "out"
    argv = stored.argv(UNSIGNED, "run", f"--uuid-file-save={tmp_path}/u", activated(tmp_path, 8080))
    with out.open("w") as file, subprocess.Popen(argv, stdout=file) as process:
        try:
            uuid = uuid_of(process, tmp_path / "u")
            stored("status", "--wait-ready=20s", uuid)
            time.sleep(0.3)
            assert out.read_text() == "" and process.poll() is None
            pid = first_process(stored, uuid)
            assert [connect(8080, pid) for _ in range(2)] == ["served by web\n"] * 2
            assert process.wait(10) == 0
        finally:
            process.kill()
    assert stored.app_output(out.read_text()) == "started 1 ['http'] True\n"


def test_sockets_of_the_caller(stored: Rktpy, tmp_path: Path) -> None:
    """A unit's sockets, which the caller has from its service manager, are those of the pod that listen on the same port."""
    with socket.socket(socket.AF_INET6) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("::", 0))
        server.listen()
        port = server.getsockname()[1]
        argv = stored.argv(UNSIGNED, "run", f"--uuid-file-save={tmp_path}/u", activated(tmp_path, port))
        fd = server.fileno()
        argv = ["/bin/bash", "-c", f'LISTEN_PID=$$ exec "$@" 3<&{fd}', "bash", *argv]
        environment = {**os.environ, "LISTEN_FDS": "1"}
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, env=environment, pass_fds=(fd,)) as process:
            try:
                uuid = uuid_of(process, tmp_path / "u")
                stored("status", "--wait-ready=20s", uuid)
                server.close()
                # Here, not in the pod's network, which has none.
                assert connect(port) == "served by web\n"
                assert connect(port) == "served by web\n"
                assert process.wait(10) == 0
            finally:
                process.kill()


def test_what_waits_for_a_pod_that_never_becomes_ready(notifying: Rktpy, tmp_path: Path) -> None:
    argv = notifying.argv(
        UNSIGNED, "run", f"--uuid-file-save={tmp_path}/u", pod_of(tmp_path, app("sleep 1; exit 5", image=NOTIFYING))
    )
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        uuid = uuid_of(process, tmp_path / "u")
        notifying("status", "--wait-ready=20s", uuid, status=None, timeout=10)
        assert process.wait(10) == 5
    assert list(states(notifying).values()).count("exited") == 1
