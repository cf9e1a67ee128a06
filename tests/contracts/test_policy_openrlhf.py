"""OpenRLHF 0.11.2: its advantages, losses and divergences give the numbers of ours.

Its experience maker's and losses' own code runs; deepspeed, vLLM and Ray, which are imported beside
it and not reached, are stood in for.
"""

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests import traps
from tests.policy_cases import Case, case, close, dtypes, same, spread
from torch import Tensor

from rewardsmith.policy.advantages.group_relative import dr_grpo, grpo
from rewardsmith.policy.advantages.leave_one_out import rloo
from rewardsmith.policy.advantages.returns import discounted_returns, gae, reinforce_plus_plus
from rewardsmith.policy.advantages.whitening import whiten
from rewardsmith.policy.kl import kl, kl_in_reward
from rewardsmith.policy.losses.aggregation import Aggregation
from rewardsmith.policy.losses.clipping import ppo
from rewardsmith.policy.losses.importance import importance_weight
from rewardsmith.policy.losses.sequence_ratio import gspo
from rewardsmith.policy.losses.value import value_loss

pytestmark = pytest.mark.contracts
EQUAL = "aaaabbbbcccc"
"""OpenRLHF's groups are equal and in a row."""


@pytest.fixture(scope="module")
def openrlhf() -> Iterator[Any]:
    """Its experience maker, losses and divergences."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("deepspeed", "openrlhf.models", "openrlhf.trainer.ray"):
            stub = types.ModuleType(name)
            stub.__path__ = []
            patch.setitem(sys.modules, name, stub)
        patch.setitem(sys.modules, "ray", SimpleNamespace())  # type: ignore[arg-type]
        launcher = SimpleNamespace(RayActorGroup=None)
        patch.setitem(sys.modules, "openrlhf.trainer.ray.launcher", launcher)  # type: ignore[arg-type]
        import openrlhf

        loaded = {}
        for name in ("utils", "loss"):
            path = Path(openrlhf.__path__[0]) / "models" / f"{name}.py"
            spec: Any = importlib.util.spec_from_file_location(f"openrlhf.models.{name}", path)
            loaded[name] = importlib.util.module_from_spec(spec)
            patch.setitem(sys.modules, f"openrlhf.models.{name}", loaded[name])
            spec.loader.exec_module(loaded[name])
        place = "openrlhf.trainer.ppo_utils.experience_maker"
        patch.delitem(sys.modules, place, raising=False)
        maker = importlib.import_module(place).RemoteExperienceMaker
        yield SimpleNamespace(maker=maker, **loaded)
        sys.modules.pop(place, None)


# --- advantages -----------------------------------------------------------------------------------


def experiences(
    openrlhf: Any, c: Case, estimator: str, size: int = 4, **settings: Any
) -> tuple[Tensor, Tensor]:
    """Advantages and returns [N, T] of its experience maker, of batches whose rows are mixed."""
    n = len(c.rewards)
    gamma, lam = settings.pop("gamma", 1.0), settings.pop("lam", 1.0)
    kl_coefficient, divergence = settings.pop("kl", (0.0, torch.zeros_like(c.values)))
    advantage = SimpleNamespace(estimator=estimator, gamma=gamma, lambd=lam, no_std_norm=False)
    args = SimpleNamespace(
        rollout=SimpleNamespace(n_samples_per_prompt=size),
        algo=SimpleNamespace(advantage=advantage),
        reward=SimpleNamespace(
            clip_range=None,
            overlong_buffer_len=None,
            stop_properly_penalty_coef=None,
        ),
    )
    maker = object.__new__(openrlhf.maker)
    maker.strategy = SimpleNamespace(args=args)
    maker.kl_ctl = SimpleNamespace(value=kl_coefficient)
    maker.advantage_estimator = estimator
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    batches = [
        SimpleNamespace(
            index=rows.tolist(),
            rewards=c.rewards[rows],
            kl=divergence[rows],
            action_mask=c.mask[rows],
            values=c.values[rows],
            info={},
        )
        for rows in order.tensor_split(2)
        if len(rows)
    ]
    maker.compute_advantages_and_returns(batches)
    back = order.argsort()
    made = [torch.cat([getattr(b, of) for b in batches])[back] for of in ("advantages", "returns")]
    return made[0], made[1]


def without_holes(c: Case) -> Case:
    """The same with masks that are whole up to their end."""
    return c._replace(mask=torch.arange(c.mask.shape[1]) < c.lengths[:, None])


GROUPED: dict[str, Callable[[Case], Any]] = {
    "rloo": lambda c: rloo(c.rewards, c.group),
    "dr_grpo": lambda c: dr_grpo(c.rewards, c.group),
    "group_norm": lambda c: grpo(c.rewards, c.group, eps=1e-9),
    "flash_reinforce": lambda c: dr_grpo(c.rewards, [0] * len(c.group)),
}


@dtypes
@pytest.mark.parametrize("estimator", GROUPED)
def test_an_advantage_of_groups_is_openrlhfs(
    openrlhf: Any, estimator: str, dtype: torch.dtype
) -> None:
    c = case(dtype, EQUAL)
    found = experiences(openrlhf, c, estimator)[0]
    close(spread(GROUPED[estimator](c).values, c.mask), found * c.mask)


def test_the_whitened_ones_are_openrlhfs(openrlhf: Any) -> None:
    """In float32 alone, for it whitens in that."""
    c = without_holes(case(torch.float32, EQUAL))
    theirs: dict[str, Any] = {"ddof": 0, "eps": 0.0, "floor": 1e-8}
    centered = spread(dr_grpo(c.rewards, c.group).values, c.mask)
    found = experiences(openrlhf, c, "reinforce_baseline")[0] * c.mask
    close(whiten(centered, c.mask, **theirs), found)
    for gamma, lam in ((1.0, 1.0), (0.97, 0.9)):
        steps = at_end(c)
        found = experiences(openrlhf, c, "reinforce", gamma=gamma)[0] * c.mask
        close(reinforce_plus_plus(steps, c.mask, gamma=gamma, **theirs).values, found)
        found = experiences(openrlhf, c, "gae", gamma=gamma, lam=lam)[0] * c.mask
        made = gae(steps, c.values, c.mask, gamma=gamma, lam=lam, whiten=False)
        close(whiten(made.values, c.mask, **theirs), found)


@dtypes
@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.97, 0.9)])
def test_returns_are_openrlhfs_where_masks_have_no_holes(
    openrlhf: Any, gamma: float, lam: float, dtype: torch.dtype
) -> None:
    c = without_holes(case(dtype, EQUAL))
    maker = object.__new__(openrlhf.maker)
    found = maker.get_cumulative_returns(c.steps, c.mask, gamma)
    close(discounted_returns(c.steps, c.mask, gamma=gamma), found * c.mask)
    advantages, returns = maker.get_advantages_and_returns(c.values, c.steps, c.mask, gamma, lam)
    made = gae(c.steps, c.values, c.mask, gamma=gamma, lam=lam, whiten=False)
    close(made.values, advantages * c.mask)
    close(made.returns, returns * c.mask)


def test_over_holes_it_discounts_and_reads_no_value(openrlhf: Any) -> None:
    """A hole counts as a step there: after it, the value of the next step is not seen."""
    one = torch.ones(1, 3, dtype=torch.float64)
    mask = torch.tensor([[True, False, True]])
    maker = object.__new__(openrlhf.maker)
    assert maker.get_cumulative_returns(one, mask, 0.5).tolist() == [[1.25, 0.5, 1.0]]
    assert discounted_returns(one, mask, gamma=0.5).tolist() == [[1.5, 0.0, 1.0]]
    theirs = maker.get_advantages_and_returns(one, one, mask, 1.0, 0.0)[0]
    assert theirs.tolist() == [[0.0, 1.0, 0.0]]
    ours = gae(one, one, mask, gamma=1.0, lam=0.0, whiten=False).values
    assert ours.tolist() == [[1.0, 0.0, 0.0]]


def at_end(c: Case) -> Tensor:
    """Each row's reward at its last token."""
    ends = c.mask.shape[1] - 1 - c.mask.long().flip(1).argmax(dim=1, keepdim=True)
    return torch.zeros_like(c.values).scatter(1, ends, c.rewards[:, None])


