"""Which images would be refused by today's keys and policy: those in the store, or those that pods run from.

What was allowed by ``--insecure-options=image`` is judged like everything else, and it is said that it was. Cold-path module.
"""

from __future__ import annotations

from rktpy.errors import RktpyError, innermost
from rktpy.record import Record
from rktpy.stage0 import images, pods
from rktpy.stage0.pod_files import TRUST_FILE
from rktpy.stage0.pod_states import RUNNING
from rktpy.store.store import Store
from rktpy.trust.decision import ACCEPTED, INSECURE_IMAGE, UNDECIDED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage0.options import Globals
    from rktpy.stage0.pods import Pod


class Refused(Record):
    """An image that would not start: ``subject`` says which, in which pod; ``verdict`` and ``reason`` are the decision's."""

    subject: str
    verdict: str
    reason: str


class Rechecked(Record):
    """How many images were looked at, and those that are refused."""

    count: int
    refused: tuple[Refused, ...]


def recheck_images(g: Globals) -> Rechecked:
    """Judge every stored image. Raises StoreError, ConfigError."""
    store = Store(g.data_dir, create=False)
    refused: list[Refused] = []
    ids = store.image_ids()
    for image_id in ids:
        try:
            record = store.record(image_id)
            decision = images.decide_stored(g, store, record, insecure=g.insecure.image)
        except RktpyError as error:
            refused.append(Refused(image_id, UNDECIDED, innermost(error)))
            continue
        if decision.verdict != ACCEPTED:
            refused.append(Refused(f"{image_id} ({decision.image.name})", decision.verdict, decision.reason))
    return Rechecked(len(ids), tuple(refused))


def recheck_pods(g: Globals) -> Rechecked:
    """Judge every image of every running pod. Raises StoreError, ConfigError."""
    store = Store(g.data_dir, create=False)
    count = 0
    refused: list[Refused] = []
    for pod in pods.walk(g.data_dir):
        if pod.state == RUNNING:
            many, found = _recheck_pod(g, store, pod)
            count += many
            refused += found
    return Rechecked(count, tuple(refused))


def _recheck_pod(g: Globals, store: Store, pod: Pod) -> tuple[int, list[Refused]]:
    try:
        judged = images.judged_before(pod.read_optional(TRUST_FILE))
    except (RktpyError, OSError) as error:
        return 1, [Refused(f"pod {pod.uuid}", UNDECIDED, innermost(error))]
    count = 0
    refused: list[Refused] = []
    for app, made in judged.items():
        for image_id, before in made.items():
            count += 1
            subject = f"pod {pod.uuid}, app {app}, {image_id} ({before['image']['name']})"
            let_in = f" (it was let in by {INSECURE_IMAGE})" if before["allowedBy"] == INSECURE_IMAGE else ""
            try:
                decision = images.decide_again(g, store, before, insecure=g.insecure.image)
            except RktpyError as error:
                refused.append(Refused(subject, UNDECIDED, innermost(error) + let_in))
                continue
            if decision.verdict != ACCEPTED:
                refused.append(Refused(subject, decision.verdict, decision.reason + let_in))
    return count, refused
