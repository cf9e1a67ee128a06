"""The layer that language trainers' adapters share: rows in, scores out, from wherever."""

import asyncio
import math
import multiprocessing
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import five_statuses

import rewardsmith as rs
from rewardsmith.adapters.scorer import Scorer, decided
from rewardsmith.core.errors import MissingColumn, ScoreError, SpecError

ROWS = [
    {"completion": "<think>a</think><answer>4</answer>", "answer": "4"},
    {"completion": "<answer>5</answer>", "answer": "4"},
]
VALUES = [pytest.approx(1.2), 0.0]


def reward() -> rs.Reward:
    parts = {
        "correct": rs.signals.MathAnswer(),
        "format": rs.signals.TagFormat(["think", "answer"]),
    }
    return rs.WeightedSum(parts, {"correct": 1.0, "format": 0.2})


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(reward())


def values(scorer: Scorer) -> list[float | None]:
    return [row.value for row in scorer.each(ROWS)]


def test_every_status_as_the_command_says_it(tmp_path: Path) -> None:
    file, data = five_statuses.write(tmp_path)
    labels = five_statuses.labels(file, data)
    assert {row["status"] for row in labels} == {
        "scored",
        "abstained",
        "timeout",
        "failed",
        "bad_value",
    }
    found = Scorer(str(file), timeout=five_statuses.TIMEOUT).each(five_statuses.rows())
    assert [row.value for row in found] == [row["reward"] for row in labels]
    assert [row.status.name.lower() for row in found] == [row["status"] for row in labels]
    assert len({tuple(row.numbers) for row in found}) == 1
    assert all(math.isfinite(number) for row in found for number in row.numbers.values())
    for row, label in zip(found, labels, strict=True):
        assert row.numbers[f"status/{label['status']}"] == 1.0
        assert sum(n for name, n in row.numbers.items() if name.startswith("status/")) == 1.0
        for part in ("condition", "of/correct"):
            has = label[f"reward/{part}"]
            assert row.numbers[f"scored/{part}"] == (has is not None)
            assert row.numbers[f"reward/{part}"] == (has or 0.0)


# --- from wherever --------------------------------------------------------------------------------


def test_from_a_pickle(scorer: Scorer) -> None:
    assert values(scorer) == VALUES
    assert values(pickle.loads(pickle.dumps(scorer))) == VALUES


def test_from_threads(scorer: Scorer) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(values, [scorer] * 8)) == [VALUES] * 8


def test_from_a_plain_thread(scorer: Scorer) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(values(scorer)))
    thread.start()
    thread.join()
    assert found == [VALUES]


def test_from_an_event_loop(scorer: Scorer) -> None:
    async def several() -> list[Any]:
        there = [asyncio.to_thread(values, scorer) for _ in range(4)]
        return [values(scorer), *await asyncio.gather(*there)]

    assert asyncio.run(several()) == [VALUES] * 5


def _child(scorer: Scorer, found: Any) -> None:
    found.put([row.value for row in scorer.each(ROWS)])


@pytest.mark.parametrize("daemon", [True, False], ids=["daemon", "child"])
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_from_a_process_that_then_ends(scorer: Scorer, method: Any, daemon: bool) -> None:
    values(scorer)  # the workers of this process are not the child's
    context = multiprocessing.get_context(method)
    found = context.Queue()
    child = context.Process(target=_child, args=(scorer, found), daemon=daemon)
    child.start()
    assert found.get(timeout=60) == VALUES
    child.join(30)
    assert child.exitcode == 0


# --- columns --------------------------------------------------------------------------------------


def inline(**options: Any) -> Scorer:
    return Scorer(reward(), executor="inline", **options)


def test_columns_by_their_names_and_paths() -> None:
    rows = [{"text": row["completion"], "extra": {"gold": row["answer"]}} for row in ROWS]
    scorer = inline(columns={"completion": "text", "answer": "extra.gold"})
    assert [row.value for row in scorer.each(rows)] == VALUES


def test_columns_of_the_file_and_of_the_caller(tmp_path: Path) -> None:
    file = tmp_path / "reward.yaml"
    file.write_text("columns: {answer: gold}\nreward: {math_answer: {}}\n")
    rows = [{"completion": "\\boxed{4}", "gold": "4", "solution": "5"}]
    assert Scorer(file, executor="inline").each(rows)[0].value == 1
    named = Scorer(file, executor="inline", columns={"answer": "solution"})
    assert named.each(rows)[0].value == 0


