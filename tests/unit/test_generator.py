"""Units from .app and .pod files: what is written, and what is refused with file and line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rktpy.errors import RktpyError
from rktpy.units import generator
from rktpy.units.described import KEYS, capability_words
from rktpy.units.unit_file import Setting, UnitFileError, parse, read_file, words
from tests.conftest import need_tool


def setting(value: str) -> Setting:
    return Setting("App", "Exec", value, "/f", 7)


def generated(directory: Path, **files: str) -> tuple[dict[str, generator.Service], list[str]]:
    """Services by name, and problems; ``__`` in a name stands for the dot."""
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    found, problems = generator.find([str(directory)])
    services, wrong = generator.generate("/usr/bin/rktpy", found)
    return {one.name: one for one in services}, [*problems, *wrong]


def command(text: str) -> list[str]:
    """The words of ExecStart= of a unit."""
    joined = text.replace(" \\\n", " ")
    (line,) = [line for line in joined.split("\n") if line.startswith("ExecStart=")]
    return words(Setting("Service", "ExecStart", line.removeprefix("ExecStart=:"), "", 0))


WEB = """
# a comment
[Unit]
Description=The web
After=db.service
[App]
Image=docker://registry.example/web:1
Exec=serve "two words" --at=%i \\
  ; a comment in between
  --more
