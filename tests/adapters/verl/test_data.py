"""Data in verl's layout."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rewardsmith.adapters.verl import verl_rows, write_parquet
from rewardsmith.cli.score import Options, score_command

ROWS: list[dict[str, Any]] = [
    {"prompt": "1+1?", "answer": "2", "completion": "<answer>2</answer>", "hint": None},
    {"prompt": "1+2?", "answer": "3", "completion": "<answer>2</answer>", "hint": "h", "level": 4},
]


def test_rows_in_its_layout() -> None:
    rows = verl_rows(ROWS, data_source="sums", split="test", ability="math")
    assert rows[1] == {
        "data_source": "sums",
        "prompt": [{"role": "user", "content": "1+2?"}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "3"},
        "extra_info": {
            "answer": "3",
            "completion": "<answer>2</answer>",
            "hint": "h",
            "level": 4,
            "split": "test",
            "index": 1,
        },
    }


def test_messages_stay_as_they_are() -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "?"}]
    row = verl_rows([{"q": messages, "a": ["x"]}], data_source="d", prompt="q", ground_truth="a")[0]
    assert row["prompt"] == messages
    assert row["reward_model"]["ground_truth"] == ["x"]


def test_what_is_no_prompt_is_told() -> None:
    with pytest.raises(ValueError, match=r"row 1 .* 'prompt'; .*; did you mean 'promt'\?$"):
        verl_rows([ROWS[0], {"promt": "?", "answer": "1"}], data_source="d")
    with pytest.raises(ValueError, match="row 0 has no column 'solution'; columns present: answer"):
        verl_rows(ROWS, data_source="d", ground_truth="solution")
    for prompt in ([1, 2], [], 3, [{"content": "?"}]):
        with pytest.raises(ValueError, match="row 0, column 'prompt': a prompt is text"):
            verl_rows([{"prompt": prompt, "answer": "1"}], data_source="d")


def test_the_command_reads_what_is_written(tmp_path: Path) -> None:
    path, reward = tmp_path / "rows.parquet", tmp_path / "reward.yaml"
    write_parquet(ROWS, path, data_source="sums")
    reward.write_text(
        "columns: {completion: extra_info.completion, answer: reward_model.ground_truth}\n"
        "reward: {math_answer: {gold: answer}}\n"
    )
    options = dict.fromkeys(Options.__dataclass_fields__, None)
    options |= {"on_error": "missing", "workers": 1, "steps": False, "why": False}
    score_command(reward, str(path), tmp_path / "out.parquet", Options(**options))
    assert pq.read_table(tmp_path / "out.parquet")["reward"].to_pylist() == [1.0, 0.0]


def test_what_parquet_cannot_hold_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    mixed = [ROWS[0] | {"note": 1}, ROWS[1] | {"note": "text"}]
    with pytest.raises(ValueError, match=r"column 'note' cannot be written: .* one type"):
        write_parquet(mixed, path, data_source="d")
    with pytest.raises(ValueError, match="column 'note' cannot be written"):
        write_parquet([ROWS[0] | {"note": {}}], path, data_source="d")
    with pytest.raises(ValueError, match="no rows"):
        write_parquet([], path, data_source="d")
    assert not path.exists()
