"""132, the boundary of RLVR: first what is known already gains, then what is rare.

    python -m reproductions 132

The claim has two parts (arXiv 2510.04028). *Two stages*: the expected policy gradient first moves
mass to the good answer that is sampled already, and only when that saturates does a better one gain
that is rarely sampled. *Negatives only*: learning from advantages below 0 alone keeps training
useful for longer.

**Two stages** is exact. A softmax over three answers with the rewards 0.9, 0.2 and 1 begins at
0.7, 0.29 and 0.01, and follows its expected gradient, ``dz_a / dt = pi_a (Q_a - V)`` with
``V = sum_a pi_a Q_a`` (Runge-Kutta of order 4, steps of 2) until the time 100,000. That part is
supported if the best answer is no more likely than at the start (within a tenth of that) when the
second best has reached 0.9, and has 0.5 or more in the end; else refuted.

**Negatives only** is learned on `EnumerableLM`: 8 prompts, 5 tokens, answers of at most 4 (341 of
them), logits drawn from a normal distribution with the standard deviation 2. One answer of twenty
is right, drawn whatever its probability; each prompt has one at least. Rollouts are of 16 answers
for each prompt, with one step of plain gradient descent on `ppo` at the rate 1, summed over tokens
and averaged over the answers of a prompt; training ends with the rollout in which 60,000 tokens
have been generated. The arms differ in the advantage:

- `grpo`: those of `grpo`;
- `negatives`: those of `negatives_only`, which are the same where they are below 0, and else 0;
- `negatives_double` (beside): the same with the rate 2, for half of the gradient is left out.

10 seeds, which give all arms the same policy, the same answers and the same random numbers.

Measured are the exact pass@1 and pass@64 at the end, and on the way. Intervals are the 95 %
bootstrap over seeds of the difference between arms of the same seed. With E1 and E64 = `negatives`
minus `grpo` in those, the part is

- inconclusive if the worse arm's mean pass@64 is above 0.98 (at the ceiling);
- else refuted if both intervals lie below 0 (it loses both);
- else supported if E64's interval lies above 0;
- else inconclusive.

The claim is refuted if a part is, supported if both are, else inconclusive. Recorded without a say:
the start, how many right answers of a prompt have 1/64 or more, what became of the right answers
that had less than 1/1000 at the start, and the arm with the double rate.

This is the second try of the first part. The first stopped at the time 4000 (steps of 0.5), which
was too short to see a rise, and said "refuted": the best answer had fallen to 0.0005 by then, and
was about to turn. Nothing but the time and its steps was changed, and the second part came out the
same, for its seeds are. Added after the verdict was in: `easier`, where one answer of five is
right, so that negatives have more to tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from reproductions.effects import all_of, by_seed, compare, mean_curve
from reproductions.runner import Key, Reproduction, Runs
from reproductions.tabular import softmax

from rewardsmith.policy.advantages.group_relative import grpo
from rewardsmith.policy.advantages.negatives import negatives_only
from rewardsmith.policy.losses.aggregation import Aggregation
from rewardsmith.policy.losses.clipping import ppo
from rewardsmith.testbeds import EnumerableLM

EASIER = {"right": 0.2}

ARMS = ("grpo", "negatives", "negatives_double")
MEASURES = ("pass_1", "pass_64", "in_reach", "rare_mass")
CEILING = 0.98
Q, START = np.array([0.9, 0.2, 1.0]), np.array([0.7, 0.29, 0.01])
CLAIM = (
    "The expected policy gradient first moves mass to good answers that are sampled already, and "
    "to a rare better one when those saturate; learning from negative advantages alone keeps "
    "answers within reach that learning from all loses."
)
UNPROVED = [
    "Anything about language models or the paper's sizes of effect: this is a table of logits in "
    "which no prefix shares a parameter with another, so nothing generalizes.",
    "That the boundary grows: a policy that gives every answer a probability has no answer that "
    "it cannot reach.",
    "The exact normalization of the relative negative gradient, which is reconstructed here, and "
    "its combination with a sequence-level ratio.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    prompts: int = 8
    vocabulary: int = 5
    longest: int = 4
    spread: float = 2.0
    right: float = 0.05
    group: int = 16
    tokens: int = 60_000
    learning_rate: float = 1.0
    blocks: int = 20
    time: float = 100_000.0
    step: float = 2.0


# --- two stages -----------------------------------------------------------------------------------


def flow(settings: Settings) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times [n], and the three probabilities [n, 3] along the expected gradient."""

    def slope(z: NDArray[np.float64]) -> NDArray[np.float64]:
        pi = softmax(z)
        return np.asarray(pi * (Q - pi @ Q))

    h, z = settings.step, np.log(START)
    times = h * np.arange(round(settings.time / h) + 1)
    path = [softmax(z)]
    for _ in times[1:]:
        a = slope(z)
        b = slope(z + h / 2 * a)
        c = slope(z + h / 2 * b)
        d = slope(z + h * c)
        z = z + h / 6 * (a + 2 * b + 2 * c + d)
        path.append(softmax(z))
    return times, np.array(path)


