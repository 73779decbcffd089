"""What is written into a pod's directory before its first process exists. Hot-path module."""

from __future__ import annotations

import os

from rktpy.cgroup.delegation import systemd_runs
from rktpy.formats import stage1 as names
from rktpy.isolate.pod_app import write_file
from rktpy.stage1.systemd.app_units import NO_FAILURE, status_script
from rktpy.stage1.systemd.pod import NAMES_FILE
from rktpy.stage1.systemd.pod_paths import FIRST_FAILURE, STATUS_SCRIPT, UNITS_DIR
from rktpy.stage1.systemd.pod_units import journald_conf, pod_units
from rktpy.stage1.systemd.streams import KUBERNETES_LOGS, PROGRAMS_DIR, mux_programs, uses_mux
from rktpy.stage1.systemd.unit_text import unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.pod.pod import Pod

_HOSTS_IPV6 = "::1\tlocalhost ip6-localhost ip6-loopback\n"
_DIRECTORIES = (
    "etc",
    "etc/systemd",
    "etc/systemd/system",
    "etc/pam.d",
    "rkt",
    "rkt/kernel",
    names.STATUS_DIR,
    names.ENV_DIR,
    names.IOMUX_DIR,
    "rkt/kubernetes",
    KUBERNETES_LOGS,
    "opt",
    names.STAGE2_DIR,
    "var",
    "var/log",
    "var/log/journal",
)


def write_pod_files(pod: Pod, programs: str, started: tuple[str, ...]) -> None:
    """Write the files of the pod's root, but for the apps' units. ``started`` are the units to start. Raises OSError."""
    root = names.STAGE1_ROOTFS
    # Apps' streams are connected to the journal's socket as the app's user. The pod's directory above stays closed to others.
    os.chmod(root, 0o755)
    for directory in (*_DIRECTORIES, f"var/log/journal/{pod.machine_id}"):
        try:
            os.mkdir(f"{root}/{directory}", 0o755)
        except FileExistsError:
            pass
    texts = {
        "etc/machine-id": f"{pod.machine_id}\n",
        "etc/hostname": f"{pod.hostname}\n",
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
        "etc/group": "root:x:0:\ntty:x:5:\n",
        "etc/systemd/journald.conf": journald_conf(lines=not pod.interactive, debug=pod.debug),
        # Limits are those of the apps and of the pod, not systemd's own.
        "etc/systemd/system.conf": unit(("Manager", (("DefaultTasksMax", "infinity"), ("DefaultMemoryAccounting", "no")))),
        names.HOSTS_FALLBACK: f"127.0.0.1\tlocalhost localhost.localdomain {pod.hostname}\n{_HOSTS_IPV6}",
        STATUS_SCRIPT: status_script(),
        FIRST_FAILURE: NO_FAILURE,
        NAMES_FILE: f"{pod.names.resolv} {pod.names.hosts}\n",
    }
    if pod.names.resolv == "default":
        texts[names.RESOLV_CONF] = ""  # the network fills it, in place
    units: dict[str, str] = {}
    others: tuple[str, ...] = ()
    if pod.watchdog_usec or systemd_runs():
        from rktpy.stage1.systemd.host_units import bus_files, has_bus, host_units, make_way_to_bus

        apps = tuple([app.name for app in pod.apps])
        units, others = host_units(pod.watchdog_usec, apps)
        if has_bus(apps):
            texts.update(bus_files())
            make_way_to_bus(root)
    units.update(pod_units(programs, started, others))
    texts.update({f"{UNITS_DIR}/{name}": text for name, text in units.items()})
    for path, text in texts.items():
        write_text(f"{root}/{path}", text)
    if any(uses_mux(app) for app in pod.apps):
        write_mux_programs(root)


def write_mux_programs(root: str) -> None:
    """Copy what multiplexers need into a pod's root. Raises OSError."""
    directory = f"{root}/{PROGRAMS_DIR}"
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        pass
    for name, data in mux_programs().items():
        if not os.path.exists(f"{directory}/{name}"):
            write_file(f"{directory}/{name}", data)


def write_text(path: str, text: str) -> None:
    """Write a small file for everybody to read, where nobody reads yet. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, text.encode("utf-8", "surrogateescape"))
    finally:
        os.close(fd)
