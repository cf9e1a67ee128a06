"""The estimators of a KL, exactly: bias and variance of their values and gradients.

    python -m reproductions kl_estimators

The claim (Schulman 2020, "Approximating KL divergence", and what was found about gradients since):
k1 and k3 have the KL as their expected value, k3 with less variance; the gradient of k2 is that of
the KL, those of k1 and k3 are not.

Nothing is sampled. `EnumerableLM` lists the 341 answers of at most 4 of 5 tokens; the reference has
normal logits with the standard deviation 1, the policy is the reference plus normal noise, scaled
so that the KL of whole answers is 0.01, 0.1 and 1 (noise that never gets there is drawn again). 10
seeds draw both. An estimator is the sum of
`kl` over the tokens of one answer of the policy; averages of n answers have the same bias, and the
variance over n. Added is `reward`: k1 in the reward, summed into returns (`kl_in_reward`), which
has a gradient alone.

Measured, in parts of the KL and of the length of its gradient:

- the bias and the standard deviation of the value;
- the bias of the gradient (the length of expected minus true) against two truths: the gradient of
  the *next token's* KL, at prefixes as they come, and that of the KL of the *whole* answer, to
  which a token also contributes by what comes after it;
- the standard deviation of the gradient: the root of the expected squared distance from its mean.

The rule: the claim is supported if at every KL and in every seed the biases of the values of k1 and
k3 and of the gradient of k2 (next token) are below 1e-8, those of the gradients of k1 and k3 above
1e-3, and the standard deviation of k3 is below that of k1; refuted if one of these is not so in
the mean over seeds at some KL; else inconclusive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import torch
from reproductions.effects import all_of, spread
from reproductions.runner import Key, Reproduction, Runs
from torch import Tensor

from rewardsmith.policy.advantages.returns import discounted_returns
from rewardsmith.policy.kl import kl, kl_in_reward
from rewardsmith.testbeds import EnumerableLM

ESTIMATORS = ("k1", "k2", "k3", "abs", "reward")
MEASURES = ("value_bias", "value_sd", "next_token_bias", "whole_bias", "gradient_sd")
NONE, SOME = 1e-8, 1e-3
FAR = 16.0
CLAIM = (
    "k1 and k3 have the KL as their expected value, k3 with less variance; the gradient of k2 is "
    "that of the KL, those of k1 and k3 are not."
)
UNPROVED = [
    "How large biases and variances are between language models: vocabularies, lengths and the "
    "direction in which a policy leaves its reference are others there.",
    "What any of it does to training.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    vocabulary: int = 5
    longest: int = 4
    spread: float = 1.0
    divergences: list[float] = field(default_factory=lambda: [0.01, 0.1, 1.0])


# --- the policies ---------------------------------------------------------------------------------


def pair(seed: int, divergence: float, settings: Settings) -> tuple[EnumerableLM, EnumerableLM]:
    """A policy and its reference with that KL between their answers."""
    sizes = (1, settings.vocabulary, settings.longest)
    ref = EnumerableLM.random(*sizes, spread=settings.spread, seed=1000 * seed)

    def away(size: float) -> EnumerableLM:
        return EnumerableLM(ref.logits.detach() + size * noise, settings.longest)

    for number in count(1000 * seed + 1):
        noise = EnumerableLM.random(*sizes, seed=number).logits.detach()
        # Far away all mass is on one answer; if that is a likely one, the KL stays small.
        if away(FAR).kl(ref).item() > divergence:
            break
    low, high = 0.0, FAR
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if away(middle).kl(ref).item() < divergence else (low, middle)
    return away(high), ref


def next_token_kl(lm: EnumerableLM, ref: EnumerableLM) -> Tensor:
    """The expected sum of the next tokens' KL, at the prefixes where the policy arrives as it is.

    It is the KL of whole answers, with the part of the gradient that is each token's own.
    """
    own, its = lm.logits.log_softmax(-1), ref.logits.detach().log_softmax(-1)
    each = (own.exp() * (own - its)).sum(dim=-1)
    return (lm.probability().detach()[..., None] * each[:, lm.prefix] * lm.mask).sum()


# --- what is measured -----------------------------------------------------------------------------


def measured(divergence: float, seed: int, settings: Settings) -> dict[str, dict[str, float]]:
    """What :data:`MEASURES` names, of each estimator."""
    lm, ref = pair(seed, divergence, settings)
    logprob, ref_logprob = lm.logprob()[0], ref.logprob()[0].detach()
    chance = lm.probability()[0].detach()
    true_kl = lm.kl(ref)
    whole = lm.gradient(true_kl).flatten()
    own = lm.gradient(next_token_kl(lm, ref)).flatten()
    told = {}
    for name in ESTIMATORS:
        if name == "reward":
            nothing = torch.zeros_like(ref_logprob)
            paid = kl_in_reward(nothing, logprob.detach(), ref_logprob, lm.mask, coefficient=1.0)
            descended = -(discounted_returns(paid, lm.mask) * logprob).sum(dim=1)
            value = None
        else:
            descended = kl(logprob, ref_logprob, lm.mask, estimator=name).sum(dim=1)  # type: ignore[arg-type]
            value = descended.detach()
        rows = by_answer(descended, lm)
        mean = chance @ rows
        size = float(whole.norm())
        told[name] = {
            "next_token_bias": float((mean - own).norm() / own.norm()),
            "whole_bias": float((mean - whole).norm()) / size,
            "gradient_sd": float((chance @ (rows - mean).square().sum(dim=1)).sqrt()) / size,
        }
        if value is not None:
            off = float(chance @ value) / true_kl.item() - 1.0
            about = (chance @ (value - chance @ value).square()).sqrt()
            told[name] |= {"value_bias": off, "value_sd": float(about) / true_kl.item()}
    return told


def by_answer(descended: Tensor, lm: EnumerableLM) -> Tensor:
    """The gradient of each answer's term: [A, logits]."""
    every = torch.eye(len(descended), dtype=torch.float64)
    (rows,) = torch.autograd.grad(
        descended, lm.logits, every, is_grads_batched=True, retain_graph=True
    )
    return rows.flatten(1)


