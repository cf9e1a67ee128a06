"""Self-checks as a reward."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

import rewardsmith as rs
from rewardsmith.core.contract import check_contract
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.spec import dump
from rewardsmith.signals.self_check import SelfCheck

GOOD = "<information>Paris it is</information><judge>good</judge>"
CHAT = [
    {"role": "tool", "content": "Paris it is"},
    {"role": "assistant", "content": "<judge>good</judge>"},
]


def rollouts(**changed: Any) -> Rollouts:
    columns = {"completion": [GOOD, CHAT], "answer": ["Paris"] * 2, "prompt": ["Which city?"] * 2}
    return Rollouts(columns | changed)


def half(observation: str, reference: str) -> float:
    """A scorer that finds half of everything."""
    return 0.5


def test_the_contract() -> None:
    check_contract(SelfCheck(), SelfCheck.contract)


def test_text_and_messages_score_the_same() -> None:
    assert SelfCheck()(rollouts()).values.tolist() == pytest.approx([0.1, 0.1])


def test_it_is_a_part_beside_the_answer() -> None:
    @rs.reward(batched=True)
    def right(completion: list[Any]) -> list[float]:
        return [1.0] * len(completion)

    plain = rs.WeightedSum({"right": right})(rollouts())
    off = rs.WeightedSum({"right": right, "judge": SelfCheck(match=0, mismatch=0)})(rollouts())
    assert off.values.tolist() == plain.values.tolist()
    both = rs.WeightedSum({"right": right, "judge": SelfCheck()})(rollouts())
    assert both.values.tolist() == pytest.approx([1.1, 1.1])


def test_a_missing_reference_fails_the_row() -> None:
    scores = SelfCheck()(rollouts(answer=["Paris", None]))
    assert scores.status.tolist() == [Status.SCORED, Status.FAILED]
    assert "the reference is None" in scores.errors[1][1]


def test_questions_are_only_read_if_named() -> None:
    held = rollouts(prompt=["Is it Paris?"] * 2)
    assert "the question holds" in SelfCheck()(held).info["why"][0]
    assert SelfCheck(question=None)(held).info["why"].tolist() == ["", ""]
    assert "prompt" not in SelfCheck(question=None).needs


def test_bounds() -> None:
    assert SelfCheck(match=0.2, mismatch=0.3).bounds == (-0.3, 0.2)
    assert SelfCheck(normalize=False).bounds == (-float("inf"), float("inf"))


def test_a_scorer_travels_by_name() -> None:
    made = pickle.loads(pickle.dumps(SelfCheck(scorer=half, threshold=0.6)))
    assert made(rollouts()).values.tolist() == pytest.approx([-0.1, -0.1])
    assert dump(made)["self_check"]["scorer"].endswith(":half")


def test_a_scorer_of_a_file_is_found_in_other_processes(tmp_path: Path) -> None:
    (tmp_path / "scorer.py").write_text("def never(observation, reference):\n    return 0.0\n")
    (tmp_path / "reward.yaml").write_text("reward: {self_check: {scorer: ./scorer.py:never}}")
    reward = rs.load(tmp_path / "reward.yaml")
    with rs.executor("processes", workers=1):
        assert reward(rollouts()).values.tolist() == pytest.approx([-0.1, -0.1])
    assert copy.deepcopy(reward)(rollouts()).values.tolist() == pytest.approx([-0.1, -0.1])
    alone = SelfCheck(scorer=lambda observation, reference: 0.0)
    assert copy.deepcopy(alone)(rollouts()).values.tolist() == pytest.approx([-0.1, -0.1])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"match": -0.1}, "match is -0.1"),
        ({"mismatch": float("nan")}, "mismatch is nan"),
        ({"threshold": float("inf")}, "threshold is inf"),
    ],
)
def test_what_it_refuses(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SelfCheck(**arguments)
