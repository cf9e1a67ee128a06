"""Where problems come from, and that none is on both sides."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.core.errors import SpecError
from rewardsmith.studies.language.problems import _split, problems, prompt_key

ROWS = ("{task: ./words.py:rows}", "{jsonl: rows.jsonl}")


def lines(path, rows):
    text = "\n".join(json.dumps(row) for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def test_a_count_and_a_share_are_split_off(study):
    train, held = problems(study())
    assert (len(train), len(held)) == (16, 4)
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in held}
    assert problems(study()) == (train, held)
    train, held = problems(study(("held_out: 4", "held_out: 0.25")))
    assert (len(train), len(held)) == (15, 5)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=20), st.floats(0.01, 0.99))
def test_a_prompt_is_never_on_both_sides(numbers, share):
    rows = [{"prompt": str(n)} for n in numbers]
    held = _split(rows, share)
    kept = [row["prompt"] for row in held]
    assert len(set(kept)) == len(kept)  # and none is asked twice
    assert len(kept) == max(1, round(share * len(set(numbers))))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_json_lines_with_columns_of_other_names(study, tmp_path, name):
    lines(tmp_path / name, [{"question": f"{i}=", "answer": str(i)} for i in range(6)])
    source = f"{{jsonl: {name}, columns: {{prompt: question}}}}"
    train, held = problems(study(("{task: ./words.py:rows}", source)))
    assert len(train) + len(held) == 6
    assert all(row["prompt"] == f"{row['answer']}=" for row in train + held)


def test_what_is_held_out_elsewhere_is_not_trained_on(study, tmp_path):
    lines(tmp_path / "rows.jsonl", [{"prompt": f"{i}="} for i in (10, 11, 99)])
    train, held = problems(study(("held_out: 4", "held_out: {jsonl: rows.jsonl}")))
    assert [row["prompt"] for row in held] == ["10=", "11=", "99="]
    assert {row["prompt"] for row in train} == {f"{i}=" for i in range(12, 30)}


def test_messages_are_prompts_too(study):
    train, held = problems(study(("words.py:rows", "words.py:chats")))
    assert len(train) == len(held) == 4
    assert prompt_key(held[0]).startswith('[{"content"')


def test_reasoning_gym(study):
    source = "{reasoning_gym: {dataset: chain_sum, size: 12, instruction: null}}"
    train, held = problems(study(("{task: ./words.py:rows}", source)))
    assert len(held) == 4
    assert {"prompt", "answer", "metadata"} <= train[0].keys()


@pytest.mark.parametrize(
    ("changes", "line", "match"),
    [
        ([("words.py:rows", "words.py:no_rows")], 2, "there are no rows"),
        ([("words.py:rows", "words.py:no_prompts")], 2, "has no prompt .* columns: question, ans"),
        ([("words.py:rows", "words.py:make")], 2, "the function failed: TypeError"),
        ([("words.py:rows", "words.py:nothng")], 2, "has no 'nothng'; did you mean 'nothing'"),
        (
            [("{task: ./words.py:rows}", "{task: {./words.py:nothing: {completion: a}}}")],
            2,
            "NoneType",
        ),
        ([ROWS], 2, "there is no file"),
        (
            [("rows}", "rows, columns: {solution: answr}}")],
            2,
            "no row has a column 'answr'; did you mean 'answer'",
        ),
        (
            [("words.py:rows", "words.py:mixed")],
            2,
            "the prompt of row 0 is a text, that of row 3 is messages: give one kind",
        ),
        ([("held_out: 4", "held_out: 20")], 3, "no problem is left to train on"),
        (
            [("{task: ./words.py:rows}", "{reasoning_gym: {dataset: chain_sm, size: 3}}")],
            2,
            "chain_sum",
        ),
        ([("{task: ./words.py:rows}", "{reasoning_gym: {dataset: chain_sum}}")], 2, "'size'"),
    ],
)
def test_what_cannot_be_read_says_where(study, changes, line, match):
    read = study(*changes)
    with pytest.raises(SpecError, match=match) as caught:
        problems(read)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("text", "match"), [("{", "line 2 .* is no JSON"), ("3", "line 2 .* is int")]
)
def test_a_broken_line_is_named(study, tmp_path, text, match):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "1="}\n' + text)
    with pytest.raises(SpecError, match=match):
        problems(study(ROWS))
