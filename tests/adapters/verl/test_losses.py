"""Our losses as verl calls them, without verl: means over a batch, options, what is logged."""

import math
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rewardsmith.adapters.verl.losses import VerlLoss, aggregation, losses, told
from rewardsmith.policy.losses.clipping import dapo, ppo
from rewardsmith.policy.losses.detached import cispo, policy_gradient
from rewardsmith.policy.losses.dynamic_bounds import dcpo
from rewardsmith.policy.losses.hybrid import dhpo
from rewardsmith.policy.losses.sequence_ratio import gmpo, gspo

MASK = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 1, 0]])
EACH = torch.tensor([[1.0, 3.0, 9.0, 9.0], [1.0, 2.0, 3.0, 6.0], [4.0, 9.0, 5.0, 9.0]])
OLD = torch.log(torch.tensor([[0.5, 0.4, 0.3, 0.2]] * 3))
LOGPROB = torch.log(torch.tensor([[0.6, 0.1, 0.3, 0.2], [0.5, 0.4, 0.9, 0.1], [0.2] * 4]))
ADVANTAGE = torch.tensor([[1.0] * 4, [-1.0] * 4, [0.5] * 4])


class Actor(SimpleNamespace):
    """As much of verl's actor as losses read."""

    clip_ratio = clip_ratio_low = clip_ratio_high = 0.2
    clip_ratio_c = 3.0

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


def asked(name: str, mode: str = "token-mean", config: Any = None, **given: Any) -> Any:
    return VerlLoss(name)(
        old_log_prob=OLD,
        log_prob=LOGPROB,
        advantages=ADVANTAGE,
        response_mask=MASK,
        loss_agg_mode=mode,
        config=Actor() if config is None else config,
        **given,
    )


WHOLE = {"dp_size": 2, "batch_num_tokens": 20, "global_batch_size": 10, "loss_scale_factor": 50}
ONE = {"dp_size": 1, "batch_num_tokens": None, "global_batch_size": None}


@pytest.mark.parametrize(
    ("mode", "alone", "of_two"),
    [
        ("token-mean", 25 / 8, 25 / 20 * 2),
        ("token-sum", 25.0, 50.0),
        ("seq-mean-token-sum", 25 / 3, 25 / 10 * 2),
        ("seq-mean-token-mean", (2 + 3 + 4.5) / 3, 9.5 / 10 * 2),
        ("seq-mean-token-sum-norm", 25 / 3 / 4, 25 / 10 * 2 / 50),
        ("seq-sum-token-mean", 9.5, 19.0),
    ],
)
def test_a_process_has_its_share_of_the_whole_batchs_mean(mode, alone, of_two):
    """Sums of 4, 12 and 9; means of 2, 3 and 4.5; gradients of two processes are averaged."""
    for info, wanted in (({}, alone), (ONE, alone), (WHOLE, of_two)):
        how, factor = aggregation(mode, info, 4)
        assert float(how(EACH, MASK.bool()) * factor) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("mode", "name"),
    [("token-mean", "batch_num_tokens"), ("seq-mean-token-mean", "global_batch_size")],
)
def test_several_processes_need_the_batchs_numbers(mode, name):
    with pytest.raises(ValueError, match=f"loss_agg_mode={mode} on 4 processes needs .*'{name}'"):
        aggregation(mode, {"dp_size": 4}, 4)


def test_verls_actor_says_how_to_clip():
    config = Actor(clip_ratio_low=0.1, clip_ratio_high=0.4, clip_ratio_c=2.5)
    inputs = (LOGPROB, OLD, ADVANTAGE, MASK.bool())
    wanted = ppo(*inputs, clip=(0.1, 0.4), dual_clip=2.5).loss
    assert asked("ppo", config=config)[0].item() == wanted.item()
    for ours in (gspo, gmpo):
        wanted = ours(*inputs, clip=(0.1, 0.4), aggregation="seq-mean-token-mean").loss
        found = asked(ours.method_name, "seq-mean-token-mean", config)[0]
        assert found.item() == wanted.item()
    wanted = cispo(*inputs, lower=0.9, upper=1.4).loss
    assert asked("cispo", config=config)[0].item() == wanted.item()
    unset = Actor(clip_ratio=0.3, clip_ratio_low=None, clip_ratio_high=None)
    wanted = ppo(*inputs, clip=0.3, dual_clip=3.0).loss
    assert asked("ppo", config=unset)[0].item() == wanted.item()


def test_methods_that_verl_does_not_have_keep_their_own_settings():
    generator = torch.Generator().manual_seed(0)
    old = torch.rand(8, 32, generator=generator).log()
    new = old + 0.3 * torch.randn(8, 32, generator=generator)
    up, mask = torch.randn(8, 32, generator=generator), torch.ones(8, 32, dtype=torch.bool)
    for ours in (dapo, dcpo, dhpo):
        found = VerlLoss(ours.method_name)(old, new, up, mask, config=Actor())[0]
        assert found.item() == ours(new, old, up, mask, aggregation="token-mean").loss.item()
        verls = ours(new, old, up, mask, aggregation="token-mean", clip=(0.2, 0.2))
        assert found.item() != verls.loss.item()


