"""The reproduction of DAPO's switches: its arms, its rule and its record."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from reproductions import dapo
from reproductions.rlvr import Arm
from reproductions.runner import reproduce
from tests.reproduced import check

from rewardsmith.core.document import Document
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.learners.recipe import BUILDERS
from rewardsmith.policy.objective import objective
from rewardsmith.testbeds import rlvr

SETTINGS = dapo.Settings()


def made(entropy: float = 0.4, accuracy: float = 0.5, clipped: float = 0.01) -> dict[str, Any]:
    """A run that ends so."""

    def point(tokens: int, entropy: float, accuracy: float) -> dict[str, Any]:
        numbers = {"pass@1": accuracy, "pass@8": 0.9, "entropy": entropy, "length": 4.0}
        return {"tokens": tokens, "wrong_length": 5.0, **numbers}

    return {
        "curve": [point(0, 0.9, 0.2), point(9, entropy, accuracy)],
        "logged": {"clipped": clipped, "zero_advantage": 0.3},
    }


def judged(full: Sequence[dict[str, Any]], clipped: float = 0.01) -> dict[str, Any]:
    """Against arms that all end alike."""
    others = {arm: [made(clipped=clipped) for _ in full] for arm in dapo.ARMS if arm != dapo.FULL}
    return dapo.judge({dapo.FULL: full, **others})


@pytest.mark.parametrize(
    ("entropies", "verdict"),
    [
        ([0.42, 0.5, 0.405], "supported"),
        ([0.4, 0.408, 0.39], "refuted"),
        ([0.3, 0.35, 0.2], "refuted"),
        ([0.4, 0.46, 0.35], "inconclusive"),
    ],
)
def test_the_rule(entropies: list[float], verdict: str) -> None:
    told = judged([made(entropy, 0.52) for entropy in entropies])
    assert told["verdict"] == verdict
    assert told["guard"] is None


@pytest.mark.parametrize("accuracy", [0.4, 0.6])
def test_entropy_is_compared_at_equal_reward_only(accuracy: float) -> None:
    told = judged([made(0.6, accuracy) for _ in range(3)])
    assert (told["verdict"], told["guard"]) == ("inconclusive", "the arms' rewards are not equal")


def test_a_clip_that_does_not_act_cannot_be_higher() -> None:
    told = judged([made(0.6)] * 3, clipped=0.0005)
    assert (told["verdict"], told["guard"]) == ("inconclusive", "the symmetric clip did not act")


def test_other_switches_have_no_say() -> None:
    told = judged([made(0.45, 0.52)] * 3)
    other = {arm: [made(0.45, 0.52)] * 3 for arm in dapo.ARMS}
    other[dapo.SYMMETRIC] = [made()] * 3
    other["no_filter"] = [made(0.1, 0.9)] * 3
    again = dapo.judge(other)
    assert again["verdict"] == told["verdict"] == "supported"
    assert again["beside"]["full_minus_no_filter"]["pass@1"]["mean"] == pytest.approx(-0.38)
    assert set(again["beside"]) == {f"full_minus_{arm}" for arm in dapo.ARMS[1:]}


def test_each_arm_has_one_switch_off() -> None:
    arms = {name: dapo.arm_of(name, SETTINGS) for name in dapo.ARMS}
    assert arms["full"].loss[1] == {"clip": (0.2, 0.28), "aggregation": "token-mean"}
    assert arms["symmetric_clip"].loss[1] == {"clip": (0.2, 0.2), "aggregation": "token-mean"}
    assert arms["sequence_mean"].loss[1] == {
        "clip": (0.2, 0.28),
        "aggregation": "seq-mean-token-mean",
    }
    for name, arm in arms.items():
        objective(arm.loss[0], **arm.loss[1])
        assert (arm.loss == arms["full"].loss) == (name not in ("symmetric_clip", "sequence_mean"))
        assert (arm.sampler is None) == (name == "no_filter")
        assert set(arm.reward.parts) == {"correct"} | ({"overlong"} - {name.removeprefix("no_")})
        assert arm.config == {"num_iterations": 2}
        if arm.sampler:
            BUILDERS["sampler"](arm.sampler, Document({}), ("sampler",))


def test_only_long_answers_are_punished() -> None:
    texts = ["27", "27" + "." * 5, "27" + "." * 9, "27" + "." * 14, "28"]
    end = rlvr.tokenizer().eos_token
    ids = [rlvr.tokenizer()(text + end)["input_ids"] for text in texts]
    rollouts = Rollouts.from_text(
        ["53+71%="] * 5, texts, answer=["27"] * 5, completion_ids=[row[:16] for row in ids]
    )
    found = {
        arm: dapo.reward_of(arm, SETTINGS)(rollouts).resolve("raise").values.tolist()
        for arm in ("full", "no_overlong")
    }
    assert found["full"] == pytest.approx([1.0, 1.0, 0.5, 0.0, 0.0])
    assert found["no_overlong"] == [1.0, 1.0, 1.0, 1.0, 0.0]


def test_a_record_tells_what_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(task: Any, arm: Arm, seed: int, *_: Any) -> dict[str, Any]:
        assert task.longest == 16
        return made(0.4 + 0.1 * (arm.loss[1]["clip"][1] > 0.2) + 0.01 * seed)

    monkeypatch.setattr(dapo, "run", run)
    settings = replace(SETTINGS, epochs=3)
    record = reproduce(dapo.REPRODUCTION, tmp_path / "dapo.json", settings, range(2))
    check(dapo.REPRODUCTION, record)
    assert record["verdict"] == "supported"
    assert tuple(record["arms"]) == dapo.ARMS
