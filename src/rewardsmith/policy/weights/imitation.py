"""How much to imitate and how much to reinforce, by a meta-gradient and entropy: AMFT's idea."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from ...core.catalog import Paper, method
from ...core.warn import warn_caller
from ...ops.weights import Weights

Leaning: TypeAlias = Literal["imitate", "explore"]


@method(
    "amft",
    kind="combine",
    seed=58,
    paper=Paper(
        "2508.06944",
        "AMFT: Aligning LLM Reasoners by Meta-Learning the Optimal Imitation-Exploration Balance",
        2025,
    ),
)
class MetaWeight(Weights):
    """Experimental: the share mu of imitation in ``L = (1 - mu) L_rl + mu L_sft``.

    **A warning about the source.** A public mirror of the paper's arXiv record carries a note that
    its authors asked to withdraw it while possible misconduct is looked into, and the trainer that
    they released fills rollouts with random numbers. This is the idea alone; none of the results
    is quoted, and nothing here rests on them.

    ``mu <- clip(mu - rate dL_val/dmu + entropy_rate (H_target - H))``. The released code *adds* the
    meta-gradient of a validation cross-entropy, which raises that loss; the sign here lowers it.
    That low entropy raises mu is as in that code; whether it should is open, and
    ``low_entropy="explore"`` turns it around.

    The plain meta-gradient has the learning rate in it. With the published rates it moves mu by
    about 1e-10, that is not at all; ``meta_gradient(..., normalized=True)`` is from -1 to 1.

    ``observe`` takes ``entropy``, the mean over tokens in nats, and ``meta_gradient``. Without the
    latter (no validation data), entropy alone moves mu, and the first time a warning tells of it.

    Args:
        target_entropy: the mean entropy over tokens right after supervised training, in nats.
        initial: mu at first.
        rate: of the meta-gradient, at least 0.
        entropy_rate: of the entropy, at least 0.
        within: the least and the greatest mu.
        low_entropy: what less entropy than the target asks for.

    Raises:
        ValueError: a number outside its range; in ``observe``, no entropy, a number that is not
            finite, or an unknown name.

    Source: He et al. 2025, and the released code, ``TSYJ-He/AMFT``; see the warning.
    """

    _saved = ("_mu", "_warned")

    def __init__(
        self,
        target_entropy: float,
        *,
        initial: float = 0.8,
        rate: float = 1e-4,
        entropy_rate: float = 5e-4,
        within: tuple[float, float] = (0.05, 0.95),
        low_entropy: Leaning = "imitate",
    ) -> None:
        super().__init__(["rl", "sft"])
        least, most = within
        if not 0.0 <= least <= initial <= most <= 1.0:
            raise ValueError(
                f"amft: initial is {initial} and within {within}, with "
                "0 <= least <= initial <= most <= 1"
            )
        given = {"target_entropy": target_entropy, "rate": rate, "entropy_rate": entropy_rate}
        for name, value in given.items():
            if not 0.0 <= value < math.inf:
                raise ValueError(f"amft: {name} is {value}, it must be at least 0 and finite")
        if low_entropy not in ("imitate", "explore"):
            raise ValueError(f"amft: low_entropy is {low_entropy!r}, not imitate or explore")
        self.target_entropy, self.rate, self.within = target_entropy, rate, within
        self.entropy_rate = entropy_rate if low_entropy == "imitate" else -entropy_rate
        self._mu, self._warned = float(initial), False

    def observe(self, means: Mapping[str, float]) -> None:
        """Take in ``entropy`` and, where there is validation data, ``meta_gradient``."""
        if "entropy" not in means or not means.keys() <= {"entropy", "meta_gradient"}:
            raise ValueError(
                f"amft: observed {sorted(means)}; give the entropy, and the meta_gradient if there "
                "is validation data"
            )
        for name, value in means.items():
            if not math.isfinite(value):
                raise ValueError(f"amft: {name} is {value}")
        if "meta_gradient" not in means and not self._warned:
            self._warned = True
            warn_caller("amft: without a meta_gradient, the entropy alone moves the weight")
        moved = self.entropy_rate * (self.target_entropy - means["entropy"])
        moved -= self.rate * means.get("meta_gradient", 0.0)
        self._mu = min(max(self._mu + moved, self.within[0]), self.within[1])

    def _check_state(self, state: Mapping[str, Any]) -> None:
        if not self.within[0] <= state["mu"] <= self.within[1]:
            raise ValueError(f"amft: mu of the state is {state['mu']}, not within {self.within}")

    def weights(self) -> dict[str, float]:
        """``{"rl": 1 - mu, "sft": mu}``."""
        return {"rl": 1.0 - self._mu, "sft": self._mu}


def meta_gradient(
    validation_grad: Sequence[Tensor | None],
    sft_grad: Sequence[Tensor | None],
    rl_grad: Sequence[Tensor | None],
    lr: float,
    *,
    normalized: bool = False,
) -> float:
    """``dL_val/dmu = -lr <grad L_val, grad L_sft - grad L_rl>``: of one step of gradient descent.

    The step goes from theta to ``theta' = theta - lr ((1 - mu) grad L_rl + mu grad L_sft)``. Exact
    with the validation gradient at theta', to first order in lr with that at theta. It is of plain
    gradient descent; Adam's step has another direction.

    Args:
        validation_grad: of the validation loss, one tensor per parameter.
        sft_grad: of the supervised loss, likewise.
        rl_grad: of the policy loss, likewise.
        lr: the step's learning rate.
        normalized: divide by ``lr |grad L_val| |grad L_sft - grad L_rl|``: minus their cosine, from
            -1 to 1, the same whatever the scale of the losses; 0 where one of the two is 0.

    Returns:
        A number, summed in float64. A parameter whose gradient is None counts as 0.

    Raises:
        ValueError: lists of different lengths, gradients of one parameter that differ in shape, or
            a learning rate that is not positive and finite.
    """
    if not 0.0 < lr < math.inf:
        raise ValueError(f"amft: lr is {lr}, it must be positive and finite")
    if not len(validation_grad) == len(sft_grad) == len(rl_grad):
        raise ValueError(
            f"amft: {len(validation_grad)} validation, {len(sft_grad)} sft and {len(rl_grad)} rl "
            "gradients; give one per parameter each, None for one that was not used"
        )
    product = squares = others = 0.0
    for at, given in enumerate(zip(validation_grad, sft_grad, rl_grad, strict=True)):
        shapes = {tuple(grad.shape) for grad in given if grad is not None}
        if not shapes:
            continue
        if len(shapes) > 1:
            raise ValueError(f"amft: the gradients of parameter {at} have the shapes {shapes}")
        like = next(grad for grad in given if grad is not None)
        zero = torch.zeros_like(like, dtype=torch.float64)
        val, sft, rl = (zero if grad is None else grad.detach().to(torch.float64) for grad in given)
        product += float((val * (sft - rl)).sum())
        squares += float(val.square().sum())
        others += float((sft - rl).square().sum())
    if not normalized:
        return -lr * product
    length = math.sqrt(squares) * math.sqrt(others)
    return 0.0 if length == 0.0 else -product / length
