"""DAPO's four switches: what does each of them do, and does the higher clip keep entropy?

    python -m reproductions dapo

The claim (arXiv 2503.14476): a clip that is higher above than below leaves the policy more entropy
than a symmetric one, at equal reward.

The task is that of `length_bias`, smaller: `53+71%=` is answered by `27` and then as many dots as
the policy likes. Demonstrations go on after each dot with a probability of 0.7, up to 12 dots. So
answers differ in length, without which two of the switches would do nothing.

The policy and the learner are those of `estimators_and_losses`, with 2 steps on each batch of 16
times 8 answers: without a second one no ratio is clipped. The arms, with the advantages of `grpo`:

- `full`: all of DAPO: the clip (0.2, 0.28); the mean over all tokens; `dapo_filter`, which drops
  the groups whose answers are all right or all wrong and generates for others; `overlong`, which
  takes up to 1 from answers longer than 8 tokens, 16 being the most;
- `symmetric_clip`: the same with the clip 0.2;
- `sequence_mean`: with the mean over answers of their means over tokens;
- `no_filter`: with every group as it comes;
- `no_overlong`: without what is taken from long answers.

5 seeds, which share the warm start, the order of prompts and the budget of generated tokens, those
included that the filter drops.

Measured at the end on 256 held-out problems, 8 answers each: pass@1, and entropy in nats per token.

The rule, of the entropy of `full` minus that of `symmetric_clip`: supported if the interval lies
above 0; refuted if its upper end is below 0.01 nats; else inconclusive. The claim is about equal
reward: it is inconclusive if the interval of the difference of pass@1 lies wholly beyond 0.05 on
either side. And inconclusive if in `symmetric_clip` the clip cut fewer than one token in a thousand
(the mean over all updates): there was then nothing to be higher than.

The other switches have no say in the verdict. Recorded of each, and of the clip, is what `full` has
more than the arm without it: pass@1 at the end and over the run, entropy, length, and the share of
answers with a zero advantage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from reproductions import length_bias
from reproductions.effects import compare, raised
from reproductions.rlvr import Arm, Budget, columns, comparison, last, logged, over_the_run, run

import rewardsmith as rs
from rewardsmith.testbeds.rlvr.bed import Bed

FULL, SYMMETRIC = "full", "symmetric_clip"
ARMS = (FULL, SYMMETRIC, "sequence_mean", "no_filter", "no_overlong")
MARGIN = 0.01
EQUAL = 0.05
ACTS = 0.001
CLAIM = (
    "A clip that is higher above than below leaves the policy more entropy than a symmetric one, "
    "at equal reward."
)
UNPROVED = [
    "What the switches do over thousands of steps, or with answers of thousands of tokens.",
    "That one switch does nothing where its effect is not seen: see the smallest that would be.",
    "Anything about pairs of switches: each is switched off alone.",
    "The masking of answers that were cut off, which DAPO also names: it is not tried.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    going_on: float = 0.7
    """After each dot, in demonstrations."""
    most: int = 12
    """Dots in demonstrations."""
    longest: int = 16
    """Tokens that an answer may have in training, its end included."""
    cache: int = 8
    """How many of them are punished."""
    low: float = 0.2
    high: float = 0.28
    epochs: int = 2
    bed: Bed = field(default_factory=Bed)
    """Its ``updates`` are not read: the tokens end a run."""
    budget: Budget = field(default_factory=lambda: Budget(tokens=60_000, points=3))


# --- the arms -------------------------------------------------------------------------------------


def reward_of(arm: str, settings: Settings) -> Any:
    """Right or wrong, and what is taken from long answers."""
    parts: dict[str, Any] = {"correct": rs.reward(length_bias.before_dots)}
    if arm != "no_overlong":
        parts["overlong"] = rs.signals.Overlong(settings.longest, settings.cache)
    return rs.WeightedSum(parts)


def arm_of(name: str, settings: Settings) -> Arm:
    """What an arm trains with."""
    high = settings.low if name == SYMMETRIC else settings.high
    mode = "seq-mean-token-mean" if name == "sequence_mean" else "token-mean"
    return Arm(
        loss=("dapo", {"clip": (settings.low, high), "aggregation": mode}),
        # Of a sum with a length in it nearly every group differs: it is the check that has to.
        sampler=None if name == "no_filter" else {"dapo_filter": {"measure": "correct"}},
        reward=reward_of(name, settings),
        config={"num_iterations": settings.epochs},
    )


def train(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run."""
    task = length_bias.rambling(
        length_bias.Settings(
            going_on=settings.going_on, most=settings.most, longest=settings.longest
        )
    )
    return run(task, arm_of(arm, settings), seed, settings.bed, settings.budget)


# --- the verdict ----------------------------------------------------------------------------------


def judge(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The rule of the module's docstring; ``runs`` are those of each arm, by seed."""

    def more(arm: str, read: Any, name: str) -> dict[str, Any]:
        return compare(read(runs[FULL], name), read(runs[arm], name))

    entropy = more(SYMMETRIC, last, "entropy")
    reward = more(SYMMETRIC, last, "pass@1")
    guard = None
    if np.mean(logged(runs[SYMMETRIC], "clipped")) < ACTS:
        guard = "the symmetric clip did not act"
    elif reward["low"] > EQUAL or reward["high"] < -EQUAL:
        guard = "the arms' rewards are not equal"
    return {
        "verdict": "inconclusive" if guard else raised(entropy, MARGIN),
        "guard": guard,
        "effects": {
            f"entropy_{FULL}_minus_{SYMMETRIC}": entropy,
            f"pass@1_{FULL}_minus_{SYMMETRIC}": reward,
        },
        "beside": {
            f"{FULL}_minus_{arm}": {
                "pass@1": more(arm, last, "pass@1"),
                "pass@1_over_the_run": more(arm, over_the_run, "pass@1"),
                "entropy": more(arm, last, "entropy"),
                "length": more(arm, last, "length"),
                "zero_advantage": more(arm, logged, "zero_advantage"),
            }
            for arm in ARMS
            if arm != FULL
        },
        "arms": {arm: columns(told) for arm, told in runs.items()},
    }


REPRODUCTION = comparison(
    ARMS,
    judge,
    id="dapo",
    method="dapo",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    train=train,
)
