"""rktpy-kvm(7) says what stage1-kvm does, as far as that can be checked by machine."""

from __future__ import annotations

from rktpy.cli import flags
from rktpy.formats.aci import isolators
from rktpy.isolate.protected_paths import HIDDEN_PROC, HIDDEN_SYS, READ_ONLY_PROC
from rktpy.stage1.kvm.machine import OVERHEAD, memory_for
from rktpy.stage1.kvm.settings import ACCELERATORS, Settings
from tests.unit.test_man_formats import WORDS, constants, mentions

PAGE = "rktpy-kvm"


def test_isolators_and_options() -> None:
    for name in {value for name, value in constants(isolators).items() if name.endswith("_NAME")}:
        assert mentions(PAGE, name), name
    for flag in (*flags.APP, *flags.ISOLATORS, *flags.STREAMS, *flags.POD, *flags.NETWORK, *flags.STRICT):
        if flag[0] not in flags.DEPRECATED:
            assert mentions(PAGE, f"--{flag[0]}"), flag[0]


def test_settings() -> None:
    words = WORDS[PAGE]
    defaults = Settings()
    for name in Settings._fields:
        assert f"{name}, RKTPY_KVM_{name.upper()}" in words, name
    for name in ACCELERATORS:
        assert mentions(PAGE, name), name
    assert f"of its own; {defaults.memory} by default" in words and f"they are; {defaults.disk} by default" in words
    assert f"may use and {OVERHEAD} MiB, rounded up to {memory_for(1)}, {memory_for(200)}" in words


def test_protected_paths() -> None:
    for path in (*READ_ONLY_PROC, *HIDDEN_PROC, *HIDDEN_SYS):
        assert mentions(PAGE, path), path
