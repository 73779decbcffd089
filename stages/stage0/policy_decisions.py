"""Asking a policy.json about images: the I/O around :mod:`rktpy.trust.engine`.

The policy is asked at every fetch and every start, about the logical name of an image and from the signatures that are stored
with it. Key files are read each time; what a signature proves with them is remembered (:mod:`rktpy.stage0.signature_facts`).

Hot-path module, imported only where there is a policy.json.
"""

from __future__ import annotations

from rktpy.errors import ConfigError, DigestMismatch, FormatError, NotFoundError, StoreError, TrustUndecided, innermost
from rktpy.formats import openpgp
from rktpy.formats.trust.evidence import FAMILIES, MAX_COUNT, Evidence
from rktpy.formats.trust.policy import MAX_SIZE, parse_policy
from rktpy.formats.trust.requirements import AcceptAnything, KeySource, Notation, Reject, TrustedKeys
from rktpy.formats.trust.scopes import ACI
from rktpy.log import note
from rktpy.stage0.kept_evidence import KeptEvidence, keep
from rktpy.stage0.signature_facts import Facts
from rktpy.store.blobs import hash_of
from rktpy.trust.decision import OPENPGP, Image, SignatureFact
from rktpy.trust.engine import Finding, Findings, decide_by_rule
from rktpy.trust.families import family_of, wanted_evidence
from rktpy.trust.keystore import TrustedKey
from rktpy.trust.policy import RKT_RULE, Rule, rule_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.trust.policy import Policy
    from rktpy.formats.trust.requirements import Requirement
    from rktpy.stage0.options import Globals
    from rktpy.store.store import Store
    from rktpy.trust.decision import Decision, KeyState

# The policy read last, and what it was read from: its path and bytes.
_loaded: list[tuple[str, bytes, Policy]] = []


def load_policy(path: str) -> Policy:
    """The policy in the file ``path``. One that a command asks several times is parsed once. Raises ConfigError."""
    data = _read(path, "trust policy", MAX_SIZE)
    if not _loaded or _loaded[0][:2] != (path, data):
        try:
            _loaded[:] = [(path, data, parse_policy(data, path))]
        except FormatError as error:
            raise ConfigError(str(error)) from None
        for problem in _loaded[0][2].dead:
            note("trust", f"warning: {path}: {problem}")
    return _loaded[0][2]


def find_rule(path: str, image_format: str, name: str) -> Rule:
    """The rule of the policy in ``path`` for an image. Raises ConfigError."""
    return rule_for(load_policy(path), image_format, name)


def judge_name(path: str, image_format: str, name: str, now: int) -> None:
    """Refuse an image whose name alone decides against it. Raises ConfigError, TrustRejected."""
    rule = find_rule(path, image_format, name)
    rejects = tuple([one for one in rule.requirements if isinstance(one, Reject)])
    if rejects:
        nothing = tuple([Findings() for _one in rejects])
        decide_by_rule(Image("", image_format, name), path, Rule(rule.place, rejects), nothing, now)[0].require()


def evidence_wanted(path: str, image_format: str, name: str) -> tuple[str, ...]:
    """The kinds of signatures that the rule for an image can use. Raises ConfigError."""
    return wanted_evidence(find_rule(path, image_format, name).requirements)


def aci_signature_needed(path: str, name: str) -> bool:
    """Whether an ACI cannot be accepted without a detached signature. ``name`` is empty when it is not known yet.

    Raises ConfigError.
    """
    policy = load_policy(path)
    if name:
        rules = [rule_for(policy, ACI, name).requirements]
    else:
        table = policy.transports.get(ACI, {})
        rules = [*table.values(), *([] if "" in table else [RKT_RULE.requirements])]
    return all(any(isinstance(one, TrustedKeys) for one in rule) for rule in rules)


def aci_keys(path: str, name: str) -> tuple[bytes, ...]:
    """The keys that the rule for an ACI brings itself. Raises ConfigError."""
    return tuple(
        [
            key_file(source)
            for one in find_rule(path, ACI, name).requirements
            if isinstance(one, TrustedKeys)
            for source in one.keys
        ]
    )


def decide_by_policy(
    g: Globals,
    store: Store,
    path: str,
    image: Image,
    evidence: tuple[dict[str, Any], ...],
    now: int,
    *,
    kept: KeptEvidence | None = None,
    fresh: bool = False,
) -> Decision | None:
    """The decision about an image by the policy in ``path``; None where it leaves the image to rkt's rule.

    ``evidence`` is that of the image's record; ``kept`` what a pod has kept of it; with ``fresh`` every signature is examined
    again. Raises ConfigError for a policy that cannot be read.
    """
    rule = find_rule(path, image.format, image.name)
    if rule is RKT_RULE:
        return None
    if image.format != ACI and not image.digest and any(_asks(one) for one in rule.requirements):
        image = described(store, image)
    gatherer = _Gatherer(g, store, image, evidence, kept or KeptEvidence(), fresh=fresh)
    gathered = tuple([gatherer.gather(one) for one in rule.requirements])
    gatherer.facts.save()
    decision, good = decide_by_rule(image, path, rule, gathered, now)
    if good:
        decision = decision.replace(evidence=keep(good, gatherer.keys, gatherer.blob))
    return decision


