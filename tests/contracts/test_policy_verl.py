"""verl 0.9.1: its estimators and losses give the numbers of ours, which stand in its registry."""

import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytestmark = pytest.mark.contracts

pytest.importorskip("verl")
from hydra import compose, initialize_config_module  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402
from tensordict import TensorDict  # noqa: E402
from tests import traps  # noqa: E402
from tests.policy_cases import UNEQUAL, Case, case, close, dtypes, same, spread  # noqa: E402
from verl.protocol import DataProto  # noqa: E402
from verl.trainer.config import AlgoConfig  # noqa: E402
from verl.trainer.ppo import core_algos as theirs  # noqa: E402
from verl.trainer.ppo.ray_trainer import compute_advantage  # noqa: E402
from verl.trainer.ppo.rollout_corr_helper import (  # noqa: E402
    compute_rollout_correction_weights,
)
from verl.utils.config import omega_conf_to_dataclass  # noqa: E402
from verl.utils.groupwise import as_torch_index, group_mean_std  # noqa: E402
from verl.utils.torch_functional import masked_whiten  # noqa: E402
from verl.workers.config import FSDPActorConfig, PolicyLossConfig  # noqa: E402

from rewardsmith.adapters.verl import losses, register  # noqa: E402
from rewardsmith.policy.advantages.active_groups import gpg  # noqa: E402
from rewardsmith.policy.advantages.best_of_group import pass_at_k  # noqa: E402
from rewardsmith.policy.advantages.components import gdpo  # noqa: E402
from rewardsmith.policy.advantages.greedy_baseline import remax, remax_steps  # noqa: E402
from rewardsmith.policy.advantages.group_relative import dr_grpo, grpo  # noqa: E402
from rewardsmith.policy.advantages.leave_one_out import rloo  # noqa: E402
from rewardsmith.policy.advantages.length_weighted import opo  # noqa: E402
from rewardsmith.policy.advantages.optimal_baseline import optimal_token  # noqa: E402
from rewardsmith.policy.advantages.returns import (  # noqa: E402
    discounted_returns,
    gae,
    reinforce_plus_plus,
    reinforce_plus_plus_baseline,
)
from rewardsmith.policy.advantages.whitening import whiten  # noqa: E402
from rewardsmith.policy.kl import AdaptiveKL, kl, kl_in_reward  # noqa: E402
from rewardsmith.policy.losses.aggregation import Aggregation  # noqa: E402
from rewardsmith.policy.losses.clipping import dapo, ppo  # noqa: E402
from rewardsmith.policy.losses.covariance import clip_cov, kl_cov  # noqa: E402
from rewardsmith.policy.losses.detached import cispo, policy_gradient  # noqa: E402
from rewardsmith.policy.losses.divergence import dppo, dro  # noqa: E402
from rewardsmith.policy.losses.importance import importance_weight  # noqa: E402
from rewardsmith.policy.losses.sequence_ratio import gmpo, gspo  # noqa: E402
from rewardsmith.policy.losses.soft_gate import sapo  # noqa: E402
from rewardsmith.policy.losses.value import value_loss  # noqa: E402

ALONE = UNEQUAL + "z"
"""With one row that is alone in its group."""


# --- advantages -----------------------------------------------------------------------------------


def outcome(rewards: Tensor, mask: Tensor) -> Tensor:
    """Rewards as verl has them: at each row's last token."""
    at = mask.shape[1] - 1 - mask.long().flip(1).argmax(dim=1, keepdim=True)
    return torch.zeros(mask.shape, dtype=rewards.dtype).scatter(1, at, rewards[:, None])


def asked(name: str, c: Case, rewards: Tensor | None = None, **given: Any) -> tuple[Tensor, Tensor]:
    """What an estimator of verl's registry makes of a case."""
    given.setdefault("index", np.array(c.group, dtype=object))
    function = theirs.get_adv_estimator_fn(name)
    rewards = outcome(c.rewards, c.mask) if rewards is None else rewards
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: tuple[Tensor, Tensor] = function(
            token_level_rewards=rewards.clone(), response_mask=numbers(c.mask, rewards), **given
        )
    return found


OUTCOMES: dict[str, tuple[Callable[[Case], Any], str, dict[str, Any]]] = {
    "grpo": (lambda c: grpo(c.rewards, c.group, singleton="reward"), "grpo", {}),
    "grpo without std": (
        lambda c: dr_grpo(c.rewards, c.group, singleton="reward"),
        "grpo",
        {"norm_adv_by_std_in_grpo": False},
    ),
    "rloo": (lambda c: rloo(c.rewards, c.group, singleton="reward"), "rloo", {}),
    "rloo vectorized": (lambda c: rloo(c.rewards, c.group), "rloo_vectorized", {}),
    "opo": (lambda c: opo(c.rewards, c.group, c.lengths, singleton="reward"), "opo", {}),
    "gpg": (
        lambda c: gpg(c.rewards, c.group, alpha="nonzero", singleton="reward"),
        "gpg",
        {},
    ),
}


