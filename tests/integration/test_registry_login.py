"""Registries that want to know who asks: basic, tokens, and where credentials come from."""

from __future__ import annotations

import base64
import json
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.config import load_config
from rktpy.errors import ConfigError, HTTPError
from rktpy.fetch import registry_auth
from rktpy.fetch.credentials import Credentials
from rktpy.fetch.http import Client, HTTPOptions
from rktpy.fetch.mirrors import Endpoint
from rktpy.fetch.reference import DockerReference
from rktpy.fetch.registry import Registry
from rktpy.fetch.registry_auth import Credential
from rktpy.formats.oci.platform import platform_of_machine
from tests.support.http_server import Answer, Request, Server
from tests.support.registry import Registry as Running
from tests.support.registry import make_image
from tests.support.sink import DirectorySink
from tests.support.token_server import TokenServer

HERE = platform_of_machine(platform.machine())


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_image(tmp_path_factory.mktemp("image"), [{f"/layer{number}": bytes([number]) * 9000} for number in range(5)])


@pytest.fixture
def private(tmp_path: Path, image: str) -> Iterator[tuple[Running, TokenServer]]:
    """A registry whose token server knows ann and the identity token "refresh"."""
    tokens = TokenServer(tmp_path / "tokens", {"ann": "secret"}, ("refresh",))
    with tokens, Running(tmp_path / "registry", token=tokens.registry_section) as running:
        running.push(image, "team/app:v1", "--dest-creds=ann:secret")
        tokens.requests.clear()
        yield running, tokens


@pytest.fixture
def sink(tmp_path: Path) -> DirectorySink:
    return DirectorySink(tmp_path / "sink")


def pull(running: Running, sink: DirectorySink, credentials: object, environ: dict[str, str] | None = None) -> None:
    reference = DockerReference(running.host, "team/app", "v1")
    client = Client(HTTPOptions(allow_http=True), environ=environ or {})
    endpoint = Endpoint(running.host, running.host, "team/app")
    with Registry(client, reference, (endpoint,), credentials) as registry:  # type: ignore[arg-type]
        registry.pull(sink, HERE)


def test_one_token_serves_the_whole_pull(private: tuple[Running, TokenServer], sink: DirectorySink) -> None:
    running, tokens = private
    pull(running, sink, lambda _host, _repository: Credential("ann", "secret"))
    assert len(tokens.requests) == 1
    query = tokens.requests[0].query
    assert "service=test-registry" in query and "scope=repository:team/app:pull" in query and "account=ann" in query


def test_an_identity_token_is_posted(private: tuple[Running, TokenServer], sink: DirectorySink) -> None:
    running, tokens = private
    pull(running, sink, lambda _host, _repository: Credential(identity_token="refresh"))
    assert [request.method for request in tokens.requests] == ["POST"]
    assert b"grant_type=refresh_token" in tokens.requests[0].body


def test_a_token_server_without_post_is_asked_with_get(tmp_path: Path, image: str, sink: DirectorySink) -> None:
    with TokenServer(tmp_path / "tokens") as tokens, Running(tmp_path / "registry", token=tokens.registry_section) as running:
        running.push(image, "team/app:v1")
        tokens.requests.clear()
        pull(running, sink, lambda _host, _repository: Credential(identity_token="unused"))
        assert [request.method for request in tokens.requests] == ["POST", "GET"]


def test_wrong_passwords_are_named(private: tuple[Running, TokenServer], sink: DirectorySink) -> None:
    with pytest.raises(HTTPError, match="does not accept the credentials of ann"):
        pull(private[0], sink, lambda _host, _repository: Credential("ann", "wrong"))


def test_nobody_gets_nothing(private: tuple[Running, TokenServer], sink: DirectorySink) -> None:
    with pytest.raises(HTTPError, match="HTTP 401"):
        pull(private[0], sink, lambda _host, _repository: None)


