"""Running plugins (rktpy/net/execute.py, attach.py) that are shell scripts: the protocol, and everything that goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rktpy.errors import NetworkError
from rktpy.formats.cni.cache import Attachment
from rktpy.formats.cni.configuration import Network, parse_network
from rktpy.net import execute
from rktpy.net.attach import IncompatibleVersion, add, check, delete, negotiate, plugin_versions
from rktpy.net.check import ask_status
from rktpy.net.execute import PluginError, find_plugin, plugin_dirs, run_plugin
from rktpy.net.garbage import collect_garbage

UUID = "5bc080ca-9e03-480d-b705-5928af396cc5"

#: Writes down how it was called; answers with the result of the one before and an address that grows.
PLUGIN = """#!/bin/sh
log="{directory}/log"
config=$(cat)
name=${{0##*/}}
{{ echo "$name $CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME [$CNI_ARGS] $CNI_PATH"; echo "$config"; }} >>"$log"
[ "$CNI_COMMAND" = VERSION ] && echo '{{"cniVersion":"1.1.0","supportedVersions":{versions}}}' && exit 0
{body}
[ "$CNI_COMMAND" = ADD ] && echo '{{"cniVersion":"{version}","ips":[{{"address":"10.1.0.'${{#name}}'/24"}}]}}'
exit 0
"""


class Plugins:
    """A directory with plugins, and what they have written down."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.dirs = (str(directory),)

    def make(self, name: str, body: str = "", versions: tuple[str, ...] = ("1.0.0",), version: str = "1.0.0") -> Path:
        path = self.directory / name
        text = PLUGIN.format(directory=self.directory, body=body, versions=json.dumps(versions), version=version)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def calls(self) -> list[tuple[str, str, dict[str, Any]]]:
        """(plugin, command, configuration) in order."""
        lines = (self.directory / "log").read_text().splitlines()
        return [(*call.split(" ")[:2], json.loads(config)) for call, config in zip(lines[::2], lines[1::2], strict=True)]  # type: ignore[misc]

    def commands(self) -> list[str]:
        return [f"{plugin} {command}" for plugin, command, _config in self.calls()]

    def attachment(self, network: Network, **changes: Any) -> Attachment:
        made = Attachment(UUID, network.name, "eth0", network.to_bytes(), "/proc/self/ns/net", plugin_dirs=self.dirs)
        return made.replace(**changes)


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    return Plugins(tmp_path)


def network(*types: str, version: str = "1.0.0", **members: Any) -> Network:
    listed = [{"type": kind, "capabilities": {"portMappings": True}} for kind in types]
    return parse_network(json.dumps({"name": "net", "cniVersion": version, "plugins": listed, **members}).encode(), "x")


def test_protocol(plugins: Plugins) -> None:
    path = plugins.make("a", body='echo "$PATH" >&2; [ "$RKT_LOCK_FD$CNI_OTHER" = "" ] || exit 9')
    net = network("a")
    attachment = plugins.attachment(net, args=(("IP", "10.1.0.9"), ("X", "y")), capability_args={"portMappings": [1], "mac": "0"})
    os.environ["RKT_LOCK_FD"] = os.environ["CNI_OTHER"] = "5"
    try:
        result = add(attachment, net)
    finally:
        del os.environ["RKT_LOCK_FD"], os.environ["CNI_OTHER"]
    assert result.addresses[0].network == "10.1.0.1/24"
    first = (plugins.directory / "log").read_text().splitlines()[0]
    assert first == f"a ADD {UUID} /proc/self/ns/net eth0 [IP=10.1.0.9;X=y] {path.parent}"
    assert plugins.calls()[0][2] == {
        "type": "a",
        "name": "net",
        "cniVersion": "1.0.0",
        "runtimeConfig": {"portMappings": [1]},
    }


def test_results_are_chained(plugins: Plugins) -> None:
    for name in ("a", "bb", "ccc"):
        plugins.make(name)
    net = network("a", "bb", "ccc")
    attachment = plugins.attachment(net)
    result = add(attachment, net)
    assert result.addresses[0].ip == "10.1.0.3"
    assert delete(attachment.replace(result=result.document), "/ns") == []
    assert check(attachment.replace(result=result.document), "/ns")
    calls = plugins.calls()
    assert plugins.commands() == [
        *["a ADD", "bb ADD", "ccc ADD"],
        *["ccc DEL", "bb DEL", "a DEL"],
        *["a CHECK", "bb CHECK", "ccc CHECK"],
    ]
    assert [config.get("prevResult", {}).get("ips") for _plugin, _command, config in calls] == [
        None,
        [{"address": "10.1.0.1/24"}],
        [{"address": "10.1.0.2/24"}],
        *[[{"address": "10.1.0.3/24"}]] * 6,
    ]


@pytest.mark.parametrize(("version", "told"), [("0.3.1", False), ("0.4.0", True)])
def test_old_versions_get_no_result_on_del(plugins: Plugins, version: str, told: bool) -> None:
    plugins.make("a", version=version)
    net = network("a", version=version)
    attachment = plugins.attachment(net, result={"cniVersion": version})
    assert delete(attachment, "") == []
    assert ("prevResult" in plugins.calls()[0][2]) is told
    assert check(attachment, "/ns") is told


def test_no_check_where_it_is_disabled(plugins: Plugins) -> None:
    net = network("a", disableCheck=True)
    assert check(plugins.attachment(net), "/ns") is False
    plugins.make("a")
    with pytest.raises(NetworkError, match="was not set up to the end"):
        check(plugins.attachment(network("a")), "/ns")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('echo \'{"code":7,"msg":"no bridge","details":"x"}\'; exit 1', "plugin a failed on ADD: no bridge; x"),
        ('echo \'{"code":11,"msg":"later"}\' >&2; exit 1', "plugin a failed on ADD: later"),
        ("echo went wrong >&2; exit 3", "plugin a failed on ADD: went wrong"),
        ("exit 1", "plugin a failed on ADD: no error message"),
        ("kill -9 $$", "plugin a failed on ADD (killed by signal 9): no error message"),
        ("echo nonsense; exit 0", "result of plugin a: not JSON"),
        ("exit 0", "result of plugin a: not JSON"),
        ('echo \'{"ips":[{"address":"x"}]}\'; exit 0', "ips[0].address: 'x' is not an address"),
        ("head -c 3000000 /dev/zero; exit 0", "wrote more than 1048576 bytes and was killed"),
        ("head -c 3000000 /dev/zero >&2; exit 0", "wrote more than 1048576 bytes and was killed"),
    ],
)
def test_failures(plugins: Plugins, body: str, problem: str) -> None:
    plugins.make("a", body=body)
    net = network("a")
    with pytest.raises(NetworkError) as caught:
        add(plugins.attachment(net), net)
    assert problem in str(caught.value)


def test_first_failure_ends_the_chain(plugins: Plugins) -> None:
    plugins.make("a")
    plugins.make("b", body="exit 1")
    plugins.make("c")
    net = network("a", "b", "c")
    with pytest.raises(PluginError):
        add(plugins.attachment(net), net)
    assert plugins.commands() == ["a ADD", "b ADD"]


def test_del_goes_on(plugins: Plugins) -> None:
    plugins.make("a", body='echo \'{"code":3,"msg":"never seen"}\'; exit 1')
    plugins.make("c", body="echo broken >&2; exit 1")
    failed = delete(plugins.attachment(network("a", "gone", "c")), "")
    assert plugins.commands() == ["c DEL", "a DEL"]
    assert str(failed[0]) == "plugin c failed on DEL: broken"
    assert str(failed[1]).startswith(f'could not find plugin "gone" in {plugins.directory} (')
    assert len(failed) == 2
    assert len(delete(plugins.attachment(network("a"), config=b"{"), "")) == 1


def test_nothing_is_added_when_one_is_missing(plugins: Plugins) -> None:
    plugins.make("a")
    net = network("a", "gone")
    with pytest.raises(NetworkError, match='could not find plugin "gone"'):
        add(plugins.attachment(net), net)
    assert not (plugins.directory / "log").exists()


def test_where_plugins_are_looked_for(plugins: Plugins) -> None:
    dirs = plugin_dirs("/etc/x")
    assert dirs == ("/etc/x/net.d", "/usr/lib/rktpy/plugins/net", "/usr/lib/cni", "/opt/cni/bin")
    assert plugin_dirs("") == dirs[1:]
    (plugins.directory / "d").mkdir()
    (plugins.directory / "plain").write_text("")
    for name in ("d", "plain"):
        with pytest.raises(NetworkError):
            find_plugin(name, plugins.dirs)


def test_too_slow(plugins: Plugins) -> None:
    path = plugins.make("a", body=f"sleep 60 & echo $! >{plugins.directory}/pid; wait")
    started = time.monotonic()
    with pytest.raises(NetworkError, match="took too long and was killed"):
        run_plugin(str(path), b"{}", {"CNI_COMMAND": "ADD"}, timeout=0.5)
    assert time.monotonic() - started < 10
    pid = int((plugins.directory / "pid").read_text())
    deadline = time.monotonic() + 5
    while os.path.exists(f"/proc/{pid}/cmdline") and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "what it started was left behind"
        time.sleep(0.01)


def test_a_daemon_that_keeps_the_pipes(plugins: Plugins) -> None:
    plugins.make("a", body=f"sleep 60 & echo $! >{plugins.directory}/pid")
    net = network("a")
    started = time.monotonic()
    add(plugins.attachment(net), net)
    assert time.monotonic() - started < 10
    os.kill(int((plugins.directory / "pid").read_text()), 9)


def test_only_the_lock_is_inherited(plugins: Plugins) -> None:
    body = "for fd in /proc/$$/fd/*; do echo ${fd##*/}=$(readlink $fd); done >&2; exit 1"
    path = plugins.make("a", body=body)
    pod = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    lock = os.open("/usr", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.set_inheritable(pod, True)
    try:
        with pytest.raises(PluginError) as caught:
            run_plugin(str(path), b"{}", {"CNI_COMMAND": "ADD"}, lock)
        assert os.get_inheritable(pod) and not os.get_inheritable(lock)
    finally:
        os.close(pod)
        os.close(lock)
    words = caught.value.failure.message.split()
    assert f"{lock}=/usr" in words
    assert not [word for word in words if word.endswith("=/")]


def test_without_standard_streams(plugins: Plugins) -> None:
    path = plugins.make("a")
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); os.close(0); os.close(1); os.close(2)\n"
        "from rktpy.net.execute import run_plugin\n"
        "out = run_plugin(sys.argv[2], b'{\"a\":1}', {'CNI_COMMAND': 'ADD'})\n"
        "os._exit(0 if out.startswith(b'{\"cniVersion') else 1)"
    )
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", program, root, str(path)], timeout=60, check=False)
    assert done.returncode == 0
    assert plugins.calls()[0][2] == {"a": 1}


def test_large_configuration(plugins: Plugins) -> None:
    path = plugins.make("a")
    config = json.dumps({"x": "y" * 500_000}).encode()
    run_plugin(str(path), config, {"CNI_COMMAND": "ADD"})
    assert plugins.calls()[0][2] == json.loads(config)


def test_text_file_busy(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    path = plugins.make("a")
    naps: list[float] = []
    writer = os.open(path, os.O_WRONLY)

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            os.close(writer)

    monkeypatch.setattr(execute, "sleep", nap)
    run_plugin(str(path), b"{}", {"CNI_COMMAND": "ADD"})
    assert naps == [1, 1]
    naps.clear()
    writer = os.open(path, os.O_WRONLY)
    monkeypatch.setattr(execute, "sleep", naps.append)
    try:
        with pytest.raises(NetworkError) as caught:
            run_plugin(str(path), b"{}", {"CNI_COMMAND": "ADD"})
    finally:
        os.close(writer)
    assert naps == [1] * 5 and str(caught.value) == f"cannot execute {path}"
    assert str(caught.value.__cause__) == "[Errno 26] Text file busy"


def test_signals_that_python_ignores_are_not_ignored(plugins: Plugins) -> None:
    path = plugins.make("a", body="grep SigIgn /proc/$$/status >&2; exit 1")
    with pytest.raises(PluginError) as caught:
        run_plugin(str(path), b"{}", {"CNI_COMMAND": "ADD"})
    ignored = int(caught.value.failure.message.split()[1], 16)
    # Others are the caller's: nohup(1) ignores SIGHUP.
    assert ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1) == 0


# -- versions --------------------------------------------------------------------------------------------------------------

REFUSE = """case "$config" in *'"cniVersion":"{}"'*) echo '{{"code":1,"msg":"incompatible CNI versions"}}'; exit 1;; esac"""


def test_incompatible_version_is_told_apart(plugins: Plugins) -> None:
    plugins.make("a", body=REFUSE.format("1.1.0"))
    net = network("a", version="1.1.0")
    with pytest.raises(IncompatibleVersion, match=r"plugin a does not speak CNI 1\.1\.0: incompatible CNI versions"):
        add(plugins.attachment(net), net)


def test_negotiation(plugins: Plugins) -> None:
    plugins.make("a", versions=("0.3.1", "0.4.0", "1.0.0", "1.1.0"))
    plugins.make("b", versions=("0.3.1", "0.4.0", "1.0.0"))
    net = network("a", "b", "a", cniVersions=["0.4.0", "1.0.0", "1.1.0"])
    assert negotiate(net, plugins.dirs).versions == ("1.0.0", "0.4.0")
    assert plugins.commands() == ["a VERSION", "b VERSION"]
    with pytest.raises(NetworkError) as caught:
        negotiate(network("a", "b", version="1.1.0"), plugins.dirs)
    assert "it asks for 1.1.0; a speaks 0.3.1, 0.4.0, 1.0.0, 1.1.0; b speaks 0.3.1, 0.4.0, 1.0.0" in str(caught.value)


def test_versions_of_plugins(plugins: Plugins) -> None:
    plugins.make("a", versions=("0.4.0", "2.0.0"))
    assert plugin_versions("a", plugins.dirs) == ("0.4.0",)
    old = plugins.directory / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    assert plugin_versions("old", plugins.dirs) == ("0.1.0",)
    old.write_text("#!/bin/sh\necho nonsense\n")
    with pytest.raises(NetworkError, match="versions of plugin old: not JSON"):
        plugin_versions("old", plugins.dirs)


# -- GC and STATUS of 1.1 ----------------------------------------------------------------------------------------------------

ALL = ("1.0.0", "1.1.0")


def test_gc(plugins: Plugins) -> None:
    plugins.make("a", versions=ALL)
    plugins.make("b", versions=("1.0.0",))
    plugins.make("c", versions=ALL, body="exit 1")
    plugins.make("d", versions=ALL)
    in_use = ((UUID, "eth0"), (UUID, "eth1"))
    failed = collect_garbage(network("a", "b", "c", "d", version="1.1.0"), plugins.dirs, in_use)
    assert [str(error) for error in failed] == ["plugin c failed on GC: no error message"]
    calls = [(plugin, config) for plugin, command, config in plugins.calls() if command == "GC"]
    assert [plugin for plugin, _config in calls] == ["a", "c", "d"]
    assert calls[0][1]["cni.dev/valid-attachments"] == [
        {"containerID": UUID, "ifname": "eth0"},
        {"containerID": UUID, "ifname": "eth1"},
    ]


def test_no_gc(plugins: Plugins) -> None:
    plugins.make("a", versions=ALL)
    assert collect_garbage(network("a", version="1.1.0", disableGC=True), plugins.dirs, ()) == ()
    assert collect_garbage(network("a", version="1.0.0"), plugins.dirs, ()) == ()
    assert not (plugins.directory / "log").exists()


def test_status(plugins: Plugins) -> None:
    plugins.make("a", versions=ALL)
    plugins.make("b", versions=ALL, body='echo \'{"code":50,"msg":"no daemon"}\'; exit 1')
    assert ask_status(network("a"), plugins.dirs) is False
    assert ask_status(network("a", version="1.1.0"), plugins.dirs) is True
    assert plugins.commands() == ["a VERSION", "a STATUS"]
    with pytest.raises(PluginError) as caught:
        ask_status(network("a", "b", version="1.1.0"), plugins.dirs)
    assert caught.value.failure.code == 50 and str(caught.value) == "plugin b failed on STATUS: no daemon"


def test_output_of_a_working_plugin_is_for_debug(
    plugins: Plugins, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rktpy import log

    path = plugins.make("a", body="echo hello >&2")
    run_plugin(str(path), b"{}", {"CNI_COMMAND": "ADD"})
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(log, "_debug", True)
    run_plugin(str(path), b"{}", {"CNI_COMMAND": "ADD"})
    assert capfd.readouterr().err == "networking: a: hello\n"


def test_many_at_once(plugins: Plugins) -> None:
    """No descriptor is lost or mixed up."""
    path = plugins.make("a")
    before = len(os.listdir("/proc/self/fd"))
    threads = [threading.Thread(target=run_plugin, args=(str(path), b"{}", {"CNI_COMMAND": "ADD"})) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(os.listdir("/proc/self/fd")) == before
