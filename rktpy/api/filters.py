"""Which pods and images a list request wants.

Within one filter every field that is set must be satisfied; of several filters one is enough; without filters everything is
wanted. Source: rkt 1.30 ``rkt/api_service.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def wants_pod(filters: Iterable[Any], pod: Any) -> bool:
    """Whether one of the ``PodFilter`` s is satisfied by the ``Pod``, or there is none."""
    chosen = list(filters)
    return not chosen or any(_pod_satisfies(pod, one) for one in chosen)


def wants_image(filters: Iterable[Any], image: Any) -> bool:
    """Whether one of the ``ImageFilter`` s is satisfied by the ``Image``, or there is none."""
    chosen = list(filters)
    return not chosen or any(_image_satisfies(image, one) for one in chosen)


def _pod_satisfies(pod: Any, wanted: Any) -> bool:
    return (
        (not wanted.ids or pod.id in wanted.ids)
        and (not wanted.states or pod.state in wanted.states)
        and {app.name for app in pod.apps}.issuperset(wanted.app_names)
        and {app.image.id for app in pod.apps}.issuperset(wanted.image_ids)
        and {network.name for network in pod.networks}.issuperset(wanted.network_names)
        and _has_all(pod.annotations, wanted.annotations)
        and (not wanted.cgroups or pod.cgroup in wanted.cgroups)
        and (
            not wanted.pod_sub_cgroups
            # Without a cgroup the pod is in none of them, although the empty text begins every one.
            or (bool(pod.cgroup) and any(group.startswith(pod.cgroup) for group in wanted.pod_sub_cgroups))
        )
    )


def _image_satisfies(image: Any, wanted: Any) -> bool:
    name: str = image.name
    return (
        (not wanted.ids or image.id in wanted.ids)
        and (not wanted.full_names or name in wanted.full_names)
        and (not wanted.prefixes or name.startswith(tuple(wanted.prefixes)))
        and (not wanted.base_names or name.rpartition("/")[2] in wanted.base_names)
        and (not wanted.keywords or any(keyword in name for keyword in wanted.keywords))
        and (wanted.imported_after <= 0 or image.import_timestamp > wanted.imported_after)
        and (wanted.imported_before <= 0 or image.import_timestamp < wanted.imported_before)
        and _has_all(image.labels, wanted.labels)
        and _has_all(image.annotations, wanted.annotations)
    )


def _has_all(pairs: Iterable[Any], wanted: Iterable[Any]) -> bool:
    found: dict[str, str] = {}
    for pair in pairs:
        found.setdefault(pair.Key, pair.value)
    return all(found.get(pair.Key) == pair.value for pair in wanted)
