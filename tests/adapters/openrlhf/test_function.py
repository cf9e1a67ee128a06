"""OpenRLHF's reward function: what it asks, what it is told, and what is refused."""

import asyncio
import json
import logging
import math
import pickle
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import rewardsmith as rs
from rewardsmith.adapters import versions
from rewardsmith.adapters.openrlhf import RewardFunction
from rewardsmith.core.errors import MissingColumn, ScoreError, SpecError
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward


def agrees(completion: str, answer: str) -> float | None:
    """1 or 0; some answers do something else."""
    if answer == "none":
        return None
    if answer == "nan":
        return math.nan
    if answer == "raise":
        raise RuntimeError("the service is down")
    return float(completion.strip() == answer)


def brief(completion: str) -> float:
    return float(len(completion) < 10)


def tree() -> Reward:
    parts = {"right": Function(agrees), "brief": Function(brief)}
    return rs.WeightedSum(parts=parts, weights={"right": 1.0, "brief": 0.5})


def function(reward: Any = None, **options: Any) -> RewardFunction:
    given = {"missing": -1.0, "executor": "inline"} | options
    return RewardFunction(tree() if reward is None else reward, **given)


def test_rows_of_a_call_are_scored_and_every_part_is_told() -> None:
    found = function()(["Q? 4<|im_end|>", "Q? five"], ["Q?", "Q?"], ["4", "4"])
    assert {name: found[name].tolist() for name in ("rewards", "scores")} == {
        "rewards": [1.5, 0.5],
        "scores": [1.5, 0.5],
    }
    assert found["rewards"].dtype == torch.float32
    logs = {name: values.tolist() for name, values in found["extra_logs"].items()}
    assert logs == {
        "status/scored": [1.0, 1.0],
        "status/abstained": [0.0, 0.0],
        "status/timeout": [0.0, 0.0],
        "status/failed": [0.0, 0.0],
        "status/bad_value": [0.0, 0.0],
        "reward/right": [1.0, 0.0],
        "scored/right": [1.0, 1.0],
        "reward/brief": [1.0, 1.0],
        "scored/brief": [1.0, 1.0],
    }
    assert function()([], [], [])["rewards"].tolist() == []


@pytest.mark.parametrize(
    ("answer", "status"),
    [("nan", "bad_value"), ("raise", "failed"), ("none", "abstained")],
)
def test_a_row_without_a_score(answer: str, status: str, caplog: pytest.LogCaptureFixture) -> None:
    reward = Function(agrees)
    found = function(reward)(["Q? 4"], ["Q?"], [answer])
    assert found["rewards"].tolist() == found["scores"].tolist() == [-1.0]
    assert found["extra_logs"][f"status/{status}"].tolist() == [1.0]
    assert f"a row without a score gets -1: {status}" in caplog.text
    caplog.clear()
    with pytest.raises(ScoreError, match=status):
        function(reward, missing="raise")(["Q? 4"], ["Q?"], [answer])
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert f"no reward for OpenRLHF: ScoreError: the reward: {status}" in record.message


def test_each_kind_of_reason_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    made = function()
    for answers in (["raise", "raise", "4"], ["raise", "nan"]):
        made(["Q? 4"] * len(answers), ["Q?"] * len(answers), answers)
    made(["other 4", "another 5"], ["Q?"] * 2, ["4"] * 2)
    told = [record.getMessage() for record in caplog.records]
    assert [text.partition(" (")[0] for text in told] == [
        "a row without a score gets -1: failed: right: raised RuntimeError: the service is down",
        "a row without a score gets -1: bad_value: right: returned nan",
        "a row without a score gets -1: failed: the query does not begin with its prompt: it "
        "begins 'other 4', the prompt 'Q?'; give tokenizer=, or use agent_executor, which needs no "
        "search",
    ]


def test_a_misspelt_option_is_told() -> None:
    with pytest.raises(TypeError, match=r"RewardFunction takes no option 'mising'.*'missing'"):
        RewardFunction(tree(), mising=0.0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="no option 'timout'; did you mean 'timeout'"):
        function(timout=3.0)