@dtypes
@pytest.mark.filterwarnings("ignore:.*alone in their group")
@pytest.mark.parametrize("name", OUTCOMES)
def test_an_advantage_of_outcomes_is_verls(name: str, dtype: torch.dtype) -> None:
    ours, registered, given = OUTCOMES[name]
    # verl divides what is alone by 1 + epsilon in float32, whatever the rewards are.
    c = case(dtype, UNEQUAL if name == "grpo" and dtype == torch.float64 else ALONE)
    close(spread(ours(c).values, c.mask), asked(registered, c, **given)[0])


@dtypes
@pytest.mark.parametrize("normalized", [True, False])
def test_pass_at_k_is_verls(dtype: torch.dtype, normalized: bool) -> None:
    c = case(dtype)
    config = AlgoConfig(norm_adv_by_std_in_grpo=normalized)
    made = pass_at_k(c.rewards, c.group, scale="group" if normalized else "none")
    close(spread(made.values, c.mask), asked("grpo_passk", c, config=config)[0])


@pytest.mark.filterwarnings("ignore:.*alone in their group")
def test_grpo_is_verls_vectorized_which_counts_in_float32_and_floors_nothing() -> None:
    c = case(torch.float32, ALONE)
    made = grpo(c.rewards, c.group, singleton="reward")
    close(spread(made.values, c.mask), asked("grpo_vectorized", c)[0])


@dtypes
def test_remax_is_verls(dtype: torch.dtype) -> None:
    c = case(dtype)
    greedy = c.values[:, 0]
    found = asked("remax", c, c.steps, reward_baselines=greedy, index=None)[0]
    assert bool(found[~c.mask].any())  # verl's go on where the policy chose nothing
    close(remax_steps(c.steps, greedy, c.mask).values, found * c.mask)
    found = asked("remax", c, reward_baselines=greedy, index=None)[0]
    close(spread(remax(c.rewards, greedy).values, c.mask), found * c.mask)


def by_step(name: str, c: Case, **given: Any) -> tuple[Tensor, Tensor]:
    """:func:`asked` of rewards by step, with a mask of numbers."""
    function = theirs.get_adv_estimator_fn(name)
    found: tuple[Tensor, Tensor] = function(
        token_level_rewards=c.steps.clone(), response_mask=numbers(c.mask, c.steps), **given
    )
    return found


def numbers(mask: Tensor, like: Tensor) -> Tensor:
    """A mask in the type of numbers: with one of integers verl counts in float32."""
    return mask.to(like.dtype)


@dtypes
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_reinforce_plus_plus_is_verls(gamma: float, dtype: torch.dtype) -> None:
    c = case(dtype)
    advantages, returns = by_step("reinforce_plus_plus", c, config=AlgoConfig(gamma=gamma))
    close(reinforce_plus_plus(c.steps, c.mask, gamma=gamma).values, advantages)
    close(discounted_returns(c.steps, c.mask, gamma=gamma), returns)


@dtypes
@pytest.mark.filterwarnings("ignore:.*alone in their group")
def test_reinforce_plus_plus_baseline_is_verls(dtype: torch.dtype) -> None:
    c = case(dtype, ALONE)
    made = reinforce_plus_plus_baseline(c.rewards, c.group, c.mask, singleton="reward")
    found = asked("reinforce_plus_plus_baseline", c)[0]
    close(spread(made.values, c.mask), found)


@dtypes
@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.97, 0.9), (1.0, 0.0)])
def test_gae_is_verls(gamma: float, lam: float, dtype: torch.dtype) -> None:
    c = case(dtype)
    given = {"values": c.values, "gamma": gamma, "lam": lam}
    made = gae(c.steps, c.values, c.mask, gamma=gamma, lam=lam)
    their, their_returns = by_step("gae", c, **given)
    # verl whitens what stands outside the mask too, by the same numbers.
    close(made.values, their * c.mask)
    close(made.returns, their_returns * c.mask)


@dtypes
def test_whitening_is_verls(dtype: torch.dtype) -> None:
    c = case(dtype)
    close(whiten(c.values, c.mask), masked_whiten(c.values, numbers(c.mask, c.values)) * c.mask)


@dtypes
@pytest.mark.parametrize("weights", [None, [1.0, 0.25]])
def test_gdpo_is_verls(weights: Any, dtype: torch.dtype) -> None:
    """Of parts in float32, for verl casts them to that."""
    c = case(dtype)
    parts = {f"part{k}": c.values[:, k].float() for k in range(2)}
    named = None if weights is None else dict(zip(parts, weights, strict=True))
    made = gdpo(parts, c.group, c.lengths, weights=named, whiten="tokens")
    ends = c.mask.shape[1] - 1 - c.mask.long().flip(1).argmax(dim=1)
    attended = torch.arange(c.mask.shape[1]) <= ends[:, None]
    found = asked(
        "gdpo",
        c,
        config=OmegaConf.create({"gdpo_reward_keys": [*parts], "gdpo_reward_weights": weights}),
        non_tensor_batch={name: part.numpy() for name, part in parts.items()},
        batch={"prompts": torch.zeros(len(c.group), 1), "attention_mask": pad(attended)},
    )[0]
    close(spread(made.values, c.mask), found.float())