Entrypoint=/bin/web
Environment=A=1 "B=two words" C=$HOME
Volume=/srv/web:/data:ro
Volume=/cache
PublishPort=127.0.0.1:8080:80/tcp
PublishPort=53:5353/udp
Network=default
User=33
Group=33
GroupAdd=4 5
ReadOnly=yes
NoNewPrivileges=true
AddCapability=NET_ADMIN
DropCapability=CAP_MKNOD
Notify=yes
Memory=512m
HostName=web
AddHost=db:10.0.0.2
Pull=newer
AutoUpdate=registry
StopTimeout=20
RktpyArgs=--insecure-options=image --strict
[Service]
Restart=always
[Install]
WantedBy=multi-user.target other.target
RequiredBy=need.target
Alias=www.service
"""


def test_an_app(tmp_path: Path) -> None:
    services, problems = generated(tmp_path, web__app=WEB)
    assert problems == []
    one = services["web.service"]
    argv = command(one.text)
    assert argv == [
        "/usr/bin/rktpy", "run", "--pins=%N", "--uuid-file-save=%t/%N.rktpy-uuid",
        "--volume=web-a0,kind=host,source=/srv/web,readOnly=true", "--volume=web-a1,kind=empty",
        "--port=tcp-8080:tcp:80:127.0.0.1:8080", "--port=udp-53:udp:5353:0.0.0.0:53", "--net=default", "--hostname=web",
        "--hosts-entry=10.0.0.2=db", "--pull-policy=update", "--insecure-options=image", "--strict",
        "docker://registry.example/web:1", "--exec=/bin/web", "--environment=A=1", "--environment=B=two words",
        "--environment=C=$HOME", "--mount=volume=web-a0,target=/data", "--mount=volume=web-a1,target=/cache",
        "--user=33", "--group=33", "--supplementary-gids=4,5", "--readonly-rootfs=true", "--no-new-privileges=true",
        "--annotation=appc.io/executor/supports-systemd-notify=true", "--memory=512Mi",
        "--caps-retain=CAP_AUDIT_WRITE,CAP_CHOWN,CAP_DAC_OVERRIDE,CAP_FSETID,CAP_FOWNER,CAP_KILL,CAP_NET_RAW,"
        "CAP_NET_BIND_SERVICE,CAP_SETUID,CAP_SETGID,CAP_SETPCAP,CAP_SETFCAP,CAP_SYS_CHROOT,CAP_NET_ADMIN",
        "--", "serve", "two words", "--at=%i", "--more", "---",
    ]  # fmt: skip
    assert f"SourcePath={tmp_path}/web.app\nDescription=The web\nAfter=db.service\n" in one.text
    assert "Type=notify\n" in one.text and "Delegate=yes\n" in one.text and "KillMode=mixed\n" in one.text
    assert one.text.count("Restart=") == 1 and "TimeoutStopSec=20\n" in one.text
    assert one.links == (
        ("multi-user.target.wants/web.service", "../web.service"),
        ("other.target.wants/web.service", "../web.service"),
        ("need.target.requires/web.service", "../web.service"),
        ("www.service", "web.service"),
        ("timers.target.wants/rktpy-update@web.timer", "/usr/lib/systemd/system/rktpy-update@.timer"),
    )


def test_the_command_line_is_one_that_run_takes(tmp_path: Path) -> None:
    from rktpy.cli.parse import parse as parse_line
    from rktpy.cli.pod_options import pod_options
    from rktpy.cli.run_options import run_options
    from rktpy.stage0.podmanifest import check_options

    services, _problems = generated(tmp_path, web__app=WEB)
    arguments = parse_line(command(services["web.service"].text)[1:])
    options = pod_options(arguments)
    check_options(options)
    run_options(arguments)
    (app,) = options.apps
    assert app.args == ("serve", "two words", "--at=%i", "--more") and app.no_new_privileges is True
    assert [(port.name, port.host_port, port.pod_port and port.pod_port.port) for port in options.ports] == [
        ("tcp-8080", 8080, 80),
        ("udp-53", 53, 5353),
    ]


def test_a_pod_of_apps(tmp_path: Path) -> None:
    services, problems = generated(
        tmp_path,
        site__pod="[Pod]\nPublishPort=80:8080\nVolume=/srv:/srv\nEnvironment=ALL=1\n[Install]\nWantedBy=default.target\n",
        a__app="[App]\nImage=example.com/a\nPod=site.pod\nExec=one\nVolume=/a:/a\n",
        b__app="[App]\nImage=example.com/b\nPod=site.pod\nAppName=second\n",
        c__app="[App]\nImage=example.com/c\nServiceName=other\n",
    )
    assert problems == [] and sorted(services) == ["other.service", "site-pod.service"]
    argv = command(services["site-pod.service"].text)
    assert argv[argv.index("--port=tcp-80:tcp:8080:0.0.0.0:80") :] == [
        "--port=tcp-80:tcp:8080:0.0.0.0:80", "--volume=site-p0,kind=host,source=/srv", "--mount=volume=site-p0,target=/srv",
        "--set-env=ALL=1", "--volume=a-a0,kind=host,source=/a",
        "example.com/a", "--name=a", "--mount=volume=a-a0,target=/a", "--", "one", "---", "example.com/b", "--name=second",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[App]\nImage=a\nPrivileged=yes\n", ":3: Privileged: unknown key of [App]"),
        ("[App]\nImage=a\nImage\n", ":3: 'Image' is no setting: wanted KEY=VALUE"),
        ("Image=a\n", ":1: Image stands before the first section"),
        ("[App\nImage=a\n", ":1: bad section header '[App'"),
        ("[Container]\nImage=a\n", ":2: unknown section [Container]: wanted [App]"),
        ("[App]\n", ": [App] has no Image="),
        ("[App]\nImage=--help\n", ":2: Image: '--help' is no reference to an image"),
        ("[App]\nImage=a b\n", ":2: Image: wants one word"),
        ("[App]\nImage=a\nExec=x ---\n", ":3: Exec: an argument cannot be ---, which ends the arguments of an app"),
        ('[App]\nImage=a\nExec="x\n', ':3: Exec: a quote (") is not closed'),
        ("[App]\nImage=a\nExec=\\q\n", ":3: Exec: unknown escape \\q"),
        ("[App]\nImage=a\nExec=\\x0\n", ":3: Exec: bad escape \\x0"),
        ("[App]\nImage=a\nEnvironment=X\n", ":3: Environment: 'X' is not NAME=VALUE"),
        ("[App]\nImage=a\nVolume=data:/x\n", ":3: Volume: 'data' is not an absolute path: there are no volumes with names"),
        ("[App]\nImage=a\nVolume=/a:/x:z\n", ":3: Volume: unknown option 'z': wanted ro or rw"),
        ("[App]\nImage=a\nVolume=/a,kind=empty:/x\n", ":3: Volume: a path cannot have a comma"),
        ("[App]\nImage=a\nPublishPort=80\n", ":3: PublishPort: wants [ADDRESS:]HOSTPORT:PODPORT[/PROTOCOL]"),
        ("[App]\nImage=a\nPublishPort=80:99999\n", ":3: PublishPort: '99999' is not a port"),
        ("[App]\nImage=a\nNetwork=slirp4netns\n", ":3: Network: unknown network 'slirp4netns'"),
        ("[App]\nImage=a\nReadOnly=maybe\n", ":3: ReadOnly: 'maybe' is neither yes nor no"),
        ("[App]\nImage=a\nAutoUpdate=local\n", ":3: AutoUpdate: must be registry"),
        ("[App]\nImage=a\nMemory=lots\n", ":3: Memory: wants a number of bytes"),
        ("[App]\nImage=a\nRktpyArgs=--pins=x\n", ":3: RktpyArgs: '--pins=x' is not a flag of the pod"),
        ("[App]\nImage=a\nServiceName=../x\n", ":3: ServiceName: '../x' is not the name of a service"),
        ("[App]\nImage=a\nPod=gone.pod\n", ": there is no gone.pod, or it is wrong"),
        ("[App]\nImage=a\nPod=x.pod\nNetwork=host\n", ":4: Network: belongs into x.pod"),
        ("[App]\nImage=a\nPod=x.pod\n[Install]\nWantedBy=x\n", ":5: WantedBy: [Install] belongs into x.pod"),
        ("[App]\nImage=a\n[Service]\nExecStart=/bin/true\n", ":4: ExecStart: is written by rktpy"),
        ("[App]\nImage=a\n[Service]\nType=forking\n", ":4: Type: must be notify, exec, simple or oneshot"),
        ("[App]\nImage=a\n[Install]\nWantedBy=../../x\n", ": WantedBy: '../../x' is not the name of a unit"),
        ("[App]\nImage=a\nExec=\x01\n", ":3: has the control character 1"),
        ("[App]\nImage=a\\", ":2: the line goes on after the end of the file"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    services, problems = generated(tmp_path, bad__app=text, good__app="[App]\nImage=a\n")
    assert list(services) == ["good.service"], "one bad file does not keep the others away"
    (said,) = problems
    assert said.startswith(f"{tmp_path}/bad.app{problem}"), said


def test_a_pod_without_apps_and_a_name_twice(tmp_path: Path) -> None:
    _services, problems = generated(
        tmp_path, x__pod="[Pod]\n", a__app="[App]\nImage=a\nServiceName=z\n", z__app="[App]\nImage=a\n"
    )
    assert problems == [
        f"{tmp_path}/x.pod: no app says Pod=x.pod",
        f"{tmp_path}/z.app: z.service is described by {tmp_path}/a.app already",
    ]


def test_hostile_files_are_neither_waited_for_nor_followed_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.app")
    (tmp_path / "dir.app").mkdir()
    (tmp_path / "binary.app").write_bytes(b"[App]\nImage=\xff\n")
    (tmp_path / "huge.app").write_bytes(b"#" * (1 << 20) + b"\n[App]\n")
    (tmp_path / "gone.app").symlink_to("/nonexistent")
    (tmp_path / "tty.app").symlink_to("/dev/zero")
    (tmp_path / "masked.app").symlink_to("/dev/null")
    (tmp_path / "empty.app").write_text("")
    (tmp_path / "a b.app").write_text("[App]\nImage=a\n")
    (tmp_path / "notes.txt").write_text("nothing")
    services, problems = generated(tmp_path)
    assert services == {}
    assert sorted(one.removeprefix(f"{tmp_path}/") for one in problems) == [
        "a b.app: the name of the file cannot be the name of a unit",
        "binary.app:2: is not UTF-8",
        "dir.app: is not a file",
        "fifo.app: is not a file",
        "gone.app: cannot be read: no such file or directory",
        "huge.app: is larger than 1048576 bytes",
        "tty.app: is not a file",
    ]


def test_the_first_directory_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "run", tmp_path / "etc"
    first.mkdir()
    second.mkdir()
    (first / "a.app").write_text("[App]\nImage=first\n")
    (second / "a.app").write_text("[App]\nImage=second\n")
    (first / "b.app").write_text("")
    (second / "b.app").write_text("[App]\nImage=masked\n")
    found, problems = generator.find([str(first), str(tmp_path / "none"), str(second)])
    assert problems == [] and found == {"a.app": f"{first}/a.app", "b.app": f"{first}/b.app"}


def test_where_a_users_files_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RKTPY_UNIT_DIRS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/u/.config")
    assert generator.directories(user=True)[0] == "/home/u/.config/rktpy/systemd"
    assert generator.directories(user=False) == ("/run/rktpy/systemd", "/etc/rktpy/systemd", "/usr/share/rktpy/systemd")


@pytest.mark.parametrize(
    ("add", "drop", "flags"),
    [
        ([], ["CAP_ALL"], "--caps-remove="),
        (["CAP_CHOWN"], ["CAP_ALL"], "--caps-retain=CAP_CHOWN"),
        ([], ["CAP_MKNOD"], "--caps-remove=CAP_MKNOD"),
        (["CAP_CHOWN"], [], ""),
    ],
)
def test_capabilities(add: list[str], drop: list[str], flags: str) -> None:
    made = capability_words(add, drop)
    assert (made[0] if made else "").startswith(flags) and bool(made) == bool(flags)


@settings(max_examples=300)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        for one in parse(text, "/f"):
            words(one)
    except RktpyError as error:
        assert str(error).startswith("/f")


@settings(max_examples=200)
@given(st.lists(st.text(st.characters(min_codepoint=32, codec="utf-8", exclude_characters="%"), max_size=20), max_size=5))
def test_words_come_back_from_their_quoted_form(texts: list[str]) -> None:
    from rktpy.units.service import word

    assert words(setting(" ".join(word(text, specifiers=True) for text in texts))) == texts


def test_what_the_generator_writes(tmp_path: Path, launcher: Path) -> None:
    files, normal = tmp_path / "files", tmp_path / "normal"
    files.mkdir()
    normal.mkdir()
    (files / "web.app").write_text(WEB)
    (files / "bad.app").write_text("[App]\nX=1\n")
    program = generator_program(tmp_path, launcher)
    environment = {"RKTPY_UNIT_DIRS": str(files), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([program, str(normal), str(normal), str(normal)], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == f"rktpy-generator: {files}/bad.app:2: X: unknown key of [App]\n"
    assert os.readlink(normal / "multi-user.target.wants" / "web.service") == "../web.service"
    assert os.readlink(normal / "www.service") == "web.service"
    dry = subprocess.run([program, "--dryrun"], env=environment, capture_output=True, text=True)
    assert dry.stdout == f"# web.service\n{(normal / 'web.service').read_text()}\n"
    wrong = subprocess.run([program], env=environment, capture_output=True, text=True)
    assert wrong.returncode == 254 and wrong.stderr.startswith("rktpy-generator: usage: ")


def test_systemd_finds_nothing_wrong(tmp_path: Path, launcher: Path) -> None:
    need_tool("systemd-analyze")
    files, normal = tmp_path / "files", tmp_path / "normal"
    files.mkdir()
    normal.mkdir()
    (files / "web.app").write_text(WEB.replace("After=db.service\n", "").replace("%i", "%%"))
    environment = {"RKTPY_UNIT_DIRS": str(files), "PATH": "/usr/bin:/bin"}
    subprocess.run([generator_program(tmp_path, launcher), str(normal)], env=environment, check=True)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(normal / "web.service")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_generator_starts_fast(tmp_path: Path, launcher: Path) -> None:
    """By the modules that it loads."""
    files = tmp_path / "files"
    files.mkdir()
    (files / "web.app").write_text(WEB)
    text = (
        Path(generator_program(tmp_path, launcher))
        .read_text()
        .replace("console(", "import atexit; print(*sys.modules); console(")
    )
    probe = tmp_path / "probe"
    probe.write_text(text)
    probe.chmod(0o755)
    environment = {"RKTPY_UNIT_DIRS": str(files), "PATH": "/usr/bin:/bin"}
    loaded = (
        subprocess.run([str(probe), "--dryrun"], env=environment, capture_output=True, text=True).stdout.split("\n")[0].split()
    )
    assert {"re", "json", "enum", "collections", "typing", "subprocess", "pathlib", "functools"} & set(loaded) == set()


def generator_program(directory: Path, launcher: Path) -> str:
    """The program as it is installed."""
    import sysconfig

    from rktpy.launcher import write_launcher
    from tests.conftest import ROOT, SYSTEM_PYTHON

    target = directory / "rktpy-system-generator"
    write_launcher(str(target), SYSTEM_PYTHON, [str(ROOT), sysconfig.get_path("platlib")], str(launcher))
    return str(target)


def test_masks_and_keys() -> None:
    assert read_file("/dev/null") is None
    with pytest.raises(UnitFileError):
        read_file("/nonexistent")
    assert len(set(KEYS["App"])) == len(KEYS["App"])