def described(store: Store, image: Image) -> Image:
    """An OCI image with what its manifest is. The manifest's digest is the image's ID; of one that is gone no more is known."""
    from rktpy.formats import jsondoc
    from rktpy.formats.oci.media_types import OCI_MANIFEST

    digest = image.id.replace("-", ":", 1)
    try:
        data = store.read_blob(digest)
        media_type = jsondoc.parse_object(data, f"manifest {digest}").get("mediaType")
    except (NotFoundError, StoreError, DigestMismatch, FormatError):
        return image.replace(digest=digest)
    return image.replace(digest=digest, media_type=media_type if type(media_type) is str else OCI_MANIFEST, size=len(data))


def _asks(requirement: Requirement) -> bool:
    return not isinstance(requirement, AcceptAnything | Reject)


class _Gatherer:
    """Brings together what is known of the signatures of one image. ``keys`` are the facts' keys by evidence and fact."""

    def __init__(
        self, g: Globals, store: Store, image: Image, evidence: tuple[dict[str, Any], ...], kept: KeptEvidence, *, fresh: bool
    ) -> None:
        self._g = g
        self._store = store
        self._image = image
        self._documents = evidence
        self._kept = kept
        self._fresh = fresh
        self._evidence: tuple[Evidence, ...] | None = None
        self._files: dict[KeySource, bytes] = {}
        self.facts = Facts(store.layout, image.id, kept.facts, fresh=fresh)
        self.keys: dict[int, str] = {}

    def gather(self, requirement: Requirement) -> Findings:
        """All about one requirement."""
        if not _asks(requirement):
            return Findings()
        try:
            if isinstance(requirement, TrustedKeys):
                return self._aci(requirement)
            return self._signatures(requirement)
        except (ConfigError, TrustUndecided, FormatError) as error:
            return Findings(problem=innermost(error))

    def blob(self, digest: str) -> bytes:
        """A part of the evidence, from the store or from what the pod kept. Raises NotFoundError, StoreError, DigestMismatch."""
        data = self._kept.blobs.get(digest)
        return self._store.read_blob(digest) if data is None else data

    def _signatures(self, requirement: Requirement) -> Findings:
        family = family_of(requirement)
        if family is None:
            return Findings()
        if self._evidence is None:
            self._evidence = tuple([Evidence.from_dict(one) for one in self._documents if one.get("family") in FAMILIES])
        judge = family.judge
        if isinstance(requirement, Notation):
            from rktpy.trust.notation import without_signature

            step = without_signature(requirement, self._image)
            if step is not None:
                return Findings(without=step)
        concerned = [one for one in self._evidence if one.family in family.evidence and judge.concerns(requirement, one)]
        if not concerned:
            return Findings()
        material = tuple([hash_of("sha256", self._file(source)) for source in judge.material(requirement)])
        found: list[Finding] = []
        for one in concerned[:MAX_COUNT]:
            key = self.facts.key(family, requirement, one, material)
            try:
                finding = Finding(one, self.facts.find(key, family, requirement, one, self.blob, self._file))
            except (ConfigError, TrustUndecided, FormatError, NotFoundError, StoreError, DigestMismatch) as error:
                finding = Finding(one, None, innermost(error))
            self.keys[id(finding)] = key
            found.append(finding)
        return Findings(tuple(found), passed_over=len(concerned) - len(found))

    def _file(self, source: KeySource) -> bytes:
        data = self._files.get(source)
        if data is None:
            data = self._files[source] = key_file(source)
        return data

    def _aci(self, requirement: TrustedKeys) -> Findings:
        from rktpy.stage0.images import keystore
        from rktpy.stage0.signing_keys import key_state, key_states

        signatures = tuple([SignatureFact.from_dict(one) for one in self._documents if one.get("family") == OPENPGP])
        signers = [signature.signer for signature in signatures]
        layout = self._store.layout
        if requirement.keys:
            keys: list[TrustedKey] = []
            states: dict[str, KeyState] = {}
            for source in requirement.keys:
                data = self._file(source)
                for key in openpgp.parse_public_keys(data, source.path or f"{requirement.path}.keyData"):
                    keys.append(TrustedKey(key.fingerprint, "", source.path or "the policy"))
                    if key.fingerprint in signers:
                        states[key.fingerprint] = key_state(layout, key.fingerprint, data, fresh=self._fresh)
            return Findings(signatures=signatures, keys=tuple(keys), states=states)
        store_of_keys = keystore(self._g)
        below = requirement.prefix
        trusted = tuple(
            [
                key
                for key in store_of_keys.keys_for(self._image.name)
                if not below or key.prefix == below or key.prefix.startswith(below + "/")
            ]
        )
        return Findings(
            signatures=signatures, keys=trusted, states=key_states(layout, store_of_keys, trusted, signers, fresh=self._fresh)
        )


def key_file(source: KeySource) -> bytes:
    """The bytes of a key, certificate or trust root that a policy names. Raises ConfigError."""
    return _read(source.path, "key file", openpgp.MAX_SIZE) if source.path else source.data


def _read(path: str, what: str, limit: int) -> bytes:
    """A small file. Raises ConfigError."""
    try:
        with open(path, "rb", buffering=0) as file:
            data = b""
            while len(data) <= limit and (part := file.read(limit + 1 - len(data))):
                data += part
    except OSError as error:
        raise ConfigError(f"cannot read the {what} {path}") from error
    if len(data) > limit:
        raise ConfigError(f"the {what} {path} is larger than {limit} bytes")
    return data
