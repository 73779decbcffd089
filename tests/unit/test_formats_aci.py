"""Common types and image manifests of appc (formats/aci)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rktpy.errors import FormatError
from rktpy.formats.aci import types
from rktpy.formats.aci.manifest import App, ImageManifest, Port
from rktpy.formats.aci.types import NameValue

# A manifest with every member of the specification, in the shape of its own sample: note supplementaryGids.
WORKER: dict[str, Any] = {
    "acKind": "ImageManifest",
    "acVersion": "0.8.11",
    "name": "example.org/tools/indexer",
    "labels": [
        {"name": "version", "value": "2.1.0"},
        {"name": "arch", "value": "amd64"},
        {"name": "os", "value": "linux"},
    ],
    "app": {
        "exec": ["/usr/bin/indexer", "--quiet"],
        "user": "100",
        "group": "300",
        "supplementaryGids": [400, 500],
        "eventHandlers": [
            {"exec": ["/usr/bin/fetch-data"], "name": "pre-start"},
            {"exec": ["/usr/bin/leave", "--verbose"], "name": "post-stop"},
        ],
        "workingDirectory": "/opt/work",
        "environment": [{"name": "INDEXER_DEBUG", "value": "true"}],
        "isolators": [
            {"name": "resource/cpu", "value": {"request": "250m", "limit": "500m"}},
            {"name": "resource/memory", "value": {"request": "1G", "limit": "2G"}},
            {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_NET_BIND_SERVICE"]}},
        ],
        "mountPoints": [{"name": "work", "path": "/var/lib/work", "readOnly": False}],
        "ports": [
            {"name": "health", "port": 4000, "protocol": "tcp", "socketActivated": True},
            {"name": "ftp-data", "port": 20000, "count": 1000, "protocol": "tcp"},
        ],
        "userAnnotations": {"Any Key": "any value"},
        "userLabels": {"tier": "back"},
    },
    "dependencies": [
        {
            "imageName": "example.org/base",
            "imageID": "sha512-" + "0a" * 64,
            "labels": [{"name": "os", "value": "linux"}, {"name": "env", "value": "canary"}],
            "size": 22017258,
        }
    ],
    "pathWhitelist": ["/etc/ca.crt", "/usr/bin/indexer", "/etc/systemd/system/"],
    "annotations": [
        {"name": "authors", "value": "Ann <ann@example.org>"},
        {"name": "created", "value": "2014-10-27T19:32:27.67021798Z"},
        {"name": "documentation", "value": "https://example.org/docs"},
        {"name": "homepage", "value": "https://example.org"},
        {"name": "appc.io/executor/supports-systemd-notify", "value": "false"},
    ],
}


def altered(path: str, value: object) -> dict[str, Any]:
    """WORKER with the member at ``path`` (``app.exec``, ``labels.0.name``) set, or removed when ``value`` is Ellipsis."""
    document = json.loads(json.dumps(WORKER))
    at: Any = document
    *parents, last = path.split(".")
    for name in parents:
        at = at[int(name)] if isinstance(at, list) else at[name]
    if value is ...:
        del at[last]
    elif isinstance(at, list):
        at[int(last)] = value
    else:
        at[last] = value
    return document


def test_every_member_is_read() -> None:
    manifest = ImageManifest.from_dict(WORKER)
    assert manifest.name == "example.org/tools/indexer"
    assert manifest.label("arch") == "amd64"
    assert manifest.label("absent") is None
    assert manifest.annotation("homepage") == "https://example.org"
    app = manifest.app
    assert app is not None
    assert app.exec == ("/usr/bin/indexer", "--quiet")
    assert (app.user, app.group, app.supplementary_gids) == ("100", "300", (400, 500))
    assert [(handler.name, handler.exec[0]) for handler in app.event_handlers] == [
        ("pre-start", "/usr/bin/fetch-data"),
        ("post-stop", "/usr/bin/leave"),
    ]
    assert app.working_directory == "/opt/work"
    assert app.environment == (NameValue("INDEXER_DEBUG", "true"),)
    assert [one.name for one in app.isolators] == ["resource/cpu", "resource/memory", "os/linux/capabilities-retain-set"]
    assert (app.mount_points[0].name, app.mount_points[0].path, app.mount_points[0].read_only) == ("work", "/var/lib/work", False)
    assert app.ports == (Port("health", "tcp", 4000, 1, True), Port("ftp-data", "tcp", 20000, 1000))
    assert app.user_annotations == {"Any Key": "any value"}
    assert app.user_labels == {"tier": "back"}
    dependency = manifest.dependencies[0]
    assert (dependency.image_name, dependency.image_id, dependency.size) == ("example.org/base", "sha512-" + "0a" * 64, 22017258)
    assert manifest.path_whitelist == ("/etc/ca.crt", "/usr/bin/indexer", "/etc/systemd/system/")


def test_unchanged_documents_come_back_byte_by_byte() -> None:
    data = json.dumps(altered("future", {"x": [1, None, {"y": 0.5}]}), indent=3).encode() + b"\n"
    manifest = ImageManifest.from_bytes(data)
    assert manifest.to_bytes() == data
    assert manifest.to_dict() == json.loads(data)
    assert manifest.replace().to_bytes() == data


def test_argument_and_answer_are_separate() -> None:
    document = altered("app.extra", [1])
    manifest = ImageManifest.from_dict(document)
    document["app"]["exec"].append("changed")
    assert manifest.to_dict()["app"]["exec"] == ["/usr/bin/indexer", "--quiet"]
    manifest.to_dict()["app"]["extra"].append(2)
    assert manifest.to_dict()["app"]["extra"] == [1]


def test_changes_keep_what_is_unknown() -> None:
    manifest = ImageManifest.from_dict(altered("app.future", {"deep": True}))
    assert manifest.app is not None
    changed = manifest.replace(app=manifest.app.replace(user="root", environment=()))
    document = json.loads(changed.to_bytes())
    assert document["app"]["future"] == {"deep": True}
    assert document["app"]["user"] == "root"
    assert "environment" not in document["app"]
    assert document["app"]["supplementaryGIDs"] == [400, 500]  # canonical spelling once the object is written anew
    assert document["labels"] == WORKER["labels"]
    assert list(document)[:3] == ["acKind", "acVersion", "name"]


def test_new_manifests_are_checked_before_they_are_written() -> None:
    manifest = ImageManifest("0.8.11", "example.org/new", app=App(("/bin/sh",)))
    assert json.loads(manifest.to_bytes()) == {
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": "example.org/new",
        "app": {"exec": ["/bin/sh"], "user": "0", "group": "0"},
    }
    with pytest.raises(FormatError, match=r"image manifest: name: ACIdentifier must contain only"):
        manifest.replace(name="Not Valid").to_bytes()
    with pytest.raises(FormatError, match=r"app\.user: must be set"):
        manifest.replace(app=App(user="")).to_bytes()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("acKind", ..., "acKind: must be set"),
        ("acKind", "PodManifest", "acKind: must be 'ImageManifest', got 'PodManifest'"),
        ("acVersion", "0.0.0", "acVersion: SemVer cannot be zero"),
        ("acVersion", "1.0", "acVersion: SemVer is bad"),
        ("acVersion", "1.0.x", "acVersion: SemVer is bad"),
        ("acVersion", 1, "acVersion: must be a string"),
        ("name", "", "name: must be set"),
        ("name", "Example.org", "name: ACIdentifier must contain only"),
        ("name", "/a", "name: ACIdentifier must start and end"),
        ("labels", {}, "labels: must be an array"),
        ("labels.0", "version", r"labels\[0\]: must be an object"),
        ("labels.0.name", "name", r"labels\[0\].name: invalid label name"),
        ("labels.0.name", "arch", r"labels\[1\].name: duplicate labels of name 'arch'"),
        ("labels.1.value", "sparc", r"labels: bad arch 'sparc' for linux \(must be one of: amd64 i386"),
        ("labels.2.value", "plan9", r"labels: bad os 'plan9' \(must be one of: darwin freebsd linux\)"),
        ("app", [], "app: must be an object"),
        ("app.exec", "sh", "app.exec: must be an array"),
        ("app.exec.1", 7, r"app.exec\[1\]: must be a string"),
        ("app.exec.0", "/bin\0/sh", r"app.exec\[0\]: contains a NUL character"),
        ("app.exec.0", "\ud800", r"app.exec\[0\]: contains half of a surrogate pair"),
        ("app.user", ..., "app.user: must be set"),
        ("app.group", "", "app.group: must be set"),
        ("app.SupplementaryGIDS", [1], "app.supplementaryGIDs: is given twice"),
        ("app.supplementaryGids.0", -1, r"app.supplementaryGIDs\[0\]: must be a group ID"),
        ("app.supplementaryGids.0", True, r"app.supplementaryGIDs\[0\]: must be a group ID"),
        ("app.workingDirectory", "work", "app.workingDirectory: must be an absolute path"),
        ("app.environment.0.name", "1X", r"app.environment\[0\]: environment variable does not have valid identifier"),
        ("app.environment.0.value", "a\0b", r"app.environment\[0\]: value of environment variable"),
        ("app.eventHandlers.0.name", "start", r"app.eventHandlers\[0\].name: bad eventHandler name"),
        ("app.eventHandlers.0.name", "post-stop", r"app.eventHandlers\[1\]: only one eventHandler"),
        ("app.mountPoints.0.path", "", r"app.mountPoints\[0\].path: must be set"),
        ("app.mountPoints.0.readOnly", "no", r"app.mountPoints\[0\].readOnly: must be true or false"),
        ("app.mountPoints.0.name", "a_b", r"app.mountPoints\[0\].name: ACName must contain only"),
        ("app.ports.0.port", 0, r"app.ports\[0\].port: port must be in 1-65535 range"),
        ("app.ports.0.port", 65536, r"app.ports\[0\].port: port must be in 1-65535 range"),
        ("app.ports.0.port", 80.5, r"app.ports\[0\].port: must be an integer"),
        ("app.ports.1.count", 45537, r"app.ports\[1\].count: end of port range must be"),
        ("app.ports.1.protocol", ..., r"app.ports\[1\].protocol: must be set"),
        ("app.userLabels", {"a": 1}, "app.userLabels.a: must be a string"),
        ("app.isolators.0.value.limit", "5X", r"app.isolators\[0\].value.limit: unable to parse quantity's suffix"),
        ("dependencies.0.imageName", ..., r"dependencies\[0\].imageName: must be set"),
        ("dependencies.0.imageID", "md5-00", r"dependencies\[0\].imageID: unrecognized hash type: 'md5'"),
        ("dependencies.0.imageID", "sha512", r"dependencies\[0\].imageID: badly formatted hash string"),
        ("dependencies.0.size", -1, r"dependencies\[0\].size: must be in"),
        ("dependencies.0.labels.1.name", "os", r"dependencies\[0\].labels\[1\].name: duplicate labels"),
        ("pathWhitelist.0", "etc", r"pathWhitelist\[0\]: must be an absolute path"),
        ("annotations.1.value", "yesterday", r"annotations\[1\].value: bad Date"),
        ("annotations.3.value", "ftp://example.org", r"annotations\[3\].value: bad URL"),
        ("annotations.0.name", "created", r"annotations\[1\].name: duplicate annotations of name 'created'"),
    ],
)
def test_rules(path: str, value: object, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        ImageManifest.from_dict(altered(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("labels", None),
        ("app", None),
        ("dependencies", []),
        ("pathWhitelist", None),
        ("app.ports.0.count", 0),  # how the reference writes "not given"
        ("app.exec", None),
        ("name", "a--b/_c.d"),  # separators in a row, as Docker names give
        ("acVersion", "1.30.0+gitabc"),
        ("labels.2", {"name": "kernel", "value": "plan9"}),  # arch counts only with os
        ("labels.0.value", None),
    ],
)
def test_lenient_reads(path: str, value: object) -> None:
    document = altered(path, value)
    assert ImageManifest.from_dict(document).to_dict() == document


def test_duplicate_members_and_kelvin_signs() -> None:
    with pytest.raises(FormatError, match="duplicate member 'name'"):
        ImageManifest.from_bytes(b'{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a","name":"b"}')
    # Go folds U+017F to s: a reader that does not would overlook these isolators.
    app = App.from_dict({"exec": [], "user": "0", "group": "0", "i\u017folators": [{"name": "os/linux/cpu-shares", "value": 2}]})
    assert len(app.isolators) == 1


@pytest.mark.parametrize("text", ["a", "a/b", "example.com/a-b_c~d.e", "1"])
def test_identifiers(text: str) -> None:
    assert types.is_ac_identifier(text)
    assert types.is_ac_identifier(text, strict=True)


def test_names_are_lenient_unless_strict() -> None:
    assert types.is_ac_name("a--b")
    assert not types.is_ac_name("a--b", strict=True)
    assert not types.is_ac_name("a.b")
    for text in ("", "-a", "a-", "A", "a b", "ä"):
        assert not types.is_ac_name(text)
    assert types.is_ac_identifier("a/_b")
    assert not types.is_ac_identifier("a/_b", strict=True)


@pytest.mark.parametrize(
    ("text", "identifier", "name"),
    [
        ("Registry:5000/Foo", "registry_5000/foo", "registry-5000-foo"),
        ("/volume/data/", "volume/data", "volume-data"),
        ("80/tcp", "80/tcp", "80-tcp"),
        ("__x__", "x", "x"),
    ],
)
def test_sanitizing(text: str, identifier: str, name: str) -> None:
    assert types.sanitize_ac_identifier(text) == identifier
    assert types.sanitize_ac_name(text) == name
    assert types.app_name_of("example.org/a/" + text.replace("/", "-")) == name


@settings(deadline=None)
@given(st.text())
def test_sanitized_is_valid(text: str) -> None:
    for sanitize, check in (
        (types.sanitize_ac_identifier, types.is_ac_identifier),
        (types.sanitize_ac_name, types.is_ac_name),
    ):
        try:
            made = sanitize(text)
        except FormatError:
            continue
        assert check(made)
        assert sanitize(made) == made


def test_uuids() -> None:
    wanted = "6733c088-a507-4694-aabf-edbe4fc5266f"
    assert types.parse_uuid("6733C088A5074694AABFEDBE4FC5266F") == wanted
    assert types.parse_uuid(wanted) == wanted
    for text in ("", "6733", "g" * 32, wanted + "0"):
        with pytest.raises(FormatError):
            types.parse_uuid(text)


def test_image_ids() -> None:
    assert types.parse_image_id("sha512-" + "ab" * 32) == ("sha512", "ab" * 32)
    assert types.parse_image_id("sha256-" + "ab" * 32) == ("sha256", "ab" * 32)
    assert types.is_image_id("sha512-" + "ab" * 64)
    assert types.is_image_id("sha256-" + "ab" * 32)
    for text in ("sha512-" + "ab" * 32, "sha256-" + "AB" * 32, "sha1-" + "ab" * 20, "", "sha512", "md5-"):
        assert not types.is_image_id(text)
    for text in ("sha512-", "sha512-ab-cd", "sha512-xyz", "sha256-" + "ab" * 33, "sha1-ab"):
        with pytest.raises(FormatError):
            types.parse_image_id(text)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("2014-10-27T19:32:27Z", True),
        ("2014-10-27T19:32:27.67021798Z", True),
        ("2014-10-27T19:32:27+02:00", True),
        ("2014-10-27T19:32:27.5-11:30", True),
        ("2016-02-29T00:00:00Z", True),
        ("2015-02-29T00:00:00Z", False),
        ("2014-13-01T00:00:00Z", False),
        ("2014-10-27 19:32:27Z", False),
        ("2014-10-27T19:32:27", False),
        ("2014-10-27T19:32:27.Z", False),
        ("2014-10-27T24:00:00Z", False),
        ("2014-10-27T19:32:27+0200", False),
        ("2014-10-27T19:32:27+24:00", False),
        ("2014-10-27T19:32:27ZZ", False),
        ("\u0662014-10-27T19:32:27Z", False),
        ("", False),
    ],
)
def test_dates(text: str, valid: bool) -> None:
    assert types.is_date(text) is valid


def test_urls() -> None:
    assert types.is_http_url("https://example.org/a?b#c")
    for text in ("", "http:", "http://", "mailto:a@example.org", "https://a b", "//example.org", "https://a\n"):
        assert not types.is_http_url(text)


def test_with_value() -> None:
    pairs = (NameValue("a", "1"), NameValue("b", "2"))
    assert types.with_value(pairs, "a", "3") == (NameValue("a", "3"), NameValue("b", "2"))
    assert types.with_value(pairs, "c", "3") == (*pairs, NameValue("c", "3"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = [member for _field, member, _always in (*ImageManifest.MEMBERS, *App.MEMBERS)]


@settings(deadline=None)
@given(JSON)
def test_any_json_is_a_manifest_or_an_error(value: Any) -> None:
    try:
        ImageManifest.from_dict(value)
    except FormatError:
        pass


@settings(deadline=None)
@given(st.sampled_from([None, "app", "labels", "dependencies"]), st.sampled_from(MEMBERS), JSON)
def test_any_member_is_read_or_an_error(parent: str | None, member: str, value: Any) -> None:
    document = json.loads(json.dumps(WORKER))
    place = document if parent is None else document[parent]
    (place if isinstance(place, dict) else place[0])[member] = value
    try:
        manifest = ImageManifest.from_dict(document)
    except FormatError:
        return
    assert manifest.to_dict() == document
    assert ImageManifest.from_bytes(manifest.to_bytes()) == manifest
    # Written from its fields alone it says the same, apart from what the record does not know.
    rebuilt = ImageManifest(**{field: manifest.__dict__[field] for field in ImageManifest._fields})
    assert ImageManifest.from_bytes(rebuilt.to_bytes()) == manifest


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_manifest_or_an_error(data: bytes) -> None:
    try:
        ImageManifest.from_bytes(data)
    except FormatError:
        pass


def test_nesting_bombs() -> None:
    for text in ('{"acKind":' + "[" * 100_000, '{"x":' * 5_000):
        with pytest.raises(FormatError):
            ImageManifest.from_bytes(text.encode())
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(FormatError, match="nested too deeply"):
        ImageManifest.from_dict({"unknown": deep})
