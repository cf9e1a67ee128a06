"""JsonFormat: rows, schemas inline and in files, specs, and what it refuses."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from rewardsmith.core.contract import check_contract
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.spec import dumps, loads
from rewardsmith.signals import JsonFormat

SCHEMA = {"type": "object", "required": ["answer"]}


def score(reward: JsonFormat, *rows: Any) -> list[float]:
    values: list[float] = reward(Rollouts({"completion": list(rows)})).values.tolist()
    return values


def test_contract() -> None:
    check_contract(JsonFormat(**JsonFormat.contract.arguments), JsonFormat.contract)


def test_where_the_json_stands() -> None:
    rows = [
        '{"answer": 1}',
        '```json\n{"answer": 1}\n```',
        '<a>{"answer": 1}</a>',
        '{}, so {"answer": 1}.',
    ]
    assert score(JsonFormat(SCHEMA), *rows) == [1.0, 0.0, 0.0, 0.0]
    assert score(JsonFormat(SCHEMA, extract="fence"), *rows) == [0.0, 1.0, 0.0, 0.0]
    assert score(JsonFormat(SCHEMA, extract="tag:a"), *rows) == [0.0, 0.0, 1.0, 0.0]
    assert score(JsonFormat(SCHEMA, extract="last"), *rows) == [1.0, 1.0, 1.0, 1.0]


def test_no_schema_and_partial_credit() -> None:
    assert score(JsonFormat(), "[]", "[", "NaN", "[" * 100_000) == [1.0, 0.0, 0.0, 0.0]
    assert score(JsonFormat(SCHEMA, partial=True), '{"answer": 1}', "{}", "") == [1.0, 0.5, 0.0]
    twice = '{"a": 1, "a": 2}'
    assert score(JsonFormat(), twice) == [0.0]
    assert score(JsonFormat(unique_keys=False), twice) == [1.0]


def test_a_schema_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    reward = JsonFormat(str(path))
    assert score(reward, '{"answer": 1}', "{}") == [1.0, 0.0]
    # What was read is kept: the file may go.
    path.unlink()
    assert score(pickle.loads(pickle.dumps(reward)), '{"answer": 1}', "{}") == [1.0, 0.0]


def test_travels_as_a_spec() -> None:
    reward = JsonFormat(SCHEMA, extract="tag:answer", partial=True)
    again = loads(dumps(reward))
    assert again.arguments() == reward.arguments()
    assert dumps(again) == dumps(reward)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schema": {"type": "integr"}}, "schema is none"),
        ({"schema": {"$ref": "https://example.org"}}, "nothing is fetched"),
        ({"schema": "missing.json"}, "cannot read the schema missing.json"),
        ({"extract": "all"}, "extract is 'all'"),
        ({"extract": "tag:<a>"}, "no tag"),
        ({"partial": True}, "give one"),
    ],
)
def test_what_it_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JsonFormat(**arguments)


def test_a_file_that_is_no_schema(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    for text, message in (("{", "is no JSON"), ("[]", "not a mapping")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            JsonFormat(str(path))
