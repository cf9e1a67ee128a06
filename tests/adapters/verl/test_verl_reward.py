"""Reward functions written for verl, as rewards of ours."""

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewardsmith.adapters import versions
from rewardsmith.adapters.verl import VerlReward
from rewardsmith.core.errors import MissingColumn
from rewardsmith.core.execution import Execution, Inline, using
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.spec import dump, loads
from rewardsmith.engine.cache import DiskCache
from rewardsmith.engine.processes import Processes

ROWS = {
    "completion": ["yes", "no", "yes"],
    "ground_truth": ["yes", "yes", "no"],
    "data_source": ["a", "b", "c"],
    "extra_info": [{"index": 0}, {"index": 1}, {"index": 2}],
}


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any]
) -> float:
    extra_info["seen"] = True
    return float(solution_str == ground_truth) + ord(data_source) + extra_info.get("index", 9)


async def judged(data_source: Any, solution_str: str, ground_truth: str, **rest: Any) -> Any:
    return {"score": float(solution_str == ground_truth), "rest": sorted(rest)}


def short(predict_str: str, ground_truth: str, scale: float = 1.0) -> float:
    return scale * (predict_str == ground_truth)


def strange(solution_str: str) -> Any:
    if solution_str == "raise":
        raise OSError("down")
    return {
        "no score": {"acc": 1},
        "nan": {"score": float("nan"), "acc": 1},
        "text": {"score": "high", "acc": 1},
        "none": {"score": None, "acc": 0.5},
        "tuple": (True, "rest"),
        "list": [0.5, "rest"],
        "numpy": {"score": np.float32(0.25), "acc": 1},
        "empty": [],
        "inf": math.inf,
    }.get(solution_str)


def texts(*completions: str) -> Rollouts:
    return Rollouts({"completion": [*completions]})


def test_it_is_given_what_verl_would_give() -> None:
    scores = VerlReward(compute_score)(Rollouts(ROWS))
    assert scores.values.tolist() == [98.0, 99.0, 101.0]
    # What it writes stays its own.
    assert ROWS["extra_info"][0] == {"index": 0}
    bare = {name: column for name, column in ROWS.items() if name != "extra_info"}
    assert VerlReward(compute_score)(Rollouts(bare)).values.tolist() == [107.0, 107.0, 108.0]


def test_an_async_function_and_what_else_it_says() -> None:
    scores = VerlReward(judged)(Rollouts(ROWS))
    assert scores.values.tolist() == [1.0, 0.0, 0.0]
    assert json.loads(scores.info["why"][0]) == {"rest": ["extra_info"]}


def test_only_what_it_takes_is_read() -> None:
    reward = VerlReward(short, reward_kwargs={"scale": 2.0})
    assert reward.needs == {"completion", "ground_truth"}
    assert reward(Rollouts(ROWS)).values.tolist() == [2.0, 0.0, 0.0]
    fixed = VerlReward(compute_score, reward_kwargs={"data_source": "A"})
    assert fixed.needs == {"completion", "ground_truth"}
    assert fixed(Rollouts({k: v for k, v in ROWS.items() if k != "data_source"})).values[0] == 66.0


def test_columns_by_other_names_and_messages() -> None:
    rows = {"answer": [[{"role": "assistant", "content": "yes"}]], "gold": ["yes"]}
    reward = VerlReward(short, completion="answer", ground_truth="gold")
    assert reward(Rollouts(rows)).values.tolist() == [1.0]
    told = reward(Rollouts({"answer": [3], "gold": ["yes"]}))
    assert told.status.tolist() == [Status.FAILED]
    assert "column 'answer'" in told.errors[0][1]


def test_what_it_returns_becomes_a_score_or_a_status() -> None:
    rows = texts(
        "no score",
        "nan",
        "text",
        "none",
        "tuple",
        "list",
        "inf",
        "raise",
        "other",
        "numpy",
        "empty",
    )
    scores = VerlReward(strange)(rows)
    assert [Status(code).name for code in scores.status.tolist()] == [
        "BAD_VALUE",
        "BAD_VALUE",
        "BAD_VALUE",
        "ABSTAINED",
        "SCORED",
        "SCORED",
        "BAD_VALUE",
        "FAILED",
        "ABSTAINED",
        "SCORED",
        "BAD_VALUE",
    ]
    assert scores.values[[4, 5, 9]].tolist() == [1.0, 0.5, 0.25]
    assert scores.info["why"][9] == '{"acc": 1}'
    assert scores.errors[0] == ("", "returned dict {'acc': 1}, not a number")
    assert "raised OSError: down" in scores.errors[7][1]
    assert scores.info["why"][3] == '{"acc": 0.5}'


def test_in_worker_processes_that_stay_small(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "import sys, time\n\ndef score(solution_str, ground_truth=None, strict=False):\n"
        "    if solution_str == 'hang':\n        time.sleep(60)\n"
        "    return 2.0 * strict + float('torch' in sys.modules)\n"
    )
    text = "reward: {verl_reward: {call: ./theirs.py:score, reward_kwargs: {strict: true}}}"
    reward = loads(text, base=tmp_path)
    assert dump(reward)["verl_reward"]["reward_kwargs"] == {"strict": True}
    copy = pickle.loads(pickle.dumps(reward))
    assert repr(copy) == repr(reward)
    assert copy.call is reward.call
    with Processes(1, timeout=1.0) as processes, using(Execution(processes)):
        scores = reward(texts("a", "hang", "b", "a"))
    assert scores.values.tolist() == [2.0, 0.0, 2.0, 2.0]
    assert scores.status.tolist() == [Status.SCORED, Status.TIMEOUT, Status.SCORED, Status.SCORED]
    assert scores.info["origin"].tolist() == [0, 0, 0, 1]


def test_a_cache_knows_it(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache")
    with using(Execution(Inline(), cache)):
        for origin in ([0, 0, 0], [2, 2, 2]):
            scores = VerlReward(short)(Rollouts(ROWS))
            assert scores.values.tolist() == [1.0, 0.0, 0.0]
            assert scores.info["origin"].tolist() == origin


def test_a_lambda_scores_here() -> None:
    reward = VerlReward(lambda solution_str: float(len(solution_str)))
    assert reward(texts("abc")).values.tolist() == [3.0]


def test_a_row_without_a_column_fails() -> None:
    with pytest.raises(MissingColumn, match=r"no column 'data_source', needed by verl_reward"):
        VerlReward(compute_score)(Rollouts({"completion": ["a"], "ground_truth": ["b"]}))


def test_functions_that_verl_would_not_call_either() -> None:
    with pytest.raises(ValueError, match="takes none of solution_str, predict_str, model_output"):
        VerlReward(lambda completions: 1.0)
    with pytest.raises(ValueError, match=r"takes 'tests', which is none of .*in reward_kwargs"):
        VerlReward(lambda solution_str, tests: 1.0)
    with pytest.raises(ValueError, match="reward_kwargs: short takes no 'scales'"):
        VerlReward(short, reward_kwargs={"scales": 1})


def test_another_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    versions.note_version.cache_clear()
    monkeypatch.setattr(versions, "version", lambda package: "0.8.0")
    with pytest.warns(UserWarning, match=r"tested with verl 0\.9\.1, and this is 0\.8\.0"):
        VerlReward(short)
    versions.note_version.cache_clear()
