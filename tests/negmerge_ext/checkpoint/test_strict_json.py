from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmerge_ext.checkpoint.strict_json import parse_object

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.dictionaries(st.text(), json_values), st.booleans())
def test_objects_come_through(value: dict[str, Any], escaped: bool) -> None:
    assert parse_object(json.dumps(value, ensure_ascii=escaped).encode()) == value


@given(st.binary())
def test_anything_else_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(is|holds) "):
        parse_object(b"x" + text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "'b' twice"),
        ('{"a": [Infinity]}', "Infinity"),
        ('{"a": "\\ud83d"}', "Unicode"),
        ('{"\\udc00": 1}', "Unicode"),
        ("[" * 10**6, "nested too deeply"),
        ('{"a":' * 10**6, "nested too deeply"),
        ("\ufeff{}", "not valid JSON"),
        ('{"a": [' + "[]," * 10**6 * 2 + "[]]}", "lists and objects"),
    ],
)
def test_what_is_refused_is_said(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse_object(text.encode())


def test_escaped_characters_outside_the_basic_plane_are_text() -> None:
    assert parse_object(b'{"\\ud83d\\ude00": "\\u00e9"}') == {"\N{GRINNING FACE}": "é"}
