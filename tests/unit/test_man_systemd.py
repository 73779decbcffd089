"""rktpy-systemd(7) says what stage1-systemd does, as far as that can be checked by machine."""

from __future__ import annotations

from rktpy.cli import flags
from rktpy.formats import stage1
from rktpy.formats.aci import isolators
from rktpy.isolate.mounts import MaskPath, Mknod, RemountReadonly, Symlink
from rktpy.isolate.seccomp_names import DEFAULT_SET
from rktpy.pod.pod import Sharing
from rktpy.stage0.stage1_image import BUNDLED, DEFAULT
from rktpy.stage1.systemd import pod_units
from rktpy.stage1.systemd.pod_root import KERNEL_PROC, KERNEL_SYS, device_nodes, pod_root
from tests.unit.test_man_formats import TEXTS, WORDS, constants, mentions

PAGE = "rktpy-systemd"
#: rktpy-oci is the low-level runtime.
PAGES = {"oci": "rktpy-stage1-oci"}


def test_systemd_isolators() -> None:
    for name in {value for name, value in constants(isolators).items() if name.endswith("_NAME")}:
        assert mentions(PAGE, name), name
    assert DEFAULT_SET in WORDS[PAGE]


def test_systemd_options() -> None:
    """Every flag of a pod or an app is dealt with, and what can be switched off."""
    table = (*flags.APP, *flags.ISOLATORS, *flags.STREAMS, *flags.POD, *flags.NETWORK, *flags.STRICT)
    for flag in table:
        if flag[0] not in flags.DEPRECATED:
            assert mentions(PAGE, f"--{flag[0]}"), flag[0]
    for word in ("capabilities", "paths", "seccomp"):
        assert mentions(PAGE, word)


def test_systemd_units() -> None:
    for name in (
        *pod_units.pod_units("/lib/systemd", ()),
        *[service.removesuffix(".service") for service in pod_units.OWN_SERVICES],
    ):
        known = "its sockets" if name.startswith("systemd-journald") and name.endswith(".socket") else name
        assert mentions(PAGE, known), name
    for name in ("APP.service", "handlers@APP.service", "failed@APP.service", "iomux@APP.service", "APP@PORT.socket"):
        assert name in WORDS[PAGE], name


def test_systemd_protected_paths_and_devices() -> None:
    """What the plan of a pod's root hides and makes read-only, and what the plan of an app's /dev has."""

    def listed(after: str) -> list[str]:
        return [word.strip() for word in after.partition(".")[0].split(",")] if after else []

    # Names of files have dots in them, ends of sentences a blank behind.
    words = WORDS[PAGE].replace("config.gz", "config-gz")
    of_proc, of_sys = words.partition(".TP /proc ")[2], words.partition(".TP /sys ")[2]
    read_only: set[str] = set()
    hidden: dict[str, set[str]] = {KERNEL_PROC: set(), KERNEL_SYS: set()}
    for operation in pod_root((), terminal="t", console="", protect=True, sharing=Sharing()):
        if isinstance(operation, RemountReadonly) and operation.target.startswith(KERNEL_PROC):
            read_only.add(operation.target.removeprefix(f"{KERNEL_PROC}/"))
        elif isinstance(operation, MaskPath):
            top = KERNEL_PROC if operation.target.startswith(KERNEL_PROC) else KERNEL_SYS
            hidden[top].add(operation.target.removeprefix(f"{top}/").replace("config.gz", "config-gz"))
    assert set(listed(of_proc.partition("Read-only: ")[2])) == read_only and len(read_only) > 3
    assert set(listed(of_proc.partition("Hidden: ")[2])) == hidden[KERNEL_PROC]
    assert set(listed(of_sys.partition("Hidden: ")[2])) == hidden[KERNEL_SYS]
    for node in device_nodes("/dev"):
        assert isinstance(node, (Mknod, Symlink))
        assert mentions(PAGE, node.target.removeprefix("/dev/")), node.target


def test_systemd_promises() -> None:
    """Numbers and words that the page repeats."""
    assert "SystemMaxUse=256M" in pod_units.journald_conf(lines=True, debug=False) and "256 MB" in WORDS[PAGE]
    for name in (stage1.LOG_MODE, stage1.KUBERNETES_LOG_DIR, stage1.KUBERNETES_LOG_PATH, stage1.SUPPORTS_NOTIFY):
        assert name in WORDS[PAGE], name
    assert DEFAULT == "systemd" and {PAGES.get(name, f"rktpy-{name}") for name in BUNDLED} <= set(TEXTS)