@dtypes
@pytest.mark.parametrize("name", ["optimal_token_baseline", "tir_optimal_token_baseline"])
def test_the_optimal_token_baseline_is_verls(name: str, dtype: torch.dtype) -> None:
    """Of masks without holes, for verl counts the tail by tokens, and without its epsilon."""
    c = case(dtype, ALONE)
    c = c._replace(mask=torch.arange(c.mask.shape[1]) < c.lengths[:, None])
    c = c._replace(steps=c.values * c.mask)
    squares = c.old.exp() ** 2 + 0.1
    given = {"old_log_probs": c.old, "sum_pi_squared": squares, "epsilon": 0.0}
    made = optimal_token(c.steps, c.group, c.mask, c.old, squares, singleton="reward")
    found = asked(name, c, c.steps, **given)[0]
    close(made.values, torch.where(c.mask, found, 0.0))  # 0 / 0 where the mask is not


def test_the_optimal_token_baseline_comes_under_verls_name() -> None:
    c = case(torch.float32)
    c = c._replace(mask=torch.arange(c.mask.shape[1]) < c.lengths[:, None])
    squares = c.old.exp() ** 2 + 0.1
    config = configured("algorithm.adv_estimator=optimal_token_baseline", MINE + "otb")
    given = {"old_log_probs": c.old, "sum_pi_squared": squares}
    made = optimal_token(outcome(c.rewards, c.mask), c.group, c.mask, c.old, squares)
    close(estimated(c, config, given).batch["advantages"], made.values)


def pad(mask: Tensor) -> Tensor:
    return torch.cat([torch.ones(len(mask), 1), mask], dim=1).long()


# --- losses ---------------------------------------------------------------------------------------


def actor(**settings: Any) -> FSDPActorConfig:
    """verl's configuration of an actor, with what the engine says of the whole batch."""
    info = settings.pop("global_batch_info", {})
    made = FSDPActorConfig(strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1, **settings)
    made.global_batch_info.update(info)
    return made


CLIP = {"clip_ratio_low": 0.1, "clip_ratio_high": 0.25}
LOSSES: dict[str, tuple[Callable[..., Any], dict[str, Any], str]] = {
    "ppo": (ppo, {"clip": (0.1, 0.25), "dual_clip": 1.5}, "vanilla"),
    "dapo": (dapo, {"clip": (0.1, 0.25), "dual_clip": 1.5}, "vanilla"),
    "gspo": (gspo, {"clip": (0.1, 0.25)}, "gspo"),
    "cispo": (cispo, {"lower": 0.9, "upper": 1.25}, "cispo"),
    "policy_gradient": (policy_gradient, {}, "gpg"),
}
MODES = ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"]


@dtypes
@pytest.mark.filterwarnings("ignore:.*'token-mean' weighs each sequence")
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_verls(name: str, mode: str, weighted: bool, dtype: torch.dtype) -> None:
    ours, options, registered = LOSSES[name]
    c = case(dtype)
    weight = c.values.exp() if weighted else None
    config = actor(clip_ratio_c=1.5, **CLIP)
    length = {"length": float(c.mask.shape[1])} if mode.endswith("norm") else {}
    how = Aggregation(mode, **length)  # type: ignore[arg-type]
    old = () if ours is policy_gradient else (c.old,)

    def loss(logprob: Tensor) -> Tensor:
        inputs = (logprob, *old, c.advantage, c.mask)
        value: Tensor = ours(*inputs, aggregation=how, weight=weight, **options).loss
        return value

    same(loss, lambda x: verls(registered, x, c, mode, config, weight)[0], c.logprob)


def verls(
    name: str, logprob: Tensor, c: Case, mode: str, config: Any, weight: Tensor | None = None
) -> tuple[Tensor, dict[str, float]]:
    """What a policy loss of verl's registry makes of a case."""
    function = theirs.get_policy_loss_fn(name)
    found: tuple[Tensor, dict[str, float]] = function(
        old_log_prob=c.old,
        log_prob=logprob,
        advantages=c.advantage,
        response_mask=c.mask,
        loss_agg_mode=mode,
        config=config,
        rollout_is_weights=weight,
    )
    return found


@dtypes
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_sapo_is_verls_which_knows_one_aggregation(dtype: torch.dtype, weighted: bool) -> None:
    c = case(dtype)
    weight = c.values.exp() if weighted else None
    config = actor(tau_pos=1.3, tau_neg=2.1)

    def loss(logprob: Tensor) -> Tensor:
        taus = {"tau_positive": 1.3, "tau_negative": 2.1}
        return sapo(logprob, c.old, c.advantage, c.mask, weight=weight, **taus).loss

    same(loss, lambda x: verls("sapo", x, c, "token-mean", config, weight)[0], c.logprob)


@dtypes
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_gmpo_is_verls_but_for_what_it_adds_to_lengths(dtype: torch.dtype, weighted: bool) -> None:
    c = case(dtype)
    weight = c.values.exp() if weighted else None
    config = actor(**CLIP)

    def loss(logprob: Tensor) -> Tensor:
        return gmpo(logprob, c.old, c.advantage, c.mask, clip=(0.1, 0.25), weight=weight).loss

    same(loss, lambda x: verls("geo_mean", x, c, "token-mean", config, weight)[0], c.logprob)


