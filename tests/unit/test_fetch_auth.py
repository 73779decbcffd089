"""Challenges, signatures and credentials, without a network."""

from __future__ import annotations

import calendar
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import ConfigError
from rktpy.fetch.aws import sign
from rktpy.fetch.challenge import Challenge, parse_challenges
from rktpy.fetch.client_certificate import check_pair
from rktpy.fetch.credentials import Credentials, auth_files
from rktpy.fetch.host_auth import HostAuth
from rktpy.fetch.http_url import parse_url
from rktpy.fetch.registry_certs import certificates_for
from rktpy.fetch.retry import retry_after
from rktpy.fetch.wire import Headers
from rktpy.formats.config import AWSAuth, BasicAuth, OAuth


def test_a_bearer_challenge() -> None:
    field = 'Bearer realm="https://auth.test/token",service="registry.test",scope="repository:a/b:pull,push"'
    (challenge,) = parse_challenges([field])
    assert challenge.scheme == "bearer"
    assert challenge.get("realm") == "https://auth.test/token"
    assert challenge.get("scope") == "repository:a/b:pull,push"
    assert challenge.get("error") == ""


@pytest.mark.parametrize(
    ("fields", "schemes"),
    [
        (['Basic realm="x"'], ["basic"]),
        (["Basic realm=x, Bearer realm=y"], ["basic", "bearer"]),
        (['Bearer realm="y", error="a, b", Basic realm="x"'], ["bearer", "basic"]),
        (["Basic", "Bearer realm=y"], ["basic", "bearer"]),
        (["Negotiate, Basic realm=x"], ["negotiate", "basic"]),
        ([""], []),
        ([], []),
    ],
)
def test_several_challenges(fields: list[str], schemes: list[str]) -> None:
    assert [challenge.scheme for challenge in parse_challenges(fields)] == schemes


def test_quoted_text_may_be_escaped() -> None:
    assert parse_challenges([r'Basic realm="a \"b\" \\c"']) == [Challenge("basic", (("realm", r'a "b" \c'),))]


@given(st.lists(st.text(max_size=80), max_size=3))
def test_any_field_is_read_without_an_exception(fields: list[str]) -> None:
    parse_challenges(fields)


# From the examples of AWS, "Authenticating Requests: Using the Authorization Header".
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
MOMENT = calendar.timegm((2013, 5, 24, 0, 0, 0))


