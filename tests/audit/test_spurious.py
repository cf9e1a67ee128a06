"""What is read from the log of a run, and rewards that say nothing."""

from typing import Any

import pytest
import torch

from rewardsmith.audit.spurious import (
    LoggedUpdate,
    SpuriousReport,
    flipped,
    shuffled,
    spurious_reward_check,
)
from rewardsmith.policy.losses.clipping import ppo
from rewardsmith.testbeds import EnumerableLM


def logged(seed: int = 0, spread: float = 1.0, move: float = 0.5) -> LoggedUpdate:
    """Answers of a model, and their probabilities when it has moved."""
    old = EnumerableLM.random(2, 4, 3, spread=spread, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(old.logits.shape, generator=generator).double()
    lm = EnumerableLM(old.logits.detach() + move * noise, 3)
    sample = old.sample(200, generator)
    now = lm.logprob().detach()[sample.prompt, sample.answer]
    advantage = torch.randn(400, generator=generator).double()
    return LoggedUpdate(now, sample.logprob, advantage, sample.mask)


def test_the_shares_are_those_of_the_loss() -> None:
    updates = [logged(0), logged(1)]
    report = spurious_reward_check(updates, clip=(0.1, 0.3))
    for i, update in enumerate(updates):
        told = ppo(*update, clip=(0.1, 0.3)).metrics
        assert report.clipped_high[i] == pytest.approx(float(told["clipped_high"]), abs=1e-6)
        assert report.clipped_low[i] == pytest.approx(float(told["clipped_low"]), abs=1e-6)
        ratio = (update.logprob - update.old_logprob).exp()[update.mask]
        outside = ((ratio < 0.9) | (ratio > 1.3)).double().mean()
        size = update.advantage[:, None].expand(update.mask.shape)[update.mask].abs().mean()
        assert report.pull[i] == pytest.approx(float(size * outside / 2))
        # Signs are independent of ratios here: half of what is outside is cut.
        assert report.clipped_high[i] + report.clipped_low[i] == pytest.approx(
            float(outside) / 2, abs=0.05
        )


def test_before_the_policy_has_moved_the_clip_does_nothing() -> None:
    report = spurious_reward_check([logged(0, move=0.0), logged(1, move=0.0)])
    assert report.clipped_high == report.clipped_low == report.pull == (0.0, 0.0)


def test_the_entropy_is_that_of_the_policy_and_its_slope_by_update() -> None:
    spreads = [0.5, 1.0, 1.5, 2.0, 2.5]
    report = spurious_reward_check([logged(3, spread) for spread in spreads])
    for spread, told in zip(spreads, report.entropy, strict=True):
        lm = EnumerableLM.random(2, 4, 3, spread=spread, seed=3)
        tokens = (lm.probability() * lm.lengths).sum(dim=1).mean()
        assert told == pytest.approx(float((lm.entropy() / tokens).detach()), abs=0.1)
    rise = sum((i - 2) * told for i, told in enumerate(report.entropy)) / 10
    assert report.entropy_slope == pytest.approx(rise)
    assert report.entropy_slope < -0.1


def test_what_the_mask_leaves_out_is_not_read() -> None:
    updates = [logged(0), logged(1)]
    spoiled = [
        LoggedUpdate(
            *(torch.where(u.mask, of, float("nan")) for of in (u.logprob, u.old_logprob)),
            torch.where(u.mask, u.advantage[:, None], float("inf")),
            u.mask,
        )
        for u in updates
    ]
    found, wanted = spurious_reward_check(spoiled), spurious_reward_check(updates)
    assert isinstance(found, SpuriousReport)
    assert found == wanted


def changed(**fields: Any) -> list[LoggedUpdate]:
    return [logged(0), logged(1)._replace(**fields)]


@pytest.mark.parametrize(
    ("updates", "clip", "told"),
    [
        ([logged(0)], 0.2, "1 updates have no slope"),
        ([logged(0), logged(1)], -0.1, "clip is"),
        ([logged(0), logged(1)], (0.2, -0.1), "clip is"),
        (changed(advantage=torch.zeros(3)), 0.2, r"update 1 advantage has the shape \[3, 3\]"),
        (changed(logprob=torch.full((400, 3), float("nan"))), 0.2, "update 1 logprob of a marked"),
        (changed(mask=torch.zeros(400, 3, dtype=torch.bool)), 0.2, "update 1 has no token"),
    ],
)
def test_bad_logs_are_told_of(updates: list[LoggedUpdate], clip: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        spurious_reward_check(updates, clip=clip)


def test_of_a_policy_without_entropy_nothing_is_said() -> None:
    certain = logged(0)._replace(old_logprob=torch.zeros(400, 3).double())
    with pytest.raises(ValueError, match="entropy of 0"):
        spurious_reward_check([certain, logged(1)])


def test_shuffled_rewards_are_the_same_and_say_nothing() -> None:
    rewards = (torch.arange(10_000) % 4 == 0).double()
    found = shuffled(rewards, torch.Generator().manual_seed(0))
    assert torch.equal(found.sort().values, rewards.sort().values)
    assert abs(float(torch.corrcoef(torch.stack([found, rewards]))[0, 1])) < 0.03
    assert torch.equal(found, shuffled(rewards, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_flipped_rewards_are_wrong_as_often_as_asked(share: float) -> None:
    rewards = (torch.arange(10_000) % 4 == 0).float()
    found = flipped(rewards, share, torch.Generator().manual_seed(0))
    assert float((found != rewards).float().mean()) == pytest.approx(share, abs=0.015)
    assert set(found.tolist()) <= {0.0, 1.0}
    assert found.dtype == rewards.dtype


def test_flipped_rewards_may_be_true_and_false() -> None:
    right = torch.arange(100) % 3 == 0
    found = flipped(right, 0.4, torch.Generator().manual_seed(0))
    wanted = flipped(right.float(), 0.4, torch.Generator().manual_seed(0))
    assert found.dtype == torch.bool
    assert torch.equal(found, wanted.bool())


def test_bounds_may_be_a_list_as_configurations_have_them() -> None:
    updates = [logged(0), logged(1)]
    found = spurious_reward_check(updates, clip=[0.1, 0.3])
    assert found == spurious_reward_check(updates, clip=(0.1, 0.3))


def test_only_zeros_and_ones_can_be_flipped() -> None:
    with pytest.raises(ValueError, match=r"row 1 has the reward 0\.5"):
        flipped(torch.tensor([1.0, 0.5]), 0.1, torch.Generator())
    with pytest.raises(ValueError, match="share is 1"):
        flipped(torch.tensor([1.0]), 1.5, torch.Generator())