def test_what_a_file_calls_a_recorded_completion_is_not_what_a_trainer_generates(
    tmp_path: Path,
) -> None:
    file = tmp_path / "reward.yaml"
    file.write_text("columns: {completion: response}\nreward: {math_answer: {}}\n")
    rows = [{"completion": "\\boxed{4}", "response": "\\boxed{5}", "answer": "4"}]
    assert Scorer(file, executor="inline").each(rows)[0].value == 1
    asked = Scorer(file, executor="inline", columns={"completion": "response"})
    assert asked.each(rows)[0].value == 0


def test_a_column_that_no_row_has_is_told_with_who_needs_it() -> None:
    with pytest.raises(MissingColumn, match=r"'gold', needed by math_answer.*: completion, id"):
        inline(columns={"answer": "gold"})([{"completion": "4", "id": 7}])


def test_a_column_that_one_row_lacks_fails_that_row() -> None:
    found = inline().each([ROWS[0], {"completion": "4"}])
    assert [row.status.name for row in found] == ["SCORED", "FAILED"]
    assert "'answer'" in found[1].error


def test_a_row_that_comes_alone_without_a_column_fails_once_others_had_it() -> None:
    scorer = inline()
    assert scorer.each(ROWS[:1])[0].value == VALUES[0]
    alone = scorer.each([{"completion": "4"}])[0]
    assert alone.status.name == "FAILED"
    assert "'answer'" in alone.error


@pytest.mark.parametrize("tokens", [[1, 2, 3], (4,), torch.tensor([1, 2])], ids=str)
def test_tokens_in_place_of_text_are_refused(tokens: Any) -> None:
    with pytest.raises(TypeError, match="token ids"):
        inline()([{"completion": tokens, "answer": "4"}])


def test_chat_messages_with_tools_are_read_at_their_last_answer() -> None:
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add"}}]},
        {"role": "tool", "content": "5"},
        {"role": "assistant", "content": "<think>a</think><answer>4</answer>"},
    ]
    assert inline().each([{"completion": messages, "answer": "4"}])[0].value == VALUES[0]


class BestOfGroup(rs.Reward):
    """1 for the longest completion of each group."""

    def __init__(self) -> None:
        super().__init__()
        self.declare(needs={"completion"}, granularity="outcome", scope="group")

    def forward(self, rollouts: rs.Rollouts) -> rs.Scores:
        lengths = torch.tensor([float(len(text)) for text in rollouts["completion"]])
        best = torch.zeros(int(rollouts.group.max()) + 1)
        best = best.scatter_reduce(0, rollouts.group, lengths, "amax")
        return rs.Scores.outcome((lengths == best[rollouts.group]).float())


def test_groups_come_from_the_caller_or_from_a_column() -> None:
    rows = [{"completion": "a" * n, "id": "xxyy"[i]} for i, n in enumerate([1, 3, 2, 1])]
    given = Scorer(BestOfGroup(), executor="inline")
    assert given(rows, group=[0, 0, 1, 1]).values.tolist() == [0, 1, 1, 0]
    named = Scorer(BestOfGroup(), executor="inline", columns={"group": "id"})
    assert named(rows).values.tolist() == [0, 1, 1, 0]
    assert named([*rows, {"completion": "b"}]).values.tolist() == [0, 1, 1, 0, 1]


# --- what a row without a score gets --------------------------------------------------------------


def test_missing_is_what_the_caller_says() -> None:
    found = Scorer(_broken(), executor="inline").each(
        [{"completion": c} for c in ("no", "so", "?")]
    )
    assert [row.given("missing") for row in found] == [None, None, 1.0]
    assert [row.given(-1.0) for row in found] == [-1.0, -1.0, 1.0]
    assert found[1].given("raise") is None
    assert found[2].given("raise") == 1.0
    with pytest.raises(ScoreError, match="failed: raised ValueError: not this"):
        found[0].given("raise")


def test_a_trainer_that_takes_only_numbers_gets_one_or_an_error() -> None:
    rows = [{"completion": text} for text in ("no", "so", "?")]
    found = Scorer(_broken(), executor="inline").each(rows)
    assert [row.number(-1.0) for row in found] == [-1.0, -1.0, 1.0]
    for row, told in ((found[0], "not this"), (found[1], "abstained: .* this trainer cannot")):
        with pytest.raises(ScoreError, match=told):
            row.number("raise")


@pytest.mark.parametrize("missing", [None, "missing"])
def test_such_a_trainer_wants_a_decision(missing: Any) -> None:
    with pytest.raises(ValueError, match=r"verl cannot leave .* missing=0.0"):
        decided(missing, "verl")
    assert decided(0.5, "verl") == 0.5
    assert decided("raise", "verl") == "raise"


