"""``rktpy generate unit``: a unit that systemd takes, that runs what the command line would have run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from rktpy.units.unit_file import Setting, words
from tests.conftest import Rktpy, need_tool
from tests.support.booted import booted
from tests.unit.test_generator import generator_program

pytestmark = pytest.mark.root

NAME = "example.com/busybox:1"


def command(text: str) -> list[str]:
    (line,) = [line for line in text.replace(" \\\n", " ").split("\n") if line.startswith("ExecStart=:")]
    return [word.replace("%%", "%") for word in words(Setting("Service", "ExecStart", line.removeprefix("ExecStart=:"), "", 0))]


def test_options_of_run_are_carried_over(stored: Rktpy, busybox_images: Path, tmp_path: Path) -> None:
    need_tool("systemd-analyze")
    text = stored(
        "generate", "unit", "--restart=always", "--wanted-by", "default.target", "--insecure-options=image", "--net", "none",
        "--set-env=A=100%", NAME, "--name=one", "--memory=64M", "--exec", "/bin/sh", "--", "-c", "echo $A; exit 0", "---",
        str(busybox_images / "busybox.aci"), "--name", "two", "--", "--restart=no",
    ).stdout  # fmt: skip
    argv = command(text)
    assert argv[0] == str(stored.launcher)
    assert argv[1:4] == ["run", "--pins=%N", "--uuid-file-save=%t/%N.rktpy-uuid"]
    assert argv[4:] == [
        f"--dir={stored.data}", f"--local-config={stored.config}", f"--system-config={stored.system}",
        "--insecure-options=image", "--net", "none", "--set-env=A=100%", NAME, "--name=one", "--memory=64M",
        "--exec", "/bin/sh", "--", "-c", "echo $A; exit 0", "---", str(busybox_images / "busybox.aci"), "--name", "two",
        "--", "--restart=no",
    ]  # fmt: skip
    assert "Restart=always\n" in text and text.endswith("[Install]\nWantedBy=default.target\n")
    path = tmp_path / "web.service"
    path.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_local_images_get_absolute_paths(rktpy: Rktpy, busybox_images: Path) -> None:
    text = rktpy("generate", "unit", "busybox.aci", "--", "busybox.aci", cwd=busybox_images).stdout
    assert command(text)[-3:] == [str(busybox_images / "busybox.aci"), "--", "busybox.aci"]
    text = rktpy("generate", "unit", "oci:busybox-oci:1", cwd=busybox_images).stdout
    assert command(text)[-1] == f"oci:{busybox_images}/busybox-oci:1"


def test_a_pod_by_its_manifest(stored: Rktpy, tmp_path: Path) -> None:
    uuid = stored("prepare", "--quiet", "--insecure-options=image", NAME, "--exec=/bin/echo", "--", "again").stdout.strip()
    assert "say with --manifest-file=FILE" in stored("generate", "unit", uuid, status=254).stderr
    kept = tmp_path / "web.json"
    text = stored("generate", "unit", f"--manifest-file={kept}", "--insecure-options=image", "--net=none", uuid).stdout
    argv = command(text)
    assert argv[-1] == f"--pod-manifest={kept}"
    assert json.loads(kept.read_text())["apps"][0]["app"]["exec"] == ["/bin/echo", "again"]
    ran = subprocess.run(
        [word.replace("%t/%N", f"{tmp_path}/x").replace("%N", "x") for word in argv], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0 and "again" in ran.stdout, ran
    assert "file exists" in stored("generate", "unit", f"--manifest-file={kept}", uuid, status=254).stderr


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ((), "must provide at least one image"),
        (("--type=forking", NAME), "--type must be one of notify, exec"),
        (("--restart=sometimes", NAME), "--restart must be one of"),
        (("--manifest-file=/x", NAME), "--manifest-file is for the UUID of a pod"),
        (("--mount=volume=v,target=/x", NAME), "dangling mount point"),
        (("--description=a\nExecStart=/bin/false", NAME), "--description cannot have a line break"),
    ],
)
def test_what_makes_no_unit(rktpy: Rktpy, args: tuple[str, ...], problem: str) -> None:
    done = rktpy("generate", "unit", *args, status=254)
    assert problem in done.stderr and "[Unit]" not in done.stdout


def test_a_described_pod_runs_on_a_host(stored: Rktpy, tmp_path: Path) -> None:
    """The generator is systemd's: at boot and at daemon-reload; WantedBy= starts the service."""
    for tool in ("dbus-daemon", "nsenter"):
        need_tool(tool)
    files, generators = tmp_path / "files", tmp_path / "generators"
    files.mkdir()
    generators.mkdir()
    flags = f"--dir={stored.data} --local-config={stored.config} --system-config={stored.system} --insecure-options=image"
    (files / "one.app").write_text(
        f"[App]\nImage={NAME}\nPod=both.pod\nEntrypoint=/bin/sh\nExec=-c 'echo said; exec sleep 600'\n"
    )
    (files / "two.app").write_text(f"[App]\nImage={NAME}\nPod=both.pod\nEntrypoint=/bin/sleep\nExec=600\nReadOnly=yes\n")
    (files / "both.pod").write_text(
        f"[Pod]\nNetwork=none\nRktpyArgs={flags}\n[Unit]\nDefaultDependencies=no\n[Install]\nWantedBy=test-of-pods.target\n"
    )
    program = generator_program(tmp_path, stored.launcher)
    wrapper = generators / "rktpy-system-generator"
    wrapper.write_text(f'#!/bin/sh\nRKTPY_UNIT_DIRS={files} exec {program} "$@"\n')
    wrapper.chmod(0o755)
    script = """
systemctl start test-of-pods.target
until systemctl is-active -q both-pod.service; do sleep 0.1; done
systemctl show -P UnitFileState -P Delegate -P Type both-pod.service >$answer
until journalctl -q --since $since -o cat -u both-pod.service -t one | grep -q said; do sleep 0.1; done
systemctl stop both-pod.service
"""
    answer = booted({"test-of-pods.target": "[Unit]"}, script, tmp_path / "host", generator=str(wrapper)).split()
    assert sorted(answer) == ["generated", "notify", "yes"]
    assert stored("list", "--no-legend").stdout == "", "the service has removed its pod"