# --- the verdict ----------------------------------------------------------------------------------


def judge(runs: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]]) -> dict[str, Any]:
    """The rule of the module's docstring; ``runs`` are those of each KL, by seed."""
    facts: dict[str, list[list[float]]] = {"values": [], "gradients": [], "variance": []}
    for told in runs.values():

        def of(name: str, measure: str, told: Any = told) -> list[float]:
            return [abs(run[name][measure]) for run in told]

        # What has to be below 0.
        facts["values"] += [[x - NONE for x in of(name, "value_bias")] for name in ("k1", "k3")]
        facts["gradients"] += [
            [x - NONE for x in of("k2", "next_token_bias")],
            *([SOME - x for x in of(name, "next_token_bias")] for name in ("k1", "k3")),
        ]
        both = zip(of("k3", "value_sd"), of("k1", "value_sd"), strict=True)
        facts["variance"].append([three - one for three, one in both])
    parts = {}
    for part, rows in facts.items():
        every = all(x < 0 for row in rows for x in row)
        mean = all(np.mean(row) < 0 for row in rows)
        parts[part] = "supported" if every else "inconclusive" if mean else "refuted"
    return {"verdict": all_of(parts), "parts_of_the_claim": parts}


# --- the record -----------------------------------------------------------------------------------


def keys(settings: Settings, seeds: Sequence[int]) -> list[Key]:
    """Every pair of policies."""
    return [
        {"kl": of, "seed": seed, "settings": settings}
        for seed in seeds
        for of in settings.divergences
    ]


def results(runs: Runs, settings: Settings, seeds: Sequence[int]) -> dict[str, Any]:
    """What the record tells."""
    found = {str(of): runs.of(kl=of) for of in settings.divergences}
    return {
        **judge(found),
        "table": {
            of: {
                name: {
                    measure: spread([run[name][measure] for run in told])
                    for measure in MEASURES
                    if measure in told[0][name]
                }
                for name in ESTIMATORS
            }
            for of, told in found.items()
        },
    }


def budget(settings: Settings, seeds: Sequence[int]) -> dict[str, int]:
    """What is spent."""
    return {"policies": len(keys(settings, seeds)), "sampled": 0}


REPRODUCTION = Reproduction(
    id="kl_estimators",
    method="kl",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    seeds=range(10),
    keys=keys,
    train=measured,
    judge=results,
    budget=budget,
)
