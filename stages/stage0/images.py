"""From a reference to a stored image that may run: the place where fetch, trust and store meet.

``find_or_fetch`` follows rkt's order (rkt 1.30, ``rkt/image``): an image ID is looked up in the store, a file is always read,
names and URLs are looked up in the store unless the pull policy is ``update``, and fetched unless it is ``never``. Whatever way
an image came, the trust decision is asked about it and about everything it depends on; at the start of a pod it is asked once
more, offline, from the evidence kept beside the image (:func:`recheck`).

Hot-path module: fetching is imported by the function that needs it.
"""

from __future__ import annotations

import os
import time

from rktpy.errors import ConfigError, FormatError, NotFoundError, TrustError
from rktpy.fetch import reference as references
from rktpy.fetch.reference import AppReference, ImageIDReference, Reference, URLReference, parse_reference
from rktpy.formats import jsondoc
from rktpy.formats.aci.types import NameValue
from rktpy.log import debug
from rktpy.store.dependencies import MissingDependency, order
from rktpy.trust.decision import ACCEPTED, INSECURE_IMAGE, OPENPGP, Decision, Image, SignatureFact, decide

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.pod import PodManifest
    from rktpy.stage0.kept_evidence import KeptEvidence
    from rktpy.stage0.options import FetchOptions, Globals
    from rktpy.store.image_record import ImageRecord
    from rktpy.store.store import Store
    from rktpy.trust.keystore import Keystore

#: uname's machine -> appc's arch label (appc/spec ``schema/types/labels.go``).
_ARCHES = {"x86_64": "amd64", "i686": "i386", "i586": "i386", "ppc64": "ppc64", "ppc64le": "ppc64le", "s390x": "s390x"}

_HEX = "0123456789abcdef"

#: What the pull policy ``never`` is about; local files and layouts are always read.
_REMOTE = (URLReference, AppReference, references.DockerReference)
#: References that are names of OCI images to a policy.
_OCI = (
    references.DockerReference,
    references.LayoutReference,
    references.OCIArchiveReference,
    references.DockerArchiveReference,
)

_UNFETCHED = (
    "either image was not found in the store or store was disabled and fetching from remote yielded nothing or it was disabled"
)


def host_arch() -> str:
    """The appc ``arch`` label of this machine."""
    machine = os.uname().machine
    return _ARCHES.get(machine, machine)


def with_host_defaults(labels: tuple[NameValue, ...]) -> tuple[NameValue, ...]:
    """``labels`` with ``os`` and ``arch`` of this machine where they are missing, as rkt asks for images by name."""
    names = [label.name for label in labels]
    added = [NameValue(n, v) for n, v in (("os", "linux"), ("arch", host_arch())) if n not in names]
    return (*labels, *added)


def keystore(g: Globals) -> Keystore:
    """The keys that sign ACIs here."""
    from rktpy.trust.keystore import Keystore

    return Keystore(g.system_config, g.local_config)


def find_or_fetch(g: Globals, store: Store, text: str, options: FetchOptions, signature: str = "") -> str:
    """The ID of the stored image that ``text`` means, fetched if need be, accepted by the trust policy.

    ``signature`` is the path of a detached signature to use instead of the one that lies beside the image (``--signature``).
    Raises UsageError, NotFoundError, FetchError, TrustError, StoreError and the errors of the formats.
    """
    reference = parse_reference(text)
    if isinstance(reference, ImageIDReference):
        image_id = _by_id(store, reference.prefix, text)
        debug("image", f"using image from the store with hash {image_id}")
    else:
        found = None if options.pull_policy == "update" else look_up(store, reference)
        if found is not None and options.platform and not _is_for(store, found, options.platform):
            found = None
        if found is None:
            if isinstance(reference, AppReference) and _begins_id(reference.name):
                _by_id(store, reference.name, text)
            if options.pull_policy == "never" and isinstance(reference, _REMOTE):
                raise NotFoundError(f"unable to fetch image from {_kind(reference)} {_quoted(text)}: {_UNFETCHED}")
            from rktpy.stage0.fetching import fetch

            return fetch(g, store, reference, text, options, signature)
        image_id = found
        debug("image", f"using image from local store for {_kind(reference)} {text}")
        _complete(g, store, image_id, options)
    for decision in decisions(g, store, image_id, _logical_name(reference)):
        require(g, decision)
    store.touch(image_id)
    return image_id


