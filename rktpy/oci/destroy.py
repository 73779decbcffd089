"""Taking a container away that has ended. Hot-path module."""

from __future__ import annotations

from rktpy.errors import RktpyError
from rktpy.oci.messages import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.oci.runtime.config import RuntimeConfig
    from rktpy.oci.container import Container


def destroy(container: Container, config: RuntimeConfig | None = None) -> None:
    """Kill what is left of it, remove its groups and its state, run the poststop hooks. Raises OSError, TimeoutError."""
    groups = container.groups
    try:
        groups.remove_or_kill()
    finally:
        scope = container.state.get("scope")
        if scope:
            from rktpy.oci.scope import stop_scope

            stop_scope(str(scope))
    if config is None and _may_have_hooks(container):
        try:
            config = container.config()
        except (OSError, RktpyError):
            config = None
    container.remove()
    hooks = config.hooks.get("poststop") if config is not None else None
    if hooks:
        from rktpy.oci.hooks import run_hooks

        state = container.hook_document("stopped")
        for hook in hooks:
            try:
                run_hooks("poststop", (hook,), state, str(container.state.get("bundle", "")))
            except RktpyError as error:
                warn(str(error))  # the others run all the same (lifecycle of the runtime specification)


def _may_have_hooks(container: Container) -> bool:
    try:
        with open(f"{container.directory}/config.json", "rb", buffering=0) as file:
            return b"poststop" in (file.readall() or b"")
    except OSError:
        return False