@dtypes
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("divergence", ["tv", "kl"])
def test_dppo_is_verls(divergence: Any, weighted: bool, dtype: torch.dtype) -> None:
    c = case(dtype)
    weight = c.values.exp() if weighted else None
    config = actor(clip_ratio_low=0.04, clip_ratio_high=0.02, clip_ratio_c=1.5)

    def loss(logprob: Tensor) -> Tensor:
        made = dppo(
            logprob,
            c.old,
            c.advantage,
            c.mask,
            divergence=divergence,
            bound=(0.04, 0.02),
            truncate=1.5,
            weight=weight,
        )
        assert 0.05 < float(made.metrics["left_high"] + made.metrics["left_low"]) < 0.95
        return made.loss

    def their(logprob: Tensor) -> Tensor:
        return verls(f"dppo_{divergence}", logprob, c, "token-mean", config, weight)[0]

    same(loss, their, c.logprob)


@dtypes
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_dro_is_verls(weighted: bool, dtype: torch.dtype) -> None:
    c = case(dtype)
    weight = c.values.exp() if weighted else None
    config = actor(policy_loss=PolicyLossConfig(dro_beta=0.7))

    def loss(logprob: Tensor) -> Tensor:
        return dro(logprob, c.old, c.advantage, c.mask, beta=0.7, weight=weight).loss

    same(loss, lambda x: verls("dro", x, c, "token-mean", config, weight)[0], c.logprob)


@dtypes
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_kl_cov_is_verls(weighted: bool, dtype: torch.dtype) -> None:
    c = case(dtype)
    weight = c.values.exp() if weighted else None
    config = actor(policy_loss=PolicyLossConfig(kl_cov_ratio=0.2, ppo_kl_coef=0.5))

    def loss(logprob: Tensor) -> Tensor:
        options = {"share": 0.2, "coefficient": 0.5}
        return kl_cov(logprob, c.old, c.advantage, c.mask, weight=weight, **options).loss

    same(loss, lambda x: verls("kl_cov", x, c, "token-mean", config, weight)[0], c.logprob)


@dtypes
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_clip_cov_is_verls_where_all_candidates_are_dropped(
    weighted: bool, dtype: torch.dtype
) -> None:
    c = case(dtype)
    weight = c.values.exp() if weighted else None
    settings = {"clip_cov_ratio": 1.0, "clip_cov_lb": 0.2, "clip_cov_ub": 1.5}
    config = actor(policy_loss=PolicyLossConfig(**settings), **CLIP)

    def loss(logprob: Tensor) -> Tensor:
        options: Any = {"clip": (0.1, 0.25), "share": 1.0, "band": (0.2, 1.5), "weight": weight}
        made = clip_cov(logprob, c.old, c.advantage, c.mask, **options)
        assert 0.05 < float(made.metrics["dropped"]) < 0.95
        return made.loss

    same(loss, lambda x: verls("clip_cov", x, c, "token-mean", config, weight)[0], c.logprob)


@dtypes
@pytest.mark.parametrize("mode", MODES)
def test_the_loss_of_values_is_verls(mode: str, dtype: torch.dtype) -> None:
    c = case(dtype)
    returns = c.rewards[:, None].expand_as(c.values)
    length = {"length": float(c.mask.shape[1])} if mode.endswith("norm") else {}
    how = Aggregation(mode, **length)  # type: ignore[arg-type]
    same(
        lambda x: value_loss(x, c.values, returns, c.mask, clip=0.3, aggregation=how).loss,
        lambda x: theirs.compute_value_loss(x, returns, c.values, c.mask, 0.3, mode)[0],
        c.values + c.logprob,
    )


@dtypes
@pytest.mark.parametrize("straight", [False, True], ids=["", "straight through"])
@pytest.mark.parametrize("name", ["k1", "k2", "k3", "abs"])
def test_a_divergence_is_verls(name: Any, straight: bool, dtype: torch.dtype) -> None:
    c = case(dtype)
    options: Any = {"estimator": name, "straight_through": straight}
    options |= {"cap": 10.0} if name == "k3" else {}
    plus = "+" if straight else ""
    same(
        lambda x: (kl(x, c.old, c.mask, **options) * c.values).sum(),
        lambda x: (theirs.kl_penalty(x, c.old, name + plus) * c.values * c.mask).sum(),
        c.logprob,
    )


@dtypes
def test_a_divergence_in_the_reward_is_verls(dtype: torch.dtype) -> None:
    c = case(dtype)
    found = kl_in_reward(c.steps, c.logprob, c.old, c.mask, coefficient=0.3)
    close(found * c.mask, theirs.compute_rewards(c.steps, c.logprob, c.old, 0.3) * c.mask)


def test_a_coefficient_moves_as_verls() -> None:
    mine = AdaptiveKL(0.2, 0.1, 1000)
    their = theirs.AdaptiveKLController(0.2, 0.1, 1000)
    for found in (0.5, 0.11, 0.1, 0.01):
        mine.update(found, 64)
        their.update(found, 64)
        assert mine.coefficient == pytest.approx(their.value, rel=1e-12)