@pytest.mark.parametrize(
    ("target", "signature"),
    [
        ("/?lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("/?max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_signature_version_4(target: str, signature: str) -> None:
    fields = dict(sign("GET", parse_url("https://examplebucket.s3.amazonaws.com" + target), KEY, SECRET, now=MOMENT))
    assert fields["X-Amz-Date"] == "20130524T000000Z"
    assert fields["Authorization"] == (
        f"AWS4-HMAC-SHA256 Credential={KEY}/20130524/us-east-1/s3/aws4_request, "
        f"SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}"
    )


def test_credentials_per_host() -> None:
    auth = HostAuth({"a.test": BasicAuth("u", "p"), "b.test:8443": OAuth("t"), "c.test": AWSAuth(KEY, SECRET, "eu-west-1")})
    assert auth.headers("GET", parse_url("https://a.test/x"), False) == [("Authorization", "Basic dTpw")]
    assert auth.headers("GET", parse_url("https://b.test:8443/x"), False) == [("Authorization", "Bearer t")]
    assert "eu-west-1/s3" in auth.headers("GET", parse_url("https://c.test/x"), False)[0][1]
    for other in ("http://a.test/x", "https://b.test/x", "https://x.a.test/x", "https://a.test:444/x"):
        assert auth.headers("GET", parse_url(other), False) == []
    assert auth.headers("GET", parse_url("https://a.test/x"), True) == []
    assert auth.challenged(parse_url("https://a.test/x"), Headers())
    assert not auth.challenged(parse_url("https://a.test/x"), Headers())
    assert not auth.challenged(parse_url("https://other.test/x"), Headers())


@pytest.mark.parametrize(("value", "seconds"), [(None, 0), ("", 0), ("5", 5), ("soon", 0), ("-5", 0), ("Thu, 99 Foo", 0)])
def test_retry_after(value: str | None, seconds: float) -> None:
    assert retry_after(value) == seconds


def test_retry_after_as_a_date() -> None:
    from email.utils import formatdate

    assert 50 < retry_after(formatdate(time.time() + 60, usegmt=True)) <= 60
    assert retry_after("Mon, 01 Jan 2024 00:00:00 GMT") == 0


def test_where_credential_files_are_looked_for() -> None:
    files = auth_files({"HOME": "/h", "XDG_RUNTIME_DIR": "/r"})
    assert files == ["/r/containers/auth.json", "/h/.config/containers/auth.json", "/h/.docker/config.json", "/h/.dockercfg"]
    assert auth_files({"HOME": "/h", "REGISTRY_AUTH_FILE": "/f"}) == ["/f"]
    assert auth_files({"HOME": "/h", "DOCKER_CONFIG": "/d", "XDG_CONFIG_HOME": "/c"})[1:3] == [
        "/c/containers/auth.json",
        "/d/config.json",
    ]


def test_a_broken_credential_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_text('{"auths": []}')
    with pytest.raises(ConfigError, match=r"auth\.json: auths: must be an object"):
        Credentials(None, {"REGISTRY_AUTH_FILE": str(path)})("registry.test", "a")


def test_the_first_file_wins_and_paths_count(tmp_path: Path) -> None:
    def entry(user: str) -> dict[str, str]:
        return {"username": user, "password": "p"}

    for name, auths in {
        "run": {"one.test": entry("first"), "one.test/team": entry("team")},
        "home/.config": {"one.test": entry("second"), "two.test": entry("third")},
    }.items():
        (tmp_path / name / "containers").mkdir(parents=True)
        (tmp_path / name / "containers/auth.json").write_text(json.dumps({"auths": auths}))
    look = Credentials(None, {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run")})
    users = [
        found.user for host, name in (("one.test", "x"), ("one.test", "team/x"), ("two.test", "x")) if (found := look(host, name))
    ]
    assert users == ["first", "team", "third"]
    assert look("three.test", "x") is None


def make_pair(certificate: Path, key: Path, *, days: int = 1) -> None:
    """A self-signed client certificate that is valid until so many days from now, and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "client")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key()).serial_number(1)
    builder = builder.not_valid_before(now - timedelta(days=10)).not_valid_after(now + timedelta(days=days))
    certificate.write_bytes(builder.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def test_unusable_client_certificates_are_named(tmp_path: Path) -> None:
    certificate, key, other = (tmp_path / name for name in ("client.cert", "client.key", "other.key"))
    make_pair(tmp_path / "other.cert", other)
    make_pair(certificate, key)
    check_pair(str(certificate), str(key))
    with pytest.raises(ConfigError, match=rf"{other} does not belong to the certificate {certificate}"):
        check_pair(str(certificate), str(other))
    with pytest.raises(ConfigError, match=f"{key} is not a certificate"):
        check_pair(str(key), str(key))
    with pytest.raises(ConfigError, match=f"{certificate} is not a private key"):
        check_pair(str(certificate), str(certificate))
    make_pair(certificate, key, days=-1)
    with pytest.raises(ConfigError, match=f"{certificate} has expired on "):
        check_pair(str(certificate), str(key))


def test_certificates_of_a_registry(tmp_path: Path) -> None:
    directory = tmp_path / "containers/certs.d/registry.test:5000"
    directory.mkdir(parents=True)
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    for name in ("b.crt", "a.crt", "README"):
        (directory / name).write_text("")
    make_pair(directory / "client.cert", directory / "client.key")
    assert certificates_for("registry.test:5000", environ) == (
        (f"{directory}/a.crt", f"{directory}/b.crt"),
        (f"{directory}/client.cert", f"{directory}/client.key"),
    )
    assert certificates_for("registry.test", environ) == ((), None)
    (directory / "client.key").unlink()
    with pytest.raises(ConfigError, match=r"client\.key is missing"):
        certificates_for("registry.test:5000", environ)