def test_a_clip_that_was_set_and_is_not_read_is_told():
    config = Actor(clip_ratio_high=0.5)
    with pytest.warns(UserWarning, match=r"dapo has a clip of its own.*which are \(0\.2, 0\.5\)"):
        asked("dapo", config=config)
    mine = SimpleNamespace(rewardsmith={"clip": (0.2, 0.3)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asked("dapo", config=Actor(clip_ratio_high=0.5, policy_loss=mine))
        asked("dapo")
        asked("policy_gradient", config=config)


def test_an_option_that_nothing_says_is_told_with_verls_setting():
    policy = SimpleNamespace(dro_beta=None, rewardsmith={})
    told = r"rewardsmith_dro needs beta: actor_rollout_ref\.actor\.policy_loss\.dro_beta="
    with pytest.raises(ValueError, match=told):
        asked("dro", config=Actor(policy_loss=policy))


def test_covariances_without_bounds_have_verls():
    def of(**given: Any) -> float:
        settings = {"clip_cov_ratio": 1.0, "clip_cov_lb": 1.0, "clip_cov_ub": 5.0, **given}
        policy = SimpleNamespace(rewardsmith={}, **settings)
        return asked("clip_cov", config=Actor(policy_loss=policy))[0].item()

    assert of(clip_cov_lb=None, clip_cov_ub=None) == of()
    assert of(clip_cov_lb=-1.0) != of()


def test_ours_go_before_the_actors():
    policy = SimpleNamespace(rewardsmith={"clip": [0.1, 0.5], "dual_clip": None})
    config = Actor(policy_loss=policy)
    wanted = dapo(LOGPROB, OLD, ADVANTAGE, MASK.bool(), clip=(0.1, 0.5)).loss
    assert asked("dapo", config=config)[0].item() == wanted.item()


def test_an_aggregation_of_ours_goes_before_verls():
    config = Actor(
        policy_loss=SimpleNamespace(rewardsmith={"aggregation": "seq-sum-token-mean"}),
        global_batch_info=WHOLE,
    )
    each = (-ADVANTAGE * LOGPROB * MASK).sum(dim=1) / MASK.sum(dim=1)
    assert asked("policy_gradient", config=config)[0].item() == pytest.approx(2 * each.sum().item())


def test_weights_multiply_each_tokens_loss():
    weight = torch.linspace(0.0, 2.0, 12).reshape(3, 4)
    wanted = policy_gradient(
        LOGPROB, ADVANTAGE, MASK.bool(), aggregation="token-mean", weight=weight
    )
    assert asked("policy_gradient", rollout_is_weights=weight)[0].item() == wanted.loss.item()


def test_an_option_that_there_is_not():
    for name in ("clipp", "weight", "draws"):
        config = Actor(policy_loss=SimpleNamespace(rewardsmith={name: 1}))
        with pytest.raises(ValueError, match=rf"policy_loss\.rewardsmith\.{name}: rewardsmith_ppo"):
            asked("ppo", config=config)


def test_numbers_are_logged_under_verls_names():
    logged = asked("ppo")[1]
    ratios = (LOGPROB - OLD).exp()
    cut = (ADVANTAGE > 0) & (ratios > 1.2) | (ADVANTAGE < 0) & (ratios < 0.8)
    assert logged["actor/pg_clipfrac"] == pytest.approx((cut & MASK.bool()).sum().item() / 8)
    away = ((OLD - LOGPROB) * MASK).sum().item() / 8
    assert logged["actor/ppo_kl"] == pytest.approx(away, rel=1e-5)
    assert {"actor/clipped_high", "actor/clipped_low"} < set(logged)
    assert all(type(number) is float and math.isfinite(number) for number in logged.values())
    assert "actor/old_kl" not in logged
    assert told("ppo", {}) == {}


def test_what_means_something_else_does_not_have_verls_name():
    cut = {"clipped_high": torch.tensor(0.25), "clipped_low": torch.tensor(0.5)}
    ours = {"actor/clipped_high": 0.25, "actor/clipped_low": 0.5}
    for name in ("gmpo", "dhpo"):
        assert told(name, cut) == ours
    dropped = {"dropped": torch.tensor(0.125)}
    told_of = told("clip_cov", cut | dropped)
    assert told_of == ours | {"actor/dropped": 0.125, "actor/pg_clipfrac": 0.125}
    away = {"old_kl": torch.tensor(0.5)}
    assert told("kl_cov", away) == {"actor/old_kl": 0.5}
    assert told("dro", away) == {"actor/ppo_kl": 0.5}
    dual = {"clipped_dual": torch.tensor(0.5)}
    assert told("dapo", cut | dual) == ours | {
        "actor/pg_clipfrac": 0.75,
        "actor/pg_clipfrac_lower": 0.5,
    }


def test_those_that_are_offered_need_what_verl_has():
    names = {one.name for one in losses()}
    assert {"ppo", "dapo", "gspo", "gmpo", "cispo", "sapo", "vespo", "dcpo", "dhpo"} <= names
    assert not {"value_loss", "etr"} & names
