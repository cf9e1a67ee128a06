"""Estimators against the exact gradient, on a language model of which all answers can be listed.

What an estimator expects is a sum over all groups of answers with their probabilities, taken
through the real functions: nothing is left to chance, so equality is to the last digits. Sampling
then shows the same with the random numbers that training has.
"""

import inspect
import math
import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from rewardsmith.policy import losses
from rewardsmith.policy.advantages.best_of_group import pass_at_k
from rewardsmith.policy.advantages.greedy_baseline import remax, remax_steps
from rewardsmith.policy.advantages.group_relative import dr_grpo, grpo
from rewardsmith.policy.advantages.leave_one_out import rloo
from rewardsmith.policy.advantages.length_weighted import opo
from rewardsmith.policy.advantages.negatives import negatives_only
from rewardsmith.policy.advantages.returns import gae
from rewardsmith.policy.advantages.returns import reinforce as reinforce_advantages
from rewardsmith.policy.kl import kl, kl_in_reward
from rewardsmith.policy.losses.aggregation import aggregation_of
from rewardsmith.policy.losses.clipping import ppo
from rewardsmith.policy.losses.detached import policy_gradient
from rewardsmith.policy.losses.importance import importance_weight
from rewardsmith.testbeds import EnumerableLM

LM = EnumerableLM.random(2, 3, 2, seed=1)
REWARDS = 1.0 + LM.draw_rewards(torch.Generator().manual_seed(2))
"""Far from 0 on purpose: a baseline has something to do."""
REF = EnumerableLM.random(2, 3, 2, seed=7)
TRUTH = LM.gradient(LM.objective(REWARDS))


class Rows(NamedTuple):
    """Rows of a batch, as a trainer has them."""

    lm: EnumerableLM
    rewards: Tensor
    prompt: Tensor
    answer: Tensor
    group: Tensor

    @property
    def reward(self) -> Tensor:
        return self.rewards[self.prompt, self.answer]

    @property
    def mask(self) -> Tensor:
        return self.lm.mask[self.answer]

    @property
    def logprob(self) -> Tensor:
        return self.lm.logprob()[self.prompt, self.answer]


Advantage = Callable[[Rows], Tensor]
Loss = Callable[[Tensor, Rows, Tensor | None], Tensor]


def by_ppo(advantage: Tensor, rows: Rows, weight: Tensor | None) -> Tensor:
    of = rows.logprob
    return ppo(
        of, of.detach(), advantage, rows.mask, aggregation="seq-mean-token-sum", weight=weight
    ).loss


def by_reinforce(advantage: Tensor, rows: Rows, weight: Tensor | None) -> Tensor:
    return policy_gradient(rows.logprob, advantage, rows.mask, weight=weight).loss


def all_groups(n: int) -> tuple[Rows, Tensor]:
    """Every group of n answers of every prompt, and the probability [groups] of each."""
    answers = len(LM.tokens)
    drawn = torch.cartesian_prod(*[torch.arange(answers)] * n).reshape(-1, n)
    prompt = torch.arange(LM.prompts).repeat_interleave(len(drawn))
    drawn = drawn.repeat(LM.prompts, 1)
    chance = LM.probability()[prompt[:, None], drawn].prod(dim=1)
    group = torch.arange(len(drawn)).repeat_interleave(n)
    return Rows(LM, REWARDS, prompt.repeat_interleave(n), drawn.flatten(), group), chance


def expected(n: int, advantage: Advantage, loss: Loss = by_reinforce) -> Tensor:
    """What the ascent direction of groups of n is on average: exactly.

    Each group's loss is weighted by its probability, in the place of sampling it.
    """
    rows, chance = all_groups(n)
    rate = len(rows.answer) / n / LM.prompts
    weight = (rate * chance.detach()).repeat_interleave(n)[:, None].expand(rows.mask.shape)
    return -LM.gradient(loss(advantage(rows), rows, weight))


def steps_of(rows: Rows) -> Tensor:
    """The reward at the last token of each answer."""
    last = rows.mask.sum(dim=1, keepdim=True) - 1
    return torch.zeros(rows.mask.shape, dtype=torch.float64).scatter(1, last, rows.reward[:, None])


