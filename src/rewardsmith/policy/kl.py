"""The divergence from a reference policy: per token, in the reward, in the loss; its coefficient.

For a token that was drawn from pi, with ``d = log pi - log ref`` and given what came before it:

========= ================= ============================== ======================================
estimator per token         expected value                 expected gradient
========= ================= ============================== ======================================
k1        d                 KL(pi || ref)                  0
k2        d^2 / 2           biased: E[d^2] / 2             that of KL(pi || ref)
k3        exp(-d) - 1 + d   KL(pi || ref)                  that of KL(ref || pi), the other way
abs       max(d, -d)        biased: at least KL(pi || ref) that of the L1 distance of pi and ref
========= ================= ============================== ======================================

The gradient is what backpropagation through ``log pi`` gives for tokens that are already drawn: it
does not see that other tokens become likelier. k1 has the value but trains nothing, k2 the gradient
but not the value; ``straight_through`` has both. The entries of k3 hold if ref never draws a token
that pi cannot draw.

All of this is of one token given its prefix. Over whole answers there is a further term, that
a token changes what comes after it: only a KL in the reward, summed into returns, has it.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..core.catalog import Paper, method
from .losses.aggregation import Aggregation, Mode, aggregation_of
from .losses.tokens import MOST, PolicyLoss, check, masked, same_shape

Estimate: TypeAlias = Literal["k1", "k2", "k3", "abs"]


def kl(
    logprob: Float[Tensor, "n t"],
    ref_logprob: Float[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    *,
    estimator: Estimate = "k3",
    straight_through: bool = False,
    old_logprob: Float[Tensor, "n t"] | None = None,
    cap: float | None = None,
) -> Float[Tensor, "n t"]:
    """An estimate of KL(pi || ref) at each token; the module's table has what each one expects.

    Without ``old_logprob``, tokens are taken to be drawn from pi itself, or nearly so. With it they
    are those of the policy that sampled, and the estimate is multiplied by ``r = pi / pi_old``:
    ``E_old[r k] = E_pi[k]``. The gradient flows through r too, and is then that of the *expected
    value*: for k1 and k3 it is unbiased for KL(pi || ref), for k2 and abs it is not.

    With ``straight_through`` the value is the estimator's and the gradient that of k2, unbiased for
    KL(pi || ref). r is then a factor without a gradient: through it, the KL's would count twice.

    Peers: verl's ``k3+`` and the like are ``straight_through``, its k3 has ``cap=10``; TRL's
    ``use_bias_correction_kl`` is k3 with ``old_logprob`` (by tokens).

    Args:
        logprob: [N, T] of the policy that is trained; gradients flow through it alone.
        ref_logprob: [N, T] of the reference policy.
        mask: [N, T] the tokens that the policy chose; the others may be anything and give 0.
        estimator: ``"k1"``, ``"k2"``, ``"k3"`` or ``"abs"``.
        straight_through: the value of the estimator with the gradient of k2.
        old_logprob: [N, T] of the policy that sampled.
        cap: the most that k3 may be; a token above has no gradient, unless ``straight_through``
            gives it k2's. Without it, only ``-d`` is held
            below 20, where k3 is 5e8, so that it stays finite.

    Returns:
        [N, T] in nats, in float32 or wider.

    Raises:
        ValueError: shapes that disagree, a log-probability of a marked token that is not finite
            (not looked at under ``torch.compile``), an unknown estimator, or a cap that is not
            positive or not for k3.

    Source: Schulman 2020, "Approximating KL divergence" (joschu.net/blog/kl-approx.html).
    """
    if estimator not in get_args(Estimate):
        raise ValueError(f"kl: estimator is {estimator!r}, not one of k1, k2, k3, abs")
    if cap is not None and not (cap > 0.0 and estimator == "k3"):
        raise ValueError(f"kl: cap is {cap} for {estimator}; it is for k3 alone, and positive")
    given = {"logprob": logprob, "mask": mask, "ref_logprob": ref_logprob}
    if old_logprob is not None:
        given["old_logprob"] = old_logprob
    same_shape("kl", given)
    own = _masked("kl", "logprob", logprob, mask)
    away = own - _masked("kl", "ref_logprob", ref_logprob.detach(), mask)
    half_square = 0.5 * away.square()
    value = _value(estimator, away, half_square, cap)
    ratio = None
    if old_logprob is not None:
        old = _masked("kl", "old_logprob", old_logprob.detach(), mask)
        ratio = (own - old).clamp(-MOST, MOST).exp()
    if straight_through:
        value = half_square - half_square.detach() + value.detach()
        ratio = None if ratio is None else ratio.detach()
    return value if ratio is None else ratio * value


def kl_loss(
    logprob: Float[Tensor, "n t"],
    ref_logprob: Float[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    *,
    estimator: Estimate = "k3",
    straight_through: bool = True,
    old_logprob: Float[Tensor, "n t"] | None = None,
    cap: float | None = None,
    aggregation: Aggregation | Mode = "token-mean",
) -> PolicyLoss:
    """The divergence as a term of a loss, to be multiplied by its coefficient.

    By default its value is k3's and its gradient k2's, both unbiased for tokens drawn from pi.
    GRPO, TRL and verl descend k3's own gradient, ``straight_through=False``: that of KL(ref || pi).

    Args:
        logprob: as in :func:`kl`, like the others.
        ref_logprob: [N, T].
        mask: [N, T]; where the policy loss is given ``Advantages``, ``advantages.masked(mask)``,
            so that both are of the same rows.
        estimator: see :func:`kl`.
        straight_through: see :func:`kl`.
        old_logprob: [N, T].
        cap: see :func:`kl`.
        aggregation: how tokens become one number; that of the policy loss.

    Returns:
        The loss, and the metric ``ref_kl``, the mean of the estimate over tokens.

    Raises:
        ValueError: as :func:`kl`, and with ``estimator="k1"`` without anything that gives it a
            gradient.
    """
    if estimator == "k1" and not straight_through and old_logprob is None:
        raise ValueError(
            "kl_loss: the expected gradient of k1 is 0; set straight_through=True, or give "
            "old_logprob"
        )
    each = kl(
        logprob,
        ref_logprob,
        mask,
        estimator=estimator,
        straight_through=straight_through,
        old_logprob=old_logprob,
        cap=cap,
    )
    mean = each.detach().sum() / mask.bool().sum().clamp(min=1)
    return PolicyLoss(aggregation_of(aggregation)(each, mask), {"ref_kl": mean})


@method(
    "kl_in_reward",
    kind="transform",
    paper=Paper("1909.08593", "Fine-Tuning Language Models from Human Preferences", 2019),
)
def kl_in_reward(
    step_rewards: Float[Tensor, "n t"],
    old_logprob: Float[Tensor, "n t"],
    ref_logprob: Float[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    *,
    coefficient: float,
) -> Float[Tensor, "n t"]:
    """``R_t - coefficient (log pi_old - log ref)``: each token pays for leaving the reference.

    **Unbiased**: k1 of the policy that sampled has the expected value KL(pi_old || ref), and summed
    into returns its policy gradient is that of the KL of whole answers.

    Args:
        step_rewards: [N, T] rewards per token.
        old_logprob: [N, T] of the policy that sampled.
        ref_logprob: [N, T] of the reference policy.
        mask: [N, T] the tokens that the policy chose; elsewhere rewards stay as they are.
        coefficient: beta, in units of reward per nat; at least 0. :class:`AdaptiveKL` moves it.

    Returns:
        [N, T], without a gradient, in float32 or wider.

    Raises:
        ValueError: shapes that disagree, a log-probability of a marked token that is not finite, or
            a coefficient that is negative or not finite.

    Source: Ziegler et al. 2019, eq. 2.
    """
    if not 0.0 <= coefficient < float("inf"):
        raise ValueError(f"kl_in_reward: coefficient is {coefficient}, it must be at least 0")
    given = {"step_rewards": step_rewards, "old_logprob": old_logprob, "ref_logprob": ref_logprob}
    same_shape("kl_in_reward", given | {"mask": mask})
    old = _masked("kl_in_reward", "old_logprob", old_logprob.detach(), mask)
    ref = _masked("kl_in_reward", "ref_logprob", ref_logprob.detach(), mask)
    return step_rewards.detach() - coefficient * (old - ref)


class AdaptiveKL:
    """A coefficient that holds the divergence at a target.

    ``beta <- beta (1 + clip(KL / target - 1, -0.2, 0.2) n / horizon)``; at the target it stays.

    Args:
        initial: the first coefficient, above 0.
        target: the divergence to hold, in nats, above 0.
        horizon: of how many rollouts (in the unit of n) a change is the work, above 0.

    Attributes:
        coefficient: beta.

    Raises:
        ValueError: an argument that is not positive and finite.

    Source: Ziegler et al. 2019, section 2.2; verl's ``AdaptiveKLController`` has the same rule.
    """

    def __init__(self, initial: float, target: float, horizon: float) -> None:
        given = {"initial": initial, "target": target, "horizon": horizon}
        for name, value in given.items():
            if not 0.0 < value < float("inf"):
                raise ValueError(f"AdaptiveKL: {name} is {value}, it must be positive and finite")
        self.coefficient, self.target, self.horizon = float(initial), target, horizon

    def update(self, kl: float, n: int) -> None:
        """Take in a measured divergence.

        Args:
            kl: in nats, of the n rollouts; an estimate may be negative.
            n: how many rollouts they were.

        Raises:
            ValueError: a divergence that is not finite, or so many rollouts that the coefficient
                could reach 0: n must be positive and below five horizons.
        """
        if not abs(kl) < float("inf"):
            raise ValueError(f"AdaptiveKL: the divergence is {kl}")
        if not 0 < n < self.horizon / _MOST_ERROR:
            raise ValueError(
                f"AdaptiveKL: n is {n}; it must be positive and below "
                f"{self.horizon / _MOST_ERROR:g}, five horizons"
            )
        error = min(max(kl / self.target - 1.0, -_MOST_ERROR), _MOST_ERROR)
        self.coefficient *= 1.0 + error * n / self.horizon

    def state(self) -> dict[str, float]:
        """Plain numbers to save."""
        return {"coefficient": self.coefficient}

    def load(self, state: Mapping[str, float]) -> None:
        """What :meth:`state` saved.

        Raises:
            ValueError: there is no coefficient in it, or one that is not positive and finite.
        """
        coefficient = state.get("coefficient", float("nan"))
        if not 0.0 < coefficient < float("inf"):
            raise ValueError(
                f"AdaptiveKL: the coefficient of the state is {coefficient}, it must be positive "
                "and finite"
            )
        self.coefficient = float(coefficient)


_MOST_ERROR = 0.2


def _value(estimator: Estimate, away: Tensor, half_square: Tensor, cap: float | None) -> Tensor:
    if estimator == "k1":
        return away
    if estimator == "k2":
        return half_square
    if estimator == "abs":
        return away.abs()
    # Only where it would overflow. expm1 keeps the digits that exp(x) - 1 loses near 0, where
    # rounding may still leave a trace below 0.
    inverse = (-away).clamp(max=MOST)
    return (torch.expm1(inverse) - inverse).clamp(0.0, cap)


def _masked(method: str, name: str, of: Tensor, mask: Tensor) -> Tensor:
    """Log-probabilities in float32 or wider, 0 where the mask is not."""
    wide = masked(of, mask)
    check(method, name, wide)
    return wide
