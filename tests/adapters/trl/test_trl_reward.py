"""Reward functions written for TRL, as signals."""

import math
import pickle
from pathlib import Path
from typing import Any

import pytest

from rewardsmith.adapters.row_scorer import RowScorer
from rewardsmith.adapters.scorer import Scorer
from rewardsmith.adapters.trl import TRLReward, to_trl
from rewardsmith.core import spec
from rewardsmith.core.algebra import WeightedSum
from rewardsmith.core.errors import MissingColumn, SpecError
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.rowcall import MISSING
from rewardsmith.core.scores import Scores


def lengths(completions: list[str], **kwargs: Any) -> list[float]:
    return [float(len(text)) for text in completions]


def five(completions: list[str], **kwargs: Any) -> list[float | None]:
    values: list[Any] = [1.0, None, math.nan, math.inf, "one"]
    return values[: len(completions)]


def short(completions: list[str], **kwargs: Any) -> list[float]:
    return [0.0]


def raises(completions: list[str], **kwargs: Any) -> list[float]:
    raise RuntimeError("the service is down")


async def later(completions: list[str], **kwargs: Any) -> list[float]:
    return [float(len(text)) for text in completions]


class Later:
    async def __call__(self, completions: list[str], **kwargs: Any) -> list[float]:
        return [float(len(text)) for text in completions]


def above(completions: list[str], **kwargs: Any) -> list[float]:
    mean = sum(map(len, completions)) / len(completions)
    return [len(text) - mean for text in completions]


def bonus(completions: list[str], bonus: Any = 5.0) -> list[float]:
    if isinstance(bonus, list):
        return [value or 0.0 for value in bonus]
    return [bonus] * len(completions)


SEEN: dict[str, Any] = {}


def seen(completions: list[str], **kwargs: Any) -> list[float]:
    SEEN.update(kwargs, completions=completions)
    return [0.0] * len(completions)


def named(prompts: Any, answer: Any, log_metric: Any, trainer_state: Any, level: Any = 3) -> Any:
    log_metric("step", trainer_state.global_step)
    return [float(a == p) for p, a in zip(prompts, answer, strict=True)]


def in_chat(completions: Any, **kwargs: Any) -> list[float]:
    return [float(len(messages[0]["content"])) for messages in completions]


def of_environments(completions: Any, environments: Any) -> Any:
    return []


def score(reward: TRLReward, **columns: Any) -> Scores:
    return reward(Rollouts(columns))


TEXTS = ["a", "bb", "ccc", "dddd", "eeeee"]


def test_values() -> None:
    assert score(TRLReward(lengths), completion=TEXTS).values.tolist() == [1, 2, 3, 4, 5]


def test_every_status() -> None:
    scores = score(TRLReward(five), completion=TEXTS)
    names = [Status(code).name.lower() for code in scores.status.tolist()]
    assert names == ["scored", "abstained", "bad_value", "bad_value", "bad_value"]


def test_a_list_of_another_length_is_a_bad_value_of_every_row() -> None:
    scores = score(TRLReward(short), completion=TEXTS)
    assert set(scores.status.tolist()) == {int(Status.BAD_VALUE)}
    assert scores.errors[0] == ("", "returned 1 values for 5 rows")


def test_where_it_raises_all_rows_fail() -> None:
    scores = score(TRLReward(raises), completion=TEXTS)
    assert set(scores.status.tolist()) == {int(Status.FAILED)}
    assert "the service is down" in scores.errors[4][1]


@pytest.mark.parametrize("call", [later, Later()], ids=["function", "object"])
def test_asynchronous_ones(call: Any) -> None:
    assert score(TRLReward(call), completion=TEXTS).values.tolist() == [1, 2, 3, 4, 5]


def test_an_open_function_gets_what_trl_gives_and_the_columns_that_are_named() -> None:
    SEEN.clear()
    reward = TRLReward(seen, columns=["answer"])
    assert reward.needs == {"completion", "answer"}
    columns = {"prompt": ["p"], "completion": ["c"], "completion_ids": [[1, 2]], "answer": ["a"]}
    score(reward, other=["x"], **columns)
    assert SEEN.pop("trainer_state").global_step == 0
    assert SEEN.pop("log_extra")("column", []) is None
    assert SEEN.pop("log_metric")("name", 0.0) is None
    assert SEEN == {
        "prompts": ["p"],
        "completions": ["c"],
        "completion_ids": [[1, 2]],
        "answer": ["a"],
    }


