"""What policy losses share: checked tokens, ratios, the clipped surrogate, and their diagnostics.

Losses are minimized. They are plain tensor code without a data-dependent branch: ``torch.compile``
takes them whole, and then leaves out the one check that reads values (a finite advantage).
"""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.advantages import Advantages
from .aggregation import Aggregation, Mode, aggregation_of

Bound: TypeAlias = float | Tensor
"""A number, or one for each row or token: anything that broadcasts with [N, T]."""

Advantage: TypeAlias = Float[Tensor, " n"] | Float[Tensor, "n t"] | Advantages
"""One for each row or token; :class:`Advantages` bring their weights and the rows that train.

Their ``weight`` is a part of the advantage: A is ``values * weight``, as in ``by_step``. The
``weight=`` of a loss multiplies the loss; the two agree where that is proportional to A.
"""

Weight: TypeAlias = Float[Tensor, "n t"] | Float[Tensor, "n 1"]
"""A factor for the loss of each token, or of each row's tokens; no gradient flows through it."""

MOST = 20.0
"""Log-ratios are held within this, so that a ratio stays finite in float32: exp(20) is 5e8."""


class PolicyLoss(NamedTuple):
    """A loss to minimize, and what to watch of it."""

    loss: Float[Tensor, ""]
    metrics: dict[str, Float[Tensor, ""]]
    """Detached numbers, on the loss's device."""


class Tokens:
    """Log-probabilities and advantages of N rows of T tokens, in float32 or wider.

    What ``mask`` leaves out is 0 from here on, also where it was -inf or NaN. bfloat16 and float16
    are widened before anything is subtracted.

    Args:
        method: which loss this is for.
        logprob: [N, T] of the policy that is trained; gradients flow through it.
        old_logprob: [N, T] of the policy that sampled; None for a loss without a ratio.
        advantage: [N] or [N, T], or :class:`Advantages`, of which rows that are not kept are left
            out of the mask.
        mask: [N, T] the tokens that the policy chose.

    Raises:
        ValueError: shapes that do not agree, or at a marked token an advantage that is not finite
            or a log-probability that is NaN.
    """

    def __init__(
        self,
        method: str,
        logprob: Float[Tensor, "n t"],
        old_logprob: Float[Tensor, "n t"] | None,
        advantage: Advantage,
        mask: Bool[Tensor, "n t"],
    ) -> None:
        self.method, self.mask = method, mask.bool()
        if isinstance(advantage, Advantages):
            same_rows(method, {"mask": mask, "advantage": advantage.values})
            self.mask = advantage.masked(self.mask)
            advantage = _weighted(advantage)
        if advantage.ndim == 1:
            same_rows(method, {"logprob": logprob, "advantage": advantage})
            advantage = advantage[:, None].expand(-1, logprob.shape[-1])
        given = {"logprob": logprob, "mask": mask, "advantage": advantage}
        if old_logprob is not None:
            given["old_logprob"] = old_logprob
        same_shape(method, given)
        self.logprob = self.masked(logprob)
        self.advantage = self.masked(advantage.detach())
        self._sampled = old_logprob is not None
        self.away = (
            torch.zeros_like(self.logprob)
            if old_logprob is None
            else self.logprob - self.masked(old_logprob.detach())
        )
        """``log pi - log pi_old`` [N, T], as far as it goes; 0 without an old policy."""
        self.log_ratio = self.away.clamp(-MOST, MOST)
        """The same within 20 of 0, beyond which it has no gradient."""
        check(method, "advantage", self.advantage)
        check(method, "log-probability", self.logprob, infinite=True)
        check(method, "log-ratio", self.log_ratio)

    def masked(self, tensor: Tensor) -> Tensor:
        """The same, in float32 or wider, and 0 where the mask is not."""
        return masked(tensor, self.mask)

    def mean(self, tensor: Tensor) -> Float[Tensor, "n 1"]:
        """Each row's mean over its tokens; 0 for a row without one."""
        count = self.mask.sum(dim=1, keepdim=True).clamp(min=1)
        return torch.where(self.mask, tensor, 0.0).sum(dim=1, keepdim=True) / count

    def share(self, where: Bool[Tensor, "n t"]) -> Float[Tensor, ""]:
        """The share of tokens for which something holds."""
        return (where & self.mask).sum() / self.mask.sum().clamp(min=1)

    def descend(self, factor: Float[Tensor, "n t"]) -> Float[Tensor, "n t"]:
        """``-factor log pi``: 0 where the factor is 0, also of a token whose probability is 0."""
        return torch.where(factor == 0.0, 0.0, -factor * self.logprob)

    def weights(self, weight: Weight) -> Float[Tensor, "n t"]:
        """A ``weight``, one for each token; 0 where the mask is not."""
        n, t = self.mask.shape
        if weight.shape not in ((n, t), (n, 1)):
            raise ValueError(
                f"{self.method}: weight has the shape {[*weight.shape]}, it must be {[n, t]}, or "
                f"{[n, 1]} for one factor a row: weight[:, None]"
            )
        return self.masked(weight.detach().expand(n, t))

    @property
    def sequence_log_ratio(self) -> Float[Tensor, "n t"]:
        """The row's mean log-ratio at each token, with the token's own gradient (GSPO-token).

        ``sg(mean_t (l - l_old)) + l - sg(l)``: its value is the logarithm of the geometric mean of
        ratios; descending it moves each token by its own log-probability.
        """
        # Of the ratio that is held within 20, so that a token at -inf is not NaN for its whole row.
        own = self.log_ratio - self.log_ratio.detach()
        return self.mean(self.log_ratio.detach()) + own

    def finish(
        self,
        loss: Float[Tensor, "n t"],
        aggregation: Aggregation | Mode,
        weight: Weight | None = None,
        **metrics: Tensor,
    ) -> PolicyLoss:
        """The loss of a loss per token.

        Args:
            loss: [N, T].
            aggregation: see :class:`Aggregation`.
            weight: [N, T] or [N, 1] a factor for each token, such as importance weights; no
                gradient flows through it.
            metrics: further numbers to watch, beside ``old_kl`` (k1 of the old policy from this
                one) where there is an old policy.

        Raises:
            ValueError: a weight of another shape.
        """
        if weight is not None:
            loss = loss * self.weights(weight)
        if self._sampled:
            metrics["old_kl"] = -self.log_ratio.sum() / self.mask.sum().clamp(min=1)
        value = aggregation_of(aggregation)(loss, self.mask)
        return PolicyLoss(value, {name: number.detach() for name, number in metrics.items()})