@dtypes
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_weights_of_the_sampler_are_verls(level: Any, dtype: torch.dtype) -> None:
    c = case(dtype)
    sampler = c.old - 0.2 * c.values
    found, _ = compute_rollout_correction_weights(
        c.old - sampler, c.mask, rollout_is=level, rollout_is_threshold=1.3
    )
    made = importance_weight(c.old, sampler, c.mask, level=level, high=1.3)
    close(made.expand(c.mask.shape) * c.mask, found * c.mask)


# --- in verl --------------------------------------------------------------------------------------


def configured(*overrides: str) -> Any:
    """verl's own configuration, with overrides as on its command line."""
    needed = ["actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1"]
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", [*needed, *overrides])


def estimated(c: Case, config: Any, tensors: Any = None, **columns: Any) -> DataProto:
    """What verl's trainers make of a batch, by the function that both of them call."""
    batch = {"token_level_rewards": outcome(c.rewards, c.mask), "response_mask": c.mask.long()}
    batch |= {"prompts": torch.zeros(len(c.group), 2), **(tensors or {})}
    batch["attention_mask"] = torch.cat([torch.ones(len(c.group), 2), c.mask], dim=1).long()
    data = DataProto(
        batch=TensorDict(batch, batch_size=len(c.group)),
        non_tensor_batch={"uid": np.array(c.group, dtype=object)}
        | {name: np.asarray(values) for name, values in columns.items()},
    )
    algorithm = config.algorithm
    return compute_advantage(data, algorithm.adv_estimator, config=algorithm)


def test_registering_twice_changes_nothing() -> None:
    names = register.register()
    before = dict(theirs.ADV_ESTIMATOR_REGISTRY), dict(theirs.POLICY_LOSS_REGISTRY)
    assert register.register() == names
    assert (dict(theirs.ADV_ESTIMATOR_REGISTRY), dict(theirs.POLICY_LOSS_REGISTRY)) == before
    both = {*theirs.ADV_ESTIMATOR_REGISTRY, *theirs.POLICY_LOSS_REGISTRY}
    assert set(names) <= both
    assert {f"rewardsmith_{n}" for n in ("grpo", "rloo", "gdpo", "ppo", "gspo", "dcpo")} <= both


@pytest.mark.parametrize("name", [one.name for one in losses.losses()])
def test_every_loss_of_ours_works_as_verl_calls_it(name: str) -> None:
    """With the actor's settings: equal to calling it with options of the same meaning."""
    c = case(torch.float32)
    config = actor(policy_loss=PolicyLossConfig(dro_beta=0.5), loss_agg_mode="seq-mean-token-mean")
    logprob = c.logprob.clone().requires_grad_()
    loss, metrics = verls(f"rewardsmith_{name}", logprob, c, config.loss_agg_mode, config)
    loss.backward()
    assert logprob.grad is not None
    assert bool(logprob.grad.any())
    assert bool(logprob.grad.isfinite().all())
    assert all(key.startswith("actor/") for key in metrics)
    assert all(type(value) is float for value in metrics.values())


PAIRS = {
    "ppo": "vanilla",
    "gspo": "gspo",
    "cispo": "cispo",
    "sapo": "sapo",
    "policy_gradient": "gpg",
    "dppo": "dppo_tv",
    "dro": "dro",
    "kl_cov": "kl_cov",
}


@pytest.mark.filterwarnings("ignore:.*'token-mean' weighs each sequence")
@pytest.mark.parametrize("mode", [*MODES, "token-sum"])
@pytest.mark.parametrize("name", PAIRS)
def test_under_one_configuration_ours_and_verls_agree(name: str, mode: str) -> None:
    """Also on one of several processes, whose gradients are averaged."""
    c = case(torch.float64)
    if name == "sapo" and mode != "seq-mean-token-mean":
        return  # verl's knows no other
    settings = PolicyLossConfig(dro_beta=0.5, kl_cov_ratio=0.1)
    for info in (
        {},
        {"dp_size": 3, "batch_num_tokens": 170, "global_batch_size": 48, "loss_scale_factor": 64},
        {"dp_size": 1, "batch_num_tokens": 99, "global_batch_size": 20, "loss_scale_factor": None},
    ):
        config = actor(policy_loss=settings, global_batch_info=dict(info), tau_pos=1.3, tau_neg=2.1)
        same(
            lambda x, config=config: verls(f"rewardsmith_{name}", x, c, mode, config)[0],  # type: ignore[misc]
            lambda x, config=config: verls(PAIRS[name], x, c, mode, config)[0],  # type: ignore[misc]
            c.logprob,
        )