def test_arguments_are_columns() -> None:
    reward = TRLReward(named)
    assert reward.needs == {"prompt", "answer"}
    assert score(reward, prompt=["4", "5"], answer=["4", "4"]).values.tolist() == [1.0, 0.0]
    with pytest.raises(MissingColumn, match="'answer', needed by trl_reward"):
        score(reward, prompt=["4"])


def test_a_row_without_a_needed_column_fails_alone() -> None:
    scores = score(TRLReward(named), prompt=["4", "4"], answer=["4", MISSING])
    assert scores.status.tolist() == [int(Status.SCORED), int(Status.FAILED)]
    assert scores.errors[1] == ("", "this row has no column 'answer'")


def test_texts_as_chat() -> None:
    chat = [{"role": "assistant", "content": "four"}]
    assert score(TRLReward(in_chat, chat=True), completion=["a", chat]).values.tolist() == [1, 4]
    assert score(TRLReward(in_chat), completion=["a"]).status.tolist() == [int(Status.FAILED)]


@pytest.mark.parametrize("scope", ["row", "group", "batch"])
def test_what_it_compares_is_declared(scope: Any) -> None:
    reward = TRLReward(above, scope=scope)
    assert reward.scope == scope
    again = pickle.loads(pickle.dumps(reward))
    assert again.scope == scope
    assert spec.loads(spec.dumps(reward)).scope == scope
    assert ("scope" in spec.dumps(reward)) == (scope != "row")
    assert WeightedSum({"a": reward}).scope == scope
    assert reward.eval() is reward


def test_what_compares_rows_has_them_all_and_is_refused_row_by_row() -> None:
    batch = TRLReward(above, scope="batch")
    function = to_trl(batch, executor="inline")
    assert function(["p", "q"], ["a", "aaa"]) == [-1.0, 1.0]
    with pytest.raises(SpecError, match="compares the rows of a batch"):
        RowScorer(batch, "a trainer", missing=0.0)
    with pytest.raises(ValueError, match="scope is 'row', 'group' or 'batch', not 'dataset'"):
        TRLReward(above, scope="dataset")  # type: ignore[arg-type]


def test_an_optional_column_is_left_out_for_rows_without_it() -> None:
    scorer = Scorer(TRLReward(bonus), executor="inline")
    assert scorer([{"completion": "x"}]).values.tolist() == [5.0]
    rows = [{"completion": "x", "bonus": 1.0}, {"completion": "x"}]
    assert scorer(rows).values.tolist() == [1.0, 5.0]
    assert scorer([{"completion": "x"}]).values.tolist() == [5.0]
    # Those that are compared go together, and one that lacks it has None.
    together = TRLReward(bonus, scope="batch")
    found = score(together, completion=["x", "x"], bonus=[1.0, MISSING])
    assert found.values.tolist() == [1.0, 0.0]
    assert score(together, completion=["x"], bonus=[MISSING]).values.tolist() == [5.0]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="environments"):
        TRLReward(of_environments)
    with pytest.raises(ValueError, match="takes no column 'gold' and has no"):
        TRLReward(named, columns=["gold"])
    with pytest.raises(ValueError, match="a reward already"):
        TRLReward(TRLReward(lengths))


def test_through_yaml_and_pickle(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "def gold(completions, answer, **kwargs):\n"
        "    return [float(c == a) for c, a in zip(completions, answer)]\n"
    )
    file = tmp_path / "reward.yaml"
    file.write_text("reward: {trl_reward: {call: ./own.py:gold, columns: [level]}}\n")
    reward = spec.load(file)
    columns = {"completion": ["4"], "answer": ["4"], "level": [1]}
    assert reward(Rollouts(columns)).values.tolist() == [1.0]
    assert "gold" in repr(reward)
    again = pickle.loads(pickle.dumps(reward))
    assert again(Rollouts(columns)).values.tolist() == [1.0]
    assert "level" in spec.dumps(reward)
    with pytest.raises(SpecError):
        spec.dumps(TRLReward(lambda completions: [0.0]))
