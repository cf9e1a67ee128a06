"""The reproduction of DCPO: its arms, its rule and its record."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from reproductions import r121_dcpo as r121
from reproductions.rlvr import Arm
from reproductions.runner import reproduce
from tests.reproduced import check

from rewardsmith.core.document import Document
from rewardsmith.learners.recipe import BUILDERS
from rewardsmith.policy.estimator import estimator
from rewardsmith.policy.objective import objective
from rewardsmith.testbeds import rlvr


def made(zero: float = 0.4, clipped: float = 0.02, accuracy: float = 0.5) -> dict[str, Any]:
    """A run in which so much was 0 and cut."""
    numbers = {"pass@8": 0.9, "entropy": 0.4, "length": 3.0, "wrong_length": 3.0}
    return {
        "curve": [
            {"tokens": tokens, "pass@1": p, **numbers} for tokens, p in ((0, 0.2), (9, accuracy))
        ],
        "logged": {"clipped": clipped, "zero_advantage": zero},
    }


def judged(dcpo: Sequence[dict[str, Any]], clipped: Sequence[float] | None = None) -> Any:
    """Against GRPO with 0.4 of zeros and 0.02 cut, or as given."""
    grpo = [made(clipped=cut) for cut in clipped or [0.02] * len(dcpo)]
    return r121.judge({"grpo": grpo, "dapo": [made(0.0) for _ in dcpo], "dcpo": dcpo})


@pytest.mark.parametrize(
    ("dcpo", "verdict", "parts"),
    [
        ([made(0.2, 0.01), made(0.3, 0.015)], "supported", ["supported", "supported"]),
        # The clip cuts no less.
        ([made(0.2, 0.02), made(0.3, 0.021)], "refuted", ["supported", "refuted"]),
        # No more answers teach.
        ([made(0.4, 0.01), made(0.41, 0.01)], "refuted", ["refuted", "supported"]),
        ([made(0.2, 0.01), made(0.45, 0.015)], "inconclusive", ["inconclusive", "supported"]),
        ([made(0.2, 0.01), made(0.3, 0.022)], "inconclusive", ["supported", "inconclusive"]),
    ],
)
def test_the_rule(dcpo: list[dict[str, Any]], verdict: str, parts: list[str]) -> None:
    told = judged(dcpo)
    assert told["verdict"] == verdict
    assert list(told["parts"].values()) == parts
    assert told["guard"] is None


def test_a_clip_that_does_not_act_in_every_seed_cuts_no_less() -> None:
    told = judged([made(0.2, 0.0), made(0.2, 0.0)], clipped=[0.02, 0.00005])
    assert told["verdict"] == "inconclusive"
    assert "did not act" in told["guard"]
    assert list(told["parts"]) == ["more_answers_teach"]


def test_pass_at_1_has_no_say() -> None:
    told = judged([made(0.2, 0.01, accuracy=0.1), made(0.3, 0.015, accuracy=0.1)])
    assert told["verdict"] == "supported"
    assert told["beside"]["pass@1_dcpo_minus_grpo"]["mean"] == pytest.approx(-0.4)
    assert told["arms"]["dcpo"]["nonzero"]["per_seed"] == [0.8, 0.7]


def test_a_run_trains_on_few_problems_and_is_measured_on_the_others() -> None:
    whole, settings = rlvr.modular_addition(), r121.Settings()
    task = r121.fewer(whole, settings.problems)
    assert len(task.rows("train")) == 320
    assert task.rows("held_out") == whole.rows("held_out")
    # 16 prompts a batch, of 3 tokens 8 times each.
    visits = settings.budget.tokens / (8 * 3) / settings.problems
    assert visits > 4
    # Dynamic sampling never asks for more prompts than there are.
    assert 20 * settings.bed.prompts <= settings.problems


def test_the_arms_are_made_as_the_trainer_makes_them() -> None:
    for arm in r121.ARMS.values():
        estimator(arm.advantage[0], **arm.advantage[1])
        objective(arm.loss[0], **arm.loss[1])
    sampler = BUILDERS["sampler"](r121.ARMS["dapo"].sampler, Document({}), ("sampler",))
    assert sampler.rounds == 20


def test_a_record_tells_what_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(task: Any, arm: Arm, seed: int, *_: Any, start: Path) -> dict[str, Any]:
        assert (len(task.train), start, arm.config) == (320, tmp_path, {"num_iterations": 2})
        return made(0.2, 0.01) if arm.loss[0] == "dcpo" else made(0.4 + 0.01 * seed)

    monkeypatch.setattr(r121, "run", run)
    monkeypatch.setattr(rlvr, "warm_start", lambda task, seed: tmp_path, raising=False)
    settings = r121.Settings()
    record = reproduce(r121.REPRODUCTION, tmp_path / "121.json", settings, range(2))
    check(r121.REPRODUCTION, record)
    assert record["verdict"] == "supported"
    assert tuple(record["arms"]) == tuple(r121.ARMS)