def _broken() -> rs.Reward:
    @rs.reward
    def broken(completion: str) -> float | None:
        if completion == "no":
            raise ValueError("not this")
        return None if completion == "so" else 1.0

    return broken


@pytest.mark.parametrize("missing", ["skip", math.nan, math.inf])
def test_missing_is_checked_before_the_first_row(missing: Any) -> None:
    with pytest.raises(ValueError, match=r"missing|finite"):
        inline(missing=missing)


# --- refused --------------------------------------------------------------------------------------


def test_what_is_no_reward_is_refused() -> None:
    with pytest.raises(TypeError, match="function is neither a reward"):
        Scorer(lambda completion: 1.0)  # type: ignore[arg-type]


def test_a_reward_of_whole_data_sets_is_refused() -> None:
    class Rank(BestOfGroup):
        def __init__(self) -> None:
            super().__init__()
            self.declare(needs={"completion"}, granularity="outcome", scope="dataset")

    with pytest.raises(SpecError, match="rewardsmith score"):
        Scorer(Rank())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"executor": "ray"}, "no executor 'ray'"),
        ({"workers": 0}, "at least 1"),
        ({"timeout": 0.0}, "positive"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Scorer(reward(), **options)


def test_scoring_leaves_a_learning_reward_as_it_is() -> None:
    learning = rs.transforms.RunningNorm(reward())
    before = pickle.dumps(learning.state_dict())
    Scorer(learning, executor="inline").each(ROWS)
    assert pickle.dumps(learning.state_dict()) == before


def test_a_column_that_the_caller_named_has_to_be_there() -> None:
    @rs.reward
    def of_mode(completion: str, mode: str = "easy") -> float:
        return float(mode == "easy")

    rows = [{"completion": "a", "mode": "hard"}]
    assert Scorer(of_mode, executor="inline").each(rows)[0].value == 0.0
    with pytest.raises(MissingColumn, match="'mdoe'"):
        Scorer(of_mode, executor="inline", columns={"mode": "mdoe"}).each(rows)


def test_what_a_row_has_is_told_with_what_is_inside() -> None:
    rows = [{"completion": "4", "extra": {"gold": "4", "more": {"deep": 1}}}]
    with pytest.raises(MissingColumn, match=r"completion, extra.gold, extra.more.deep"):
        inline()(rows)


def test_an_optional_column_of_other_rows_changes_nothing() -> None:
    @rs.reward
    def bonus(completion: str, bonus: float = 5.0) -> float:
        return bonus

    scorer = Scorer(bonus, executor="inline")
    plain = {"completion": "a"}
    assert [row.value for row in scorer.each([plain])] == [5.0]
    assert [row.value for row in scorer.each([{"completion": "a", "bonus": 1.0}, plain])] == [1, 5]
    assert [row.value for row in scorer.each([plain])] == [5.0]


def test_a_reward_that_drops_out_is_scored_as_it_evaluates() -> None:
    class Dropping(rs.Reward):
        def __init__(self) -> None:
            super().__init__()
            self.drop = torch.nn.Dropout(0.5)
            self.declare(needs={"completion"})

        def forward(self, rollouts: rs.Rollouts) -> rs.Scores:
            return rs.Scores.outcome(self.drop(torch.ones(len(rollouts))))

    assert Scorer(Dropping(), executor="inline")([{"completion": "a"}] * 64).values.unique() == 1.0


def test_copies_share_their_workers() -> None:
    copies = [pickle.loads(pickle.dumps(Scorer(reward()))) for _ in range(4)]
    before = len(multiprocessing.active_children())
    assert [values(copy) for copy in copies] == [VALUES] * 4
    assert len(multiprocessing.active_children()) <= max(before, 2) + 1


def test_split_is_for_weighted_sums() -> None:
    assert inline().weights() == {"correct": 1.0, "format": 0.2}
    length = rs.signals.Length(high=9)
    for tree in (rs.WeightedMean({"a": length}, {"a": 1.0}), rs.Min({"a": length}), length):
        with pytest.raises(SpecError, match="weighted_sum"):
            Scorer(tree, executor="inline").weights()


def test_a_file_that_says_more_than_a_reward_is_told_that_nobody_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "reward.yaml"
    file.write_text("reward: {tag_format: {tags: [answer]}}\nadvantage: grpo\nloss: {dapo: {}}\n")
    with pytest.warns(UserWarning, match=r"says advantage, loss, which only .*grpo reads"):
        made = Scorer(file, executor="inline")
    assert made(ROWS).values.tolist() == [0.0, 1.0]