ESTIMATORS: dict[str, Advantage] = {
    "reinforce": lambda rows: reinforce_advantages(steps_of(rows), rows.mask).by_step(rows.mask),
    "rloo": lambda rows: rloo(rows.reward, rows.group).values,
    "remax": lambda rows: (
        remax(rows.reward, rows.rewards[rows.prompt, rows.lm.greedy()[rows.prompt]]).values
    ),
    "grpo_others": lambda rows: (
        grpo(rows.reward, rows.group, baseline="others", scale="none").values
    ),
    "opo_others": lambda rows: (
        opo(rows.reward, rows.group, rows.mask.sum(dim=1), baseline="others").values
    ),
}


def close(found: Tensor, wanted: Tensor) -> None:
    assert float((found - wanted).norm()) < 1e-9 * float(wanted.norm())


# --- advantages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_unbiased_estimator_expects_the_gradient(name: str, n: int) -> None:
    close(expected(n, ESTIMATORS[name]), TRUTH)
    close(expected(n, ESTIMATORS[name], by_ppo), TRUTH)


@pytest.mark.parametrize("name", ["reinforce", "remax"])
def test_some_need_no_group(name: str) -> None:
    close(expected(1, ESTIMATORS[name]), TRUTH)


@pytest.mark.parametrize("n", [2, 3])
def test_the_own_reward_in_the_mean_takes_one_nth(n: int) -> None:
    found = expected(n, lambda rows: dr_grpo(rows.reward, rows.group).values)
    close(found, (n - 1) / n * TRUTH)


@pytest.mark.parametrize("n", [2, 3])
def test_the_best_less_the_second_pursues_the_best_of_the_group(n: int) -> None:
    rows, chance = all_groups(n)
    best = rows.reward.reshape(-1, n).amax(dim=1)
    truth = LM.gradient((chance * best).sum() / LM.prompts)
    found = expected(n, lambda rows: pass_at_k(rows.reward, rows.group).values)
    # The loss is the mean over the group; the best of it is one.
    close(found, truth / n)


PAID = torch.randn(LM.logits.shape, generator=torch.Generator().manual_seed(3)).double()
"""A reward for each token after each prefix [P, J, V]."""
BY_STEP = 1.0 + torch.where(LM.mask, PAID[:, LM.prefix, LM.tokens], 0.0)
VALUES = torch.randn(2, len(LM.tokens), generator=torch.Generator().manual_seed(4)).double()
"""A critic that knows the prefix, and is wrong."""


@pytest.mark.parametrize("name", ["reinforce", "remax_steps", "gae"])
def test_rewards_by_step_may_leave_out_what_came_before(name: str) -> None:
    paid = BY_STEP * LM.mask

    def advantage(rows: Rows) -> Tensor:
        steps, mask = paid[rows.prompt, rows.answer], rows.mask
        if name == "gae":
            values = VALUES[rows.prompt[:, None], LM.prefix[rows.answer]]
            made = gae(steps, values, mask, gamma=1.0, lam=1.0, whiten=False)
        elif name == "remax_steps":
            made = remax_steps(steps, VALUES[rows.prompt, 0], mask)
        else:
            made = reinforce_advantages(steps, mask)
        return made.by_step(mask)

    close(expected(1, advantage), LM.gradient(LM.objective(paid.sum(dim=-1))))


def test_answers_of_another_policy_are_weighed_by_the_ratio_of_whole_answers() -> None:
    rows, _ = all_groups(1)
    other = REF.logprob().detach()[rows.prompt, rows.answer]
    chance = len(rows.answer) / LM.prompts * other.sum(dim=1).exp()

    def found(level: Any) -> Tensor:
        ratio = importance_weight(rows.logprob.detach(), other, rows.mask, level=level, high=None)
        weight = chance[:, None] * ratio
        return -LM.gradient(by_reinforce(rows.reward, rows, weight))

    close(found("sequence"), TRUTH)
    for level in ("token", "geometric"):
        assert float((found(level) - TRUTH).norm() / TRUTH.norm()) > 0.05


def apart(found: Tensor) -> float:
    """How far from any multiple of the gradient, in parts of it."""
    along = (found * TRUTH).sum() / TRUTH.square().sum()
    return float((found / along - TRUTH).norm() / TRUTH.norm())


