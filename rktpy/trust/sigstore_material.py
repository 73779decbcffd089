"""What a policy trusts sigstore signatures by, loaded from its files: keys, logs, trusted roots, certificates of CAs.

Cold path: imports ``cryptography``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cryptography import x509

from rktpy.errors import ConfigError, FormatError
from rktpy.formats.trust.requirements import Keyless, KeySource
from rktpy.formats.trust.sigstore_bundle import LogEntry
from rktpy.formats.trust.trusted_root import TrustedRoot, parse_trusted_root
from rktpy.trust.log_proofs import Log, Signed, Unproven, examine_entries, logs_of_keys, logs_of_root, policy_key
from rktpy.trust.public_keys import PublicKey
from rktpy.trust.signing_certificates import Leaf, certificates_of_pem, keyless

TYPE_CHECKING = False
if TYPE_CHECKING:
    File = Callable[[KeySource], bytes]


class KeylessRoot:
    """A trusted root, parsed. Raises :class:`ConfigError`."""

    def __init__(self, requirement: Keyless, log_keys: Sequence[KeySource], file: File) -> None:
        what = _named(requirement.trusted_root, "trusted root")
        try:
            self.root: TrustedRoot = parse_trusted_root(file(requirement.trusted_root), what)
            self.logs: list[Log] = logs_of_keys(log_keys, file) or logs_of_root(self.root.logs, what)
            self.certificate_logs: list[Log] = logs_of_root(self.root.certificate_logs, what)
        except FormatError as error:
            raise ConfigError(str(error)) from None

    def fact(
        self, leaf: Leaf, signed: Signed, entries: Sequence[LogEntry], stamps: Sequence[bytes], stamped: bytes = b""
    ) -> dict[str, Any]:
        """What log and certificate prove; ``stamped`` is what time stamps are over if it is not the signature.

        Raises :class:`Unproven`.
        """
        log = examine_entries(entries, signed, self.logs)
        certificate = keyless(leaf, stamped or signed.signature, log["promised"], stamps, self.root, self.certificate_logs)
        return {"log": log, "certificate": certificate}


def signer_among(keys: Sequence[PublicKey], check: Callable[[PublicKey], str]) -> PublicKey:
    """The first key with which ``check`` finds no problem. Raises :class:`Unproven` with what it found with the first one."""
    problems: list[str] = []
    for key in keys:
        problem = check(key)
        if not problem:
            return key
        problems.append(problem)
    if len(keys) == 1:
        raise Unproven(f"{problems[0]} (checked with the key {keys[0].fingerprint})")
    raise Unproven(f"it is by none of the {len(keys)} keys of the policy: {problems[0]}")


def policy_keys(sources: Sequence[KeySource], file: File) -> list[PublicKey]:
    """The public keys that may have signed. Raises :class:`ConfigError`."""
    return [policy_key(source, file, "key") for source in sources]


def policy_certificates(source: KeySource, file: File, kind: str) -> list[x509.Certificate]:
    """The certificates that a policy names; ``kind`` says what for. Raises :class:`ConfigError`."""
    try:
        return certificates_of_pem(file(source), _named(source, kind))
    except FormatError as error:
        raise ConfigError(str(error)) from None


def _named(source: KeySource, kind: str) -> str:
    return f"{kind} {source.path}" if source.path else f"{kind} in the policy"
