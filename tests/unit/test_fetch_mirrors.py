"""Which registries.conf files count."""

from __future__ import annotations

from pathlib import Path

import pytest

from rktpy.errors import ConfigError
from rktpy.fetch.mirrors import Endpoint, endpoints_for, load_registries_conf
from rktpy.fetch.reference import DockerReference


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_drop_ins_lie_over_the_users_file(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    write(tmp_path / "containers/registries.conf", '[[registry]]\nlocation = "a.test"\n[[registry]]\nlocation = "b.test"\n')
    write(tmp_path / "containers/registries.conf.d/10.conf", '[[registry]]\nlocation = "a.test"\nblocked = true\n')
    write(tmp_path / "containers/registries.conf.d/ignored", "nonsense")
    conf = load_registries_conf(environ)
    with pytest.raises(ConfigError, match="blocked"):
        endpoints_for(DockerReference("a.test", "x", "v1"), conf, environ)
    assert endpoints_for(DockerReference("b.test", "x", "v1"), conf, environ) == (Endpoint("b.test", "b.test", "x"),)


def test_a_named_file_counts_alone_and_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_registries_conf({"CONTAINERS_REGISTRIES_CONF": str(tmp_path / "none")})
    write(tmp_path / "conf", '[[registry]]\nlocation = "a.test"\ninsecure = true\n')
    conf = load_registries_conf({"CONTAINERS_REGISTRIES_CONF": str(tmp_path / "conf")})
    (endpoint,) = endpoints_for(DockerReference("a.test", "x", "v1"), conf, {})
    assert endpoint.insecure


def test_mirrors_come_before_the_registry(tmp_path: Path) -> None:
    text = '[[registry]]\nlocation = "a.test/team"\n[[registry.mirror]]\nlocation = "m.test/cache"\ninsecure = true\n'
    write(tmp_path / "conf", text)
    conf = load_registries_conf({"CONTAINERS_REGISTRIES_CONF": str(tmp_path / "conf")})
    assert endpoints_for(DockerReference("a.test", "team/x", "v1"), conf, {}) == (
        Endpoint("m.test", "m.test", "cache/x", True),
        Endpoint("a.test", "a.test", "team/x"),
    )


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "conf", "[[registry]\n")
    with pytest.raises(ConfigError, match=str(tmp_path / "conf")):
        load_registries_conf({"CONTAINERS_REGISTRIES_CONF": str(tmp_path / "conf")})
