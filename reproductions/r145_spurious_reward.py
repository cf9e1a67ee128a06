"""145, spurious rewards: what the clip does to entropy where the reward says nothing.

    python -m reproductions 145

The claim, where everything but the sampling is exact: trained with GRPO on a reward that is a coin
toss, a policy loses entropy because its updates are clipped, and not without the clip (arXiv
2512.16912).

The policy. `EnumerableLM`: 8 prompts, 5 tokens, answers of at most 4 (341 of them), logits drawn
from a normal distribution with the standard deviation 2 ("skewed": the likeliest token has 0.6 in
the median) or 0.5 ("flat", beside).

The learner. 100 rollouts of 16 answers for each prompt; on each, 4 steps of plain gradient descent
on the whole rollout with the advantages of `grpo` and the loss of `ppo`, summed over tokens and
averaged over the 16 answers of a prompt. The learning rate, 1, was set on seeds 100 to 102 so that
about a tenth of the tokens is clipped in the fourth step, and nothing else was looked at then. The
arms differ in the reward and the clip:

- `clip`: reward 1 or 0 by a coin, clip 0.2;
- `no_clip`: the same without the clip;
- `flip_25`, `flip_10`, `true`: the reward is whether the answer is right (by a table in which 3 of
  10 answers are, whatever their probability), flipped for 25 %, 10 % and none of the answers; clip
  0.2. Flipped for 50 % it would be the coin;
- `entropy_only`: no reward; as many steps of the same rate down the exact entropy.

10 seeds, which give all arms the same policy, the same table and the same random numbers.

Measured is the exact entropy of whole answers after each rollout, its slope (least squares over the
run, times the number of rollouts, in parts of the entropy at the start), and the exact accuracy.
`spurious_reward_check` reads the log of every update: the share of tokens of the fourth steps whose
gradient the clip cut, and the slope of the entropy per token, in the same unit. Intervals are the
95 % bootstrap over seeds. The rule is for the skewed start. The fall is minus the slope; two
hundredths of the entropy at the start is the margin.

- *With the clip* the entropy falls: refuted if the interval of the fall in `clip` lies below the
  margin, else supported if it lies above 0, else inconclusive.
- *By less without it*: the same of the fall in `clip` minus the fall in `no_clip` of the same seed.
- *Not without it*: refuted if the interval of the fall in `no_clip` lies above 0, else supported if
  it lies below the margin, else inconclusive.

The claim is refuted if a part is, supported if all are, else inconclusive; and inconclusive too if
the clip cut less than 1 % of the tokens of the fourth step (it did not act).

The rule was changed after the first run, which the record counts too: that one judged the second
part alone, and called it the claim. The runs are the same.

Recorded without a say in the verdict: the same for the flat start, the slopes that are read off the
log, and what becomes of the accuracy in every arm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from reproductions.effects import all_of, by_seed, compare, judged, mean_curve, spread
from reproductions.runner import Key, Reproduction, Runs

from rewardsmith.audit.spurious import LoggedUpdate, spurious_reward_check
from rewardsmith.policy.advantages.group_relative import grpo
from rewardsmith.policy.losses.aggregation import Aggregation
from rewardsmith.policy.losses.clipping import ppo
from rewardsmith.testbeds import EnumerableLM

FLIPS = {"clip": 0.5, "no_clip": 0.5, "flip_25": 0.25, "flip_10": 0.1, "true": 0.0}
"""For how many of the answers the reward is the wrong one."""
ARMS = (*FLIPS, "entropy_only")
STARTS = {"skewed": 2.0, "flat": 0.5}
MEASURES = ("slope", "entropy_change", "accuracy_change")
LOGGED = ("clipped", "logged_slope")
"""What the log tells of arms with a reward."""
MARGIN, ACTS = 0.02, 0.01
UNBOUNDED = (1.0 - 1e-12, 1e12)
"""A clip that no ratio reaches."""
CLAIM = (
    "Under a reward that is a coin toss, a policy loses entropy because its updates are clipped, "
    "and not without the clip."
)
UNPROVED = [
    "Anything about language models: this is a table of logits in which no prefix shares a "
    "parameter with another, and steps are plain gradient descent.",
    "That the effect grows or shrinks with the number of steps per rollout, the group or the rate.",
    "The paper's account of why random rewards can raise accuracy (reward misalignment): here "
    "right answers are right whatever their probability.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    prompts: int = 8
    vocabulary: int = 5
    longest: int = 4
    group: int = 16
    rollouts: int = 100
    epochs: int = 4
    learning_rate: float = 1.0
    clip: float = 0.2
    right: float = 0.3


# --- the learner ----------------------------------------------------------------------------------


def train(arm: str, start: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run: what :data:`MEASURES` and :data:`LOGGED` name, and the curves of both numbers."""
    lm = EnumerableLM.random(
        settings.prompts,
        settings.vocabulary,
        settings.longest,
        spread=STARTS[start],
        seed=seed,
    )
    generator = torch.Generator().manual_seed(1_000_000 + seed)
    shape = (settings.prompts, len(lm.tokens))
    right = torch.rand(shape, dtype=torch.float64, generator=generator) < settings.right
    entropy, accuracy = [lm.entropy().item()], [lm.objective(right.double()).item()]
    log: list[LoggedUpdate] = []
    for _ in range(settings.rollouts):
        if arm == "entropy_only":
            for _ in range(settings.epochs):
                descend(lm, settings.prompts * lm.entropy(), settings.learning_rate)
        else:
            log += learn(lm, arm, right, generator, settings)
        entropy.append(lm.entropy().item())
        accuracy.append(lm.objective(right.double()).item())
    slope = np.polyfit(np.arange(len(entropy)), entropy, 1)[0] * settings.rollouts / entropy[0]
    return {
        "slope": round(float(slope), 6),
        "entropy_change": round(entropy[-1] / entropy[0] - 1.0, 6),
        "accuracy_change": round(accuracy[-1] - accuracy[0], 6),
        **(read(log, arm, settings) if log else {}),
        "entropy": np.round(entropy, 4).tolist(),
        "accuracy": np.round(accuracy, 4).tolist(),
    }


