"""What is decided before a pod starts: networks, DNS files, stage1 arguments, which stage1, user ranges, registration."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from rktpy.errors import FormatError, NotEnforced, NotFoundError, RktpyError, UsageError
from rktpy.formats.stage1 import EntryPoints
from rktpy.formats.user_range import UserRange
from rktpy.stage0 import dns, metadata, pod_states, pods, stage1_image
from rktpy.stage0.dns import DNSMode
from rktpy.stage0.mounts import mounts_below
from rktpy.stage0.options import Globals, InsecureOptions, RunOptions, Stage1Choice
from rktpy.stage0.overlay import why_not
from rktpy.stage0.private_users import _free_range
from rktpy.stage0.run import check_promises, net_list, run_arguments
from rktpy.stage0.stage1_image import Stage1

UUID = "6733c088-a507-4694-aabf-111111111111"


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ((), {"default": ""}),
        (("host",), {"host": ""}),
        (("all,net1:k1=v1;k2=v2", "net2:l1=w1"), {"all": "", "net1": "k1=v1;k2=v2", "net2": "l1=w1"}),
    ],
)
def test_net_list(values: tuple[str, ...], wanted: dict[str, str]) -> None:
    assert net_list(values) == wanted


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "netname must not be empty"),
        ("a,", "netname must not be empty"),
        ("a,a:x=y", 'found duplicate netname "a"'),
        ("host:a=b", 'arguments are not supported by special netname "host"'),
        ("a:b:c", 'network "a" provided with invalid arguments'),
    ],
)
def test_bad_net_lists(value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        net_list((value,))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (RunOptions(), DNSMode()),
        (RunOptions(dns=("host",)), DNSMode("host")),
        (RunOptions(dns=("none",), hosts_entries=(("host", ""),)), DNSMode("none", "host")),
        (RunOptions(dns=("8.8.8.8", "::1")), DNSMode("stage0")),
        (RunOptions(dns_search=("x",)), DNSMode("stage0")),
        (RunOptions(hosts_entries=(("1.2.3.4", "n"),)), DNSMode("default", "stage0")),
    ],
)
def test_dns_mode(options: RunOptions, wanted: DNSMode) -> None:
    assert dns.dns_mode(options) == wanted
    assert (wanted.argument == "") == (wanted == DNSMode())


@pytest.mark.parametrize(
    "options",
    [
        RunOptions(dns=("host", "1.1.1.1")),
        RunOptions(dns=("none",), dns_search=("x",)),
        RunOptions(dns=("ns.example.com",)),
        RunOptions(dns_search=("x\nnameserver 6.6.6.6",)),
        RunOptions(hosts_entries=(("1.2.3.4", "a\n6.6.6.6 bank"),)),
        RunOptions(hosts_entries=(("x", "y"),)),
        RunOptions(hosts_entries=(("host", ""), ("1.1.1.1", "a"))),
    ],
)
def test_bad_dns_flags(options: RunOptions) -> None:
    with pytest.raises(UsageError, match="error with dns flags"):
        dns.dns_mode(options)


def test_dns_files_do_not_follow_links_of_the_image(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("untouched")
    root = tmp_path / "pod" / "stage1" / "rootfs"
    root.mkdir(parents=True)
    options = RunOptions(dns=("1.1.1.1",), hosts_entries=(("1.2.3.4", "n"),))
    mode = dns.dns_mode(options)
    fd = os.open(tmp_path / "pod", os.O_RDONLY)
    try:
        (root / "etc").symlink_to(outside)
        with pytest.raises(OSError):
            dns.write_dns_files(options, mode, fd)
        (root / "etc").unlink()
        (root / "etc").mkdir()
        (root / "etc" / "rkt-resolv.conf").symlink_to(outside / "file")
        with pytest.raises(OSError):
            dns.write_dns_files(options, mode, fd)
        (root / "etc" / "rkt-resolv.conf").unlink()
        (root / "etc" / "hosts-fallback").write_text("127.0.0.1 mine\n")
        dns.write_dns_files(options, mode, fd)
    finally:
        os.close(fd)
    assert sorted(os.listdir(outside)) == ["file"] and (outside / "file").read_text() == "untouched"
    assert (root / "etc" / "rkt-hosts").read_text() == "127.0.0.1 mine\n\n\n# Added by rktpy run --hosts-entry\n1.2.3.4 n\n"


def test_arguments_in_order() -> None:
    g = Globals(debug=True, local_config="/l", insecure=InsecureOptions(paths=True))
    run = RunOptions(net=("a:k=v", "b"), interactive=True, hostname="h", ipc="private", dry_run=True)
    assert run_arguments(
        g, run, UUID, 7, private_users="65536:65536", mode=DNSMode("host"), token="t", strict=True, mutable=True
    ) == [
        "--debug",
        "--net=a:k=v,b",
        "--interactive",
        "--private-users=65536:65536",
        "--mds-token=t",
        "--local-config=/l",
        "--hostname=h",
        "--dns-conf-mode=resolv=host,hosts=default",
        "--disable-paths",
        "--mutable",
        "--ipc=private",
        "--strict",
        "--dry-run",
        UUID,
    ]


def test_promises_that_an_old_stage1_cannot_keep() -> None:
    g = Globals()
    with pytest.raises(NotEnforced):
        check_promises(EntryPoints("run", interface_version=6), RunOptions(), strict=True)
    with pytest.raises(UsageError):
        check_promises(EntryPoints("run", interface_version=6), RunOptions(dry_run=True), strict=False)
    check_promises(EntryPoints("run", interface_version=7), RunOptions(dry_run=True), strict=True)
    with pytest.raises(UsageError):
        run_arguments(g, RunOptions(), UUID, 4, mutable=True)


class Finder:
    """Stands for the images module: knows some references, and notes what it was asked."""

    def __init__(self, known: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.known = known
        self.asked: list[tuple[str, str, bool]] = []
        monkeypatch.setattr("rktpy.stage0.images.find_or_fetch", self.find_or_fetch)
        monkeypatch.setattr("rktpy.stage0.stage1_image.EntryPoints.from_manifest", lambda manifest, what: None)

    def find_or_fetch(self, g: Globals, store: Any, reference: str, options: Any) -> str:
        self.asked.append((reference, options.pull_policy, g.insecure.image))
        if reference not in self.known:
            raise NotFoundError(f"no {reference}")
        return self.known[reference]


class NoStore:
    def manifest(self, image_id: str) -> str:
        return image_id


def choose(choice: Stage1Choice | None = None, **g: Any) -> Stage1:
    store: Any = NoStore()
    settings = Globals(**{"local_config": "/nowhere", "system_config": "/nowhere", **g})
    return stage1_image.choose(settings, store, choice or Stage1Choice())


def test_default_stage1(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = Finder({}, monkeypatch)
    assert choose() == Stage1(bundled="systemd") and finder.asked == []
    assert choose(Stage1Choice(bundled="fly")) == Stage1(bundled="fly")
    with pytest.raises(UsageError, match='no stage1 named "none" comes with rktpy'):
        choose(Stage1Choice(bundled="none"))


def test_stage1_by_flag(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = f"{tmp_path}/x.aci"
    finder = Finder({here: "P", "https://h/x.aci": "U", "sha512-ab": "H", "example.com/s1:1": "N"}, monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert choose(Stage1Choice(path="x.aci")) == Stage1(image_id="P")
    assert choose(Stage1Choice(url="https://h/x.aci")) == Stage1(image_id="U")
    assert choose(Stage1Choice(hash="sha512-ab")) == Stage1(image_id="H")
    assert choose(Stage1Choice(name="example.com/s1:1")) == Stage1(image_id="N")
    assert {insecure for _reference, _policy, insecure in finder.asked} == {False}
    with pytest.raises(NotFoundError):
        choose(Stage1Choice(name="example.com/other"))


@pytest.mark.parametrize(("flavour", "bundled"), [("fly", "fly"), ("coreos", "systemd"), ("host", "systemd"), ("src", "systemd")])
def test_rkts_own_names_mean_what_comes_with_rktpy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flavour: str, bundled: str
) -> None:
    finder = Finder({}, monkeypatch)
    name = f"coreos.com/rkt/stage1-{flavour}:1.30.0"
    assert choose(Stage1Choice(name=name)) == Stage1(bundled=bundled)
    assert choose(Stage1Choice(name=f"coreos.com/rkt/stage1-{flavour},arch=amd64")) == Stage1(bundled=bundled)
    assert finder.asked[0] == (name, "never", False)
    # A file that is not there; one that is there is meant itself.
    file = tmp_path / f"stage1-{flavour}.aci"
    assert choose(Stage1Choice(from_dir=file.name)) == choose(Stage1Choice(path=str(file))) == Stage1(bundled=bundled)
    (tmp_path / "stage1.d").mkdir()
    document = {"rktKind": "stage1", "rktVersion": "v1", "location": str(file)}
    (tmp_path / "stage1.d" / "x.json").write_text(json.dumps(document))
    assert choose(local_config=str(tmp_path)) == Stage1(bundled=bundled)
    file.write_bytes(b"")
    finder.known.update({str(file): "FILE", name: "STORED"})
    assert choose(Stage1Choice(path=str(file))) == choose(local_config=str(tmp_path)) == Stage1(image_id="FILE")
    assert choose(Stage1Choice(name=name)) == Stage1(image_id="STORED")


def test_only_the_images_directory_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = stage1_image.IMAGES_DIR
    finder = Finder({f"{directory}/a.aci": "A", "/tmp/a.aci": "T"}, monkeypatch)
    assert choose(Stage1Choice(from_dir="a.aci")) == Stage1(image_id="A")
    assert choose(Stage1Choice(path=f"{directory}/a.aci")) == Stage1(image_id="A")
    choose(Stage1Choice(path=f"{directory}/../../../../tmp/a.aci"))
    assert [insecure for _reference, _policy, insecure in finder.asked] == [True, True, False]


def test_configured_stage1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "stage1.d").mkdir()
    document = tmp_path / "stage1.d" / "x.json"
    document.write_text(
        '{"rktKind":"stage1","rktVersion":"v1","name":"example.com/s1","version":"2","location":"https://h/s1.aci"}'
    )
    finder = Finder({"https://h/s1.aci": "L"}, monkeypatch)
    assert choose(local_config=str(tmp_path)) == Stage1(image_id="L")
    assert [asked[:2] for asked in finder.asked] == [("example.com/s1:2", "never"), ("https://h/s1.aci", "new")]
    finder.known["example.com/s1:2"] = "N"
    assert choose(local_config=str(tmp_path)) == Stage1(image_id="N")
    finder.known.clear()
    with pytest.raises(RktpyError, match="failed to fetch stage1 image"):
        choose(local_config=str(tmp_path))
    document.write_text('{"rktKind":"stage1","rktVersion":"v1","name":"coreos.com/rkt/stage1-fly","version":"1.30.0"}')
    assert choose(local_config=str(tmp_path)) == Stage1(bundled="fly")


def test_user_ranges() -> None:
    users = _free_range(set())
    assert users.count == 65536 and users.shift % 65536 == 0 and 0 < users.shift < 1 << 31
    assert UserRange.parse(str(users)) == users
    assert users.unshifted(users.shifted(1000)) == 1000
    for wrong in (65536, -1):
        with pytest.raises(RktpyError):
            users.shifted(wrong)
    with pytest.raises(RktpyError):
        users.unshifted(0)
    for text in ("", "1", "a:b", "1:", "9" * 40 + ":1", "65536:0", "\u0661:\u0661"):
        with pytest.raises(FormatError):
            UserRange.parse(text)


def test_overlay_support_is_told(tmp_path: Path) -> None:
    assert why_not("/proc") == "" or "proc" in why_not("/proc")
    assert why_not(str(tmp_path)) in ("", "overlay entry not present in /proc/filesystems", "unsupported filesystem: overlay")


def test_mounts_below_are_found_whatever_their_names() -> None:
    assert b"proc" in mounts_below(b"/")
    assert mounts_below(b"/proc/self") == []


class Service:
    """A metadata service for one test: answers every request with ``status``."""

    def __init__(self, path: Path, status: int = 200) -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        self.status = status
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as file:
                words = file.readline().decode().split()
                length = 0
                while (line := file.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                if words:
                    self.requests.append((words[0], words[1], file.read(length)))
                    connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % self.status)


def test_registration(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with pytest.raises(RktpyError, match="could not reach the metadata service"):
        metadata.check_available(str(path))
    pod_states.make_state_dirs(str(tmp_path))
    pod_dir = tmp_path / "pods" / "run" / UUID
    (pod_dir / "appsinfo" / "web").mkdir(parents=True)
    (pod_dir / "pod").write_text('{"apps":[{"name":"web"}]}')
    (pod_dir / "appsinfo" / "web" / "manifest").write_text("image manifest")
    service = Service(path)
    with pods.open_pod(str(tmp_path), UUID) as pod:
        metadata.unregister(pod, str(path))
        token = metadata.register(pod, str(path))
        metadata.unregister(pod, str(path))
        assert len(token) == 32 and service.requests == [
            ("PUT", f"/pods/{UUID}?token={token}", b'{"apps":[{"name":"web"}]}'),
            ("PUT", f"/pods/{UUID}/web", b"image manifest"),
            ("DELETE", f"/pods/{UUID}", b""),
        ]
        service.status = 500
        with pytest.raises(RktpyError, match="failed to register pod with metadata svc"):
            metadata.register(pod, str(path))
    service.socket.close()
