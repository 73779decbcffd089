"""The system call filter of a container's configuration. Hot-path module."""

from __future__ import annotations

from rktpy.isolate.process import Seccomp
from rktpy.isolate.seccomp_profile import compile_profile
from rktpy.oci.failure import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.oci.runtime.config import RuntimeConfig
    from rktpy.oci.setup import Setup


def compile_filter(setup: Setup, config: RuntimeConfig) -> None:
    """Compile it for the process of ``setup``. Raises RktpyError."""
    assert config.linux.seccomp is not None
    compiled = compile_profile(config.linux.seccomp)
    if compiled.notifies and not config.linux.seccomp.listener_path:
        raise RuntimeFailure("seccomp: SCMP_ACT_NOTIFY needs a listenerPath")
    setup.seccomp, setup.filter_flags, setup.agent = Seccomp(compiled.program), compiled.flags, compiled.notifies
