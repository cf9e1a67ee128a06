"""The reproduction of RECAP: what is replayed and how it is weighed, the rule, one run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from reproductions import r144_recap as r144
from reproductions.r144_recap import ARMS, MEASURES, REPLAYED, Replay, Settings, judge
from reproductions.rlvr import Budget
from tests.reproduced import intervals

from rewardsmith.policy.weights.convergence import ConvergenceWeights
from rewardsmith.testbeds import rlvr
from rewardsmith.testbeds.rlvr.bed import Bed

TINY = Settings(
    low=0.02,
    high=0.99,
    bed=Bed(prompts=4, generations=4),
    budget=Budget(tokens=80, points=1, rows=24),
)

# --- replay ---------------------------------------------------------------------------------------


def replay_of(part: float, weights: ConvergenceWeights | None = None) -> Replay:
    return Replay(
        {"turned": rlvr.reversal(2), "copied": rlvr.copying(2)}, part, seed=0, weights=weights
    )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, str]]]:
    """Demonstrations, whose loss is then 2 for what is turned round and 4 for what is copied."""
    shown: list[list[tuple[str, str]]] = []

    def loss(model: Any, tokenizer: Any, pairs: list[tuple[str, str]]) -> torch.Tensor:
        shown.append(pairs)
        return torch.tensor(2.0 if pairs[0][0].startswith("r") else 4.0)

    monkeypatch.setattr(rlvr, "demonstration_loss", loss, raising=False)
    return shown


@pytest.mark.parametrize(("part", "each"), [(0.25, 16), (0.5, 48)])
def test_the_replayed_part_is_of_all_rows_and_of_the_loss(
    part: float, each: int, counted: list[Any]
) -> None:
    replay = replay_of(part)
    total = replay.loss(None, None, torch.tensor(1.0), reward=0.5, rows=96)
    assert [len(pairs) for pairs in counted] == [each, each]
    assert 2 * each / (2 * each + 96) == part
    assert total.item() == pytest.approx((1 - part) * 1.0 + part * 3.0)
    assert replay.history == [[1.0, 1.0, 1.0]]


def test_weights_are_factors_of_the_losses_and_observe_every_step(counted: list[Any]) -> None:
    weights = ConvergenceWeights(
        ("sums", *REPLAYED), losses=REPLAYED, best={"sums": 1.0}, short=2, long=2, inertia=0.0
    )
    replay = replay_of(0.25, weights)
    rl = torch.tensor(1.0, requires_grad=True)
    for reward in (0.0, 0.2, 0.1):
        total = replay.loss(None, None, rl, reward, rows=96)
    w = weights.weights()
    # Losses that never change are as good as done.
    assert w["sums"] > 1.0 > w["turned"] == w["copied"]
    assert list(w.values()) == replay.history[-1]
    by_hand = 0.75 * w["sums"] + 0.125 * (2.0 * w["turned"] + 4.0 * w["copied"])
    assert total.item() == pytest.approx(by_hand)
    total.backward()
    assert rl.grad is not None
    assert rl.grad.item() == pytest.approx(0.75 * w["sums"])


def test_the_same_seed_replays_the_same(counted: list[Any]) -> None:
    for _ in range(2):
        replay_of(0.25).loss(None, None, torch.tensor(1.0), 0.5, 24)
    assert counted[:2] == counted[2:]


def test_a_run_that_replays_nothing_is_an_error() -> None:
    from rewardsmith.learners import grpo

    usual = grpo.GRPOTrainer
    with (
        pytest.raises(RuntimeError, match="nothing was replayed"),
        r144.trainer_with(replay_of(0.25)),
    ):
        assert grpo.GRPOTrainer is not usual
    assert grpo.GRPOTrainer is usual
    with r144.trainer_with(None):
        assert grpo.GRPOTrainer is usual


def test_what_is_kept_is_the_worse_of_the_others_in_parts_of_the_start() -> None:
    points = [(0.2, 0.8, 0.5), (0.4, 0.4, 0.5), (0.6, 0.8, 0.4)]
    curve = [
        dict(zip(("sums pass@1", "turned pass@1", "copied pass@1"), point, strict=True))
        for point in points
    ]
    assert r144.measured({"curve": curve}) == {
        "sums": 0.6,
        "kept": 0.8,
        "sums_over_the_run": 0.5,
        "kept_over_the_run": 0.65,
        "sums_at_the_start": 0.2,
    }


# --- the rule -------------------------------------------------------------------------------------

FRONT = {"no_replay": (0.6, 0.3), "uniform_25": (0.5, 0.8), "uniform_50": (0.4, 0.9)}


def runs(
    ours: list[tuple[float, float]], front: dict[str, tuple[float, float]] = FRONT
) -> dict[str, Any]:
    def told(point: tuple[float, float]) -> dict[str, Any]:
        sums, kept = point
        over = {"sums_over_the_run": sums, "kept_over_the_run": kept}
        return {"sums": sums, "kept": kept, **over, "sums_at_the_start": 0.2, "weights": [[1.0]]}

    points = {**front, "kl": (0.5, 0.5)}
    return {
        **{arm: [told(point)] * len(ours) for arm, point in points.items()},
        "recap": [told(point) for point in ours],
    }


YES, NO, UNKNOWN = "supported", "refuted", "inconclusive"


@pytest.mark.parametrize(
    ("ours", "parts", "verdict"),
    [
        # Sums of the quarter, and more kept.
        ([(0.5, 0.85), (0.51, 0.86), (0.5, 0.87)], (YES, YES, YES, YES), YES),
        # Inside: below the quarter in both, then below the half.
        ([(0.48, 0.8), (0.5, 0.79), (0.5, 0.81)], (YES, NO, YES, UNKNOWN), NO),
        ([(0.3, 0.88), (0.3, 0.88), (0.31, 0.9)], (YES, YES, NO, UNKNOWN), NO),
        # Another point of the front: more sums than the quarter, for less kept.
        ([(0.55, 0.6), (0.56, 0.61), (0.55, 0.6)], (YES, YES, YES, UNKNOWN), UNKNOWN),
        # Seeds that disagree.
        ([(0.5, 0.7), (0.5, 0.8), (0.5, 0.9)], (YES, UNKNOWN, YES, UNKNOWN), UNKNOWN),
    ],
)
def test_every_verdict_can_fall(
    ours: list[tuple[float, float]], parts: tuple[str, ...], verdict: str
) -> None:
    told = judge(runs(ours))
    assert tuple(told["parts"].values()) == parts
    assert told["verdict"] == verdict
    assert told["guard"] is None
    for effect in intervals(told):
        assert effect["low"] <= effect["mean"] <= effect["high"]


@pytest.mark.parametrize(
    ("plain", "guard"),
    [((0.6, 0.76), "replay keeps nothing"), ((0.24, 0.3), "nothing was learned")],
)
def test_runs_that_forget_or_learn_nothing_decide_nothing(
    plain: tuple[float, float], guard: str
) -> None:
    told = judge(runs([(0.7, 0.98)] * 3, {**FRONT, "no_replay": plain}))
    assert told["verdict"] == UNKNOWN
    assert told["guard"].startswith(guard)


# --- one run --------------------------------------------------------------------------------------


def test_runs_tell_what_they_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    easy = {
        "sums": rlvr.modular_addition(12),
        "turned": rlvr.reversal(2),
        "copied": rlvr.copying(2),
    }
    monkeypatch.setattr(r144, "tasks", lambda: easy)
    made = {arm: r144.train(arm, 0, TINY) for arm in ("no_replay", "uniform_25", "recap", "kl")}
    curves = {arm: run["curve"] for arm, run in made.items()}
    assert len({str(curve[0]) for curve in curves.values()}) == 1
    assert curves["uniform_25"] != curves["no_replay"]
    # Weights are 1 until they have seen their first 50 steps.
    assert curves["recap"] == curves["uniform_25"]
    for arm, run in made.items():
        weights = {"weights"} if arm == "recap" else set()
        assert run.keys() == {*MEASURES, "sums_at_the_start", "curve", "logged", *weights}
        assert run["logged"]["generated_tokens"] >= TINY.budget.tokens
    told = judge({arm: [made.get(arm, made["uniform_25"])] for arm in ARMS})
    assert told["verdict"] in {YES, NO, UNKNOWN}
    assert tuple(told["arms"]) == ARMS


def test_every_arm_meets_every_seed() -> None:
    of = r144.REPRODUCTION
    keys = of.keys(of.settings, of.seeds)
    assert [(key["seed"], key["arm"]) for key in keys] == [(s, a) for s in of.seeds for a in ARMS]
    assert of.budget(TINY, range(2)) == {"tokens_per_run": 80, "runs": 10}
