"""Schemas: which are accepted, and what keeps to them."""

import copy
import json
import time
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.rules.schema import checked, grade
from rewardsmith.rules.verdict import Verdict

ANSWER = {
    "type": "object",
    "required": ["answer"],
    "properties": {"answer": {"type": "integer"}, "why": {"type": "string", "pattern": "^[a-z]+$"}},
    "additionalProperties": False,
}
TREE = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}


def score(value: Any, schema: Any, **options: Any) -> float:
    text = value if isinstance(value, str) else json.dumps(value)
    graded = grade(text, schema=checked(schema), **options)
    return float(graded.value if isinstance(graded, Verdict) else graded or 0.0)


def test_values_and_reasons() -> None:
    schema = checked(ANSWER)
    assert grade('{"answer": 42}', schema=schema) == 1.0
    for text, reason in [
        ('{"answer": "42"}', "$.answer: '42' is not of type 'integer'"),
        ("[]", "$: [] is not of type 'object'"),
        ('{"answer": 42', "not JSON: Expecting ',' delimiter at character 13"),
        ('{"answer": 1, "why": "A"}', "$.why: 'A' does not match '^[a-z]+$'"),
    ]:
        assert grade(text, schema=schema) == Verdict(0.0, reason)
    assert grade("none", schema=schema, extract="last") == Verdict(
        0.0, "there is no JSON to extract (last)"
    )
    assert grade("[1, {}]") == 1.0


def test_partial_credit() -> None:
    assert score('{"answer": "42"}', ANSWER, partial=True) == 0.5
    assert score('{"answer": 42}', ANSWER, partial=True) == 1.0
    assert score("{", ANSWER, partial=True) == 0.0


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ([], "not a mapping"),
        ({"type": "object", "x": float("nan")}, "no JSON"),
        ({"x": object()}, "no JSON"),
        ({"type": "integr"}, "the schema is none: .*integr"),
        ({"properties": {"a": {"minLength": "x"}}}, "the schema is none"),
        ({"$schema": "https://example.org/own"}, "no known draft"),
        ({"$ref": "https://example.org/schema.json"}, "leads out of it"),
        ({"$ref": "file:///etc/passwd"}, "leads out of it"),
        ({"$ref": "other.json"}, "leads out of it"),
        ({"items": {"$ref": "#/$defs/none"}}, "leads out of it"),
        ({"allOf": [{"$ref": "https://example.org/"}]}, "leads out of it"),
        ({"$ref": "#"}, "without end"),
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, "without end"),
        ({"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "without end"),
        ({"pattern": r"(a)\1"}, "RE2 does not take"),
        ({"properties": {"a": {"items": {"pattern": "(?=a)"}}}}, "RE2 does not take"),
        ({"$ref": "#/x/y", "x": {"y": {"pattern": "(?=a)"}}}, "RE2 does not take"),
        ({"patternProperties": {"a": {}}}, "patternProperties, which is not supported"),
        ({"$ref": "#/x", "x": {"items": {"patternProperties": {}}}}, "patternProperties, which"),
        ({"$dynamicRef": "https://example.org/"}, "leads out of it"),
        ({"items": {"unevaluatedProperties": False}}, "unevaluatedProperties, which"),
        ({"unevaluatedItems": False}, "unevaluatedItems, which"),
    ],
)
def test_what_is_refused(schema: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked(schema)


def test_a_deep_schema_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(2000):
        schema = {"items": schema}
    with pytest.raises(ValueError, match="schema"):
        checked(schema)


@pytest.mark.parametrize(
    "schema",
    [
        TREE,
        {"properties": {"pattern": {"type": "string"}, "patternProperties": {}}},
        {"enum": [{"$ref": "https://example.org/"}]},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"a": {}},
            "$ref": "#/definitions/a",
        },
        {"$id": "https://example.org/a", "items": {"$ref": "b"}, "$defs": {"b": {"$id": "b"}}},
        {"pattern": r"\p{Greek}+"},
    ],
)
def test_what_is_accepted(schema: Any) -> None:
    before = copy.deepcopy(schema)
    assert json.loads(checked(schema)) == before == schema


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from([0.0, 1.0, 0.5])
    | st.sampled_from("ab"),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=8,
)


@given(value=json_values)
@settings(max_examples=150)
def test_unique_items_and_patterns_are_the_standards(value: Any) -> None:
    schema = {"uniqueItems": True, "pattern": "^a", "items": {"uniqueItems": True}}
    text = json.dumps(value)
    assert score(text, schema) == float(jsonschema.Draft202012Validator(schema).is_valid(value))


def test_nothing_takes_long() -> None:
    began = time.process_time()
    assert score(json.dumps("a" * 100_000 + "!"), {"pattern": "(a+)+$"}) == 0.0
    many = "[" + ",".join(f'{{"a": {i}}}' for i in range(100_000)) + "]"
    assert score(many, {"uniqueItems": True}) == 1.0
    assert score(many, {"items": {"type": "string"}}) == 0.0
    assert score("[" * 200_000, TREE) == 0.0
    assert time.process_time() - began < 10


def test_the_deepest_json_is_validated() -> None:
    value: dict[str, Any] = {}
    for _ in range(31):
        value = {"children": [value]}
    assert score(value, TREE) == 1.0
    wide = {"anyOf": [{"type": "string"}, {"allOf": [{"type": "array"}, {"items": {"$ref": "#"}}]}]}
    nested = "[" * 63 + '"a"' + "]" * 63
    assert score(nested, wide) == 1.0
    # Any number of frames per level: a reason, not a RecursionError.
    deep: dict[str, Any] = {"items": {"$ref": "#"}}
    for _ in range(30):
        deep = {"allOf": [deep]}
    graded = grade("[" * 64 + "]" * 64, schema=checked(deep))
    assert graded == Verdict(0.0, "it nests too deeply for this schema")


def test_large_numbers() -> None:
    for text in ("1" * 4000, "-" + "9" * 400, "1e308"):
        for schema in ({"multipleOf": 0.5}, {"maximum": 1.5}, {"multipleOf": 3}, {"enum": [1.5]}):
            score(text, schema)


@given(st.text(alphabet='{}[]":,a1\\ \ud800\0'))
@settings(max_examples=100)
def test_any_text_has_a_score(text: str) -> None:
    score(text, ANSWER)


def test_a_lone_surrogate_is_no_letter_of_a_pattern() -> None:
    assert score('"\\ud800"', {"pattern": "^\ufffd$"}) == 1.0
    assert score('"\\ud800"', {"pattern": "^[?]$"}) == 0.0
