"""Runs on the tiny RLVR bed, and the rules of the reproductions that rest on them."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from reproductions import estimators_and_losses, length_bias, off_policy
from reproductions.rlvr import (
    Arm,
    Budget,
    columns,
    comparison,
    gained,
    last,
    logged,
    markdown,
    over_the_run,
    run,
)
from reproductions.runner import reproduce
from tests.reproduced import check

import rewardsmith as rs
from rewardsmith.core.catalog import methods
from rewardsmith.policy.estimator import estimator
from rewardsmith.policy.objective import objective
from rewardsmith.testbeds import rlvr
from rewardsmith.testbeds.rlvr.bed import Bed

TASK = rlvr.modular_addition(5)
"""Sums of one digit: an answer is two tokens at most."""
BED = Bed(prompts=4, generations=4)
TINY = Budget(tokens=120, points=2, rows=8, samples=8)
BATCH = 4 * 4 * TASK.longest


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    rlvr.tiny_model(0, hidden=16, layers=1, heads=2).save_pretrained(folder)
    rlvr.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def no_warm_start(untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run begins at the same untrained model."""
    monkeypatch.setattr(rlvr, "warm_start", lambda task, seed: untrained, raising=False)


# --- a run ----------------------------------------------------------------------------------------


def test_a_run_tells_what_it_promises_and_stops_at_the_tokens(untrained: Path) -> None:
    arm = Arm(config={"num_iterations": 2})
    told = run(TASK, arm, 3, BED, TINY, start=untrained)
    curve, means = told["curve"], told["logged"]
    assert curve[0]["tokens"] == 0
    assert len(curve) == 1 + TINY.points
    assert 120 <= curve[-1]["tokens"] < 120 + BATCH
    assert curve[-1]["tokens"] == means["generated_tokens"]
    assert 60 <= curve[1]["tokens"] < 60 + BATCH
    for point in curve:
        assert {"pass@1", "pass@8", "greedy", "entropy", "length", "wrong_length"} <= point.keys()
        assert 0.0 <= point["pass@1"] <= point["pass@8"] <= 1.0
        assert 1.0 <= point["length"] <= TASK.longest
    assert means["updates"] == 2 * means["batches"]
    assert means["rounds"] == 1.0
    assert 0.0 <= means["clipped"] <= 1.0
    assert 0.0 <= means["zero_advantage"] <= 1.0
    assert run(TASK, arm, 3, BED, TINY, start=untrained) == told
    assert run(TASK, arm, 4, BED, TINY, start=untrained) != told


def test_the_clip_is_seen_in_the_second_step_on_a_batch(untrained: Path) -> None:
    """The first step's ratios are 1; a narrow clip cuts in the second, where anything was paid."""
    bed = replace(BED, learning_rate=0.05)
    loss = ("ppo", {"clip": 1e-4})

    def clipped(steps: int) -> float:
        arm = Arm(loss=loss, reward=rs.reward(first_is_a_digit), config={"num_iterations": steps})
        return float(run(TASK, arm, 0, bed, TINY, start=untrained)["logged"]["clipped"])

    assert clipped(1) == 0.0
    assert clipped(2) > 0.1


def test_a_loss_without_a_clip_has_no_share_of_clipped_tokens(untrained: Path) -> None:
    arm = Arm(loss=("policy_gradient", {}))
    told = run(TASK, arm, 0, BED, replace(TINY, tokens=40, points=1), start=untrained)
    assert told["logged"]["clipped"] is None
    assert "clipped" not in columns([told])
    assert columns([told])["zero_advantage"]["per_seed"] == [told["logged"]["zero_advantage"]]


def first_is_a_digit(completion: str) -> float:
    """What an untrained model is right about now and then."""
    return float(completion[:1].isdigit())


# --- reading runs ---------------------------------------------------------------------------------


def made(
    *curve: tuple[float, float] | float,
    wrong: float | None = 5.0,
    length: float = 4.0,
    clipped: float | None = 0.1,
) -> dict[str, Any]:
    """A run of which pass@1 (and entropy) went so."""
    points = [p if isinstance(p, tuple) else (p, 0.5) for p in curve]
    return {
        "curve": [
            {
                "tokens": 100 * i,
                "pass@1": accuracy,
                "pass@8": min(1.0, 2 * accuracy),
                "entropy": entropy,
                "length": length,
                "wrong_length": wrong,
            }
            for i, (accuracy, entropy) in enumerate(points)
        ],
        "logged": {"clipped": clipped, "zero_advantage": 0.3},
    }


