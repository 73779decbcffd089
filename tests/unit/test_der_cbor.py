"""The strict readers of DER and CBOR: one spelling for each value, and a line of refusal for everything else."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import FormatError
from rktpy.formats import cbor, der
from rktpy.formats.rfc3339 import seconds_of, text_of
from tests.support import notation
from tests.support.timestamps import integer, oid, sequence, tlv


def refusal(data: bytes, read: Any = lambda element: element) -> str:
    with pytest.raises(FormatError) as caught:
        read(der.parse(data, "input"))
    return str(caught.value)


@given(st.integers(-(1 << 200), 1 << 200))
def test_integers(value: int) -> None:
    assert der.parse(der.encode(der.INTEGER, der.parse(integer(value), "").content), "").integer() == value


@given(st.lists(st.integers(0, 1 << 40), max_size=8), st.integers(0, 2), st.integers(0, 39))
def test_object_identifiers(rest: list[int], first: int, second: int) -> None:
    dotted = ".".join(map(str, (first, second, *rest)))
    if len(oid(dotted)) < 66:
        assert der.parse(oid(dotted), "").oid() == dotted
        assert der.encode_oid(dotted) == oid(dotted)


@given(st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(9999, 12, 31)))
def test_times(when: datetime.datetime) -> None:
    text = when.strftime("%Y%m%d%H%M%S").rjust(14, "0")
    fraction = f".{when.microsecond:06d}".rstrip("0") if when.microsecond else ""
    seconds = int(when.replace(tzinfo=datetime.UTC, microsecond=0).timestamp())
    element = der.parse(tlv(der.GENERALIZED_TIME, f"{text}{fraction}Z".encode()), "")
    assert element.generalized_time() == (seconds, when.microsecond)
    assert seconds_of(when.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0") + fraction + "Z") == seconds
    assert seconds_of(text_of(seconds).rjust(20, "0")) == seconds


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"20240229000000Z", ""),
        (b"20230229000000Z", "is not a date"),
        (b"20241301000000Z", "is not a date"),
        (b"20240100000000Z", "is not a date"),
        (b"20240101240000Z", "is not a time of this epoch"),
        (b"20240101006000Z", "is not a time of this epoch"),
        (b"20240101000060Z", "is not a time of this epoch"),
        (b"19691231235959Z", "is not a time of this epoch"),
        (b"20240101000000", "is not a DER GeneralizedTime"),
        (b"20240101000000+0100", "is not a DER GeneralizedTime"),
        (b"202401010000Z", "is not a DER GeneralizedTime"),
        (b"2024010100000aZ", "is not a DER GeneralizedTime"),
        (b"20240101000000.Z", "that is not DER"),
        (b"20240101000000.10Z", "that is not DER"),
        (b"20240101000000,1Z", "that is not DER"),
    ],
)
def test_generalized_times_have_one_form(text: bytes, problem: str) -> None:
    element = der.parse(tlv(der.GENERALIZED_TIME, text), "input")
    if not problem:
        assert element.generalized_time()[0] > 0
        return
    with pytest.raises(FormatError) as caught:
        element.generalized_time()
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2024-06-01T00:00:00+02:00", ""),
        ("2024-06-01T00:00:00.5-00:30", ""),
        ("2024-06-01 00:00:00Z", "is not an RFC 3339 time"),
        ("2024-06-01", "is not an RFC 3339 time"),
        ("2024-06-01T24:00:00Z", "is not an RFC 3339 time"),
        ("2024-06-01T00:00:00", "is not an RFC 3339 time"),
        ("1969-12-31T23:59:59Z", "is a time before 1970"),
        ("١٩٧٠-01-01T00:00:00Z", "is not an RFC 3339 time"),
    ],
)
def test_internet_times(text: str, problem: str) -> None:
    if problem:
        with pytest.raises(ValueError, match=problem):
            seconds_of(text)
    else:
        due = datetime.datetime.fromisoformat(text).replace(microsecond=0).timestamp()
        assert seconds_of(text) == due


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty"),
        (b"\x02", "is cut off"),
        (b"\x02\x02\x01", "is cut off"),
        (b"\x02\x82\x01", "is cut off"),
        (b"\x02\x01\x01\x00", "has bytes after its end"),
        (b"\x30\x80\x00\x00", "indefinite"),
        (b"\x02\x85\x00\x00\x00\x00\x01\x01", "oversized length"),
        (b"\x02\x81\x01\x01", "shortest form of its length"),
        (b"\x02\x82\x00\x80" + bytes(128), "shortest form of its length"),
        (b"\x1f\x81\x01\x00", "has a DER tag of several bytes"),
    ],
)
def test_lengths_and_tags_have_one_form(data: bytes, problem: str) -> None:
    assert problem in refusal(data)


def test_values_have_one_form() -> None:
    for content in (b"\x00\x01", b"\xff\x80", b""):
        assert "INTEGER" in refusal(tlv(der.INTEGER, content), der.Element.integer)
    for content in (b"\x01", b"", b"\xff\xff"):
        assert "BOOLEAN" in refusal(tlv(der.BOOLEAN, content), der.Element.boolean)
    for content in (b"", b"\x80", b"\x2a\x80\x01", b"\x2a\x86", b"\x2a" * 65):
        assert "OBJECT IDENTIFIER" in refusal(tlv(der.OID, content), der.Element.oid)


def test_members_are_taken_in_order_and_all() -> None:
    members = der.parse(sequence(integer(1), oid("1.2.3")), "input").members()
    assert members.take(der.INTEGER, "version").integer() == 1
    assert members.optional(der.INTEGER, "more") is None
    with pytest.raises(FormatError, match="has members that do not belong there"):
        members.finish()
    with pytest.raises(FormatError, match="input: name: has the DER tag 0x06 where 0x02 is due"):
        members.take(der.INTEGER, "name")
    with pytest.raises(FormatError, match="input: last: is missing"):
        members.take(None, "last")
    with pytest.raises(FormatError, match="holds more than 2 elements"):
        der.parse(sequence(*[integer(1)] * 3), "input").items(der.SEQUENCE, 2)


VALUES = st.recursive(
    st.integers(-(1 << 64), (1 << 64) - 1) | st.binary(max_size=40) | st.text(max_size=20) | st.booleans() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.integers(-100, 100) | st.text(max_size=5), inner, max_size=5)
        | st.builds(cbor.Tagged, st.sampled_from([cbor.TAG_TIME, cbor.TAG_SIGN1]), inner)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_cbor_survives(value: Any) -> None:
    try:
        again = cbor.parse(cbor.encode(value), "value")
    except FormatError as error:
        assert "nested too deeply" in str(error)
    else:
        assert again == value and cbor.encode(again) == cbor.encode(value)


@given(st.binary(max_size=60))
def test_any_bytes_are_cbor_in_its_only_spelling_or_refused(data: bytes) -> None:
    try:
        value = cbor.parse(data, "input")
    except FormatError as error:
        assert str(error).isprintable()
    else:
        # Maps may have any order; apart from that there is nothing to choose.
        assert sorted(cbor.encode(value)) == sorted(data)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("", "is cut off"),
        ("1817", "shortest form"),
        ("190017", "shortest form"),
        ("1a0000ffff", "shortest form"),
        ("1b00000000ffffffff", "shortest form"),
        ("5801ff", "shortest form"),
        ("1c", "indefinite or reserved"),
        ("5f4101ff", "indefinite or reserved"),
        ("9f01ff", "indefinite or reserved"),
        ("bf0101ff", "indefinite or reserved"),
        ("f90000", "float or an unknown simple value"),
        ("f7", "float or an unknown simple value"),
        ("f814", "float or an unknown simple value"),
        ("c001", "tag 0, which is not understood"),
        ("d9d9f701", "tag 55799, which is not understood"),
        ("a201010102", "map key 1 twice"),
        ("a14100f6", "neither an integer nor text"),
        ("a1f5f6", "neither an integer nor text"),
        ("61ff", "not UTF-8"),
        ("4201", "is cut off"),
        ("0000", "bytes after its end"),
        ("81" * 9 + "01", "nested too deeply"),
        ("990101" + "00" * 257, "more than 256 items"),
    ],
)
def test_cbor_that_is_refused(data: str, problem: str) -> None:
    with pytest.raises(FormatError) as caught:
        cbor.parse(bytes.fromhex(data), "input")
    assert problem in str(caught.value)


def test_cbor_agrees_with_another_encoder() -> None:
    document = {1: -7, 2: ["a", -1], 3: "text", "b": notation.Tag(1, 1700000000), "c": b"bytes", "d": 1 << 40}
    value = cbor.parse(notation.cbor(document), "input")
    assert value == {1: -7, 2: ["a", -1], 3: "text", "b": cbor.Tagged(1, 1700000000), "c": b"bytes", "d": 1 << 40}
