"""126, DOT: cut the longest of answers that are all correct (arXiv 2601.03969).

    python -m reproductions 126

The claim: where every answer of a group is correct, cutting those that are far longer than the
others, and scoring them again, with DOT's sampler and its loss, shortens answers to easy problems
at no loss on hard ones.

The task, `thinking`: answers like `.....#124`, fillers, a marker and the answer; easy problems
(four digits to copy) and hard ones (sums of two numbers of two digits) by turns. Demonstrations
have 4 fillers in the mean, at most 24 and, one in fifty, 18 or more. Hard ones are right with
probability (min(n, 3) + 1) / 4 after n fillers, easy ones always: in the demonstrations thinking
pays on hard problems only.

The policy. A Llama of 89,000 weights, warm-started on such demonstrations until a fifth of its
answers are right or more, and a tenth of those to hard problems. All arms of a seed share the warm
start, the order of prompts and the budget of generated tokens, in which DOT's prompts count that it
generates for and drops.

The learner. 8 problems times 32 answers a batch (in groups of 10 or fewer nothing can lie 3
standard deviations above the mean, and DOT does nothing), 2 steps of AdamW on each batch (in the
first, `kl_cov` holds nothing), no KL term, answers of 30 tokens at most. The arms:

- `grpo`: advantages of `grpo`, `ppo`, the reward of the task;
- `linear`: the same, with 0.5 L / 30 taken from the reward of every answer of L tokens;
- `dot`: `dot` with its 3 deviations and a margin of 1 token, `predictive_sampling` with its
  defaults, `kl_cov` with the share 0.002 and the coefficient 1.0 of the authors' script. The margin
  there is 32 of 12,288 tokens: here less than one.

120,000 generated tokens a run, AdamW at 5e-4, 5 seeds. Measured at the end on 256 held-out
problems, 128 easy and 128 hard, 8 answers each: the mean length in tokens, right or wrong, and
pass@1, of each level.

- *Easy answers get shorter*: refuted if the upper end of the interval of start minus end, of `dot`,
  is below half a token; supported if the lower end is above 0; else inconclusive.
- *Shorter than with GRPO*: the same of `grpo` minus `dot` at the end.
- *Hard problems are kept*, pass@1 of `dot` minus `grpo` on hard ones: refuted if the interval lies
  below 0, however small the loss; else supported if it lies above -0.05, else inconclusive.

The claim is refuted if a part is, supported if all are, else inconclusive. It is inconclusive where
`dot` cut fewer than one answer in a thousand; and where the upper end of pass@1 of `dot` minus
`grpo` on easy problems is below -0.05: answers were then given up, and not shortened.

The hard problems were first to be sums modulo 97: a warm start took seven minutes, and they were
made easier before anything was run. It was run twice, the second time to record the batches; the
numbers were the same.

Recorded without a say in the verdict: the same of the linear penalty, length on hard problems, and
every arm's curve.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from reproductions.effects import all_of, by_seed, compare, judged, spread
from reproductions.rlvr import Arm, Budget, comparison, curves, last, logged, run

import rewardsmith as rs
from rewardsmith.testbeds import rlvr
from rewardsmith.testbeds.rlvr.bed import Bed
from rewardsmith.testbeds.rlvr.thinking_task import behind_marker

ARMS = ("grpo", "linear", "dot")
LEVELS = ("easy", "hard")
SHORTER = 0.5
EQUAL = 0.05
CUT = 0.001
CLAIM = (
    "Where every answer of a group is correct, cutting those that are far longer than the others, "
    "with DOT's sampler and its loss, shortens answers to easy problems at no loss on hard ones."
)
UNPROVED = [
    "Anything about reasoning: extra tokens are fillers, whose worth comes from demonstrations.",
    "Which of DOT's three pieces does it: the cut, the sampler or the loss.",
    "The size of the effect: answers have 30 tokens at most, and the runs are short.",
    "How the linear penalty fares with another weight than the one that was tried.",
    "That the cut is what costs hard problems: the prompts that DOT drops count among its tokens, "
    "so that it trains on fewer batches.",
    "That the policy thinks: it was only shown answers that are right more often after fillers, "
    "and solves a tenth of the hard problems at the start.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    most: int = 24
    """Fillers in demonstrations."""
    enough: int = 3
    """Fillers from which on more of them buys nothing."""
    deviations: float = 3.0
    margin: int = 1
    share: float = 0.002
    penalty: float = 0.5
    """Of an answer that is as long as can be, in the arm `linear`."""
    epochs: int = 2
    bed: Bed = field(default_factory=lambda: Bed(prompts=8, generations=32))
    """Its ``updates`` are not read: the tokens end a run."""
    budget: Budget = field(default_factory=lambda: Budget(tokens=120_000, points=3))


# --- the arms -------------------------------------------------------------------------------------


def penalized(penalty: float, longest: int) -> Any:
    """The reward of the task, less a penalty that grows linearly with the length."""
    parts = {
        "correct": rs.reward(behind_marker),
        "length": rs.signals.Overlong(longest, cache=longest),
    }
    return rs.WeightedSum(parts, {"correct": 1.0, "length": penalty})


def arm_of(name: str, settings: Settings, longest: int) -> Arm:
    """What an arm trains with."""
    config = {"num_iterations": settings.epochs}
    if name == "grpo":
        return Arm(config=config)
    if name == "linear":
        return Arm(reward=penalized(settings.penalty, longest), config=config)
    check = {"function": {"call": "rewardsmith.testbeds.rlvr.thinking_task:behind_marker"}}
    cut = {"success": check, "deviations": settings.deviations, "margin": settings.margin}
    return Arm(
        loss=("kl_cov", {"share": settings.share, "coefficient": 1.0}),
        sampler={"predictive_sampling": {}},
        relabel={"dot": cut},
        config=config,
    )


def train(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run."""
    task = rlvr.thinking(settings.most, settings.enough)
    return run(task, arm_of(arm, settings, task.longest), seed, settings.bed, settings.budget)


