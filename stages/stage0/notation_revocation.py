"""Asking whether the certificates of Notary Project signatures are revoked, when an image is fetched (docs/adr/0031).

Cold-path module.
"""

from __future__ import annotations

import time

from rktpy.errors import ConfigError, FetchError
from rktpy.fetch.revocation import ask
from rktpy.formats.trust.evidence import NOTATION
from rktpy.formats.trust.requirements import Notation
from rktpy.stage0.policy_decisions import find_rule, key_file
from rktpy.trust.notation_facts import ask_about_revocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.trust.evidence import Evidence
    from rktpy.stage0.options import Globals
    from rktpy.store.store import Store
    from rktpy.trust.notation_revocation import Question


def ask_about(g: Globals, store: Store, policy: str, name: str, found: list[Evidence]) -> list[Evidence]:
    """The evidence, with what responders say of its certificates as further blobs in the store.

    ``policy`` is the path of the policy.json, ``name`` the image's logical name. A trust policy that cannot be read is reported
    when the image is judged. Raises ConfigError for the policy.json.
    """
    requirements = [one for one in find_rule(policy, "oci", name).requirements if isinstance(one, Notation)]

    # The same signature may be there many times over; nobody is asked the same thing twice.
    answers: dict[tuple[str, bytes], bytes | FetchError] = {}

    def send(question: Question, url: str) -> bytes:
        key = (url, question.body)
        if key not in answers:
            try:
                answers[key] = ask(url, question.body, question.seconds, question.limit)
            except FetchError as error:
                answers[key] = error
        answer = answers[key]
        if isinstance(answer, FetchError):
            raise answer
        return answer

    asked: list[Evidence] = []
    for one in found:
        if one.family == NOTATION:
            for requirement in requirements:
                try:
                    one = ask_about_revocation(
                        requirement, one, store.read_blob, key_file, send, store.put_blob, int(time.time())
                    )
                except ConfigError:
                    continue
        asked.append(one)
    return asked