@pytest.mark.parametrize(
    "name", [*(name for name in PAIRS if name != "policy_gradient"), "gmpo", "clip_cov"]
)
def test_what_is_logged_under_verls_names_is_what_verl_logs(name: str) -> None:
    c = case(torch.float64)
    # All candidates of clip_cov are dropped, so that chance has no part in it.
    settings = PolicyLossConfig(dro_beta=0.5, clip_cov_ratio=1.0, clip_cov_lb=0.2, clip_cov_ub=1.5)
    config = actor(policy_loss=settings, clip_ratio_c=1.5, **CLIP)
    pair = {"gmpo": "geo_mean", "clip_cov": "clip_cov"} | PAIRS
    mine = verls(f"rewardsmith_{name}", c.logprob, c, "seq-mean-token-mean", config)[1]
    their = verls(pair[name], c.logprob, c, "seq-mean-token-mean", config)[1]
    both = mine.keys() & their.keys()
    assert {key: mine[key] for key in both} == pytest.approx(
        {key: their[key] for key in both}, rel=1e-6
    )
    assert ("actor/ppo_kl" in both) == (name != "kl_cov")
    if name in ("ppo", "gspo", "cispo", "dppo", "clip_cov"):
        assert 0.05 < mine["actor/pg_clipfrac"] < 0.95
    else:
        assert "actor/pg_clipfrac" not in mine


def test_several_processes_need_the_numbers_of_the_whole_batch() -> None:
    c = case(torch.float32)
    config = actor(global_batch_info={"dp_size": 2})
    for mode, name in (("token-mean", "batch_num_tokens"), ("seq-mean-token-sum", "global_batch_")):
        with pytest.raises(ValueError, match=f"loss_agg_mode={mode} on 2 processes needs .*{name}"):
            verls("rewardsmith_ppo", c.logprob, c, mode, config)


@pytest.mark.filterwarnings("ignore:.*alone in their group")
def test_estimators_through_verls_trainer() -> None:
    c = case(torch.float32, ALONE)
    for overrides, wanted in (
        (["algorithm.adv_estimator=rewardsmith_grpo"], grpo(c.rewards, c.group)),
        (
            [
                "algorithm.adv_estimator=rewardsmith_grpo",
                "+algorithm.rewardsmith.eps=0.5",
                "+algorithm.rewardsmith.singleton=reward",
            ],
            grpo(c.rewards, c.group, eps=0.5, singleton="reward"),
        ),
        (
            ["algorithm.adv_estimator=rewardsmith_grpo", "algorithm.norm_adv_by_std_in_grpo=False"],
            dr_grpo(c.rewards, c.group),
        ),
        (["algorithm.adv_estimator=rewardsmith_opo"], opo(c.rewards, c.group, c.lengths)),
        (
            ["algorithm.adv_estimator=rewardsmith_pass_at_k"],
            pass_at_k(c.rewards, c.group, scale="group"),
        ),
    ):
        data = estimated(c, configured(*overrides))
        close(data.batch["advantages"], spread(wanted.values, c.mask))
        close(data.batch["returns"], data.batch["advantages"])


REWARD = {"singleton": "reward"}
ESTIMATORS: list[tuple[str, str, dict[str, Any]]] = [
    ("grpo", "grpo", REWARD),
    ("pass_at_k", "grpo_passk", {}),
    ("rloo", "rloo", REWARD),
    ("rloo", "rloo_vectorized", {}),
    ("opo", "opo", REWARD),
    ("gpg", "gpg", {"alpha": "nonzero", **REWARD}),
    ("reinforce_plus_plus", "reinforce_plus_plus", {}),
    ("reinforce_plus_plus_baseline", "reinforce_plus_plus_baseline", REWARD),
]


@pytest.mark.filterwarnings("ignore:.*alone in their group")
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize(("name", "registered", "options"), ESTIMATORS)
def test_under_one_configuration_estimators_agree(
    name: str, registered: str, options: dict[str, Any], normalized: bool
) -> None:
    """With the options that the page names; grpo_passk refuses what is alone in its group."""
    c = case(torch.float32, UNEQUAL if name == "pass_at_k" else ALONE)
    config = OmegaConf.create(
        {"norm_adv_by_std_in_grpo": normalized, "gamma": 0.9, "rewardsmith": options}
    )
    # verl's trainer hands the flag of grpo over by itself.
    flag = {"norm_adv_by_std_in_grpo": normalized} if name == "grpo" else {}
    close(
        asked(f"rewardsmith_{name}", c, config=config)[0],
        asked(registered, c, config=config, **flag)[0],
    )