def logical_name(text: str) -> str:
    """The name by which a policy speaks of the OCI image that ``text`` refers to; empty for an image ID or an ACI."""
    return _logical_name(parse_reference(text))


def _logical_name(reference: Reference) -> str:
    return reference.text if isinstance(reference, _OCI) else ""


def _complete(g: Globals, store: Store, image_id: str, options: FetchOptions) -> None:
    """Fetch again what has been removed of that on which a stored image depends (rkt, for an image found by name or URL)."""
    if not image_id.startswith("sha512-") or not store.manifest(image_id).dependencies:
        return
    try:
        order(store.layout, image_id)
    except MissingDependency:
        from rktpy.stage0.fetching import fetch_dependencies

        fetch_dependencies(g, store, image_id, options)


def resolve_image(store: Store, text: str) -> str:
    """The ID of the stored image that ``text`` names (ID or prefix, name with labels, reference). Raises NotFoundError."""
    reference = parse_reference(text)
    if isinstance(reference, ImageIDReference):
        return _by_id(store, reference.prefix, text)
    found = look_up(store, reference)
    if found is None and isinstance(reference, AppReference) and not reference.labels and _is_id(reference.name):
        return _by_id(store, reference.name, text)
    if found is None:
        raise NotFoundError(f"cannot find image {_quoted(text)}")
    return found


def look_up(store: Store, reference: Reference) -> str | None:
    """The stored image that was fetched by ``reference`` before, or None. A file is never taken from the store."""
    record: ImageRecord | None = None
    if isinstance(reference, AppReference):
        record = store.find_by_name(reference.name, with_host_defaults(reference.labels))
    elif isinstance(reference, URLReference):
        remote = store.remote(reference.url)
        if remote is not None and remote.image_id in store.image_ids():
            return remote.image_id
    elif isinstance(reference, references.DockerReference):
        record = store.find_by_reference(reference.text)
    return None if record is None else record.id


def decisions(g: Globals, store: Store, image_id: str, name: str = "", *, fresh: bool = False) -> list[Decision]:
    """The trust decision about an image and about each image it depends on, made now from what is stored.

    ``name`` is the reference by which an OCI image was asked for; empty when it was by its ID. With ``fresh`` nothing that is
    remembered of signatures is believed.
    """
    ids = [image_id]
    if image_id.startswith("sha512-") and store.manifest(image_id).dependencies:
        ids = list(dict.fromkeys([step.image_id for step in order(store.layout, image_id)]))
    return [decide_stored(g, store, store.record(one), name, insecure=g.insecure.image, fresh=fresh) for one in ids]


def decide_stored(
    g: Globals, store: Store, record: ImageRecord, name: str = "", *, insecure: bool, fresh: bool = False
) -> Decision:
    """The decision about one stored image.

    An OCI image that is known by several names and asked for by its ID is judged by each of them, the last one first, until one
    accepts it: it came here by each, and was accepted then.
    """
    names: tuple[str, ...] = (record.name,)
    if record.format != "aci" and (name or record.references):
        names = (name,) if name else record.references[::-1]
    index = record.index_digest or ""
    first: Decision | None = None
    for one in names:
        image = Image(record.id, record.format, one, index_digest=index)
        decision = decide_image(g, store, image, record.evidence, insecure=insecure, fresh=fresh)
        if decision.verdict == ACCEPTED:
            return decision
        first = first or decision
    assert first is not None
    return first


