"""Looking at the keystore: which keys are trusted for what, and what is known of them. Cold-path module."""

from __future__ import annotations

import time

from rktpy.errors import ConfigError, TrustUndecided, innermost
from rktpy.formats import openpgp
from rktpy.record import Record
from rktpy.stage0.images import keystore
from rktpy.stage0.signing_keys import key_state
from rktpy.store.paths import Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.stage0.options import Globals


class ListedKey(Record):
    """A trusted key. ``prefix`` is empty for a root key; ``expires`` in seconds since the epoch, 0 for never.

    ``problem`` says why nothing that it signed is accepted now (it has expired, was revoked, cannot be read), else it is empty.
    """

    fingerprint: str
    prefix: str
    path: str
    identities: tuple[str, ...] = ()
    expires: int = 0
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "fingerprint": self.fingerprint,
            "prefix": self.prefix,
            "path": self.path,
            "identities": list(self.identities),
            "expires": self.expires,
            "problem": self.problem,
        }


def list_keys(g: Globals, name: str = "") -> tuple[ListedKey, ...]:
    """The keys of the keystore, or those that may sign the image called ``name``. Raises ConfigError, UsageError."""
    store = keystore(g)
    layout = Layout(g.data_dir)
    now = int(time.time())
    found: list[ListedKey] = []
    for key in store.keys_for(name) if name else store.all_keys():
        listed = ListedKey(key.fingerprint, key.prefix, key.path)
        try:
            data = store.read(key)
            identities = openpgp.parse_public_key(data, key.path).identities
            listed = listed.replace(identities=identities)
            state = key_state(layout, key.fingerprint, data)
        except (ConfigError, TrustUndecided) as error:
            found.append(listed.replace(problem=innermost(error)))
            continue
        expires = state.keys[key.fingerprint][0] if key.fingerprint in state.keys else 0
        problem = _SHORT.get(text := state.problem(key.fingerprint, now), text)
        found.append(listed.replace(expires=expires, problem=problem))
    return tuple(found)


_SHORT = {"the signing key was revoked": "revoked", "the signing key has expired": "expired"}