@dtypes
def test_a_divergence_in_the_reward_is_openrlhfs(openrlhf: Any, dtype: torch.dtype) -> None:
    c = without_holes(case(dtype, EQUAL))
    divergence = (c.logprob - c.old) * c.mask
    found = experiences(openrlhf, c, "rloo", kl=(0.3, divergence))[0]
    steps = at_end(c._replace(rewards=rloo(c.rewards, c.group).values))
    paid = kl_in_reward(steps, c.logprob, c.old, c.mask, coefficient=0.3)
    close(discounted_returns(paid, c.mask), found * c.mask)


# --- losses ---------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("by_token", [True, False])
@pytest.mark.parametrize("dual", [None, 1.5])
@pytest.mark.parametrize("whole", [False, True], ids=["", "of a whole batch"])
def test_ppo_is_openrlhfs(
    openrlhf: Any, by_token: bool, dual: Any, whole: bool, dtype: torch.dtype
) -> None:
    c = case(dtype)
    their = openrlhf.loss.PolicyLoss(0.1, 0.25, dual_clip=dual, token_level_loss=by_token)
    info = {"dp_size": 3, "batch_num_tokens": 170.0, "global_batch_size": 48.0} if whole else {}
    if by_token:
        how = Aggregation("token-mean", tokens=170.0 / 3 if whole else None)
    else:
        how = Aggregation("seq-mean-token-mean", sequences=16.0 if whole else None)
    same(
        lambda x: (
            ppo(
                x, c.old, c.advantage, c.mask, clip=(0.1, 0.25), dual_clip=dual, aggregation=how
            ).loss
        ),
        lambda x: their(x, c.old, c.advantage, c.mask, **info)[0],
        c.logprob,
    )