@pytest.mark.parametrize(
    ("advantage", "bias"),
    [
        # Those of two and of three answers.
        (lambda rows: grpo(rows.reward, rows.group).values, (0.2321, 0.1848)),
        (lambda rows: opo(rows.reward, rows.group, rows.mask.sum(dim=1)).values, (0.0872, 0.0601)),
        (lambda rows: negatives_only(rows.reward, rows.group).values, (0.3197, 0.2361)),
    ],
    ids=["grpo", "opo", "negatives_only"],
)
def test_the_biases_that_docstrings_tell_of_are_there_and_as_large_as_this(
    advantage: Advantage, bias: tuple[float, float]
) -> None:
    found = [apart(expected(n, advantage)) for n in (2, 3)]
    assert found == pytest.approx(bias, abs=1e-4)


def test_a_mean_over_an_answers_own_tokens_is_biased_by_length() -> None:
    def by_length(advantage: Tensor, rows: Rows, weight: Tensor | None) -> Tensor:
        return policy_gradient(
            rows.logprob, advantage, rows.mask, aggregation="seq-mean-token-mean", weight=weight
        ).loss

    assert apart(expected(2, ESTIMATORS["rloo"], by_length)) > 0.1


# --- losses at the policy that sampled ------------------------------------------------------------


def found_losses() -> dict[str, Callable[..., Any]]:
    """Every function of the losses' modules that is registered and takes advantages of tokens."""
    found = {}
    for module in pkgutil.iter_modules(losses.__path__):
        for name, thing in vars(import_module(f"{losses.__name__}.{module.name}")).items():
            if not (hasattr(thing, "method_name") and inspect.isfunction(thing)):
                continue
            if {"logprob", "advantage", "mask"} <= inspect.signature(thing).parameters.keys():
                found[name] = thing
    return found


LOSSES = found_losses()
SPARES = {"clip_cov"}
"""By design, a few tokens have no gradient."""
GIVEN: dict[str, Any] = {"beta": 0.5}
"""Options without a default."""


def test_the_losses_are_found() -> None:
    assert {
        "ppo",
        "dapo",
        "policy_gradient",
        "cispo",
        "gspo",
        "gmpo",
        "sapo",
        "dcpo",
    } <= LOSSES.keys()


def value_of(name: str, rows: Rows, advantage: Tensor, weight: Tensor, mode: str) -> Tensor:
    function = LOSSES[name]
    logprob = rows.logprob
    n = len(rows.answer)
    known = {
        "logprob": logprob,
        "old_logprob": logprob.detach(),
        "advantage": advantage,
        "mask": rows.mask,
        "variance": torch.linspace(0.0, 0.25, n, dtype=torch.float64),
        "entropy": torch.rand(rows.mask.shape, generator=torch.Generator().manual_seed(0)).double(),
        "aggregation": mode,
        "weight": weight[:, None].expand(rows.mask.shape),
        **GIVEN,
    }
    parameters = inspect.signature(function).parameters
    missing = [p.name for p in parameters.values() if p.default is p.empty and p.name not in known]
    assert not missing, f"{name}: say in GIVEN what {missing} are"
    result: Tensor = function(**{key: of for key, of in known.items() if key in parameters}).loss
    return result


@pytest.mark.parametrize("mode", ["seq-mean-token-sum", "seq-mean-token-mean"])
@pytest.mark.parametrize("name", sorted(LOSSES.keys() - SPARES))
def test_at_the_policy_that_sampled_a_loss_is_the_policy_gradient(name: str, mode: str) -> None:
    rows, chance = all_groups(1)
    rate = len(rows.answer) / LM.prompts * chance.detach()
    found = -LM.gradient(value_of(name, rows, rows.reward, rate, mode))
    if mode == "seq-mean-token-sum":
        close(found, TRUTH)
    else:
        each = -rows.reward[:, None] * rows.logprob * rate[:, None]
        close(found, -LM.gradient(aggregation_of(mode)(each, rows.mask)))


# --- divergences ----------------------------------------------------------------------------------


def by_answer(each: Tensor, own: EnumerableLM) -> Tensor:
    """The expectation of a sum over tokens [P A, T] of answers drawn from the model as it is."""
    chance = own.probability().detach().flatten()
    return (chance * each.sum(dim=1)).sum() / own.prompts


