"""What is known now of the keys that signed a stored image: whether one has expired or was revoked since.

A signature is checked once, when the image is fetched, but its key may be revoked or expire later. GnuPG says when a key of the
keystore expires and whether it is revoked. Starting it takes longer than starting a pod, so its answer is kept in the store with
the sha256 of the key file: as long as the file is the same, only the clock has to be asked. A file that has been replaced (a
revocation was imported, the expiry was moved) is shown to GnuPG again.

Hot-path module: GnuPG is imported by who needs it.
"""

from __future__ import annotations

from rktpy.errors import FormatError, StoreError
from rktpy.formats import jsondoc
from rktpy.store.blobs import hash_of
from rktpy.store.lookup import read_file
from rktpy.store.paths import RECORD_MODE
from rktpy.trust.decision import KeyState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from rktpy.store.paths import Layout
    from rktpy.trust.keystore import Keystore, TrustedKey


def key_states(
    layout: Layout, keystore: Keystore, keys: tuple[TrustedKey, ...], signers: Collection[str], *, fresh: bool = False
) -> dict[str, KeyState]:
    """The state of those of the trusted ``keys`` whose fingerprints are among ``signers``, by fingerprint.

    With ``fresh`` GnuPG is asked, whatever is remembered. Raises ConfigError for a key file that is not what its name promises,
    TrustUndecided when GnuPG is needed and cannot be run.
    """
    states: dict[str, KeyState] = {}
    for key in keys:
        if key.fingerprint in signers:
            states[key.fingerprint] = key_state(layout, key.fingerprint, keystore.read(key), fresh=fresh)
    return states


def key_state(layout: Layout, fingerprint: str, data: bytes, *, fresh: bool = False) -> KeyState:
    """The state of the key with this fingerprint in the key file ``data``. Raises TrustUndecided when GnuPG cannot be run."""
    digest = hash_of("sha256", data)
    state = None if fresh else _known(layout, fingerprint, digest)
    if state is None:
        from rktpy.trust.openpgp import examine

        state = examine(data)
        _remember(layout, fingerprint, digest, state)
    return state


def _known(layout: Layout, fingerprint: str, digest: str) -> KeyState | None:
    """What was found about the key file with this digest; a damaged note is none."""
    what = "note about a key"
    try:
        document = jsondoc.parse_object(read_file(layout.key_state(fingerprint)), what)
        return KeyState.from_dict(document.get("state")) if document.get("file") == digest else None
    except (OSError, FormatError):
        return None


def _remember(layout: Layout, fingerprint: str, digest: str, state: KeyState) -> None:
    from rktpy.store.temporary import write_durably

    try:
        document = jsondoc.dump({"file": digest, "state": state.to_dict()})
        write_durably(layout, layout.key_state(fingerprint), document, RECORD_MODE)
    except StoreError:
        # No store yet, or a read-only one: GnuPG is asked again next time.
        pass
