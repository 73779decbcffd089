"""Adding keys to the keystore: from a file, a URL or by meta discovery, after a person has looked at the fingerprint.

As rkt 1.30's ``rkt trust`` and as fetching by name does it (``rkt/pubkey``). What is shown and asked goes through the functions
that the caller passes in, so a command prints and a test listens.

Cold-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import FetchError, UsageError
from rktpy.fetch.http_url import parse_url
from rktpy.formats import openpgp
from rktpy.log import note
from rktpy.stage0.images import keystore
from rktpy.stage0.transport import host_auth, open_client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rktpy.formats.openpgp import PublicKey
    from rktpy.stage0.options import Globals


def add_keys(
    g: Globals,
    locations: tuple[str, ...],
    prefix: str,
    *,
    skip_review: bool,
    allow_http: bool,
    say: Callable[[str], None],
    ask: Callable[[], bool] | None,
) -> None:
    """Trust the keys at ``locations`` (paths or URLs) for ``prefix``, or for every image when it is empty.

    ``skip_review`` takes them without asking; ``ask`` puts the question to a person and is None where there is no terminal.
    Raises UsageError, FetchError, FormatError and ConfigError; keys added before an error stay.
    """
    for location in locations:
        data, https = _read(location, g, allow_http)
        key = openpgp.parse_public_key(data, f"key {location}")
        show(key, prefix, location, say)
        if skip_review or (g.trust_keys_from_https and https):
            how = "without fingerprint review"
        else:
            if ask is None:
                note("pubkey", f'To trust the key for "{prefix}", do one of the following:')
                note("pubkey", " - call rktpy with --trust-keys-from-https")
                note("pubkey", f' - run: rktpy trust --prefix "{prefix}"')
                raise UsageError("error reviewing key: unable to ask user to review fingerprint due to lack of tty")
            if not ask():
                note("pubkey", f'not trusting "{location}"')
                continue
            how = "after fingerprint review"
        say(f'Trusting "{location}" for prefix "{prefix}" {how}.')
        path = keystore(g).add(data, prefix)
        say(f'Added key for prefix "{prefix}" at "{path}"' if prefix else f'Added root key at "{path}"')


def discover_keys(g: Globals, prefix: str, *, allow_http: bool) -> tuple[str, ...]:
    """The URLs of the keys that the site of ``prefix`` publishes (``ac-discovery-pubkeys``). Raises FetchError."""
    from rktpy.fetch import discovery

    with open_client(g, allow_http=allow_http) as client:
        return discovery.discover_keys(client, prefix, host_auth(g))


def show(key: PublicKey, prefix: str, location: str, say: Callable[[str], None]) -> None:
    """Show what is about to be trusted."""
    note("pubkey", f'prefix: "{prefix}"\nkey: "{location}"')
    say(f"gpg key fingerprint is: {spaced(key.fingerprint)}")
    for subkey in key.subkeys:
        say(f"    Subkey fingerprint: {spaced(subkey)}")
    for identity in key.identities:
        # A user ID is whatever its owner wrote; control characters must not paint over the fingerprint.
        say("\t" + "".join([c if c.isprintable() else "?" for c in identity]))


def spaced(fingerprint: str) -> str:
    """A fingerprint in the groups in which people compare it: ``8B86 DE38 890D DB72 9186  7B02 5210 BD88 8818 2190``."""
    groups = [fingerprint[at : at + 4].upper() for at in range(0, len(fingerprint), 4)]
    return " ".join(groups[:5]) + "  " + " ".join(groups[5:])


def terminal_review(say: Callable[[str], None]) -> Callable[[], bool] | None:
    """A function that asks on the terminal whether to trust a key, or None where nobody can answer (rkt ``reviewKey``)."""
    if not (os.isatty(0) and os.isatty(2)):
        return None

    def ask() -> bool:
        with open("/dev/tty", encoding="utf-8", errors="replace") as terminal:
            while True:
                say("Are you sure you want to trust this key (yes/no)?")
                answer = terminal.readline()
                if not answer or answer.strip().lower() == "no":
                    return False
                if answer.strip().lower() == "yes":
                    return True
                say("Please enter 'yes' or 'no'")

    return ask


def _read(location: str, g: Globals, allow_http: bool) -> tuple[bytes, bool]:
    """The key's bytes and whether they came over https."""
    scheme, separator, _rest = location.partition("://")
    if not separator:
        return _read_file(location), False
    if scheme not in ("http", "https"):
        raise UsageError("only local files and http or https URLs supported")
    if scheme == "http" and not allow_http:
        raise UsageError("--insecure-allow-http required for http URLs")
    with open_client(g, allow_http=allow_http) as client:
        try:
            document = client.document(parse_url(location), openpgp.MAX_SIZE, authorizer=host_auth(g))
        except FetchError as error:
            raise FetchError(f"error accessing the key {location}") from error
        return document.data, document.url.scheme == "https"


def _read_file(path: str) -> bytes:
    try:
        with open(os.path.abspath(path), "rb") as file:
            return file.read(openpgp.MAX_SIZE + 1)
    except OSError as error:
        raise FetchError(f"error accessing the key {path}") from error