def every_answer(own: EnumerableLM, ref: EnumerableLM) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of all answers under both [P A, T], and their mask."""
    return (
        own.logprob().flatten(0, 1),
        ref.logprob().detach().flatten(0, 1),
        own.mask.repeat(own.prompts, 1),
    )


def whole(own: EnumerableLM, ref: EnumerableLM) -> tuple[Tensor, Tensor, Tensor]:
    """The same of answers as one token each [P A, 1]."""
    logprob, ref_logprob, mask = every_answer(own, ref)
    return logprob.sum(1, keepdim=True), ref_logprob.sum(1, keepdim=True), mask[:, :1]


def next_token(own: EnumerableLM, ref: EnumerableLM, *, reverse: bool = False) -> Tensor:
    """The KL of the next token, at the prefixes where the model as it is arrives."""
    log, ref_log = own.logits.log_softmax(-1), ref.logits.detach().log_softmax(-1)
    p, q = (ref_log, log) if reverse else (log, ref_log)
    each = (p.exp() * (p - q)).sum(dim=-1)
    chance = own.probability().detach()
    visits = torch.zeros_like(each)
    for prefix, mask in zip(own.prefix.T, own.mask.T, strict=True):
        visits.index_add_(1, prefix, chance * mask)
    return (visits * each).sum() / own.prompts


@pytest.mark.parametrize("estimator", ["k1", "k3"])
@pytest.mark.parametrize("rows", [every_answer, whole])
def test_k1_and_k3_expect_the_divergence(estimator: Any, rows: Any) -> None:
    value = by_answer(kl(*rows(LM, REF), estimator=estimator), LM)
    assert value.item() == pytest.approx(LM.kl(REF).item(), rel=1e-12)


@pytest.mark.parametrize("rows", [every_answer, whole])
def test_k2_and_the_absolute_value_do_not(rows: Any) -> None:
    truth = LM.kl(REF).item()
    for estimator in ("k2", "abs"):
        value = by_answer(kl(*rows(LM, REF), estimator=estimator), LM).item()
        assert abs(value - truth) > 0.05 * truth


def test_of_whole_answers_k2_has_the_gradient_and_k3_that_of_the_other_way() -> None:
    rows = whole(LM, REF)
    truth = LM.gradient(LM.kl(REF))

    def gradient(**options: Any) -> Tensor:
        return LM.gradient(by_answer(kl(*rows, **options), LM))

    close(gradient(estimator="k2"), truth)
    close(gradient(estimator="k1", straight_through=True), truth)
    close(gradient(estimator="k3", straight_through=True), truth)
    close(gradient(estimator="k3"), LM.gradient(REF.kl(LM)))
    assert float(gradient(estimator="k1").norm()) < 1e-14
    assert float((gradient(estimator="k3") - truth).norm() / truth.norm()) > 0.1
    # With the ratio, the gradient is that of the expected value.
    old = rows[0].detach()
    close(gradient(estimator="k1", old_logprob=old), truth)
    close(gradient(estimator="k3", old_logprob=old), truth)


def test_of_tokens_the_same_holds_given_what_came_before() -> None:
    rows = every_answer(LM, REF)
    truth = LM.gradient(next_token(LM, REF))

    def gradient(**options: Any) -> Tensor:
        return LM.gradient(by_answer(kl(*rows, **options), LM))

    close(gradient(estimator="k2"), truth)
    close(gradient(estimator="k3", straight_through=True), truth)
    close(gradient(estimator="k3"), LM.gradient(next_token(LM, REF, reverse=True)))
    assert float(gradient(estimator="k1").norm()) < 1e-14
    old = rows[0].detach()
    close(gradient(estimator="k1", old_logprob=old), truth)
    close(gradient(estimator="k3", old_logprob=old), truth)


def test_of_tokens_no_estimator_in_the_loss_has_the_gradient_of_the_whole_answers_divergence() -> (
    None
):
    truth = LM.gradient(LM.kl(REF))
    assert next_token(LM, REF).item() == pytest.approx(LM.kl(REF).item(), rel=1e-12)
    for estimator in ("k2", "k3", "abs"):
        found = LM.gradient(by_answer(kl(*every_answer(LM, REF), estimator=estimator), LM))
        assert float((found - truth).norm() / truth.norm()) > 0.05


def test_in_the_reward_it_has() -> None:
    logprob, ref_logprob, mask = every_answer(LM, REF)
    nothing = torch.zeros_like(logprob)
    paid = kl_in_reward(nothing, logprob.detach(), ref_logprob, mask, coefficient=1.0)
    for advantage in (
        reinforce_advantages(paid, mask).by_step(mask),
        paid.sum(dim=1),
    ):
        chance = len(mask) / LM.prompts * LM.probability().detach().flatten()
        weight = chance[:, None].expand(mask.shape)
        loss = policy_gradient(logprob, advantage, mask, weight=weight).loss
        close(LM.gradient(loss), LM.gradient(LM.kl(REF)))


# --- sampled --------------------------------------------------------------------------------------

SEEN = 0.05
"""The bias, in parts of the gradient's length, that has to be seen."""


