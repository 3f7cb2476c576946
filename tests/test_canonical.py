"""One value has one text, and texts that parsers read differently are refused."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from dossier import canonical
from dossier.errors import SchemaError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER) | st.floats(
    allow_nan=False, allow_infinity=False
).map(lambda number: int(number) if number.is_integer() and abs(number) <= canonical.MAX_INTEGER else number).filter(
    lambda number: isinstance(number, int) or not number.is_integer()
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read_back_as_the_same_value(value: Any) -> None:
    read = canonical.loads(canonical.encode(value), where="x")
    assert json.dumps(read, sort_keys=True) == json.dumps(value, sort_keys=True)


@given(VALUES)
def test_reading_and_writing_again_gives_the_same_bytes(value: Any) -> None:
    once = canonical.encode(value)
    assert canonical.encode(canonical.loads(once, where="x")) == once


@given(st.dictionaries(TEXT, NUMBERS, max_size=6))
def test_the_order_of_members_does_not_change_the_digest(value: dict[str, Any]) -> None:
    assert canonical.digest(dict(reversed(value.items()))) == canonical.digest(value)


@given(
    st.recursive(
        st.none() | st.booleans() | TEXT | st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER)
        | st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: abs(number) < 1e15),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=12,
    )
)  # fmt: skip
def test_the_fast_way_writes_the_bytes_of_the_reference_implementation(value: Any) -> None:
    assert canonical.encode(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("number", [1e-4, 9.999e-5, 1.5e-6, 9e-7, 5e-324, 0.1 + 0.2, -1e-7, 123456789012345.6, -0.0])
def test_floats_are_written_as_the_reference_implementation_does_on_both_sides_of_an_exponent(number: float) -> None:
    assert canonical.encode([number]) == rfc8785.dumps([number])


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, ["a\ud83d"], float("nan"), 2**53, {1: 2}, {"a": b"x"}])
def test_what_has_no_canonical_form_is_refused_by_the_fast_way_too(value: Any) -> None:
    with pytest.raises(ValueError, match=r"no canonical JSON|surrogates not allowed"):
        canonical.encode(value)


def test_canonical_bytes_are_those_of_the_examples_in_rfc_8785() -> None:
    value = {
        "numbers": [333333333.33333329, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }  # RFC 8785 section 3.2.2, without 1e30
    assert canonical.encode(value) == (
        b'{"literals":[null,true,false],"numbers":[333333333.3333333,4.5,0.002,1e-27],'
        b'"string":"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_members_are_sorted_by_utf_16_units() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\xf6"]  # RFC 8785 section 3.2.3
    written = canonical.encode(dict.fromkeys(keys, 0))
    order = ["\r", "1", "\x80", "\xf6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(written)) == order


def test_a_digest_is_sha_256_in_lower_case() -> None:
    assert canonical.digest({}) == hashlib.sha256(b"{}").hexdigest()
    assert canonical.sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 2**53, -(2**53), "\ud800", {1: 2}, {"a": b"x"}, object()],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_canonical_form_is_a_mistake_of_the_programmer(value: Any) -> None:
    with pytest.raises(ValueError, match="no canonical JSON"):
        canonical.encode(value)


@pytest.mark.parametrize("value", [1e16, -1e16, 1e30, 2.0**53])
def test_what_cannot_be_read_back_is_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="no canonical JSON"):
        canonical.encode(value)


REFUSED = {
    "duplicate key": b'{"a": 1, "a": 1}',
    "duplicate key, deep": b'[{"b": {"a": 1, "a": 2}}]',
    "duplicate key, escaped": b'{"a": 1, "\\u0061": 2}',
    "NaN": b"[NaN]",
    "Infinity": b"[Infinity]",
    "minus Infinity": b"[-Infinity]",
    "overflow": b"[1e400]",
    "minus overflow": b"[-1e400]",
    "integer of 2**53": b"[9007199254740992]",
    "integer of minus 2**53": b"[-9007199254740992]",
    "integer with 5000 digits": b"[" + b"9" * 5000 + b"]",
    "integral fraction": b"[1.0]",
    "integral exponent": b"[1e2]",
    "fraction below every double": b"[1e-400]",
    "negative zero": b"[-0]",
    "negative zero with a fraction": b"[-0.0]",
    "lone high surrogate": b'["\\ud800"]',
    "lone low surrogate as a key": b'{"\\udc00": 1}',
    "surrogates in the wrong order": b'["\\udc00\\ud800"]',
    "surrogate in UTF-8": b'["\xed\xa0\x80"]',
    "not UTF-8": b'["\xff"]',
    "overlong UTF-8": b'["\xc0\xaf"]',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "raw line feed in a text": b'["a\nb"]',
    "raw zero in a text": b'["\x00"]',
    "empty": b"",
    "white space": b" \n",
    "cut off": b'{"a": 1',
    "two values": b"{}{}",
    "comment": b"{} // no",
    "single quotes": b"{'a': 1}",
    "trailing comma": b"[1,]",
    "leading zero": b"[01]",
    "hexadecimal": b"[0x10]",
    "plus": b"[+1]",
    "nested too deep": b"[" * 66 + b"]" * 66,
    "nested far too deep": b"[" * 100_000 + b"]" * 100_000,
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_text_on_which_parsers_disagree_is_refused(fault: str) -> None:
    with pytest.raises(SchemaError, match="mine.json: not strict JSON") as caught:  # noqa: RUF043
        canonical.loads(REFUSED[fault], where="mine.json")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b" {} \n", {}),
        (b"[9007199254740991, -9007199254740991]", [2**53 - 1, 1 - 2**53]),
        (b"[0.1, 1.5e-7, 5e-324]", [0.1, 1.5e-7, 5e-324]),
        (b'["\\ud83d\\ude00"]', ["\U0001f600"]),
        ('["é", "e\u0301"]'.encode(), ["é", "e\u0301"]),
        (b"[" * 64 + b"]" * 64, None),
    ],
)
def test_a_text_every_parser_reads_alike_is_accepted(text: bytes, value: Any) -> None:
    read = canonical.loads(text, where="x")
    assert value is None or read == value


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        value = canonical.loads(data, where="x")
    except SchemaError:
        return
    assert canonical.loads(canonical.encode(value), where="x") == value


# --- JSON Lines ----------------------------------------------------------------------------------------------------


@given(st.lists(VALUES, max_size=5))
def test_lines_are_read_back(values: list[Any]) -> None:
    data = canonical.dump_lines(values)
    assert data.count(b"\n") == len(values)
    assert [canonical.encode(value) for value in canonical.load_lines(data, where="x")] == [
        canonical.encode(value) for value in values
    ]


@given(st.lists(VALUES, min_size=1, max_size=3), st.data())
def test_a_file_cut_off_anywhere_inside_a_line_is_refused(values: list[Any], data: st.DataObject) -> None:
    text = canonical.dump_lines(values)
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    if cut.endswith(b"\n"):
        assert len(list(canonical.load_lines(cut, where="x"))) < len(values)
    else:
        with pytest.raises(SchemaError, match="no line feed"):
            list(canonical.load_lines(cut, where="x"))


def test_the_line_at_fault_is_named() -> None:
    with pytest.raises(SchemaError, match=r"t\.jsonl:2: not strict JSON"):
        list(canonical.load_lines(b"{}\n\n{}\n", where="t.jsonl"))
