"""The limit of a pod's traffic (``resource/network-bandwidth``): it is the network's plugins that put it into force.

Source: appc/spec 0.8.11 ``spec/ace.md`` (Isolators). Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.aci.isolators import NETWORK_BANDWIDTH_NAME, NetworkBandwidth, last_of_each
from rktpy.formats.stage1 import Enforcement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.pod import PodManifest
    from rktpy.isolate.pod_app import PodApp
    from rktpy.net.bandwidth import Bandwidth

#: Why a limit of one app's is in force otherwise than it asks for.
SHARED = "it counts for all apps of the pod together"


def wanted_bandwidth(manifest: PodManifest, apps: tuple[PodApp, ...]) -> tuple[Bandwidth | None, str]:
    """The limit of the pod's traffic, and the app that asks for it (empty: the pod)."""
    found: tuple[int, str] | None = None
    for name, isolators in [("", manifest.isolators), *[(app.name, app.app.isolators) for app in apps]]:
        for isolator in last_of_each(isolators):
            parsed = isolator.parsed
            if isinstance(parsed, NetworkBandwidth) and parsed.limit is not None and (found is None or parsed.limit < found[0]):
                found = (parsed.limit, name)
    if found is None:
        return None, ""
    from rktpy.net.bandwidth import Bandwidth

    return Bandwidth(found[0], found[0]), found[1]


def bandwidth_report(manifest: PodManifest, apps: tuple[PodApp, ...], unlimited: tuple[str, ...] | None) -> list[Enforcement]:
    """The report about the limit of traffic; ``unlimited`` are the networks without it, None when the pod has none of its own."""
    limit, app = wanted_bandwidth(manifest, apps)
    if limit is None:
        return []
    if unlimited is None:
        return [Enforcement(NETWORK_BANDWIDTH_NAME, app, "ignored", "the pod has no network of its own")]
    if unlimited:
        reason = f"not in force in {', '.join(unlimited)}"
        return [Enforcement(NETWORK_BANDWIDTH_NAME, app, "changed", reason)]
    shared = app and len(apps) > 1
    return [Enforcement(NETWORK_BANDWIDTH_NAME, app, "changed" if shared else "enforced", SHARED if shared else "")]
