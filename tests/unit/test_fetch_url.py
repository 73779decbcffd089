"""http URLs and the choice of a proxy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import ConfigError, FetchError
from rktpy.fetch.http_url import URL, parse_url
from rktpy.fetch.proxy import proxy_for


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "target"),
    [
        ("http://Host.Test", "http", "host.test", 80, "/"),
        ("https://host.test/a/b?c=d#frag", "https", "host.test", 443, "/a/b?c=d"),
        ("https://host.test:8443/", "https", "host.test", 8443, "/"),
        ("http://[::1]:5000/x", "http", "::1", 5000, "/x"),
        ("http://host.test/ä%20b", "http", "host.test", 80, "/%C3%A4%20b"),
        ("http://bücher.test/", "http", "xn--bcher-kva.test", 80, "/"),
        ("http://host.test?q", "http", "host.test", 80, "/?q"),
    ],
)
def test_parts(text: str, scheme: str, host: str, port: int, target: str) -> None:
    url = parse_url(text)
    assert (url.scheme, url.host, url.port, url.target) == (scheme, host, port, target)


@pytest.mark.parametrize(
    "text",
    ["", "host.test/x", "ftp://host.test/", "http:///x", "http://host.test:0/", "http://host.test:99999/", "http://host.test:x/"]
    + ["http://a b/", "http://host.test/\r\nX: y", "http://host.test/\n", "http://h\x00/", "http://[::1/", "http://ho<st/"],
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(FetchError):
        parse_url(text)


def test_user_information_is_kept_apart() -> None:
    url = parse_url("https://ann:p%40ss@host.test/x?token=secret")
    assert (url.user, url.password) == ("ann", "p@ss")
    assert url.text == "https://host.test/x?token=secret"
    assert url.shown == "https://host.test/x?…"


@pytest.mark.parametrize(
    ("location", "result"),
    [
        ("/y", "https://host.test:8443/y"),
        ("z", "https://host.test:8443/a/z"),
        ("?q", "https://host.test:8443/a/b?q"),
        ("//other.test/y", "https://other.test/y"),
        ("http://other.test", "http://other.test/"),
    ],
)
def test_join(location: str, result: str) -> None:
    assert parse_url("https://host.test:8443/a/b").join(location).text == result


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_a_fetch_error(text: str) -> None:
    for candidate in (text, "http://" + text, "https://host.test/" + text):
        try:
            url = parse_url(candidate)
        except FetchError:
            continue
        request = f"GET {url.target} HTTP/1.1\r\nHost: {url.authority}"
        assert request.isascii() and request.count(" ") == 3 and request.count("\n") == 1
        assert parse_url(url.text) == url.replace(user="", password="")


@given(st.text(max_size=60))
def test_any_location_is_a_url_or_a_fetch_error(text: str) -> None:
    try:
        url = parse_url("https://host.test/a").join(text)
    except FetchError:
        return
    assert isinstance(url, URL) and url.scheme in ("http", "https")


PROXIED = {"HTTP_PROXY": "http://proxy.test:3128", "HTTPS_PROXY": "secure.test:8080"}


@pytest.mark.parametrize(
    ("url", "no_proxy", "proxy"),
    [
        ("http://a.test/", "", "proxy.test"),
        ("https://a.test/", "", "secure.test"),
        ("https://a.test/", "*", None),
        ("https://a.test/", "a.test", None),
        ("https://b.a.test/", "a.test", None),
        ("https://ba.test/", "a.test", "secure.test"),
        ("https://a.test/", ".a.test", "secure.test"),
        ("https://b.a.test/", "x, .a.test", None),
        ("https://b.a.test/", "*.a.test", None),
        ("https://a.test:8443/", "a.test:8443", None),
        ("https://a.test/", "a.test:8443", "secure.test"),
        ("https://10.1.2.3/", "10.0.0.0/8", None),
        ("https://11.1.2.3/", "10.0.0.0/8", "secure.test"),
        ("https://10.1.2.3/", "10.1.2.3", None),
        ("https://[fd00::1]/", "fd00::/8", None),
        ("https://[fd00::1]/", "[fd00::1]:443", None),
        ("https://a.test/", "not/a/network", "secure.test"),
        ("https://localhost/", "", None),
        ("http://127.0.0.1:5000/", "", None),
        ("http://[::1]:5000/", "", None),
    ],
)
def test_proxy(url: str, no_proxy: str, proxy: str | None) -> None:
    found = proxy_for(parse_url(url), {**PROXIED, "NO_PROXY": no_proxy})
    assert (found.host if found else None) == proxy
    assert proxy_for(parse_url(url), {}) is None


def test_lower_case_names_and_cgi() -> None:
    url = parse_url("http://a.test/")
    lower = proxy_for(url, {"http_proxy": "http://lower.test"})
    assert lower is not None and lower.port == 80
    assert proxy_for(url, {"HTTP_PROXY": "http://evil.test", "REQUEST_METHOD": "GET"}) is None


@pytest.mark.parametrize("value", ["socks5://proxy.test", "https://proxy.test", "http://"])
def test_proxies_that_cannot_be_used(value: str) -> None:
    with pytest.raises(ConfigError, match="HTTP_PROXY"):
        proxy_for(parse_url("http://a.test/"), {"HTTP_PROXY": value})
