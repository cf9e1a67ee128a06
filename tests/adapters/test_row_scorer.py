"""Rows that come one at a time: scored together, each with its own result."""

import asyncio
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import rewardsmith as rs
from rewardsmith.adapters.row_scorer import RowScorer
from rewardsmith.core.errors import MissingColumn, ScoreError, SpecError


@rs.reward
def length(completion: str) -> float | None:
    if completion == "no":
        raise ValueError("not this")
    return None if completion == "so" else float(len(completion))


def scorer(**options: Any) -> RowScorer:
    return RowScorer(length, "Cart", **({"missing": 0.5, "executor": "inline"} | options))


def row(text: Any) -> dict[str, Any]:
    return {"completion": text}


def test_threads_and_tasks_get_their_own_rows() -> None:
    made = scorer()
    texts = ["a" * n for n in range(1, 50)]
    with ThreadPoolExecutor(20) as pool:
        assert [one.value for one in pool.map(made, map(row, texts))] == [*range(1, 50)]

    async def ask() -> list[Any]:
        return await asyncio.gather(*(made.ask(row(text)) for text in texts))

    assert [one.value for one in asyncio.run(ask())] == [*range(1, 50)]


def test_a_row_that_cannot_be_read_fails_alone() -> None:
    made = scorer()
    assert made(row("abc")).value == 3.0

    async def ask() -> list[Any]:
        rows = [row("ab"), row([1, 2]), {"other": 1}, row("abcd")]
        return await asyncio.gather(*map(made.ask, rows), return_exceptions=True)

    good, tokens, lacking, better = asyncio.run(ask())
    assert (good.value, better.value) == (2.0, 4.0)
    assert isinstance(tokens, TypeError)
    assert lacking.status.name == "FAILED"


def test_a_column_that_nobody_ever_had_is_an_error_for_each() -> None:
    made = scorer()

    async def ask() -> list[Any]:
        rows = [{"text": "a"}, {"text": "b"}]
        return await asyncio.gather(*map(made.ask, rows), return_exceptions=True)

    assert [type(one) for one in asyncio.run(ask())] == [MissingColumn] * 2


def test_the_caller_decides_what_a_row_without_a_score_gets() -> None:
    made = scorer()
    assert [made.number(made(row(text))) for text in ("abc", "no", "so")] == [3.0, 0.5, 0.5]
    strict = scorer(missing="raise")
    with pytest.raises(ScoreError, match="failed: raised ValueError: not this"):
        strict.number(strict(row("no")))
    with pytest.raises(ScoreError, match=r"abstained: .* cannot leave a row out"):
        strict.number(strict(row("so")))
    for missing in (None, "missing"):
        with pytest.raises(ValueError, match="Cart cannot leave a row without a score out"):
            scorer(missing=missing)
    lenient = scorer(missing=None, leaves_out=True)
    assert lenient(row("so")).given(lenient.missing) is None


def test_an_error_names_the_part() -> None:
    made = RowScorer(
        rs.WeightedSum({"a": rs.signals.Length(high=3), "b": length}, {"a": 1.0, "b": 1.0}),
        "Cart",
        missing="raise",
        executor="inline",
    )
    with pytest.raises(ScoreError) as caught:
        made.number(made(row("no")))
    assert (caught.value.part, caught.value.message[:7]) == ("b", "failed:")


def test_the_names_of_the_numbers_are_known_before_there_is_a_row() -> None:
    sums = rs.WeightedSum({"a": rs.signals.Length(high=3), "b": length}, {"a": 1.0, "b": 1.0})
    trees = [length, sums, rs.Gate(rs.signals.Length(high=9), sums, 0.5), 2.0 * sums + 1.0]
    trees += [rs.transforms.Clip(sums, low=0.0, high=1.0), rs.Min({"a": sums, "b": length})]
    for tree in trees:
        made = RowScorer(tree, "Cart", missing=0.0, executor="inline")
        assert made.scorer.names == [*made(row("abc")).numbers]
        failed = made.failed("no prompt")
        assert [*failed.numbers] == made.scorer.names
        assert failed.numbers["status/failed"] == 1.0
        assert failed.value is None


def test_a_reward_that_compares_rows_is_refused_with_its_part() -> None:
    class Rank(rs.Reward):
        def __init__(self) -> None:
            super().__init__()
            self.declare(needs={"completion"}, scope="group")

    tree = rs.WeightedSum({"a": length, "rank": Rank()}, {"a": 1.0, "rank": 1.0})
    with pytest.raises(SpecError, match=r"rank: Rank.* rows of a group, and Cart shows one row"):
        RowScorer(tree, "Cart", missing=0.0)


def test_rows_are_prepared_together() -> None:
    batches: list[list[str]] = []

    def decode(texts: list[str]) -> list[dict[str, Any]]:
        batches.append(texts)
        time.sleep(0.02)
        return [row(text.upper()) for text in texts]

    made = scorer(prepare=decode)

    async def ask() -> list[Any]:
        return await asyncio.gather(*map(made.ask, ["a", "bb", "ccc"]))

    assert [one.value for one in asyncio.run(ask())] == [1.0, 2.0, 3.0]
    assert sorted(text for texts in batches for text in texts) == ["a", "bb", "ccc"]


def test_the_executor_around_the_call_runs_its_rows() -> None:
    made = RowScorer(rs.reward(_process), "Cart", missing=0.0, timeout=30.0)
    with rs.executor("inline"):
        assert made(row("")).value == 1.0
    assert made(row("")).value == 0.0


def _process(completion: str) -> float:
    """Whether this is no worker."""
    from rewardsmith.engine import worker

    return float(not worker.begun)


def test_inline_one_batch_runs_after_the_other() -> None:
    running, most = [], []

    @rs.reward(batched=True)
    def slow(completion: list[str]) -> list[float]:
        running.append(threading.get_ident())
        most.append(len(running))
        time.sleep(0.02)
        running.pop()
        return [1.0] * len(completion)

    made = RowScorer(slow, "Cart", missing=0.0, executor="inline")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(made, map(row, "abcdefgh")))
    assert max(most) == 1


def test_it_pickles_and_its_threads_end_with_it() -> None:
    before = threading.active_count()
    for _ in range(5):
        again = pickle.loads(pickle.dumps(scorer()))
        assert again(row("abc")).value == 3.0
    del again
    for _ in range(100):
        if threading.active_count() <= before:
            break
        time.sleep(0.02)
    assert threading.active_count() <= before