@dtypes
def test_gspo_is_openrlhfs_in_value_and_whole_gradient(openrlhf: Any, dtype: torch.dtype) -> None:
    """It differentiates the mean; GSPO-token gives each token its own: equal for one advantage."""
    c = case(dtype)
    their = openrlhf.loss.PolicyLoss(0.1, 0.25, policy_loss_type="gspo")
    same(
        lambda x: gspo(x, c.old, c.advantage, c.mask, clip=(0.1, 0.25)).loss,
        lambda x: their(x, c.old, c.advantage, c.mask)[0],
        c.logprob,
    )


CORRECTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "truncated": (
        {"is_correction_mode": "clip", "is_correction_level": "token"},
        {"level": "token", "mode": "truncate"},
    ),
    "masked": (
        {"is_correction_mode": "mask", "is_correction_level": "token"},
        {"level": "token", "mode": "mask"},
    ),
}


@dtypes
@pytest.mark.parametrize("name", CORRECTIONS)
def test_weights_of_the_sampler_are_openrlhfs(openrlhf: Any, name: str, dtype: torch.dtype) -> None:
    c = case(dtype)
    sampler = c.old - 0.4 * c.values
    settings, options = CORRECTIONS[name]
    their = openrlhf.loss.PolicyLoss(0.1, 0.25, is_correction_threshold=(0.7, 1.4), **settings)
    weight = importance_weight(c.old, sampler, c.mask, low=0.7, high=1.4, **options)
    same(
        lambda x: ppo(x, c.old, c.advantage, c.mask, clip=(0.1, 0.25), weight=weight).loss,
        lambda x: their(x, c.old, c.advantage, c.mask, sampler)[0],
        c.logprob,
    )


@dtypes
@pytest.mark.parametrize("by_token", [True, False])
@pytest.mark.parametrize("clip", [None, 0.3])
def test_the_loss_of_values_is_openrlhfs(
    openrlhf: Any, by_token: bool, clip: Any, dtype: torch.dtype
) -> None:
    c = case(dtype)
    returns = c.rewards[:, None].expand_as(c.values).contiguous()
    mode: Any = "token-mean" if by_token else "seq-mean-token-mean"
    their = openrlhf.loss.ValueLoss(clip, by_token)
    same(
        lambda x: value_loss(x, c.values, returns, c.mask, clip=clip, aggregation=mode).loss,
        lambda x: their(x, c.values, returns, c.mask),
        c.values + c.logprob,
    )


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
def test_a_divergence_is_openrlhfs(openrlhf: Any, name: Any) -> None:
    """In float32 alone, for it casts to that."""
    c = case(torch.float32)
    cap = {"cap": 10.0} if name == "k3" else {}
    same(
        lambda x: (kl(x, c.old, c.mask, estimator=name, **cap) * c.values).sum(),
        lambda x: (
            openrlhf.utils.compute_approx_kl(x, c.old, kl_estimator=name) * c.values * c.mask
        ).sum(),
        c.logprob,
    )
    given = {"straight_through": True, "old_logprob": c.old}
    reference = c.old + 0.2 * c.values

    def their(x: Tensor) -> Tensor:
        each = openrlhf.utils.compute_approx_kl(x, reference, c.old, name, unbiased_gradient=True)
        return (each * c.mask).sum()

    def gradient(loss: Callable[[Tensor], Tensor]) -> Tensor:
        x = c.logprob.detach().clone().requires_grad_()
        return torch.autograd.grad(loss(x), x)[0]

    # Its value is that of the estimate alone; ours is weighed by the ratio, as the gradient is.
    mine = gradient(lambda x: kl(x, reference, c.mask, estimator=name, **given, **cap).sum())
    close(mine, gradient(their))


# --- traps ----------------------------------------------------------------------------------------


def test_the_traps(openrlhf: Any) -> None:
    kinds = {"grpo": "group_norm", "rloo": "rloo", "whitened": "reinforce"}

    def solve(trap: traps.Trap) -> Any:
        if trap.kind == "mean loss":
            mask = torch.tensor(trap.mask)
            return openrlhf.loss.aggregate_loss(trap.rewards, mask, token_level_loss=False)
        if trap.kind == "gdpo":
            return "one reward for a row"
        n = len(trap.rewards)
        one, mask = torch.zeros(n, 1), torch.ones(n, 1).bool()
        c = Case(trap.rewards, [], mask, one, one, one, one, one, mask.sum(dim=1))
        return traps.by_place(trap, experiences(openrlhf, c, kinds[trap.kind], trap.size)[0])

    traps.column("OpenRLHF", solve)
