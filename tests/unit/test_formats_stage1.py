"""The stage1 contract (formats/stage1.py)."""

from __future__ import annotations

import pytest

from rktpy.errors import FormatError
from rktpy.formats import stage1
from rktpy.formats.aci.manifest import ImageManifest
from rktpy.formats.aci.types import NameValue
from rktpy.formats.stage1 import Enforcement, EntryPoints


def image(**annotations: str) -> ImageManifest:
    pairs = [
        NameValue(f"coreos.com/rkt/stage1/{name.replace('__', '/').replace('_', '-')}", annotations[name]) for name in annotations
    ]
    return ImageManifest("0.8.11", "example.org/stage1", annotations=tuple(pairs))


def test_entry_points() -> None:
    points = EntryPoints.from_manifest(
        image(
            run="/init",
            enter="./enter",
            gc="lib//gc",
            app__add="/a",
            app__rm="/b",
            app__start="/c",
            app__stop="/d",
            interface_version="6",
        )
    )
    assert points == EntryPoints("init", "enter", "lib/gc", "", "", "a", "b", "c", "d", 6)
    assert points.mutable
    assert EntryPoints.from_manifest(image(run="/init")) == EntryPoints("init", interface_version=1)
    assert not EntryPoints.from_manifest(image(run="/init")).mutable


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({"enter": "/enter"}, "entrypoint 'coreos.com/rkt/stage1/run' not found"),
        ({"run": "/../../bin/sh"}, "is not a path inside the rootfs"),
        ({"run": "/"}, "is not a path inside the rootfs"),
        ({"run": "/init", "interface_version": "x"}, "'x' is not an interface version"),
        ({"run": "/init", "interface_version": "0"}, "'0' is not an interface version"),
        ({"run": "/init", "interface_version": "-1"}, "'-1' is not an interface version"),
    ],
)
def test_bad_stage1_images(annotations: dict[str, str], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        EntryPoints.from_manifest(image(**annotations))


def test_report() -> None:
    report = (
        Enforcement("resource/memory", "web", "changed", "lowered to the host's 1 GiB"),
        Enforcement("os/unix/sysctl", outcome="ignored", reason="needs a network namespace"),
    )
    assert stage1.read_report(stage1.write_report(report)) == report
    assert str(report[0]) == "app web: resource/memory is changed: lowered to the host's 1 GiB"
    assert str(report[1]) == "os/unix/sysctl is not enforced: needs a network namespace"
    assert stage1.read_report(b"{}") == ()
    for data in (b"[]", b'{"isolators":[{"isolator":"a","outcome":"maybe"}]}', b'{"isolators":[{"outcome":"ignored"}]}'):
        with pytest.raises(FormatError):
            stage1.read_report(data)


def test_places() -> None:
    assert stage1.app_rootfs("web") == "stage1/rootfs/opt/stage2/web/rootfs"
    assert stage1.app_dir("web") == "stage1/rootfs/opt/stage2/web"
    assert stage1.status_file("web") == "stage1/rootfs/rkt/status/web"


def test_names_of_a_mutable_pod() -> None:
    assert stage1.created_file("web") == "stage1/rootfs/rkt/status/web-created"
    assert stage1.started_file("web") == "stage1/rootfs/rkt/status/web-started"


def test_units_of_the_journal() -> None:
    units = stage1.journal_units("web")
    assert units == ("web.service", "handlers@web.service", "iomux@web.service")
    assert {stage1.app_of_unit(unit) for unit in units} == {"web"}
    for unit, app in (
        ("init.scope", ""),
        ("", ""),
        ("web@port.socket", ""),
        ("other@web.service", "other@web"),
        (".service", ""),
    ):
        assert stage1.app_of_unit(unit) == app
