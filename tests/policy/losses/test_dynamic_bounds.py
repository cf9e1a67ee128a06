import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.policy.losses.clipping import ppo
from rewardsmith.policy.losses.dynamic_bounds import dcpo, probability_bounds

logs = st.floats(-60.0, 0.0)
clips = st.floats(0.0, 0.5)


def of(number):
    return torch.tensor([[number]], dtype=torch.float64)


def test_the_bounds_are_what_the_constraint_on_the_probability_allows():
    q = torch.tensor([[1.0, 0.9, 0.7]], dtype=torch.float64)
    low, high = probability_bounds(q.log(), clip=(0.16, 0.2), cap=100.0)
    # |r - 1| p = e, with p = r q.
    assert ((high - 1) * high * q).flatten().tolist() == pytest.approx([0.2] * 3, rel=1e-12)
    assert ((1 - low) * low * q).flatten().tolist() == pytest.approx([0.16] * 3, rel=1e-12)
    assert float(probability_bounds(of(0.0))[1]) == pytest.approx(1.1708, abs=1e-4)


@settings(max_examples=40)
@given(logs, logs, clips, clips)
def test_unlikely_tokens_have_the_wider_bounds(one, other, e_low, e_high):
    less, more = sorted((one, other))
    low, high = probability_bounds(of(less), clip=(e_low, e_high))
    low_of_more, high_of_more = probability_bounds(of(more), clip=(e_low, e_high))
    assert 0.5 <= low <= low_of_more <= 1.0 <= high_of_more <= high <= 10.0


def test_the_bounds_are_those_of_the_authors_code_where_q_is_not_0():
    q = torch.linspace(0.001, 1.0, 50, dtype=torch.float64)[None]
    low, high = probability_bounds(q.log(), clip=(0.2, 0.28))
    for i, p in enumerate(q[0].tolist()):
        root = max(1 - 4 * 0.2 / p, 0.0)
        assert float(low[0, i]) == pytest.approx((1 + math.sqrt(root)) / 2, rel=1e-12)
        wide = (1 + math.sqrt(1 + 4 * 0.28 / p)) / 2
        assert float(high[0, i]) == pytest.approx(min(wide, 10.0), rel=1e-12)
    assert float(high.max()) == 10.0


@pytest.mark.parametrize("clip", [(0.16, 0.2), (0.0, 0.2), (0.16, 0.0), (0.0, 0.0)])
def test_a_token_of_probability_0_has_the_cap(clip):
    low, high = probability_bounds(torch.tensor([[-math.inf]]), clip=clip)
    assert float(low) == (0.5 if clip[0] else 1.0)
    assert float(high) == (10.0 if clip[1] else 1.0)


def test_a_clip_of_0_at_probability_1_is_ppo_without_room():
    new, old = torch.tensor([[-0.2, 0.0]]), torch.zeros(1, 2)
    mask, advantage = torch.ones(1, 2, dtype=torch.bool), torch.tensor([1.0])
    ours = dcpo(new, old, advantage, mask, clip=(0.0, 0.0))
    theirs = ppo(new, old, advantage, mask, clip=0.0, aggregation="seq-sum-token-mean")
    assert ours.loss == theirs.loss


def test_the_loss_by_hand():
    old = torch.tensor([0.5, 0.5, 0.01, 0.5]).log()[None]
    ratio = torch.tensor([1.1, 3.0, 3.0, 20.0])
    new = (old + ratio.log()).requires_grad_()
    mask = torch.ones(1, 4, dtype=torch.bool)
    high = (1 + math.sqrt(1 + 4 * 0.2 / 0.5)) / 2
    up = dcpo(new, old, torch.tensor([2.0]), mask)
    most = (1 + math.sqrt(1 + 4 * 0.2 / 0.01)) / 2
    assert most > 3.0
    expected = -2.0 * (1.1 + high + 3.0 + high) / 4
    assert float(up.loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(up.metrics["clipped_high"]) == 0.5
    down = dcpo(new, old, torch.tensor([-2.0]), mask)
    assert float(down.loss.detach()) == pytest.approx(2.0 * (1.1 + 3.0 + 3.0 + 10.0) / 4, rel=1e-5)
    down.loss.backward()
    assert [bool(g) for g in new.grad[0]] == [True, True, True, False]
    whole = dcpo(new, old, torch.tensor([-2.0]), mask, dual_clip=None).loss
    assert float(whole.detach()) == pytest.approx(2.0 * (1.1 + 3.0 + 3.0 + 20.0) / 4, rel=1e-5)


def test_answers_are_summed_and_not_divided_by_their_number():
    old = torch.full((2, 3), 0.5).log()
    mask = torch.tensor([[True, True, True], [True, False, False]])
    loss = dcpo(old, old, torch.tensor([1.0, 3.0]), mask).loss
    assert float(loss) == pytest.approx(-4.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip": (-0.1, 0.2)}, r"dcpo: clip is \(-0.1, 0.2\), each must be at least 0"),
        ({"clip": (0.1, math.inf)}, r"dcpo: clip is"),
        ({"cap": 0.5}, r"dcpo: cap is 0.5, it must be at least 1"),
        ({"dual_clip": 1.0}, r"dcpo: dual_clip is 1.0, it must be above 1"),
    ],
)
def test_bad_bounds_are_refused(options, message):
    zeros, mask = torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=message):
        dcpo(zeros, zeros, torch.ones(1), mask, **options)
