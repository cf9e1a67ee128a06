"""JSON in completions: where it stands, and what is JSON."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.rules.jsontext import MAX_DEPTH, check_extract, extracted, parsed, parsed_at

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
# Prose around it: quotes and backslashes, but no bracket after it.
before = st.text(alphabet='a"\\{}[]`\n ', max_size=20)
after = st.text(alphabet='a"\\` \n', max_size=20)


@given(value=values, indent=st.sampled_from([None, 2]), ascii=st.booleans())
@settings(max_examples=60)
def test_what_was_written_is_read(value: Any, indent: int | None, ascii: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)
    assert parsed(text) == value
    assert parsed(extracted(f"So:\n```json\n{text}\n```\n", "fence") or "") == value
    if "</a>" not in text:
        assert parsed(extracted(f"<a>1</a> x <a>{text}</a>", "tag:a") or "") == value


@given(value=st.lists(values) | st.dictionaries(st.text(), values), before=before, after=after)
@settings(max_examples=100)
def test_the_last_brackets(value: Any, before: str, after: str) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert extracted(f"{before}{text}{after}", "last") == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```json\n1\n```\n```json\n2\n```", "\n2"),
        ("```json\n1\n```\n```python\n2\n```", "\n1"),
        ("```json\n1\n```\n```json5\n2\n```", "\n1"),
        ("   ```json  \n1\n   ```", "\n1"),
        ("a ```json\n1\n```", None),
        ("```json\n1", None),
        ("```\n1\n```", None),
        ("```json 1 ```", None),
        ('```json\n{"a": "```"}\n```', '\n{"a": "```"}'),
        ("```json\n```", ""),
    ],
)
def test_fences(text: str, found: str | None) -> None:
    assert extracted(text, "fence") == found


@pytest.mark.parametrize("text", ["", "none", '"a" }', "]", '"]', '\\"}'])
def test_no_last_brackets(text: str) -> None:
    assert extracted(text, "last") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value at character 0"),
        ("[1,]", "at character"),
        ("{'a': 1}", "at character 1"),
        ("1 2", "Extra data at character 2"),
        ("[NaN]", "NaN is no JSON"),
        ("-Infinity", "-Infinity is no JSON"),
        ("1e999", "1e999 is too large"),
        ("1" * 5000, "digits"),
        ('"\0"', "Invalid control character"),
        ("\ufeff1", "BOM"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' stands twice"),
        ("[" * 200_000, "deeper than 64"),
        ('{"a":' * 200_000, "deeper than 64"),
        ("[" * 65 + "]" * 65, "deeper than 64"),
    ],
)
def test_what_is_no_json(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parsed(text)


def test_what_is_json() -> None:
    assert parsed('{"a": 1, "a": 2}', unique_keys=False) == {"a": 2}
    assert parsed('[{"a": 1}, {"a": 2}]') == [{"a": 1}, {"a": 2}]
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parsed(deep) == json.loads(deep)
    # Brackets in strings nest nothing.
    assert parsed(json.dumps("[" * 1000)) == "[" * 1000
    assert parsed(json.dumps(['"\\[' * 1000])) == ['"\\[' * 1000]
    assert len(parsed("[" + ",".join(["[]"] * 1000) + "]")) == 1000
    assert parsed('"\\ud800"') == "\ud800"


@pytest.mark.parametrize("extract", ["", "all", "tag:", "tag:a b", "Fence"])
def test_what_is_no_place(extract: str) -> None:
    with pytest.raises(ValueError, match=r"extract is|no tag"):
        check_extract(extract)


@pytest.mark.parametrize(
    "unit", ["[", '"', '\\"', '{"a":', "```json\n", "]", '["', '"]', "<a>", "\\", "\ud800"]
)
def test_five_megabytes(unit: str) -> None:
    text = unit * (5_000_000 // len(unit))
    for place in ("fence", "last", "tag:a"):
        extracted(text, place)
    with pytest.raises(ValueError, match=r"character|deeper"):
        parsed(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


@given(st.text(max_size=4), VALUES.filter(lambda v: not isinstance(v, int)), st.text(max_size=4))
def test_a_value_is_read_from_where_it_begins_to_where_it_ends(
    before: str, value: Any, after: str
) -> None:
    text = json.dumps(value)
    assert parsed_at(before + text + after, len(before)) == (value, len(before) + len(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[1",
        "NaN",
        "1e999",
        '{"a": 1, "a": 1}',
        "[" * 65 + "]" * 65,
        "[" * 200_000,
        "9" * 5000,
    ],
)
def test_a_value_that_is_read_at_a_place_keeps_the_same_rules(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parsed(text)
    with pytest.raises(ValueError, match=r"\w"):
        parsed_at("  " + text, 2)
    deepest = "[" * 64 + "]" * 64
    # What stands before and after does not count.
    assert parsed_at("[[" + deepest + "[", 2)[1] == 2 + 128
