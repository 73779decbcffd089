"""The process of a container: runtime-spec 1.2 ``config.md``, Process."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess

import pytest

from rktpy.linux.syscalls import capget
from tests.support.oci_bundles import Bundle, Runtime

pytestmark = pytest.mark.root
SYS_RESOURCE = 24


def test_working_directory(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "tmp/dir").mkdir()
    assert runtime.run(bundle("pwd", cwd="/tmp/dir")) == "/tmp/dir\n"


def test_environment(runtime: Runtime, bundle: Bundle) -> None:
    output = runtime.run(bundle('echo "$A|$B"', env=["PATH=/bin", "A=1", "B=two words"]))
    assert output == "1|two words\n"


def test_home_comes_from_passwd(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "etc/passwd").write_text("root:x:0:0::/tmp/home:/bin/sh\n")
    assert runtime.run(bundle("echo $HOME", env=["PATH=/bin"])) == "/tmp/home\n"


def test_arguments_are_taken_as_they_are(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["process"]["args"] = ["/bin/echo", "a  b", "", "$HOME", "é"]
    assert runtime.run(bundle.write()) == "a  b  $HOME é\n"


def test_user_and_groups(runtime: Runtime, bundle: Bundle) -> None:
    user = {"uid": 1000, "gid": 1001, "additionalGids": [5, 6]}
    assert runtime.run(bundle("id -u; id -g; grep Groups /proc/self/status", user=user)).split() == [
        "1000",
        "1001",
        "Groups:",
        "5",
        "6",
    ]


def test_umask(runtime: Runtime, bundle: Bundle) -> None:
    script = "umask; touch /tmp/file; stat -c %a /tmp/file"
    assert runtime.run(bundle(script, user={"uid": 0, "gid": 0, "umask": 0o077})).split() == ["0077", "600"]
    assert runtime.run(bundle("umask", user={"uid": 0, "gid": 0})) == "0022\n"


def test_capabilities(runtime: Runtime, bundle: Bundle) -> None:
    sets = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "effective": ["CAP_KILL"],
        "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "inheritable": ["CAP_CHOWN"],
        "ambient": ["CAP_CHOWN"],
    }
    output = runtime.run(bundle("grep Cap /proc/self/status", user={"uid": 1000, "gid": 1000}, capabilities=sets))
    found = dict(line.split(":\t") for line in output.splitlines())
    assert int(found["CapBnd"], 16) == 1 << 0 | 1 << 5 | 1 << 7
    # execve(2) of a user's program leaves what is ambient.
    assert int(found["CapAmb"], 16) == int(found["CapEff"], 16) == int(found["CapPrm"], 16) == int(found["CapInh"], 16) == 1


def test_no_capabilities(runtime: Runtime, bundle: Bundle) -> None:
    output = runtime.run(bundle("grep Cap /proc/self/status", capabilities={}))
    assert {line.split()[1] for line in output.splitlines()} == {"0" * 16}


def test_unknown_capabilities_are_left_out(runtime: Runtime, bundle: Bundle) -> None:
    if not runtime.ours:
        pytest.skip("runc warns, crun refuses")
    bundle.config["process"]["capabilities"]["bounding"] = ["CAP_NONSENSE"]
    runtime.run(bundle("true"))


def test_no_new_privileges(runtime: Runtime, bundle: Bundle) -> None:
    assert runtime.run(bundle("grep NoNewPrivs /proc/self/status", noNewPrivileges=True)).split() == ["NoNewPrivs:", "1"]
    assert runtime.run(bundle("grep NoNewPrivs /proc/self/status", noNewPrivileges=False)).split() == ["NoNewPrivs:", "0"]


def test_rlimits(runtime: Runtime, bundle: Bundle) -> None:
    limits = [{"type": "RLIMIT_NOFILE", "soft": 300, "hard": 400}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    output = runtime.run(bundle("grep -e files -e core /proc/self/limits", rlimits=limits))
    assert "300" in output and "400" in output
    assert [line.split()[4:6] for line in output.splitlines() if "core" in line] == [["0", "0"]]


def test_limits_that_cannot_be_raised_are_clamped(runtime: Runtime, bundle: Bundle) -> None:
    if not runtime.ours or capget()[0] >> SYS_RESOURCE & 1:
        pytest.skip("runc dies of it; with CAP_SYS_RESOURCE there is nothing to clamp")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limits = [{"type": "RLIMIT_NOFILE", "soft": hard + 5, "hard": hard + 10}]
    runtime.started.add("one")
    done = runtime("run", "--bundle", str(bundle("grep files /proc/self/limits", rlimits=limits).path), "one")
    assert done.stdout.split()[3:5] == [str(hard), str(hard)]
    assert f"RLIMIT_NOFILE is {hard}:{hard}" in done.stderr


def test_oom_score(runtime: Runtime, bundle: Bundle) -> None:
    assert runtime.run(bundle("cat /proc/self/oom_score_adj", oomScoreAdj=555)) == "555\n"


def test_oom_score_that_cannot_be_lowered(runtime: Runtime, bundle: Bundle) -> None:
    if not runtime.ours or capget()[0] >> SYS_RESOURCE & 1:
        pytest.skip("needs a runtime without CAP_SYS_RESOURCE that goes on")
    runtime.started.add("one")
    done = runtime("run", "--bundle", str(bundle("true", oomScoreAdj=-900).path), "one")
    assert "oomScoreAdj -900 is not set" in done.stderr


def test_io_priority_and_scheduler(runtime: Runtime, bundle: Bundle) -> None:
    if not runtime.ours:
        pytest.skip("newer than Debian's runc and crun")
    bundle.config["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE", "priority": 0}
    bundle.config["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    runtime.create(bundle("sleep 60"), "one")
    runtime("start", "one")
    pid = runtime.state("one")["pid"]
    assert os.sched_getscheduler(pid) == os.SCHED_BATCH
    assert os.getpriority(os.PRIO_PROCESS, pid) == 5
    assert subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True, check=True).stdout.strip() == "idle"


def test_personality(runtime: Runtime, bundle: Bundle) -> None:
    if not runtime.ours or os.uname().machine != "x86_64":
        pytest.skip("newer than Debian's runc; the answer is for x86_64")
    bundle.linux["personality"] = {"domain": "LINUX32"}
    assert runtime.run(bundle("uname -m")) == "i686\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nothere"], "executable file not found in $PATH"),
        (["/nothere"], "no such file or directory"),
        (["/bin"], "permission denied"),
        (["/tmp/plain"], "permission denied"),
    ],
)
def test_programs_that_cannot_be_executed(runtime: Runtime, bundle: Bundle, args: list[str], words: str) -> None:
    (bundle.rootfs / "tmp/plain").write_text("text")
    bundle.config["process"]["args"] = args
    done = runtime("create", "--bundle", str(bundle.write().path), "one", status=1)
    assert words in done.stderr
    assert not (runtime.root / "one").exists()


def test_descriptors_are_closed(runtime: Runtime, bundle: Bundle) -> None:
    with open("/etc/passwd") as secret:
        os.set_inheritable(secret.fileno(), True)
        output = runtime.run(bundle("ls /proc/self/fd"), pass_fds=(secret.fileno(),))
    assert output.split() in (["0", "1", "2", "3"], ["0", "1", "2"])  # 3 is the directory that ls reads


def test_preserved_descriptors(runtime: Runtime, bundle: Bundle) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"from outside\n")
    os.close(writer)
    code = f"import os,sys; os.dup2({reader}, 3); os.execv(sys.argv[1], sys.argv[1:])"
    argv = ["python3", "-c", code, *runtime.argv("run", "--preserve-fds", "1", "--bundle", str(bundle("cat <&3").path), "one")]
    runtime.started.add("one")
    done = subprocess.run(
        argv, pass_fds=(reader,), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "from outside\n"


def test_terminal_in_the_foreground(runtime: Runtime, bundle: Bundle) -> None:
    bundle("tty; test -t 0 && test -t 1 && echo terminal; stat -c %F /dev/console; exit 3", terminal=True)
    runtime.started.add("one")
    done = runtime("run", "--bundle", str(bundle.path), "one", status=3)
    assert done.stdout.splitlines()[:3] == ["/dev/pts/0", "terminal", "character special file"]


def test_console_socket(runtime: Runtime, bundle: Bundle) -> None:
    path = str(bundle.path / "console.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    bundle("echo out; read line; echo got $line", terminal=True, consoleSize={"height": 25, "width": 80})
    runtime.create(bundle, "one", "--console-socket", path)
    connection, _address = listener.accept()
    _text, fds, _flags, _peer = socket.recv_fds(connection, 4096, 1)
    runtime("start", "one")
    assert os.get_terminal_size(fds[0]) == (80, 25)
    os.write(fds[0], b"hello\n")
    seen = b""
    while b"got hello" not in seen:
        seen += os.read(fds[0], 4096)
    os.close(fds[0])
    runtime.wait_for("one", "stopped")


def test_a_terminal_needs_somebody_to_have_it(runtime: Runtime, bundle: Bundle) -> None:
    bundle("true", terminal=True)
    assert "console socket" in runtime("create", "--bundle", str(bundle.path), "one", status=1).stderr
    bundle("true", terminal=False)
    done = runtime("create", "--bundle", str(bundle.path), "--console-socket", "/nowhere", "one", status=1)
    assert "console socket" in done.stderr


def test_labels_without_a_security_module_are_refused(runtime: Runtime, bundle: Bundle) -> None:
    if os.path.exists("/sys/module/apparmor") or os.path.isdir("/sys/fs/selinux/class"):
        pytest.skip("this machine has one")
    if runtime.ours:
        done = runtime("run", "--bundle", str(bundle("true", apparmorProfile="some").path), "one", status=1)
        assert "apparmor" in done.stderr
    bundle.config["process"].pop("apparmorProfile", None)
    done = runtime("run", "--bundle", str(bundle("true", selinuxLabel="a_u:a_r:a_t:s0").path), "one", status=1)
    assert "selinux" in done.stderr.lower()


def test_log_is_one_json_object_after_an_error(runtime: Runtime, bundle: Bundle) -> None:
    log = bundle.path / "log"
    bundle.config["process"]["args"] = ["nothere"]
    runtime("--log", str(log), "--log-format", "json", "create", "--bundle", str(bundle.write().path), "one", status=1)
    message = json.loads(log.read_text())
    assert message["level"] == "error"
    assert 'exec: "nothere": executable file not found in $PATH' in message["msg"]
    assert message["time"]