def test_a_row_that_cannot_be_read_fails_no_other(caplog: pytest.LogCaptureFixture) -> None:
    made = function(label="json")
    found: dict[int, Any] = {}

    def ask(i: int) -> None:
        try:
            found[i] = float(
                made(["Q?4"], ["Q?"], ['{"more": 1}' if i == 3 else '{"answer": 4}'])["rewards"]
            )
        except MissingColumn as error:
            found[i] = error

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The row itself may be the first, where the column is not known, or not.
    assert [found[i] for i in range(8) if i != 3] == [0.5] * 7


def test_the_part_that_broke_is_named() -> None:
    with pytest.raises(
        ScoreError, match=r"part 'right'.*failed: raised RuntimeError: the service is down"
    ):
        function(missing="raise")(["Q? 4"], ["Q?"], ["raise"])


@pytest.mark.parametrize("first", [True, False])
def test_a_prompt_that_is_not_found_fails_its_row_with_the_same_names(first: bool) -> None:
    made = function()
    if not first:
        made(["Q? 4"], ["Q?"], ["4"])
    found = made(["other 4"], ["Q?"], ["4"])
    whole = made(["Q? 4"], ["Q?"], ["4"])
    assert found["rewards"].tolist() == [-1.0]
    assert [*found["extra_logs"]] == [*whole["extra_logs"]]
    assert sum(float(v) for v in found["extra_logs"].values()) == 1.0
    assert found["extra_logs"]["status/failed"].tolist() == [1.0]
    mixed = made(["Q? 4", "other 4", "Q? 5"], ["Q?"] * 3, ["4"] * 3)
    assert mixed["rewards"].tolist() == [1.5, -1.0, 0.5]


def test_single_rows_from_many_threads_are_scored_together() -> None:
    sizes: list[int] = []

    def together(completion: list[str]) -> list[float]:
        sizes.append(len(completion))
        time.sleep(0.05)
        return [float(text) for text in completion]

    made = function(Function(together, batched=True))
    found: dict[int, float] = {}

    def ask(i: int) -> None:
        found[i] = float(made([f"Q?{i}"], ["Q?"], ["4"])["rewards"])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: float(i) for i in range(64)}
    assert len(sizes) < 32


def test_on_an_event_loop() -> None:
    made = function()

    async def all_of_them() -> list[Any]:
        rows = [made.rows([f"Q? {i}"], ["Q?"], ["4"]) for i in range(20)]
        return await asyncio.gather(*map(made.answer, rows))

    found = asyncio.run(all_of_them())
    assert [answer["rewards"] for answer in found] == [[1.5 if i == 4 else 0.5] for i in range(20)]
    assert type(found[0]["extra_logs"]["scored/right"][0]) is float


def test_labels_that_are_objects() -> None:
    made = function(label="json")
    labels = [json.dumps({"answer": "4", "more": 1}), {"answer": "5"}, "4", '{"more": 1}']
    found = made(["Q?4"] * 4, ["Q?"] * 4, labels)
    assert found["rewards"].tolist() == [1.5, 0.5, -1.0, -1.0]
    assert found["extra_logs"]["status/failed"].tolist() == [0.0, 0.0, 1.0, 1.0]


def test_the_names_of_the_file_hold(tmp_path: Path) -> None:
    (tmp_path / "reward.yaml").write_text(
        "columns: {answer: gold, completion: response}\n"
        "reward: {math_answer: {answer: last number}}\n"
    )
    made = RewardFunction(tmp_path / "reward.yaml", missing=0.0, executor="inline")
    assert made(["Q?4"], ["Q?"], ["4"])["rewards"].tolist() == [1.0]
    whole = RewardFunction(tmp_path / "reward.yaml", missing=0.0, executor="inline", label="json")
    assert whole(["Q?4"], ["Q?"], ['{"gold": "4"}'])["rewards"].tolist() == [1.0]