def _weighted(advantages: Advantages) -> Tensor:
    values, weight = advantages.values, advantages.weight
    if weight is None:
        return values
    return (values if values.ndim == 2 else values[:, None]) * weight


def masked(tensor: Tensor, mask: Bool[Tensor, "n t"]) -> Tensor:
    """The same, in float32 or wider, and 0 where the mask is not."""
    wide = torch.promote_types(tensor.dtype, torch.float32)
    return torch.where(mask.bool(), tensor.to(wide), 0.0)


def check(method: str, what: str, numbers: Float[Tensor, "n t"], *, infinite: bool = False) -> None:
    """ValueError for the first that is not finite; not in compiled code.

    Args:
        method: which loss this is for.
        what: the numbers' name.
        numbers: 0 wherever nothing is to be looked at: see :func:`masked`.
        infinite: whether infinity will do, and only NaN is refused.
    """
    if torch.compiler.is_compiling():
        return
    broken = numbers.isnan() if infinite else ~numbers.isfinite()
    if bool(broken.any()):
        row, token = (int(i) for i in broken.nonzero()[0])
        raise ValueError(
            f"{method}: row {row} has the {what} {numbers[row, token].item()} at token {token}; "
            "mend it, or leave the token out of the mask"
        )


def same_rows(method: str, tensors: Mapping[str, Tensor]) -> None:
    """ValueError unless all have as many rows as the first."""
    (first, like), *rest = tensors.items()
    for name, tensor in rest:
        if tensor.shape[:1] != like.shape[:1]:
            raise ValueError(
                f"{method}: {first} has the shape {[*like.shape]}, {name} {[*tensor.shape]}"
            )


def same_shape(method: str, tensors: Mapping[str, Tensor]) -> None:
    """ValueError unless all have the first one's shape."""
    (first, like), *rest = tensors.items()
    for name, tensor in rest:
        if tensor.shape != like.shape:
            raise ValueError(
                f"{method}: {first} has the shape {[*like.shape]}, {name} {[*tensor.shape]}"
            )


def clipped(
    ratio: Float[Tensor, "n t"],
    advantage: Float[Tensor, "n t"],
    low: Bound,
    high: Bound,
    dual: float | None = None,
) -> Float[Tensor, "n t"]:
    """``-min(r A, clip(r, low, high) A)`` [N, T], and where A < 0 at most ``-dual A``.

    Args:
        ratio: r, at least 0.
        advantage: A.
        low: the least ratio that a negative advantage still lowers.
        high: the greatest ratio that a positive advantage still raises.
        dual: where A < 0, the ratio from which a token has no gradient (dual clip); None for none.
    """
    low, high = (torch.as_tensor(b, dtype=ratio.dtype, device=ratio.device) for b in (low, high))
    loss = -torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
    if dual is None:
        return loss
    return torch.where(advantage < 0, torch.minimum(loss, -dual * advantage), loss)


def clip_shares(
    tokens: Tokens,
    ratio: Float[Tensor, "n t"],
    low: Bound,
    high: Bound,
    dual: float | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """The shares of tokens whose gradient a bound cut, above (A > 0) and below (A < 0).

    And ``clipped_dual``, of those that the dual clip cut, where there is one.
    """
    shares = {
        "clipped_high": tokens.share((ratio > high) & (tokens.advantage > 0)),
        "clipped_low": tokens.share((ratio < low) & (tokens.advantage < 0)),
    }
    if dual is not None:
        shares["clipped_dual"] = tokens.share((ratio > dual) & (tokens.advantage < 0))
    return shares
