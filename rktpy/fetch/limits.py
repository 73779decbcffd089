"""How much a remote may make us read or wait. Sizes in bytes, times in seconds."""

from __future__ import annotations

#: Status line and headers of one answer together; the same as the usual limit of HTTP servers for requests, times four.
HEAD_BYTES = 64 << 10
#: Number of header lines of one answer.
HEADER_LINES = 200
#: Image manifests, indexes and lists. The distribution specification wants 4 MiB to work.
MANIFEST_BYTES = 4 << 20
#: Image configurations. They are documents too, though histories can make them large.
CONFIG_BYTES = 16 << 20
#: Answers of token servers.
TOKEN_BYTES = 1 << 20
#: Error documents of registries; a longer one is not shown.
ERROR_BYTES = 64 << 10
#: Pages that are searched for discovery tags.
PAGE_BYTES = 2 << 20
#: Detached signatures.
SIGNATURE_BYTES = 1 << 20
#: Pages of one list of referrers.
REFERRER_PAGES = 32
#: Entries of one list of referrers.
REFERRERS = 10_000
#: Manifests of referrers that are fetched for one image and one kind of signature.
REFERRER_MANIFESTS = 128
#: All signatures and attestations of one image together, and the annotations of one.
EVIDENCE_BYTES = 64 << 20
ANNOTATION_BYTES = 64 << 10
#: One ACI as distributed. A stream without an announced length must end somewhere.
ACI_BYTES = 64 << 30
#: One layer, whatever its descriptor says.
LAYER_BYTES = 64 << 30
#: Layers of one image.
LAYERS = 1000

#: Followed redirects of one request (as rkt).
REDIRECTS = 10
#: Attempts of one request on connection errors, 429 and 5xx.
ATTEMPTS = 4
#: Resumptions of one download, however small the steps in which it advances.
RESUMPTIONS = 50
#: First pause between attempts; it doubles each time.
BACKOFF = 0.5
#: Longest pause between attempts.
BACKOFF_MOST = 20.0
#: Longest Retry-After that we sit out; a server that asks for more gets an error at once.
RETRY_AFTER_MOST = 120.0
#: To a TCP connection, and again to a TLS session.
CONNECT_SECONDS = 20.0
#: For a server to show that it speaks TLS, where plain http is allowed too.
PROBE_SECONDS = 10.0
#: Between two reads of one answer.
READ_SECONDS = 60.0
#: One credential helper.
HELPER_SECONDS = 30.0
