"""The small rules around ACI downloads."""

from __future__ import annotations

import pytest

from rktpy.fetch.aci import max_age_of, signature_url_of
from rktpy.fetch.http_url import parse_url
from rktpy.fetch.registry_auth import Credential
from rktpy.fetch.wire import Headers


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        ("https://a.test/app.aci", "https://a.test/app.aci.asc"),
        ("https://a.test/app.aci?x=y", "https://a.test/app.aci.asc?x=y"),
        ("https://a.test/app", "https://a.test/app.aci.asc"),
        ("https://u:p%40s@a.test:8443/x.aci", "https://u:p%40s@a.test:8443/x.aci.asc"),
    ],
)
def test_where_a_signature_lies(url: str, signature: str) -> None:
    assert signature_url_of(url) == signature


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], 0),
        (["max-age=10"], 10),
        (["public, Max-Age=10"], 10),
        (['max-age="10"'], 10),
        (["max-age=10, no-cache"], 0),
        (["no-store", "max-age=10"], 0),
        (["max-age=-1"], 0),
        (["max-age=x"], 0),
        (["max-age=99999999999999999999"], 1 << 31),
    ],
)
def test_how_long_a_copy_is_fresh(fields: list[str], seconds: int) -> None:
    assert max_age_of(Headers([("Cache-Control", field) for field in fields])) == seconds


def test_secrets_are_not_shown() -> None:
    assert "hidden" not in repr(Credential("ann", "hidden", "hidden", "hidden"))
    assert "hidden" not in repr(parse_url("https://ann:hidden@a.test/?token=hidden"))
