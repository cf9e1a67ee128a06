"""The losses, and a batch to try them on."""

import warnings
from functools import partial

import pytest
import torch

from rewardsmith.policy.losses.aggregation import Mode
from rewardsmith.policy.losses.clipping import dapo, ppo
from rewardsmith.policy.losses.covariance import clip_cov, kl_cov
from rewardsmith.policy.losses.detached import cispo, policy_gradient
from rewardsmith.policy.losses.divergence import dppo, dro
from rewardsmith.policy.losses.dynamic_bounds import dcpo
from rewardsmith.policy.losses.elastic import etr
from rewardsmith.policy.losses.hybrid import dhpo
from rewardsmith.policy.losses.retried import herl
from rewardsmith.policy.losses.sequence_ratio import gmpo, gspo
from rewardsmith.policy.losses.soft_gate import sapo, vespo
from rewardsmith.policy.losses.tokens import PolicyLoss

MODES = Mode.__args__


def _policy_gradient(logprob, old_logprob, advantage, mask, **options) -> PolicyLoss:
    return policy_gradient(logprob, advantage, mask, **options)


def _etr(logprob, old_logprob, advantage, mask, **options) -> PolicyLoss:
    variance = torch.full((len(logprob),), 0.8, device=logprob.device)
    return etr(logprob, old_logprob, advantage, mask, variance, **options)


def _by_entropy(logprob, old_logprob, advantage, mask, **options) -> PolicyLoss:
    return dhpo(logprob, old_logprob, advantage, mask, -old_logprob, mix="entropy", **options)


# Bounds so narrow that the random batches cross them.
LOSSES = {
    "ppo": partial(ppo, clip=(0.1, 0.2), dual_clip=1.5),
    "dapo": dapo,
    "herl": partial(herl, clip=0.15),
    "gspo": partial(gspo, clip=0.02),
    "gmpo": partial(gmpo, clip=(0.1, 0.2)),
    "policy_gradient": _policy_gradient,
    "cispo": partial(cispo, upper=1.2, lower=0.9),
    "sapo": sapo,
    "vespo": vespo,
    # All candidates are dropped, so that nothing is random.
    "clip_cov": partial(clip_cov, share=1.0, band=(0.3, 1.5)),
    "kl_cov": partial(kl_cov, share=0.2),
    "dppo_tv": partial(dppo, bound=(0.02, 0.03)),
    "dppo_kl": partial(dppo, divergence="kl", bound=0.002),
    "dro": partial(dro, beta=0.7),
    "dcpo": dcpo,
    "dhpo": partial(dhpo, mix=0.3, clip=(0.1, 0.2)),
    "dhpo_entropy": _by_entropy,
    "etr": partial(_etr, clip=0.15),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def batch(n: int = 6, t: int = 9, seed: int = 0, dtype=torch.float64) -> dict[str, torch.Tensor]:
    """Ragged rows with holes; the last row has no token."""
    g = torch.Generator().manual_seed(seed)
    old = torch.rand(n, t, generator=g, dtype=torch.float64).mul(0.9).add(0.05).log()
    new = -(old + 0.25 * torch.randn(n, t, generator=g, dtype=torch.float64)).abs()
    mask = torch.rand(n, t, generator=g) < 0.7
    mask[:, 0], mask[-1] = True, False
    mask[1, t // 2 :] = False
    advantage = torch.randn(n, generator=g, dtype=torch.float64)
    advantage[2 % n] = 0.0
    return {
        "logprob": new.to(dtype),
        "old_logprob": old.to(dtype),
        "advantage": advantage.to(dtype),
        "mask": mask,
    }


def descend(loss, logprob, old_logprob, advantage, mask, **options):
    """The loss's value and its gradient."""
    leaf = logprob.detach().clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        value = loss(leaf, old_logprob, advantage, mask, **options).loss
    value.backward()
    return value.detach(), leaf.grad


def same(left, right):
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