def test_an_expired_token_is_renewed(tmp_path: Path, image: str, sink: DirectorySink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_auth, "_LIFETIME", 5)
    tokens = TokenServer(tmp_path / "tokens", lifetime=None)
    with tokens, Running(tmp_path / "registry", token=tokens.registry_section) as running:
        running.push(image, "team/app:v1")
        tokens.requests.clear()
        pull(running, sink, lambda _host, _repository: None)
        assert len(tokens.requests) > 3


def test_the_registry_gets_no_credentials_meant_for_another(tmp_path: Path, sink: DirectorySink) -> None:
    """A registry that redirects to another host, which then asks for credentials, gets none."""
    with Server() as elsewhere, Server() as running:
        elsewhere.routes["/stolen"] = lambda _r: Answer(401, headers={"WWW-Authenticate": 'Basic realm="x"'})

        def answer(request: Request) -> Answer:
            if "authorization" not in request.headers:
                return Answer(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
            return Answer(307, headers={"Location": f"{elsewhere.url}/stolen"})

        running.routes["/v2/team/app/manifests/v1"] = answer
        with pytest.raises(HTTPError, match="HTTP 401"):
            pull(running, sink, lambda _host, _repository: Credential("ann", "secret"))  # type: ignore[arg-type]
        assert any("authorization" in request.headers for request in running.requests)
        assert not any("authorization" in request.headers for request in elsewhere.requests)


def test_rkts_docker_auth(private: tuple[Running, TokenServer], sink: DirectorySink, tmp_path: Path) -> None:
    running, _ = private
    directory = tmp_path / "etc/auth.d"
    directory.mkdir(parents=True)
    document = {
        "rktKind": "dockerAuth",
        "rktVersion": "v1",
        "registries": [running.host],
        "credentials": {"user": "ann", "password": "secret"},
    }
    (directory / "a.json").write_text(json.dumps(document))
    pull(running, sink, Credentials(load_config("", str(tmp_path / "etc")), {}))


@pytest.mark.parametrize("name", ["run/containers/auth.json", "home/.config/containers/auth.json", "home/.docker/config.json"])
def test_auth_files(private: tuple[Running, TokenServer], sink: DirectorySink, tmp_path: Path, name: str) -> None:
    running, _ = private
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"auths": {running.host: {"auth": base64.b64encode(b"ann:secret").decode()}}}))
    environ = {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    pull(running, sink, Credentials(None, environ))


def helper(tmp_path: Path, script: str) -> dict[str, str]:
    """An environment with the credential helper "test" and a configuration that names it."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/docker-credential-test"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    (tmp_path / "home/.docker").mkdir(parents=True)
    (tmp_path / "home/.docker/config.json").write_text(json.dumps({"credsStore": "test"}))
    return {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "none"), "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}


def test_a_credential_helper(private: tuple[Running, TokenServer], sink: DirectorySink, tmp_path: Path) -> None:
    running, _ = private
    script = f"""read -r server || true
test "$1" = get && test "$server" = "{running.host}" || {{ echo 'credentials not found in native keychain'; exit 1; }}
echo '{{"ServerURL":"x","Username":"ann","Secret":"secret"}}'"""
    environ = helper(tmp_path, script)
    pull(running, sink, Credentials(None, environ))


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("""echo '{"Username":"<token>","Secret":"t"}'""", Credential(identity_token="t")),
        ("echo credentials not found in native keychain; exit 1", None),
        ("echo the keyring is locked; exit 1", None),
    ],
)
def test_what_helpers_say(tmp_path: Path, script: str, found: Credential | None) -> None:
    environ = helper(tmp_path, script)
    assert Credentials(None, environ)("registry.test", "a") == found


def test_a_helper_that_talks_nonsense_is_an_error(tmp_path: Path) -> None:
    environ = helper(tmp_path, "echo nonsense")
    with pytest.raises(ConfigError, match="docker-credential-test"):
        Credentials(None, environ)("registry.test", "a")


def test_a_helper_that_is_not_there_is_passed_over(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    environ = helper(tmp_path, "true")
    (tmp_path / "bin/docker-credential-test").unlink()
    assert Credentials(None, environ)("registry.test", "a") is None
    assert "docker-credential-test is not installed" in capfd.readouterr().err
