"""What GnuPG says in its status lines and in its listings of keys (its ``doc/DETAILS``).

Only these are read; the text that it writes for people, in the user's language, is not.

Cold-path module.
"""

from __future__ import annotations

from rktpy.trust.decision import KEY_EXPIRED, KEY_REVOKED, KeyState, SignatureFact


def read_key_listing(listing: str) -> KeyState:
    """The keys in GnuPG's output of ``--list-keys --with-colons`` (its ``doc/DETAILS``).

    Revoked counts as well what GnuPG calls invalid or disabled. Raises ValueError for what is no such output.
    """
    keys: dict[str, tuple[int, bool]] = {}
    current: tuple[int, bool] | None = None
    for line in listing.split("\n"):
        fields = [*line.split(":"), *[""] * 12]
        if fields[0] in ("pub", "sub"):
            current = (int(fields[6] or 0), fields[1][:1] in ("r", "i", "d") or "D" in fields[11])
        elif fields[0] == "fpr" and current is not None:
            keys[fields[9].lower()] = current
            current = None
    return KeyState(keys)


def read_status(status: str) -> tuple[SignatureFact, ...]:
    """The signatures in GnuPG's status output (its ``doc/DETAILS``), one fact each.

    Only a GOODSIG that is followed by its VALIDSIG counts as good; anything else carries a problem.
    """
    facts: list[SignatureFact] = []
    current: SignatureFact | None = None
    # Not splitlines(): a user ID may hold other line separators, which GnuPG does not escape, and a whole line behind them.
    for line in status.split("\n"):
        if not line.startswith("[GNUPG:] "):
            continue
        word, *values = line[9:].split(" ")
        if word == "NEWSIG":
            _close(facts, current)
            current = None
        elif word in _VERDICTS:
            _close(facts, current)
            identity = " ".join(values[1:])
            key_id = values[0].lower() if values else ""
            problem = _VERDICTS[word]
            if word == "ERRSIG":
                unknown = len(values) > 5 and values[5] == "9"
                problem = "openpgp: signature made by unknown entity" if unknown else "the signature cannot be checked"
                identity = ""
            current = SignatureFact("", key_id, 0, 0, identity, problem)
        elif word == "VALIDSIG" and current is not None:
            signer = values[9].lower() if len(values) > 9 else values[0].lower()
            problem = "" if current.problem == _UNVALIDATED else current.problem
            current = SignatureFact(signer, values[0].lower(), int(values[2]), int(values[3]), current.identity, problem)
    _close(facts, current)
    return tuple(facts)


_UNVALIDATED = "the signature was not validated"
_VERDICTS = {
    "GOODSIG": _UNVALIDATED,
    "BADSIG": "openpgp: invalid signature: hash mismatch",
    "EXPSIG": "the signature has expired",
    "EXPKEYSIG": KEY_EXPIRED,
    "REVKEYSIG": KEY_REVOKED,
    "ERRSIG": "the signature cannot be checked",
}


def _close(facts: list[SignatureFact], current: SignatureFact | None) -> None:
    if current is not None:
        facts.append(current)