def stages(settings: Settings) -> dict[str, Any]:
    """When the second best answer saturates, and when the best one gains."""
    times, path = flow(settings)
    second, best = path[:, 0], path[:, 2]
    saturated = int((second >= 0.9).argmax())
    lowest = int(best.argmin())
    found = bool(second.max() >= 0.9)
    held = found and best[saturated] <= 1.1 * START[2] and best[-1] >= 0.5
    return {
        "verdict": "supported" if held else "refuted",
        "second_best_saturates_at": float(times[saturated]) if found else None,
        "best_when_it_does": round(float(best[saturated]), 6) if found else None,
        "best_is_lowest": {"at": float(times[lowest]), "is": round(float(best[lowest]), 6)},
        "best_is_back_at": _first(times[lowest:], best[lowest:] >= START[2]),
        "best_has_half_at": _first(times, best >= 0.5),
        "end": path[-1].round(6).tolist(),
    }


def _first(times: NDArray[np.float64], holds: NDArray[np.bool_]) -> float | None:
    return float(times[holds.argmax()]) if holds.any() else None


# --- negatives only -------------------------------------------------------------------------------


def world(seed: int, settings: Settings) -> tuple[EnumerableLM, torch.Tensor]:
    """A policy, and which answers are right [P, A]."""
    sizes = (settings.prompts, settings.vocabulary, settings.longest)
    lm = EnumerableLM.random(*sizes, spread=settings.spread, seed=seed)
    generator = torch.Generator().manual_seed(1_000_000 + seed)
    noise = torch.rand((settings.prompts, len(lm.tokens)), generator=generator)
    right = noise < settings.right
    right[torch.arange(settings.prompts), noise.argmin(dim=1)] = True
    return lm, right


