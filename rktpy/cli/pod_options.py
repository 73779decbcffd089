"""The flags that ``run`` and ``prepare`` share, as the record for stage0. Hot-path module."""

from __future__ import annotations

from rktpy.cli import images
from rktpy.cli.pull import fetch_options
from rktpy.formats.aci.types import NameValue
from rktpy.stage0.options import PodOptions, Stage1Choice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def pod_options(arguments: Arguments) -> PodOptions:
    """What the pod shall be. Raises :class:`UsageError` when the flags contradict one another."""
    fetch = fetch_options(arguments)
    named = images.of(arguments)
    return PodOptions(
        apps=named.apps(),
        volumes=tuple(arguments.volumes),
        mounts=tuple(named.mounts),
        ports=tuple(arguments.ports),
        inherit_env=arguments.switch("inherit-env"),
        environment=tuple([NameValue(name, value) for name, value in arguments.pairs.get("set-env", {}).items()]),
        env_files=arguments.repeated("set-env-file"),
        no_overlay=arguments.switch("no-overlay"),
        private_users=arguments.switch("private-users"),
        pod_manifest=arguments.text("pod-manifest"),
        stage1=stage1_choice(arguments),
        fetch=fetch,
        strict=arguments.switch("strict"),
    )


def stage1_choice(arguments: Arguments) -> Stage1Choice:
    """Which stage1 was asked for; the parser has seen to it that it is one at most."""
    return Stage1Choice(
        bundled=arguments.text("stage1"),
        path=arguments.text("stage1-path"),
        url=arguments.text("stage1-url"),
        name=arguments.text("stage1-name"),
        hash=arguments.text("stage1-hash"),
        from_dir=arguments.text("stage1-from-dir"),
        oci_runtime=arguments.text("oci-runtime"),
    )