def sampled(
    advantage: Advantage, group: int, batches: int, rows: int, scale: float = 1.0
) -> tuple[float, float]:
    """How long the mean gradient is along the true one, in parts of it, and its standard error.

    The error is measured between batches.
    """
    generator = torch.Generator().manual_seed(0)
    direction = TRUTH / TRUTH.square().sum()
    along = []
    n = max(rows // (LM.prompts * group), 1)
    for _ in range(batches):
        drawn = LM.sample(group * n, generator)
        batch = Rows(
            LM,
            REWARDS,
            drawn.prompt,
            drawn.answer,
            torch.arange(LM.prompts * n).repeat_interleave(group),
        )
        step = -LM.gradient(by_ppo(scale * advantage(batch), batch, None))
        along.append(float((step * direction).sum()))
    told = torch.tensor(along, dtype=torch.float64)
    return float(told.mean()), float(told.std() / math.sqrt(batches))


def enough(advantage: Advantage, group: int, scale: float = 1.0) -> tuple[float, float]:
    """As many batches as make a bias of 5 % six standard errors."""
    pilot = sampled(advantage, group, 20, 4000, scale)[1] * math.sqrt(20)
    batches = math.ceil((6.0 * pilot / SEEN) ** 2)
    return sampled(advantage, group, max(batches, 20), 4000, scale)


def unbiased(found: tuple[float, float]) -> bool:
    """Whether the true length is within 3 standard errors."""
    return abs(found[0] - 1.0) <= 3.0 * found[1]


SAMPLED = {name: ESTIMATORS[name] for name in ("reinforce", "rloo", "remax")}


@pytest.mark.parametrize("name", SAMPLED)
def test_samples_agree_and_would_show_a_bias_of_five_percent(name: str) -> None:
    found = enough(SAMPLED[name], 4)
    assert unbiased(found)
    assert found[1] < SEEN / 5
    assert not unbiased(enough(SAMPLED[name], 4, 1.0 - SEEN))


def test_samples_show_the_own_reward_in_the_mean() -> None:
    found = enough(lambda rows: dr_grpo(rows.reward, rows.group).values, 4)
    assert not unbiased(found)
    assert abs(found[0] - 0.75) <= 3.0 * found[1]


def test_a_baseline_of_the_others_has_less_variance_than_none() -> None:
    errors = {name: sampled(SAMPLED[name], 4, 50, 1000)[1] for name in SAMPLED}
    assert errors["rloo"] < 0.8 * errors["reinforce"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLED)
def test_many_samples_agree_to_one_percent_in_every_direction(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    steps = []
    for _ in range(1000):
        drawn = LM.sample(4 * 500, generator)
        group = torch.arange(LM.prompts * 500).repeat_interleave(4)
        batch = Rows(LM, REWARDS, drawn.prompt, drawn.answer, group)
        steps.append(-LM.gradient(by_ppo(SAMPLED[name](batch), batch, None)))
    told = torch.stack(steps).flatten(1)
    error = told.std(dim=0) / math.sqrt(len(told))
    assert float(error.norm() / TRUTH.norm()) < 0.01
    assert float(((told.mean(dim=0) - TRUTH.flatten()) / error).abs().max()) < 4.0
