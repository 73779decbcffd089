"""``rktpy update --unit``: on a host with systemd, with images that work, that fail and that nobody signed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rktpy.units import pins
from tests.conftest import Rktpy, need_tool
from tests.support.aci import make_aci
from tests.support.booted import booted

pytestmark = pytest.mark.root

NAME = "example.com/web"
FILES: dict[str, bytes | str | None] = {"/bin/busybox": "/bin/busybox", "/bin/sh": "/bin/busybox"}


@pytest.fixture(autouse=True)
def tools() -> None:
    for tool in ("busctl", "dbus-daemon", "nsenter"):
        need_tool(tool)


def image(target: Path, version: str, script: str) -> Path:
    return make_aci(target, NAME, FILES, exec=["/bin/sh", "-c", f": {version}; {script}"])


def unit(rktpy: Rktpy, path: Path) -> str:
    """The unit as it is generated, for the image at ``path``."""
    text = rktpy("generate", "unit", "--restart=no", "--insecure-options=image", "--net=none", str(path)).stdout
    globals_ = " ".join(f"--{name}={value}" for name, value in directories(rktpy))
    return text.replace(f"{rktpy.launcher} ", f"{rktpy.launcher} {globals_} ")


def directories(rktpy: Rktpy) -> list[tuple[str, str]]:
    return [("dir", str(rktpy.data)), ("local-config", str(rktpy.config)), ("system-config", str(rktpy.system))]


def running(rktpy: Rktpy) -> str:
    """The image of the pod that the unit ran last."""
    uuid = rktpy("list", "--full", "--no-legend").stdout.split("\n")[-2].split("\t")[0]
    document: dict[str, Any] = json.loads(rktpy("cat-manifest", uuid).stdout)
    return str(document["apps"][0]["image"]["id"])


GOOD = "exec /bin/busybox sleep 600"


def test_a_new_image_and_one_that_fails(rktpy: Rktpy, tmp_path: Path) -> None:
    work = tmp_path / "images"
    work.mkdir()
    path = work / "web.aci"
    for number, script in enumerate((GOOD, GOOD, "exit 3", GOOD)):
        image(work / f"{number}.aci", str(number), script)
    path.write_bytes((work / "0.aci").read_bytes())
    update = " ".join(rktpy.argv("update", "--unit=web", "--settle=1s"))
    show = "busybox cat $here/../data/pods/run/*/pod >>$answer; echo >>$answer\n"
    script = f"""
systemctl start web.service
{update} >>$answer
cp {work}/1.aci {path}
{update} >>$answer
{show}
systemctl restart web.service
{show}
cp {work}/2.aci {path}
{update} >>$answer 2>&1 && exit 9
systemctl is-active web.service >>$answer
{show}
systemctl stop web.service
"""
    lines = booted({"web.service": unit(rktpy, path)}, script, tmp_path / "host", timeout=120).splitlines()
    lines = [line for line in lines if not line.startswith("image: warning:")]
    assert lines[0] == "web.service is up to date"
    assert lines[1].startswith(f"web.service: {path}: sha512-") and "(before: sha512-" in lines[1]
    first, second = lines[1].split("before: ")[1][:-1], lines[1].split(": ")[2].split(" ")[0]
    assert [json.loads(lines[index])["apps"][0]["image"]["id"] for index in (2, 3, 6)] == [second, second, second]
    assert first != second
    assert lines[4].startswith("update: web.service: the new image fails: it ")
    assert lines[4].endswith(f"; it runs {second} again")
    assert lines[5] == "active"
    kept = pins.read_pins(str(rktpy.data), "web")
    assert kept == pins.Pins({str(path): second}, {})
    rktpy("image", "gc", "--grace-period=0s")
    (left,) = rktpy("image", "list", "--full", "--no-legend", "--fields=id").stdout.split()
    assert second.startswith(left), "a pinned image is kept"


def test_what_is_not_signed_does_not_touch_the_unit(rktpy: Rktpy, tmp_path: Path) -> None:
    work = tmp_path / "images"
    work.mkdir()
    path = image(work / "web.aci", "0", GOOD)
    text = unit(rktpy, path)
    image(work / "1.aci", "1", GOOD)
    update = " ".join(rktpy.argv("update", "--unit=web", "--settle=0"))
    script = f"""
systemctl start web.service
before=$(systemctl show -P InvocationID web.service)
cp {work}/1.aci {path}
sed -i 's/--insecure-options=image //' $here/units/web.service
systemctl daemon-reload
{update} >>$answer 2>&1 && exit 9
[ "$before" = "$(systemctl show -P InvocationID web.service)" ]
systemctl is-active web.service >>$answer
systemctl stop web.service
"""
    lines = booted({"web.service": text}, script, tmp_path / "host").splitlines()
    assert lines[0].startswith("update: ") and "signature" in lines[0] and lines[1] == "active", lines
    assert pins.read_pins(str(rktpy.data), "web") is None


def test_units_that_cannot_be_updated(rktpy: Rktpy, tmp_path: Path) -> None:
    path = image(tmp_path / "web.aci", "0", GOOD)
    plain = unit(rktpy, path).replace("--pins=%N", "--strict")
    script = "".join(
        " ".join(rktpy.argv("update", f"--unit={name}")) + " >>$answer 2>&1 && exit 9\n" for name in ("plain", "other", "none")
    )
    units = {"plain.service": plain, "other.service": "[Service]\nExecStart=/bin/true"}
    lines = booted(units, script + ":\n", tmp_path / "host").splitlines()
    assert lines == [
        "update: plain.service does not run its images by --pins=plain: write it with rktpy generate unit, or as a file of"
        " rktpy-unit(5)",
        "update: other.service does not run rktpy but /bin/true",
        "update: there is no unit none.service (not-found)",
    ]


def test_a_trial_counts_only_while_its_update_lives(tmp_path: Path) -> None:
    from rktpy.stage0.options import AppOptions

    data = str(tmp_path)
    apps = (AppOptions("ref"), AppOptions("sha512-x"))
    with pins.lock_pins(data, "web"):
        pins.write_pins(data, "web", pins.Pins({"ref": "old"}, {"ref": "new"}))
        code = (
            "from rktpy.units.pins import pinned; from rktpy.stage0.options import AppOptions\n"
            f"print(pinned({data!r}, 'web', (AppOptions('ref'),))[0].image)"
        )
        seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert seen == "new\n"
    assert [one.image for one in pins.pinned(data, "web.service", apps)] == ["old", "sha512-x"]
    assert pins.all_pinned(data) == {"old", "new"}