def test_the_end_the_gain_and_the_way_are_read_off_the_curves() -> None:
    runs = [made(0.2, 0.3, 0.6), made(0.4, 0.4, 0.2, clipped=0.3)]
    assert last(runs, "pass@1") == [0.6, 0.2]
    assert gained(runs, "pass@1") == pytest.approx([0.4, -0.2])
    assert over_the_run(runs, "pass@1") == pytest.approx([0.45, 0.3])
    assert logged(runs, "clipped") == [0.1, 0.3]


def test_the_table_has_a_line_for_each_arm_and_a_gap_where_nothing_clips() -> None:
    arms = {"one": columns([made(0.2, 0.3)]), "another": columns([made(0.2, 0.5, clipped=None)])}
    lines = markdown(arms).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    head, _, one, another = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    place = head.index("clipped")
    assert (one[0], one[place]) == ("one", "0.100 [0.100, 0.100]")
    assert (another[0], another[place]) == ("another", "-")
    assert another[head.index("gain")] == "0.300 [0.300, 0.300]"


# --- estimators and losses ------------------------------------------------------------------------


def test_every_pair_is_in_the_catalog_and_no_two_are_the_same() -> None:
    arms = estimators_and_losses.ARMS
    assert len(arms) >= 12
    kinds = {entry.name: entry.kind for entry in methods()}
    for arm in arms.values():
        assert kinds[arm.advantage[0]] == "advantage"
        assert kinds[arm.loss[0]] == "loss"
        estimator(arm.advantage[0], **arm.advantage[1])
        objective(arm.loss[0], **arm.loss[1])
    assert len({str((arm.advantage, arm.loss)) for arm in arms.values()}) == len(arms)


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ([0.5, 0.6, 0.55], "supported"),
        ([0.22, 0.25, 0.21], "refuted"),
        ([0.2, 0.6, 0.25], "inconclusive"),
    ],
)
def test_the_bed_is_alive_where_plain_grpo_gains_ten_points(
    ends: list[float], verdict: str
) -> None:
    told = estimators_and_losses.judge(
        {
            estimators_and_losses.PLAIN: [made(0.2, end) for end in ends],
            "other": [made(0.2, 0.9) for _ in ends],
        }
    )
    assert told["verdict"] == verdict
    beyond = told["beside"]["other_minus_grpo + ppo"]["mean"]
    assert beyond == pytest.approx(0.9 - sum(ends) / 3, abs=1e-6)


def test_a_record_of_the_table_on_a_tiny_budget(no_warm_start: None, tmp_path: Path) -> None:
    settings = estimators_and_losses.Settings(bed=BED, budget=Budget(tokens=40, points=1, rows=4))
    names = ("grpo + ppo", "dcpo_advantage + dcpo")
    whole = estimators_and_losses.REPRODUCTION
    same = ("id", "method", "claim", "unproved", "settings", "train")
    told = {name: getattr(whole, name) for name in same}
    of = comparison(names, estimators_and_losses.judge, **told)
    record = reproduce(of, tmp_path / "record.json", settings, range(2))
    check(of, record)
    assert record["verdict"] == "refuted"
    assert set(record["arms"]) == set(names)
    assert {"gain", "pass@1", "pass@8", "entropy", "clipped", "zero_advantage", "length"} <= set(
        record["arms"]["dcpo_advantage + dcpo"]
    )


# --- the length bias ------------------------------------------------------------------------------


def lengths(grpo: list[float | None], dr: list[float | None], **given: Any) -> dict[str, Any]:
    accuracy = given.get("accuracy", 0.5)
    return length_bias.judge(
        {
            "grpo": [made(0.2, accuracy, wrong=wrong) for wrong in grpo],
            "dr_grpo": [made(0.2, 0.5, wrong=wrong) for wrong in dr],
        }
    )


@pytest.mark.parametrize(
    ("grpo", "verdict"),
    [
        ([8.0, 9.0, 8.5, 9.5, 8.0], "supported"),
        ([8.0, 9.0, 8.5, 9.5, 4.9], "supported"),
        ([8.0, 9.0, 8.5, 4.9, 4.9], "refuted"),
        ([5.1, 5.1, 5.1, 5.1, 3.0], "inconclusive"),
        ([None, 9.0, 8.5, 9.5, 8.0], "supported"),
        ([None, None, 8.5, 9.5, 8.0], "refuted"),
        ([None] * 5, "refuted"),
    ],
)
def test_four_of_five_seeds_have_to_be_longer(grpo: list[float | None], verdict: str) -> None:
    assert lengths(grpo, [5.0] * 5)["verdict"] == verdict