def train(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run: what :data:`MEASURES` names, at the start and in each block."""
    lm, right = world(seed, settings)
    generator = torch.Generator().manual_seed(2_000_000 + seed)
    rare = right & (lm.probability().detach() < 1e-3)
    told: dict[str, list[float]] = {name: [] for name in MEASURES}
    told["tokens"] = []

    def tell() -> None:
        probability = lm.probability().detach()
        told["pass_1"].append(float(lm.pass_at_k(right, 1).detach()))
        told["pass_64"].append(float(lm.pass_at_k(right, 64).detach()))
        reach = (right & (probability >= 1 / 64)).sum(dim=1).double().mean()
        told["in_reach"].append(float(reach))
        told["rare_mass"].append(float((probability * rare).sum(dim=1).mean()))
        told["tokens"].append(spent)

    spent = 0
    tell()
    rate = settings.learning_rate * (2.0 if arm == "negatives_double" else 1.0)
    for block in range(1, settings.blocks + 1):
        while spent < settings.tokens * block / settings.blocks:
            sample = lm.sample(settings.group, generator)
            spent += int(sample.mask.sum())
            rewards = right[sample.prompt, sample.answer].double()
            of = grpo if arm == "grpo" else negatives_only
            loss = ppo(
                lm.logprob()[sample.prompt, sample.answer],
                sample.logprob,
                of(rewards, sample.prompt).values,
                sample.mask,
                aggregation=Aggregation("seq-mean-token-sum", sequences=settings.group),
            ).loss
            step = lm.gradient(loss)
            with torch.no_grad():
                lm.logits -= rate * step
        tell()
    return {name: np.round(values, 6).tolist() for name, values in told.items()}


# --- the verdict ----------------------------------------------------------------------------------


def judge(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The rule for negatives only; ``runs`` are those of each arm, by seed."""
    last = {
        arm: {name: [run[name][-1] for run in told] for name in MEASURES}
        for arm, told in runs.items()
    }
    effects = {
        f"{name}_negatives_minus_grpo": compare(last["negatives"][name], last["grpo"][name])
        for name in MEASURES
    }
    beside = {
        f"{name}_negatives_double_minus_grpo": compare(
            last["negatives_double"][name], last["grpo"][name]
        )
        for name in MEASURES
    }
    ends = [float(np.mean(last[arm]["pass_64"])) for arm in ("grpo", "negatives")]
    one, many = (effects[f"{name}_negatives_minus_grpo"] for name in ("pass_1", "pass_64"))
    if min(ends) > CEILING:
        verdict = "inconclusive"
    elif one["high"] < 0 and many["high"] < 0:
        verdict = "refuted"
    else:
        verdict = "supported" if many["low"] > 0 else "inconclusive"
    return {
        "verdict": verdict,
        "guard": "at the ceiling" if min(ends) > CEILING else None,
        "effects": effects,
        "beside": beside,
    }


# --- the record -----------------------------------------------------------------------------------


def easier(settings: Settings) -> Settings:
    """What was added after the verdict."""
    return replace(settings, **EASIER)


def keys(settings: Settings, seeds: Sequence[int]) -> list[Key]:
    """Every run."""
    return [
        {"arm": arm, "seed": seed, "settings": which}
        for which in (settings, easier(settings))
        for seed in seeds
        for arm in ARMS
    ]


def told(runs: Runs, settings: Settings) -> dict[str, Any]:
    """Verdict, effects, start and arms of negatives only."""
    found = runs.by_arm(ARMS, settings=settings)
    arms: dict[str, Any] = {}
    for arm, of in found.items():
        arms[arm] = {name: by_seed([run[name][-1] for run in of]) for name in MEASURES}
        arms[arm]["curve"] = {
            name: mean_curve([run[name] for run in of]) for name in (*MEASURES, "tokens")
        }
    start = {name: arms["grpo"]["curve"][name][0] for name in MEASURES}
    return {**judge(found), "start": start, "arms": arms}


def results(runs: Runs, settings: Settings, seeds: Sequence[int]) -> dict[str, Any]:
    """What the record tells."""
    exact, learned = stages(settings), told(runs, settings)
    parts = {"two_stages": exact["verdict"], "negatives_only": learned["verdict"]}
    return {
        "two_stages": exact,
        **learned,
        "verdict": all_of(parts),
        "parts_of_the_claim": parts,
        "easier": told(runs, easier(settings)),
    }


def budget(settings: Settings, seeds: Sequence[int]) -> dict[str, int]:
    """What is spent."""
    return {"tokens_per_run": settings.tokens, "runs": len(keys(settings, seeds))}


REPRODUCTION = Reproduction(
    id="132",
    method="negatives_only",
    paper="2510.04028",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    seeds=range(10),
    keys=keys,
    train=train,
    judge=results,
    budget=budget,
)