def test_the_score_of_a_part_is_for_filtering() -> None:
    made = function(score_part="right")
    found = made(["Q?4", "Q?5", "Q?4"], ["Q?"] * 3, ["4", "4", "none"])
    # Where the part abstains, the sum does not.
    assert found["rewards"].tolist() == [1.5, 0.5, 0.5]
    assert found["scores"].tolist() == [1.0, 0.0, -1.0]
    with pytest.raises(ScoreError, match=r"part 'right': a part without a score"):
        function(score_part="right", missing="raise")(["Q?4"], ["Q?"], ["none"])
    with pytest.raises(SpecError, match="score_part: no part 'rigth'; did you mean 'right'"):
        function(score_part="rigth")


def test_it_pickles() -> None:
    made = pickle.loads(pickle.dumps(function()))
    assert made(["Q?4"], ["Q?"], ["4"])["rewards"].tolist() == [1.5]
    again = pickle.loads(pickle.dumps(made))
    assert again(["Q?4"], ["Q?"], ["4"])["rewards"].tolist() == [1.5]


class Grouped(Function):
    """A reward of a group."""

    def __init__(self, call: Callable[..., Any]) -> None:
        super().__init__(call)
        self.declare(needs={"completion"}, scope="group")


class Learning(Function):
    """A reward that learns."""

    def update(self, rollouts: Any, scores: Any) -> dict[str, float]:
        return {}


def test_a_missing_policy_has_to_be_given() -> None:
    with pytest.raises(ValueError, match=r"OpenRLHF cannot leave a row .*: say missing=0.0"):
        RewardFunction(tree())
    with pytest.raises(ValueError, match="OpenRLHF cannot leave a row"):
        function(missing="missing")
    for bad in (math.nan, "zero"):
        with pytest.raises(ValueError, match=f"{bad}"):
            function(missing=bad)


def test_a_reward_that_compares_rows_is_refused() -> None:
    reward = rs.WeightedSum(parts={"rank": Grouped(brief)}, weights={"rank": 1.0})
    with pytest.raises(SpecError, match=r"rank: .*compares the rows of a group.*take it out"):
        function(reward)


def test_columns_that_openrlhf_does_not_have() -> None:
    def judged(completion: str, rubric: str) -> float:
        return 1.0

    with pytest.raises(MissingColumn, match=r"no column 'rubric', needed by .*label='json'"):
        function(Function(judged))
    made = function(Function(judged), label="json")
    with pytest.raises(MissingColumn, match=r"no column 'rubric', needed by function"):
        made(["Q?4"], ["Q?"], ['{"answer": "4"}'])
    with pytest.raises(MissingColumn, match=r"no column 'answer', needed by function"):
        function()(["Q?4"], ["Q?"], [""])
    # Later, it is the row's own failure.
    made(["Q?4"], ["Q?"], ['{"rubric": "r"}'])
    found = made(["Q?4"], ["Q?"], ['{"answer": "4"}'])
    assert found["extra_logs"]["status/failed"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ((["Q?4"], ["Q?", "Q?"], ["4"]), ValueError, "1 queries, 2 prompts, 1 labels"),
        (([[1, 2]], ["Q?"], ["4"]), TypeError, "queries, row 0: list, not text; tokens"),
        ((["Q?4"], [torch.zeros(2)], ["4"]), TypeError, "prompts, row 0: Tensor, not text"),
        (("Q?4", ["Q?"], ["4"]), TypeError, "queries is str, not a list"),
    ],
)
def test_calls_that_cannot_be_meant(
    given: Any, error: type[Exception], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(error, match=message):
        function()(*given)
    assert f"no reward for OpenRLHF: {error.__name__}" in caplog.text


def test_a_reward_that_learns_is_told_not_to() -> None:
    with pytest.warns(UserWarning, match="does not learn here"):
        function(Learning(brief))


def test_another_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    versions.note_version.cache_clear()
    monkeypatch.setattr(versions, "version", lambda package: "0.12.0")
    with pytest.warns(UserWarning, match=r"tested with openrlhf 0.11.2, and this is 0.12.0"):
        function()
    versions.note_version.cache_clear()
    monkeypatch.setattr(versions, "version", lambda package: "0.11.2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        function()
    versions.note_version.cache_clear()