def test_lengths_at_unequal_reward_say_nothing() -> None:
    told = lengths([8.0] * 5, [5.0] * 5, accuracy=0.6)
    assert (told["verdict"], told["guard"]) == ("inconclusive", "the arms' rewards are not equal")
    assert lengths([8.0] * 5, [5.0] * 5, accuracy=0.54)["verdict"] == "supported"


def test_right_answers_are_what_wrong_ones_leave_of_the_mean() -> None:
    point = made(0.25, length=4.0, wrong=5.0)["curve"][0]
    # 0.75 of them are 5 long, so the others are 1 long in the mean.
    assert length_bias.right_length(point) == pytest.approx(1.0)
    assert length_bias.right_length({**point, "pass@1": 1.0, "wrong_length": None}) == 4.0
    assert length_bias.right_length({**point, "pass@1": 0.0}) is None


def test_dots_after_an_answer_change_nothing_and_are_demonstrated() -> None:
    task = length_bias.rambling(length_bias.Settings())
    row = task.rows("train")[0]
    for said in (row["answer"], row["answer"] + "." * 9):
        assert task.check(row, said)
    assert not task.check(row, "." + row["answer"])
    assert not task.check(row, row["answer"] + ".1")
    dots = [answer.count(".") for _, answer in task.demonstrations(random.Random(0), 2000)]
    assert max(dots) == 20 < task.longest - len(row["answer"]) - 1
    # Of a geometric distribution that is cut at 20: 4 (1 - 0.8^20).
    assert sum(dots) / len(dots) == pytest.approx(4 * (1 - 0.8**20), abs=0.3)


# --- off policy -----------------------------------------------------------------------------------

FINE, STUCK = made(0.3, 0.6, 0.7), made(0.3, 0.4, (0.3, 0.01))


def test_what_a_collapse_is() -> None:
    assert not off_policy.collapsed(FINE)
    assert off_policy.collapsed(STUCK)
    assert off_policy.collapsed(made(0.3, 0.3, 0.2))
    assert not off_policy.collapsed(made(0.3, 0.3, 0.26))
    assert off_policy.collapsed(made(0.3, 0.8, 0.6))
    assert not off_policy.collapsed(made(0.3, 0.8, 0.75))
    # Certain and right is no collapse.
    assert not off_policy.collapsed(made(0.3, (0.9, 0.001)))


@pytest.mark.parametrize(
    ("ppo", "other", "verdict"),
    [
        (5, 0, "supported"),
        (3, 2, "inconclusive"),
        (3, 3, "refuted"),
        (0, 1, "refuted"),
        (0, 0, "inconclusive"),
    ],
)
def test_stabler_is_refuted_where_as_many_seeds_collapse(
    ppo: int, other: int, verdict: str
) -> None:
    def arm(many: int) -> list[dict[str, Any]]:
        return [STUCK] * many + [FINE] * (5 - many)

    told = off_policy.judge({"ppo": arm(ppo), "gspo": arm(other)})
    assert told["parts"] == {"gspo_is_stabler": verdict}
    assert told["verdict"] == verdict
    assert (told["guard"] is None) == (ppo > 0)
    assert told["arms"]["gspo"]["collapsed"]["mean"] == other / 5


def test_arms_off_policy_take_four_steps_a_batch_at_the_stressed_rate(
    no_warm_start: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def watched(task: Any, arm: Arm, seed: int, bed: Bed, budget: Budget) -> dict[str, Any]:
        seen.append((bed.learning_rate, arm.config))
        return run(task, arm, seed, bed, budget)

    monkeypatch.setattr(off_policy, "run", watched)
    settings = off_policy.Settings(stress=2.0, bed=BED, budget=Budget(tokens=40, points=1, rows=4))
    for arm in ("ppo", "vespo"):
        told = off_policy.train(arm, 0, settings)
        assert told["logged"]["updates"] == 4 * told["logged"]["batches"]
    assert set(map(str, seen)) == {str((2.0 * BED.learning_rate, {"num_iterations": 4}))}