# --- the verdict ----------------------------------------------------------------------------------


def judge(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The rule of the module's docstring; ``runs`` are those of each arm, by seed."""

    def minus(arm: str, other: str, name: str) -> dict[str, Any]:
        return compare(last(runs[arm], name), last(runs[other], name))

    effects = {
        "easy_fall_dot": spread(fall(runs["dot"])),
        "easy_length_grpo_minus_dot": minus("grpo", "dot", "easy length"),
        "hard_pass@1_dot_minus_grpo": minus("dot", "grpo", "hard pass@1"),
        "easy_pass@1_dot_minus_grpo": minus("dot", "grpo", "easy pass@1"),
    }
    parts = {
        "easy_answers_get_shorter": judged(effects["easy_fall_dot"], SHORTER),
        "shorter_than_with_grpo": judged(effects["easy_length_grpo_minus_dot"], SHORTER),
        "hard_problems_are_kept": kept(effects["hard_pass@1_dot_minus_grpo"]),
    }
    guard = None
    if np.mean(logged(runs["dot"], "relabelled")) < CUT:
        guard = "next to nothing was cut"
    elif effects["easy_pass@1_dot_minus_grpo"]["high"] < -EQUAL:
        guard = "easy problems are solved less often"
    return {
        "verdict": "inconclusive" if guard else all_of(parts),
        "parts": parts,
        "guard": guard,
        "effects": effects,
        "beside": {
            "easy_fall_grpo": spread(fall(runs["grpo"])),
            "easy_fall_linear": spread(fall(runs["linear"])),
            "easy_length_grpo_minus_linear": minus("grpo", "linear", "easy length"),
            "hard_pass@1_linear_minus_grpo": minus("linear", "grpo", "hard pass@1"),
            "easy_length_linear_minus_dot": minus("linear", "dot", "easy length"),
            "hard_pass@1_dot_minus_linear": minus("dot", "linear", "hard pass@1"),
            "hard_length_grpo_minus_dot": minus("grpo", "dot", "hard length"),
        },
        "arms": {arm: about(told) for arm, told in runs.items()},
    }


def fall(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    """By how many tokens easy answers got shorter since the start."""
    ends = [(run["curve"][0]["easy length"], run["curve"][-1]["easy length"]) for run in runs]
    return [round(start - end, 4) for start, end in ends]


def kept(effect: Mapping[str, Any]) -> str:
    """Refuted if there is a loss at all, else supported if one by the margin is excluded."""
    if effect["high"] < 0:
        return "refuted"
    return "supported" if effect["low"] > -EQUAL else "inconclusive"


def about(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An arm's measures and curves."""
    names = [f"{level} {name}" for level in LEVELS for name in ("pass@1", "length")]
    return {
        **{name: by_seed(last(told, name)) for name in names},
        **{name: by_seed(logged(told, name)) for name in ("relabelled", "batches")},
        "curve": curves(told, names),
    }


REPRODUCTION = comparison(
    ARMS,
    judge,
    id="126",
    method="dot",
    paper="2601.03969",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    train=train,
)
