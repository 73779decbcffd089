"""The API's messages are those of the .proto, on the wire and by name, and so are the filters' rules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2

from rktpy.api.filters import wants_image, wants_pod
from rktpy.api.public_api import _fail
from rktpy.api.service import _address
from rktpy.errors import AmbiguousError, ConfigError, NotFoundError, RktpyError, StateError, UsageError
from rktpy.formats.api import messages
from tests.conftest import ROOT

KIND = messages.CLASSES
KV = messages.KeyValue


def test_the_table_is_the_proto(tmp_path: Path) -> None:
    target = tmp_path / "set"
    argv = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}/formats/api", f"--descriptor_set_out={target}", "v1alpha.proto"]
    subprocess.run(argv, check=True)
    (compiled,) = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes()).file
    for message in compiled.message_type:
        for field in message.field:
            field.ClearField("json_name")
    assert compiled == messages.file_descriptor()


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        # Zigzag: sint32, not int32.
        (messages.Pod(id="a", pid=-1, state=4), "0a01611001 1804"),
        (messages.Pod(gc_marked_at=1, cgroup="/x"), "42022f78 5801"),
        (messages.App(name="a", exit_code=-2), "0a0161 2003"),
        (KV(Key="k", value="v"), "0a016b 120176"),
        (KIND["GetLogsRequest"](pod_id="p", lines=-1, follow=True), "0a0170 18ffffffffffffffffff01 2001"),
        (KIND["PodFilter"](states=[4, 6], pod_sub_cgroups=["/"]), "12020406 42012f"),
        (KIND["Event"](**{"from": "x"}), "1a0178"),
    ],
)
def test_the_wire(message: Any, wire: str) -> None:
    assert message.SerializeToString(deterministic=True).hex() == wire.replace(" ", "")


POD = messages.Pod(
    id="p1",
    state=4,
    apps=[
        messages.App(name="web", image=messages.Image(id="sha512-a")),
        messages.App(name="db", image=messages.Image(id="sha512-b")),
    ],
    networks=[messages.Network(name="default"), messages.Network(name="storage")],
    annotations=[KV(Key="a", value="1"), KV(Key="b", value="2")],
    cgroup="/machine/p1",
)


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({}, True),
        ({"ids": ["p0", "p1"]}, True),
        ({"ids": ["p"]}, False),
        ({"states": [1, 4]}, True),
        ({"states": [0]}, False),
        ({"app_names": ["db", "web"]}, True),
        ({"app_names": ["web", "cache"]}, False),
        ({"image_ids": ["sha512-b"]}, True),
        ({"image_ids": ["sha512-b", "sha512-c"]}, False),
        ({"network_names": ["storage"]}, True),
        ({"network_names": ["storage", "none"]}, False),
        ({"annotations": [KV(Key="b", value="2"), KV(Key="a", value="1")]}, True),
        ({"annotations": [KV(Key="a", value="2")]}, False),
        ({"annotations": [KV(Key="c", value="")]}, False),
        ({"cgroups": ["/x", "/machine/p1"]}, True),
        ({"cgroups": ["/machine"]}, False),
        ({"pod_sub_cgroups": ["/x", "/machine/p1/web"]}, True),
        ({"pod_sub_cgroups": ["/machine"]}, False),
        # Fields are combined by AND.
        ({"ids": ["p1"], "app_names": ["web"], "states": [4]}, True),
        ({"ids": ["p1"], "app_names": ["web"], "states": [6]}, False),
    ],
)
def test_pod_filters(members: dict[str, Any], wanted: bool) -> None:
    one = KIND["PodFilter"](**members)
    assert wants_pod([one], POD) is wanted
    # Filters are combined by OR.
    assert wants_pod([KIND["PodFilter"](ids=["other"]), one], POD) is wanted
    assert wants_pod([], POD)


def test_a_pod_without_a_cgroup_is_in_none() -> None:
    assert not wants_pod([KIND["PodFilter"](pod_sub_cgroups=["/a"])], messages.Pod(id="p"))


IMAGE = messages.Image(
    id="sha512-a",
    name="coreos.com/team/etcd",
    import_timestamp=100,
    labels=[KV(Key="version", value="v2"), KV(Key="os", value="linux")],
    annotations=[KV(Key="authors", value="x")],
)


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({}, True),
        ({"ids": ["sha512-b", "sha512-a"]}, True),
        ({"ids": ["sha512"]}, False),
        ({"prefixes": ["quay.io", "coreos.com/te"]}, True),
        ({"prefixes": ["reos.com"]}, False),
        ({"base_names": ["etcd"]}, True),
        ({"base_names": ["etc", "team/etcd"]}, False),
        ({"keywords": ["m/e"]}, True),
        ({"keywords": ["fleet"]}, False),
        ({"full_names": ["coreos.com/team/etcd"]}, True),
        ({"full_names": ["etcd"]}, False),
        ({"labels": [KV(Key="version", value="v2")]}, True),
        ({"labels": [KV(Key="version", value="v2"), KV(Key="arch", value="amd64")]}, False),
        ({"annotations": [KV(Key="authors", value="x")]}, True),
        ({"annotations": [KV(Key="authors", value="y")]}, False),
        ({"imported_after": 99, "imported_before": 101}, True),
        ({"imported_after": 100}, False),
        ({"imported_before": 100}, False),
        ({"base_names": ["etcd"], "keywords": ["fleet"]}, False),
    ],
)
def test_image_filters(members: dict[str, Any], wanted: bool) -> None:
    one = KIND["ImageFilter"](**members)
    assert wants_image([one], IMAGE) is wanted
    assert wants_image([KIND["ImageFilter"](ids=["other"]), one], IMAGE) is wanted
    assert wants_image([], IMAGE)


class _Context:
    def code(self) -> None:
        return None

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise LookupError(code, details)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (NotFoundError("no pod"), "NOT_FOUND", "no pod"),
        (UsageError("bad"), "INVALID_ARGUMENT", "bad"),
        (AmbiguousError("two"), "INVALID_ARGUMENT", "two"),
        (ConfigError("broken"), "DATA_LOSS", "broken"),
        (StateError("not now"), "FAILED_PRECONDITION", "not now"),
        (PermissionError(13, "Permission denied", "/x"), "PERMISSION_DENIED", "/x: permission denied"),
        (OSError(5, "Input/output error", "/x"), "UNKNOWN", "/x: input/output error"),
        (RktpyError("else"), "UNKNOWN", "else"),
        # Our own mistakes are told here, not there.
        (KeyError("secret"), "INTERNAL", "internal error"),
    ],
)
def test_what_clients_are_told(error: Exception, code: str, text: str) -> None:
    context: Any = _Context()
    with pytest.raises(LookupError) as caught:
        _fail("GetInfo", context, error)
    assert caught.value.args == (grpc.StatusCode[code], text)


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("localhost:15441", ("127.0.0.1", 15441)),
        ("127.0.0.2:0", ("127.0.0.2", 0)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:65535", ("[::1]", 65535)),
    ],
)
def test_addresses(listen: str, address: tuple[str, int]) -> None:
    assert _address(listen) == address


@pytest.mark.parametrize(
    ("listen", "problem"),
    [
        ("0.0.0.0", "missing port in address"),
        ("::1", "missing port in address"),
        ("localhost:", "invalid port"),
        ("localhost:http", "invalid port"),
        ("localhost:65536", "invalid port"),
        ("localhost:-1", "invalid port"),
        ("unix:/x", "invalid port"),
        ("", "missing port in address"),
        ("no.such.host.invalid:1", "cannot find the address of no.such.host.invalid"),
    ],
)
def test_addresses_that_are_none(listen: str, problem: str) -> None:
    with pytest.raises(RktpyError, match=problem):
        _address(listen)
