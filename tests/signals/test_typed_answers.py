"""The nodes around boxes, actions and relaxed answers; and a router over them."""

import inspect
import math
from typing import Any

import pytest

from rewardsmith.combine import Router
from rewardsmith.core.algebra import WeightedSum
from rewardsmith.core.contract import check_contract
from rewardsmith.core.function import Function
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.rows import RowReward
from rewardsmith.core.spec import dumps, loads
from rewardsmith.signals.boxes import BoxIoU
from rewardsmith.signals.gui_action import GuiAction, TurnForm
from rewardsmith.signals.relaxed_match import IntervalOverlap, KeywordF1, RelaxedMatch

KINDS = (BoxIoU, GuiAction, IntervalOverlap, KeywordF1, RelaxedMatch, TurnForm)


@pytest.mark.parametrize("kind", KINDS)
def test_contracts(kind: Any) -> None:
    check_contract(kind(**kind.contract.arguments), kind.contract)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not TurnForm])
def test_a_broken_reference_fails_its_row_alone(kind: Any) -> None:
    reward: RowReward = kind(gold="truth", **kind.contract.arguments)
    full = kind.contract.full
    completions, answers = [full["completion"]] * 2, [full["answer"], None]
    scores = reward(Rollouts({"completion": completions, "truth": answers}))
    assert scores.status.tolist() == [Status.SCORED, Status.FAILED]
    assert "ValueError" in scores.errors[1][1]


@pytest.mark.parametrize(
    "reward",
    [
        BoxIoU(threshold=0.5),
        GuiAction(blocks=["think", "tool_call"], form=0.5),
        IntervalOverlap(strict=True),
        KeywordF1(answer="all"),
        RelaxedMatch(tolerance=0.1),
        TurnForm(blocks=["think"]),
    ],
)
def test_they_are_written_down(reward: RowReward) -> None:
    again = loads(dumps(reward))
    assert repr(again) == repr(reward)
    assert isinstance(again, RowReward)
    assert dict(again.rowcall.options) == dict(reward.rowcall.options)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (BoxIoU, {"threshold": 0.0}, "threshold is 0.0"),
        (BoxIoU, {"threshold": math.nan}, "threshold is nan"),
        (GuiAction, {"form": -1.0}, "form is -1.0"),
        (GuiAction, {"blocks": []}, "tags are empty"),
        (TurnForm, {"blocks": ["a", "a"]}, "name one twice"),
        (RelaxedMatch, {"tolerance": 1.0}, "tolerance is 1.0"),
        (RelaxedMatch, {"tolerance": math.nan}, "tolerance is nan"),
        (RelaxedMatch, {"answer": " "}, "answer is empty"),
        (KeywordF1, {"answer": ""}, "answer is empty"),
        (IntervalOverlap, {"answer": ""}, "answer is empty"),
    ],
)
def test_what_they_refuse(kind: Any, options: dict[str, Any], message: str) -> None:
    init = inspect.unwrap(kind.__init__)
    with pytest.raises(ValueError, match=message):
        init(kind.__new__(kind), **options)


def judge(verdict: float) -> float:
    if verdict < 0:
        raise ConnectionError("the judge is away")
    return verdict


def test_a_task_whose_judge_breaks_has_no_score() -> None:
    good = {"role": "assistant", "content": "<think>a</think>"}
    bad = {"role": "assistant", "content": "a"}
    task = WeightedSum({"trajectory": Function(judge), "form": TurnForm(blocks=["think"])})
    scores = task(
        Rollouts({"completion": [[good, bad], [good, good], [good]], "verdict": [1.0, 0.0, -1.0]})
    )
    assert scores.values.tolist() == [1.5, 1.0, 0.0]
    assert scores.status.tolist() == [Status.SCORED, Status.SCORED, Status.FAILED]


def test_one_router_over_four_verifiers() -> None:
    reward = Router(
        {
            "chart": RelaxedMatch(),
            "box": BoxIoU(),
            "date": IntervalOverlap(),
            "tags": KeywordF1(answer="all"),
        },
        by="kind",
    )
    rollouts = Rollouts(
        {
            "kind": ["box", "chart", "date", "tags", "map"],
            "completion": ["[0, 0, 1, 2]", r"\boxed{96}", "The answer is 500 BC", "a ship", "?"],
            "answer": [[0, 0, 2, 2], "100", (-501, -500), "the ship", None],
        }
    )
    scores = reward(rollouts)
    assert scores.values.tolist() == pytest.approx([0.5, 1.0, 0.5, 0.5, 0.0])
    assert scores.status.tolist() == [Status.SCORED] * 4 + [Status.FAILED]
    assert repr(loads(dumps(reward))) == repr(reward)