def learn(
    lm: EnumerableLM,
    arm: str,
    right: torch.Tensor,
    generator: torch.Generator,
    settings: Settings,
) -> list[LoggedUpdate]:
    """One rollout and its steps; what each of them was computed from."""
    sample = lm.sample(settings.group, generator)
    flip = torch.rand(len(sample.answer), dtype=torch.float64, generator=generator) < FLIPS[arm]
    rewards = (right[sample.prompt, sample.answer] ^ flip).double()
    advantage = grpo(rewards, sample.prompt).values
    log = []
    for _ in range(settings.epochs):
        logprob = lm.logprob()[sample.prompt, sample.answer]
        found = ppo(
            logprob,
            sample.logprob,
            advantage,
            sample.mask,
            clip=bounds_of(arm, settings),
            aggregation=Aggregation("seq-mean-token-sum", sequences=settings.group),
        )
        log.append(LoggedUpdate(logprob.detach(), sample.logprob, advantage, sample.mask))
        descend(lm, found.loss, settings.learning_rate)
    return log


def bounds_of(arm: str, settings: Settings) -> float | tuple[float, float]:
    """The clip of an arm."""
    return UNBOUNDED if arm == "no_clip" else settings.clip


def read(log: Sequence[LoggedUpdate], arm: str, settings: Settings) -> dict[str, float]:
    """What :data:`LOGGED` names, by our audit."""
    told = spurious_reward_check(log, clip=bounds_of(arm, settings))
    cut = np.add(told.clipped_high, told.clipped_low)[settings.epochs - 1 :: settings.epochs]
    slope = told.entropy_slope * len(log) / told.entropy[0]
    return {"clipped": round(float(cut.mean()), 6), "logged_slope": round(slope, 6)}


def descend(lm: EnumerableLM, loss: torch.Tensor, rate: float) -> None:
    """One step of plain gradient descent."""
    step = lm.gradient(loss)
    with torch.no_grad():
        lm.logits -= rate * step


# --- the verdict ----------------------------------------------------------------------------------


def judge(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The rule of the module's docstring; ``runs`` are those of each arm, by seed."""
    values = {
        arm: {name: [run[name] for run in told] for name in names(arm)}
        for arm, told in runs.items()
    }
    clip, no_clip = ([-slope for slope in values[arm]["slope"]] for arm in ("clip", "no_clip"))
    effects = {
        "fall_clip": spread(clip),
        "fall_clip_minus_no_clip": compare(clip, no_clip),
        "fall_no_clip": spread(no_clip),
    }
    parts = {
        "falls_with_the_clip": judged(effects["fall_clip"], MARGIN),
        "by_less_without_it": judged(effects["fall_clip_minus_no_clip"], MARGIN),
        "not_without_it": absent(effects["fall_no_clip"], MARGIN),
    }
    guard = "the clip did not act" if np.mean(values["clip"]["clipped"]) < ACTS else None
    beside = {
        f"accuracy_{arm}_minus_true": compare(
            values[arm]["accuracy_change"], values["true"]["accuracy_change"]
        )
        for arm in ARMS
        if arm != "true"
    }
    beside["logged_slope_no_clip_minus_clip"] = compare(
        values["no_clip"]["logged_slope"], values["clip"]["logged_slope"]
    )
    return {
        "verdict": "inconclusive" if guard else all_of(parts),
        "parts": parts,
        "guard": guard,
        "effects": effects,
        "beside": beside,
        "arms": {arm: {name: by_seed(told) for name, told in values[arm].items()} for arm in ARMS},
    }


def names(arm: str) -> tuple[str, ...]:
    """What is measured in an arm."""
    return MEASURES if arm == "entropy_only" else MEASURES + LOGGED


def absent(effect: Mapping[str, Any], margin: float) -> str:
    """Refuted if there is a rise at all, else supported if one by the margin is excluded."""
    if effect["low"] > 0:
        return "refuted"
    return "supported" if effect["high"] < margin else "inconclusive"


# --- the record -----------------------------------------------------------------------------------


def keys(settings: Settings, seeds: Sequence[int]) -> list[Key]:
    """Every run."""
    return [
        {"arm": arm, "start": start, "seed": seed, "settings": settings}
        for start in STARTS
        for seed in seeds
        for arm in ARMS
    ]


def told(runs: Runs, start: str) -> dict[str, Any]:
    """Verdict, effects and arms from one start."""
    found = runs.by_arm(ARMS, start=start)
    told = judge(found)
    for arm in ARMS:
        told["arms"][arm]["curve"] = {
            name: mean_curve([run[name] for run in found[arm]])[::10]
            for name in ("entropy", "accuracy")
        }
    return told


def results(runs: Runs, settings: Settings, seeds: Sequence[int]) -> dict[str, Any]:
    """What the record tells."""
    return {**told(runs, "skewed"), "flat": told(runs, "flat")}


def budget(settings: Settings, seeds: Sequence[int]) -> dict[str, int]:
    """What is spent."""
    return {
        "answers_per_run": settings.rollouts * settings.group * settings.prompts,
        "steps_per_run": settings.rollouts * settings.epochs,
        "runs": len(keys(settings, seeds)),
    }


REPRODUCTION = Reproduction(
    id="145",
    method="spurious-reward-audit",
    paper="2512.16912",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    seeds=range(10),
    keys=keys,
    train=train,
    judge=results,
    budget=budget,
)