def decide_image(
    g: Globals,
    store: Store,
    image: Image,
    evidence: tuple[dict[str, Any], ...],
    *,
    insecure: bool,
    kept: KeptEvidence | None = None,
    fresh: bool = False,
) -> Decision:
    """The decision about an image by the ``evidence`` at hand (as in its record; ``kept`` is what a pod has of it)."""
    now = int(time.time())
    if insecure:
        return decide(image, (), (), states={}, insecure_image=True, now=now)
    path = policy_path(g)
    if path:
        from rktpy.stage0.policy_decisions import decide_by_policy

        decision = decide_by_policy(g, store, path, image, evidence, now, kept=kept, fresh=fresh)
        if decision is not None:
            return decision
    if image.format != "aci":
        return decide(image, (), (), states={}, insecure_image=False, now=now)
    from rktpy.stage0.signing_keys import key_states

    facts = tuple([SignatureFact.from_dict(one) for one in evidence if one.get("family") == OPENPGP])
    store_of_keys = keystore(g)
    keys = store_of_keys.keys_for(image.name)
    states = key_states(store.layout, store_of_keys, keys, [fact.signer for fact in facts], fresh=fresh)
    return decide(image, facts, keys, states=states, insecure_image=False, now=now)


def policy_path(g: Globals) -> str:
    """The policy.json that counts: ``--trust-policy``, or the first of the user's, the machine's and the system's; or empty.

    A link that leads nowhere is not passed over: what somebody put there would be left out in silence. Raises ConfigError.
    """
    if g.trust_policy:
        return g.trust_policy
    for directory in (g.user_config, g.local_config, g.system_config):
        if directory:
            try:
                os.lstat(f"{directory}/policy.json")
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise ConfigError("cannot get the trust policy") from error
            return f"{directory}/policy.json"
    return ""


def judge_name(g: Globals, name: str) -> None:
    """Refuse an OCI image by its name alone, before anything of it is fetched. Raises TrustError."""
    path = policy_path(g)
    try:
        if path and not g.insecure.image:
            from rktpy.stage0.policy_decisions import judge_name as judge

            judge(path, "oci", name, int(time.time()))
        else:
            decide(Image("", "oci", name), (), (), states={}, insecure_image=g.insecure.image, now=0).require()
    except TrustError as error:
        if isinstance(error.decision, Decision):
            explain(g, [error.decision])
        raise


def aci_signature_needed(g: Globals, name: str = "") -> bool:
    """Whether no policy lets an ACI in without a detached signature. ``name`` is empty as long as it is not known."""
    path = policy_path(g)
    if not path:
        return True
    from rktpy.stage0.policy_decisions import aci_signature_needed as needed

    return needed(path, name)


def own_aci_keys(g: Globals, name: str) -> tuple[bytes, ...]:
    """The files of the keys that the policy itself names for an ACI."""
    path = policy_path(g)
    if not path:
        return ()
    from rktpy.stage0.policy_decisions import aci_keys

    return aci_keys(path, name)


def require(g: Globals, decision: Decision) -> None:
    """Raise TrustError unless the image was accepted; with ``--explain`` the refusal is shown first."""
    if decision.verdict != ACCEPTED:
        explain(g, [decision])
        decision.require()


def explain(g: Globals, made: list[Decision]) -> None:
    """With ``--explain``, show decisions on standard error."""
    if g.explain:
        from rktpy.stage0.explain import show

        show(made)


def trust_document(apps: dict[str, list[Decision]]) -> bytes:
    """The pod's ``trust`` file: for each app the decisions about its image and what that depends on."""
    return jsondoc.dump({"apps": {name: [decision.to_dict() for decision in made] for name, made in apps.items()}})


