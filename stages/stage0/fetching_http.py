"""Fetching ACIs over HTTP: by URL, and by name through meta discovery, with rkt's caching and key discovery. Cold-path module."""

from __future__ import annotations

import time
from contextlib import closing

from rktpy.errors import FetchError, InputError, RktpyError
from rktpy.fetch.aci import fetch_aci, signature_url_of
from rktpy.fetch.discovery import discover_endpoints
from rktpy.fetch.http_url import parse_url
from rktpy.fetch.progress_output import open_progress
from rktpy.log import debug, note
from rktpy.stage0 import images
from rktpy.stage0.fetching import check_name, read_signature, verify_and_add, warn_insecure
from rktpy.stage0.transport import host_auth, open_client
from rktpy.store.remotes import Remote
from rktpy.trust.decision import ACCEPTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.fetch.http import Client
    from rktpy.fetch.reference import AppReference
    from rktpy.stage0.options import FetchOptions, Globals
    from rktpy.store.store import Store


def from_url(g: Globals, store: Store, url: str, options: FetchOptions, signature: str) -> str:
    """Fetch the ACI at ``url``, with the signature beside it or the file ``signature``; its image ID."""
    debug("image", f'remote fetching from URL "{url}"')
    with open_client(g) as client:
        return _download(g, store, client, url, signature_url_of(url), options, signature)


def from_name(
    g: Globals,
    store: Store,
    reference: AppReference,
    options: FetchOptions,
    signature: str,
    *,
    expected_id: str | None = None,
    size: int | None = None,
) -> str:
    """Find an image by meta discovery and fetch it; its ID.

    ``expected_id`` and ``size`` (bytes as distributed) are what a dependency promises. Keys that the site publishes are offered
    when none is trusted for the name yet.
    """
    name = reference.name
    debug("image", f"searching for app image {name}")
    with open_client(g) as client:
        try:
            endpoints = discover_endpoints(client, name, images.with_host_defaults(reference.labels), host_auth(g))
        except FetchError as error:
            raise FetchError(f'discovery failed for "{name}"') from error
        if not g.insecure.image:
            _offer_keys(g, name)
        latest = reference.label("version") is None
        first: RktpyError | None = None
        for endpoint in endpoints:
            debug("image", f'remote fetching from URL "{parse_url(endpoint.aci).shown}"')
            try:
                return _download(
                    g,
                    store,
                    client,
                    endpoint.aci,
                    endpoint.asc,
                    options,
                    signature,
                    wanted=reference,
                    latest=latest,
                    expected_id=expected_id,
                    size=size,
                )
            except FetchError as error:
                # Another endpoint may be reachable; an image that is wrong or not trusted is not looked for elsewhere.
                debug("image", str(error))
                first = first or error
    raise first or FetchError(f'discovery failed for "{name}"')


def _download(
    g: Globals,
    store: Store,
    client: Client,
    url: str,
    asc_url: str,
    options: FetchOptions,
    signature: str,
    *,
    wanted: AppReference | None = None,
    latest: bool = False,
    expected_id: str | None = None,
    size: int | None = None,
) -> str:
    shown = parse_url(url).shown
    known = store.remote(url)
    if known is not None and not _usable(g, store, known.image_id, wanted, expected_id):
        known = None
    if known is not None and not known.expired(time.time_ns()):
        debug("image", f"image for {shown} isn't expired, not fetching.")
        return known.image_id
    warn_insecure(g, tls=True)
    verify = not g.insecure.image
    optional = verify and not images.aci_signature_needed(g, wanted.name if wanted else "")
    with closing(open_progress(options.progress)) as progress, store.partial(f"aci:{url}") as partial:
        fetched = fetch_aci(
            client,
            url,
            partial,
            signature_url=asc_url if verify and not signature else "",
            signature_optional=optional,
            etag=known.etag if known else "",
            authorizer=host_auth(g),
            progress=progress,
        )
        if fetched.not_modified:
            if known is None:
                raise FetchError(f"{shown}: the server says that nothing has changed, but there is no copy of it here")
            image_id = known.image_id
            partial.discard()
        else:
            asc = read_signature(signature) if verify and signature else fetched.signature
            if size is not None and partial.size != size:
                raise InputError(f"{shown}: the image has {partial.size} bytes, the dependency says {size}")
            try:
                image_id = verify_and_add(
                    g, store, partial.path, shown, asc, wanted=wanted, latest=latest, expected_id=expected_id
                )
            finally:
                partial.discard()
    etag = fetched.etag or (known.etag if known else "")
    store.set_remote(Remote(url, asc_url, etag, image_id, fetched.max_age, time.time_ns()))
    return image_id


def _usable(g: Globals, store: Store, image_id: str, wanted: AppReference | None, expected_id: str | None) -> bool:
    """Whether the stored copy of what is behind a URL will do.

    One that was let in unchecked is fetched again with its signature; and a URL that was fetched for itself once may hold
    another image than the one that is asked for by name or ID now.
    """
    if image_id not in store.image_ids() or not image_id.startswith(expected_id or ""):
        return False
    if wanted is not None:
        try:
            check_name(store.manifest(image_id), wanted)
        except InputError:
            return False
    return images.decide_stored(g, store, store.record(image_id), insecure=g.insecure.image).verdict == ACCEPTED


def _offer_keys(g: Globals, name: str) -> None:
    """rkt's ``maybeFetchPubKeys``: trust a key that the site publishes, after review or unasked with --trust-keys-from-https.

    Unlike rkt, which then asks about none, a key that came over plain http is still asked about. A failure is told and nothing
    more: the signature may be by a key that is trusted already.
    """
    if images.keystore(g).has_prefix_keys(name):
        note("image", f'keys already exist for prefix "{name}", not fetching again')
        return
    if g.insecure.pubkey:
        note("image", "signing keys may be downloaded from an insecure connection")
    elif g.insecure.tls:
        return
    from rktpy.stage0.trust_keys import add_keys, discover_keys, terminal_review

    allow_http = g.insecure.pubkey and g.insecure.http
    try:
        keys = discover_keys(g, name, allow_http=allow_http)
    except RktpyError as error:
        note("image", f"error determining key location: {error}")
        return
    try:
        ask = terminal_review(_say)
        add_keys(g, keys, name, skip_review=False, allow_http=allow_http, say=_say, ask=ask)
    except RktpyError as error:
        note("image", f"error adding keys: {error}")


def _say(text: str) -> None:
    note("", text)
