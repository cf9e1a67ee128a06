"""The reproduction of spurious rewards: what the clip does, the learner, the rule, the record."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from reproductions import r145_spurious_reward as r145
from reproductions.effects import all_of
from reproductions.r145_spurious_reward import (
    ARMS,
    LOGGED,
    MEASURES,
    STARTS,
    UNBOUNDED,
    Settings,
    judge,
)
from tests.reproduced import VERDICTS, recorded, stored

from rewardsmith.policy.advantages.group_relative import grpo
from rewardsmith.policy.losses.clipping import ppo
from rewardsmith.testbeds import EnumerableLM

TINY = Settings(prompts=2, vocabulary=3, longest=2, group=4, rollouts=3)
SEEDS = range(2)


# --- the derivation -------------------------------------------------------------------------------


def moved() -> tuple[EnumerableLM, torch.Tensor, torch.Tensor]:
    """A policy away from the one that sampled, four answers, and their tokens under the latter."""
    old = EnumerableLM.random(1, 3, 3, seed=0)
    noise = torch.randn(old.logits.shape, generator=torch.Generator().manual_seed(1)).double()
    lm = EnumerableLM(old.logits.detach() + noise, 3)
    answers = torch.tensor([4, 6, 7, 12])
    return lm, answers, old.logprob().detach()[0, answers]


@pytest.mark.parametrize("clip", [0.2, UNBOUNDED])
def test_what_clipped_updates_expect_of_a_coin(clip: Any) -> None:
    """(E|A| / 2) (1[r < 1 - e] - 1[r > 1 + e]) grad r for each token, and 0 without the clip.

    Exactly: over all rewards that four answers can get from a coin. The policy is given, and does
    not depend on them.
    """
    lm, answers, old = moved()
    mask = lm.mask[answers]
    total, size = torch.zeros_like(lm.logits), 0.0
    for coins in product([0.0, 1.0], repeat=4):
        advantage = grpo(torch.tensor(coins, dtype=torch.float64), [0] * 4).values
        loss = ppo(lm.logprob()[0, answers], old, advantage, mask, clip=clip)
        total -= lm.gradient(loss.loss) / 16
        size += float(advantage.abs().mean()) / 16
    ratio = (lm.logprob()[0, answers] - old).exp()
    at = ratio.detach()
    below, above = (at < 0.8) & mask, (at > 1.2) & mask
    assert bool(below.any())
    assert bool(above.any())
    if clip == UNBOUNDED:
        assert float(total.norm()) < 1e-14
        return
    towards = (below.double() - above.double()) * ratio
    wanted = size / 2 * lm.gradient(towards.sum() / mask.sum())
    torch.testing.assert_close(total, wanted, rtol=1e-10, atol=1e-14)
    assert float(wanted.norm()) > 1e-3


def test_in_one_step_per_rollout_the_clip_does_nothing() -> None:
    once = replace(TINY, epochs=1, learning_rate=5.0)
    clip, no_clip = (r145.train(arm, "skewed", 3, once) for arm in ("clip", "no_clip"))
    assert clip == no_clip
    assert clip["entropy_change"] != 0.0
    twice = replace(once, epochs=2)
    assert r145.train("clip", "skewed", 3, twice) != r145.train("no_clip", "skewed", 3, twice)


def test_flipped_rewards_scale_the_gradient_of_what_is_expected() -> None:
    lm = EnumerableLM.random(2, 3, 2)
    right = torch.rand(2, 7, generator=torch.Generator().manual_seed(0)) < 0.5
    truth = lm.gradient(lm.objective(right.double()))
    for flip in (0.1, 0.25, 0.5):
        noisy = torch.where(right, 1.0 - flip, flip).double()
        found = lm.gradient(lm.objective(noisy))
        torch.testing.assert_close(found, (1 - 2 * flip) * truth, rtol=0, atol=1e-7)


# --- the learner ----------------------------------------------------------------------------------


def test_the_arms_do_what_they_say() -> None:
    settings = Settings(rollouts=30)
    runs = {arm: r145.train(arm, "skewed", 50, settings) for arm in ("true", "entropy_only")}
    assert runs["true"]["accuracy_change"] > 0.3
    assert runs["true"]["clipped"] > 0
    assert runs["entropy_only"]["entropy_change"] < -0.9
    curve = runs["entropy_only"]["entropy"]
    assert curve == sorted(curve, reverse=True)
    assert len(curve) == settings.rollouts + 1
    flat = r145.train("entropy_only", "flat", 50, replace(settings, rollouts=1))
    assert flat["entropy"][0] > 1.3 * curve[0]


def test_a_step_descends_by_the_rate() -> None:
    lm = EnumerableLM.random(1, 3, 2)
    before, step = lm.logits.detach().clone(), lm.gradient(lm.entropy())
    r145.descend(lm, lm.entropy(), 2.0)
    torch.testing.assert_close(lm.logits.detach(), before - 2.0 * step)


def test_the_slope_is_in_parts_of_the_start_over_the_run() -> None:
    run = r145.train("entropy_only", "flat", 0, replace(TINY, rollouts=1))
    assert run["slope"] == pytest.approx(run["entropy"][1] / run["entropy"][0] - 1, abs=1e-3)
    assert run["slope"] == pytest.approx(run["entropy_change"], abs=1e-6)


# --- the record -----------------------------------------------------------------------------------


def test_a_record_tells_what_it_must_and_is_resumed(tmp_path: Path) -> None:
    other = replace(TINY, clip=0.1)
    check_record(recorded(r145.REPRODUCTION, tmp_path, TINY, other, SEEDS))


def check_record(record: dict[str, Any]) -> None:
    seeds, settings = record["seeds"], record["settings"]
    answers = settings["rollouts"] * settings["group"] * settings["prompts"]
    assert record["budget"]["answers_per_run"] == answers
    assert record["verdict"] == ("inconclusive" if record["guard"] else all_of(record["parts"]))
    assert record["budget"]["runs"] == len(STARTS) * len(ARMS) * len(seeds)
    for result in (record, record["flat"]):
        assert result["verdict"] in VERDICTS
        assert tuple(result["arms"]) == ARMS
        for arm, told in result["arms"].items():
            for name in r145.names(arm):
                assert len(told[name]["per_seed"]) == len(seeds)


def runs(clip: list[float], no_clip: list[float], clipped: float = 0.1) -> dict[str, Any]:
    other = dict.fromkeys(MEASURES + LOGGED, 0.0)
    told = {arm: [other] * len(clip) for arm in ARMS}
    told["clip"] = [{**other, "slope": slope, "clipped": clipped} for slope in clip]
    told["no_clip"] = [{**other, "slope": slope} for slope in no_clip]
    return told


YES, NO, UNKNOWN = "supported", "refuted", "inconclusive"
FALL, LESS, FLAT = [-0.4, -0.5, -0.45], [-0.1, -0.1, -0.2], [0.01, -0.01, 0.005]
WIDE = [-0.4, 0.3, -0.45]


@pytest.mark.parametrize(
    ("clip", "no_clip", "clipped", "parts", "verdict"),
    [
        (FALL, FLAT, 0.1, (YES, YES, YES), YES),
        (FALL, LESS, 0.1, (YES, YES, NO), NO),
        (LESS, FALL, 0.1, (YES, NO, NO), NO),
        (FLAT, [0.3, 0.4, 0.3], 0.1, (NO, YES, YES), NO),
        # There, and too small.
        ([-0.11] * 3, [-0.1] * 3, 0.1, (YES, NO, NO), NO),
        (WIDE, FLAT, 0.1, (UNKNOWN, UNKNOWN, YES), UNKNOWN),
        (FALL, WIDE, 0.1, (YES, UNKNOWN, UNKNOWN), UNKNOWN),
        (FALL, LESS, 0.009, (YES, YES, NO), UNKNOWN),
    ],
)
def test_every_verdict_can_fall(
    clip: list[float],
    no_clip: list[float],
    clipped: float,
    parts: tuple[str, ...],
    verdict: str,
) -> None:
    told = judge(runs(clip, no_clip, clipped))
    assert tuple(told["parts"].values()) == parts
    assert told["verdict"] == verdict
    assert told["guard"] == ("the clip did not act" if clipped < 0.01 else None)


def test_what_is_read_off_the_log_is_what_the_loss_cut() -> None:
    """And the slope of the entropy of the tokens that were met, in the unit of the exact one."""
    lm = EnumerableLM.random(8, 5, 4, spread=2.0, seed=60)
    generator = torch.Generator().manual_seed(0)
    right = torch.rand((8, len(lm.tokens)), generator=generator) < 0.3
    log = [one for _ in range(10) for one in r145.learn(lm, "clip", right, generator, Settings())]
    told = r145.read(log, "clip", Settings())
    cut = [ppo(*update, clip=0.2).metrics for update in log[3::4]]
    wanted = sum(float(of["clipped_high"] + of["clipped_low"]) for of in cut) / 10
    assert told["clipped"] == pytest.approx(wanted, abs=1e-5)
    assert told["clipped"] > 0.01
    entropy = [-float(update.old_logprob[update.mask].mean()) for update in log]
    slope = sum((i - 19.5) * one for i, one in enumerate(entropy)) / (40 * (40**2 - 1) / 12)
    assert told["logged_slope"] == pytest.approx(40 * slope / entropy[0], abs=1e-5)
    assert r145.read(log, "no_clip", Settings())["clipped"] == 0.0


def test_the_stored_record_is_of_the_settings_in_the_code() -> None:
    check_record(stored(r145.REPRODUCTION))


@pytest.mark.slow
def test_runs_are_what_the_record_says() -> None:
    record = stored(r145.REPRODUCTION)
    for arm in ("clip", "no_clip"):
        run = r145.train(arm, "skewed", 0, Settings())
        for name in r145.names(arm):
            assert run[name] == pytest.approx(record["arms"][arm][name]["per_seed"][0], abs=1e-4)