def recheck(g: Globals, store: Store, pod: PodManifest, previous: bytes | None) -> bytes:
    """Ask the policy again for every app of a pod that is about to start; return the pod's new ``trust`` file.

    ``previous`` is the file that was written when the pod was prepared. It tells of which images the apps' trees were made:
    those are judged, not what the dependencies would lead to now. An image that the user allowed by name then stays allowed
    for this pod. An image that has been removed from the store since is judged by the evidence that the file has of it. Raises
    TrustError.
    """
    before = judged_before(previous)
    made: dict[str, list[Decision]] = {}
    for app in pod.apps:
        judged = before.get(app.name, {})
        if app.image.id not in judged:
            made[app.name] = decisions(g, store, app.image.id)
        else:
            insecure = g.insecure.image or judged[app.image.id]["allowedBy"] == INSECURE_IMAGE
            made[app.name] = [decide_again(g, store, one, insecure=insecure) for one in judged.values()]
        for decision in made[app.name]:
            require(g, decision)
        explain(g, made[app.name])
    return trust_document(made)


def decide_again(g: Globals, store: Store, before: dict[str, Any], *, insecure: bool) -> Decision:
    """The decision about an image of a pod, by its record or else by the decision ``before``, as the pod's ``trust`` file has it.

    Raises NotFoundError when neither is there, FormatError when the file is damaged.
    """
    image = Image.from_dict(before["image"])
    try:
        record = store.record(image.id)
    except NotFoundError:
        if "signatures" not in before:
            raise
        if "evidence" not in before:
            return decide_image(g, store, image, tuple(before["signatures"]), insecure=insecure)
        from rktpy.stage0.kept_evidence import read_kept

        kept = read_kept(before["evidence"])
        return decide_image(g, store, image, kept.evidence, insecure=insecure, kept=kept)
    return decide_stored(g, store, record, image.name if image.format != "aci" else "", insecure=insecure)


def judged_before(previous: bytes | None) -> dict[str, dict[str, dict[str, Any]]]:
    """By app and image ID, the decisions about the images of a prepared pod."""
    if previous is None:
        return {}
    what = "trust decision of the pod"
    document = jsondoc.parse_object(previous, what)
    try:
        apps: dict[str, list[dict[str, Any]]] = document["apps"]
        judged = {name: {one["image"]["id"]: one for one in made} for name, made in apps.items()}
        if all(_is_decision(one) for made in judged.values() for one in made.values()):
            return judged
    except (KeyError, TypeError, AttributeError):
        pass
    raise FormatError(what, "apps", "is not a trust document")


def _is_decision(one: dict[str, Any]) -> bool:
    try:
        Image.from_dict(one["image"])
    except FormatError:
        return False
    signatures: list[dict[str, Any]] = one.get("signatures", [])
    return type(one.get("allowedBy")) is str and {type(signature) for signature in signatures} <= {dict}


def _is_for(store: Store, image_id: str, platform: str) -> bool:
    """Whether a stored image is one for ``platform`` (``os/architecture[/variant]``)."""
    from rktpy.formats.conversion import appc_arch
    from rktpy.formats.oci.platform import parse_platform

    wanted = parse_platform(platform)
    record = store.record(image_id)
    return (record.label("os"), record.label("arch")) == (
        wanted.os,
        appc_arch(wanted.os, wanted.architecture, wanted.variant),
    )


def _by_id(store: Store, prefix: str, text: str) -> str:
    try:
        return store.resolve_id(prefix)
    except NotFoundError as error:
        raise NotFoundError(f"could not resolve image {_quoted(text)}") from error


def _kind(reference: Reference) -> str:
    if isinstance(reference, AppReference):
        return "image name"
    if isinstance(reference, references.DockerReference | URLReference):
        return "url"
    return "reference"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _is_id(text: str) -> bool:
    return (len(text) >= 2 and not text.strip(_HEX)) or _begins_id(text)


def _begins_id(text: str) -> bool:
    """Whether ``text`` is an image ID of which only one digit is given: too few to be looked for, but no name either."""
    return text[:7] in ("sha512-", "sha256-") and len(text) == 8 and text[7] in _HEX