def test_verls_own_can_be_called_by_position() -> None:
    c = case(torch.float32)
    mask, greedy = c.mask.float(), c.values[:, 0]
    found = theirs.get_adv_estimator_fn("remax")(outcome(c.rewards, c.mask), greedy, mask)
    own = theirs.compute_remax_outcome_advantage(outcome(c.rewards, c.mask), greedy, mask)
    close(found[0], own[0])


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("+algorithm.rewardsmith.epps=1", r"algorithm\.rewardsmith\.epps: .*did you mean 'eps'"),
        ("+algorithm.rewardsmith.keep=1", r"algorithm\.rewardsmith\.keep: .*no such option"),
        ("+algorithm.rewardsmith.scale=batches", "scale is 'batches'"),
    ],
)
def test_an_option_that_there_is_not_is_told(override: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        estimated(
            case(torch.float32), configured("algorithm.adv_estimator=rewardsmith_grpo", override)
        )


def test_options_of_losses_go_through_verls_actor() -> None:
    place = "actor_rollout_ref.actor.policy_loss"
    config = configured(
        f"{place}._target_=rewardsmith.adapters.verl.register.LossOptions",
        f"{place}.loss_mode=rewardsmith_dapo",
        f"+{place}.rewardsmith.clip=[0.1,0.5]",
        f"+{place}.rewardsmith.aggregation=seq-sum-token-mean",
    )
    made = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    c = case(torch.float64)
    found = verls(made.policy_loss.loss_mode, c.logprob, c, made.loss_agg_mode, made)[0]
    wanted = dapo(
        c.logprob,
        c.old,
        c.advantage,
        c.mask,
        clip=(0.1, 0.5),
        aggregation="seq-sum-token-mean",
    )
    close(found, wanted.loss)
    broken = configured(
        f"{place}._target_=rewardsmith.adapters.verl.register.LossOptions",
        f"+{place}.rewardsmith.clips=1",
    )
    made = omega_conf_to_dataclass(broken.actor_rollout_ref.actor)
    with pytest.raises(ValueError, match=r"policy_loss\.rewardsmith\.clips: .*did you mean 'clip'"):
        verls("rewardsmith_dapo", c.logprob, c, "token-mean", made)


GDPO = ["algorithm.adv_estimator=gdpo", "+algorithm.gdpo_reward_keys=[reward/a,reward/b]"]
MINE = "+algorithm.rewardsmith.estimator="


def test_what_verl_keeps_for_its_own_estimators_comes_under_their_names() -> None:
    """Parts, weights, and which rows and parts have a score."""
    c = case(torch.float32)
    parts = {"reward/a": c.values[:, 0], "reward/b": c.values[:, 1]}
    columns = {name: part.numpy() for name, part in parts.items()}
    config = configured(*GDPO, "+algorithm.gdpo_reward_weights=[1.0,0.5]", MINE + "gdpo")
    wanted = gdpo(parts, c.group, weights={"reward/a": 1.0, "reward/b": 0.5})
    found = estimated(c, config, **columns).batch["advantages"]
    close(found, spread(wanted.values, c.mask))

    scored = torch.arange(len(c.group)) != 2
    one = scored & (torch.arange(len(c.group)) != 5)
    columns |= {"status/scored": scored.float().numpy(), "scored/a": one.float().numpy()}
    keep = {"reward/a": one, "reward/b": scored}
    wanted = gdpo(parts, c.group, weights={"reward/a": 1.0, "reward/b": 0.5}, keep=keep)
    found = estimated(c, config, **columns).batch["advantages"]
    close(found, spread(wanted.values, c.mask))
    assert not bool(found[2].any())
    assert bool(found[5].any())


def test_a_row_without_a_score_counts_in_no_moment() -> None:
    """``missing=0.0`` gave it a number; under verl's name the status comes along."""
    c = case(torch.float32)
    keep = torch.arange(len(c.group)) != 3
    config = configured("algorithm.adv_estimator=gdpo", MINE + "grpo")
    found = estimated(c, config, **{"status/scored": keep.float().numpy()}).batch["advantages"]
    close(found, spread(grpo(c.rewards, c.group, keep=keep).values, c.mask))
    alone = estimated(c, configured("algorithm.adv_estimator=rewardsmith_grpo"))
    assert bool(alone.batch["advantages"][3].any())  # verl hands no status to this name


def test_a_critics_values_come_under_verls_name() -> None:
    c = case(torch.float32)
    settings = ["algorithm.gamma=0.97", "algorithm.lam=0.9", "critic.enable=True"]
    config = configured("algorithm.adv_estimator=gdpo", MINE + "gae", *settings)
    found = estimated(c, config, {"values": c.values}).batch
    own = configured("algorithm.adv_estimator=gae", *settings).algorithm
    wanted = theirs.compute_gae_advantage_return(
        outcome(c.rewards, c.mask), c.values, c.mask.long(), own.gamma, own.lam
    )
    close(found["advantages"], wanted[0] * c.mask)
    close(found["returns"], wanted[1] * c.mask)


def test_greedy_rewards_come_under_verls_name() -> None:
    c = case(torch.float32)
    greedy = c.values[:, 0]
    config = configured("algorithm.adv_estimator=remax", MINE + "remax")
    found = estimated(c, config, {"reward_baselines": greedy}).batch["advantages"]
    close(found, spread(remax(c.rewards, greedy).values, c.mask))


def test_without_our_key_the_names_stay_verls() -> None:
    c = case(torch.float32)
    columns = {"reward/a": c.values[:, 0].numpy(), "reward/b": c.values[:, 1].numpy()}
    found = estimated(c, configured(*GDPO), **columns).batch["advantages"]
    own = theirs.ADV_ESTIMATOR_REGISTRY["gdpo"].verls
    assert own is theirs.compute_gdpo_outcome_advantage
    standard = [grpo(c.values[:, k], c.group).values for k in (0, 1)]
    close(found, masked_whiten(spread(standard[0] + standard[1], c.mask), c.mask) * c.mask)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["algorithm.adv_estimator=rewardsmith_gdpo"],
            "adv_estimator=gdpo .*estimator=gdpo .*use_v1",
        ),
        (["algorithm.adv_estimator=rewardsmith_remax"], "adv_estimator=remax .*estimator=remax"),
        ([*GDPO, MINE + "gdpo"], "gdpo_reward_keys has 'reward/a', and the batch has no such"),
        ([*GDPO, MINE + "gdpp"], "no estimator 'gdpp'.*did you mean 'gdpo'"),
        ([*GDPO, "+algorithm.rewardsmith.eps=1"], "say which estimator"),
    ],
)
def test_what_verl_does_not_hand_over_is_told_with_the_fix(overrides: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        estimated(case(torch.float32), configured(*overrides))


def test_every_override_that_the_page_shows_exists() -> None:
    page = (Path(__file__).parents[2] / "docs" / "trainers" / "verl.md").read_text("utf-8")
    section = page.split("## Advantages and losses")[1].split("\n## ")[0]
    block = section.split("```bash")[1].split("```")[0].split("main_ppo")[1].replace("\\\n", " ")
    rows = [row.split("`")[1] for row in re.findall(r"^\| .* \| (`[+a-z]\S*=.*)$", section, re.M)]
    spans = re.findall(r"`(\+ray_kwargs\S*)`", section)
    commands = [block, *rows, *spans]
    assert len(commands) == 8
    for command in commands:
        config = configured(*shlex.split(command))
        omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    assert config.ray_kwargs.ray_init.runtime_env.env_vars.VERL_USE_EXTERNAL_MODULES


def test_verl_loads_them_in_every_process() -> None:
    """By its own variable, in the driver and in workers of Ray, which inherit or are given it."""
    code = """
import os, ray, verl
from verl.trainer.ppo import core_algos

def known():
    import verl
    from verl.trainer.ppo import core_algos
    both = (core_algos.ADV_ESTIMATOR_REGISTRY, core_algos.POLICY_LOSS_REGISTRY)
    return [name in one for name, one in zip(("rewardsmith_grpo", "rewardsmith_gspo"), both)]

ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False, runtime_env=RUNTIME)
print("driver", known(), "worker", ray.get(ray.remote(known).remote()))
"""
    name, value = "VERL_USE_EXTERNAL_MODULES", "rewardsmith.adapters.verl.register"
    for env, runtime, driver in (
        ({name: value}, None, "[True, True]"),
        ({}, {"env_vars": {name: value}}, "[False, False]"),
    ):
        said = subprocess.run(
            [sys.executable, "-c", code.replace("RUNTIME", repr(runtime))],
            env={k: v for k, v in os.environ.items() if k != name} | env,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert f"driver {driver} worker [True, True]" in said


# --- traps ----------------------------------------------------------------------------------------


def index_of(group: tuple[Any, ...]) -> np.ndarray:
    numbers = all(isinstance(i, int) for i in group)
    return np.array(group) if numbers else np.array(group, dtype=object)


def by_verl(trap: traps.Trap, vectorized: bool) -> Any:
    """A trap through verl's estimator of its kind; rows have one token."""
    if trap.kind == "mean loss":
        if vectorized:
            return "as verl loop"
        mask = torch.tensor(trap.mask).bool()
        return theirs.agg_loss(trap.rewards, mask, "seq-mean-token-mean")
    index = index_of(trap.group)
    mask = torch.ones(len(trap.group), 1).long()
    if trap.kind == "whitened":
        function = theirs.compute_reinforce_plus_plus_outcome_advantage
        if vectorized:
            return "as verl loop"
        return function(trap.rewards[:, None], mask, config=AlgoConfig())[0]
    if trap.kind == "gdpo":
        if vectorized:
            return "as verl loop"
        names = [f"part{k}" for k in range(trap.rewards.shape[1])]
        prompts, attended = torch.zeros(len(mask), 2), torch.ones(len(mask), 3).long()
        return theirs.compute_gdpo_outcome_advantage(
            trap.rewards.sum(dim=1, keepdim=True),
            mask,
            index,
            config=OmegaConf.create({"gdpo_reward_keys": names}),
            non_tensor_batch={n: trap.rewards[:, k].numpy() for k, n in enumerate(names)},
            batch={"prompts": prompts, "attention_mask": attended},
        )[0]
    function = theirs.get_adv_estimator_fn(trap.kind + ("_vectorized" if vectorized else ""))
    found = function(trap.rewards[:, None].clone(), mask, index)[0][:, 0]
    if vectorized and trap.name == "integer ids far apart":
        size = group_mean_std(trap.rewards, as_torch_index(index))[0].numel()
        return f"{traps.cell(lambda _: found, trap)}, with {size} numbers for two groups"
    return found


def test_the_traps_in_its_loops() -> None:
    traps.column("verl loop", lambda trap: by_verl(trap, vectorized=False))


def test_the_traps_in_its_vectorized_forms() -> None:
    traps.column("verl vectorized", lambda trap: by_verl(trap, vectorized=True))


def test_its_vectorized_form_keeps_numbers_for_every_id_up_to_the_largest() -> None:
    """Also where ids are numbers written as text."""
    for ids in (np.array([7, 7, 2_000_000]), np.array(["7", "7", "2000000"], dtype=object)):
        kept = group_mean_std(torch.tensor([1.0, 2.0, 3.0]), as_torch_index(ids))
        assert [one.numel() for one in kept] == [2_000_001] * 3
