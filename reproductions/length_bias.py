"""Dr. GRPO against GRPO: do wrong answers grow where a loss is divided by their length?

    python -m reproductions length_bias

The claim (arXiv 2503.20783): GRPO's mean over each answer's tokens makes a long wrong answer cost
less per token than a short one, so wrong answers grow; Dr. GRPO, which divides by no answer's
length and by no group's standard deviation, does not do that.

The task. `53+71%=` is answered by `27` and then as many dots as the policy likes, which change
nothing about the reward: the answer comes first, so that a policy can have an inkling, when it
decides whether to end, of whether it was right. (Of dots before the answer it has none: right and
wrong answers of a group would pull their number in opposite directions by as much.) Demonstrations
end after each dot with a probability of 1 in 5, and after 20 in any case: 4 dots in the mean. Up to
29 fit.

The policy and the learner are those of `estimators_and_losses`, with one step per batch: every
ratio is 1, no clip acts, and the arms differ in nothing but

- `grpo`: the advantages of `grpo`, `ppo` with the mode seq-mean-token-mean;
- `dr_grpo`: those of `dr_grpo`, `ppo` with the mode seq-mean-token-sum-norm.

5 seeds, which share the warm start, the order of prompts and the budget of generated tokens.

Measured is the mean length in tokens of wrong answers to 256 held-out problems (8 answers each) at
the end.

The rule: refuted if in fewer than 4 of 5 seeds GRPO's wrong answers are longer than Dr. GRPO's of
the same seed; else supported if also the interval of the difference lies above 0, else
inconclusive. The claim is about equal reward: it is inconclusive if the interval of the difference
of pass@1 at the end lies wholly beyond 0.05 on either side. Where nothing is answered wrongly any
more, a seed counts as one in which they are not longer.

Recorded without a say in the verdict: the same of right answers, which GRPO should shorten; how
much wrong answers grew in each arm since the start; and every arm's curve.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reproductions.effects import by_seed, compare
from reproductions.rlvr import Arm, Budget, columns, comparison, curves, last, run

from rewardsmith.testbeds import rlvr
from rewardsmith.testbeds.rlvr.bed import Bed
from rewardsmith.testbeds.rlvr.tasks import Row, Task
from rewardsmith.testbeds.rlvr.thinking_task import FILLER, fillers

ARMS = {
    "grpo": Arm(("grpo", {}), ("ppo", {"aggregation": "seq-mean-token-mean"})),
    "dr_grpo": Arm(("dr_grpo", {}), ("ppo", {"aggregation": "seq-mean-token-sum-norm"})),
}
SEEDS_OF_FIVE = 0.8
EQUAL = 0.05
CLAIM = (
    "Wrong answers grow longer under GRPO, which divides an answer's loss by its length, than "
    "under Dr. GRPO, which does not, at equal reward."
)
UNPROVED = [
    "Anything about reasoning: the extra tokens here mean nothing, and come after the answer.",
    "Which of both changes does it: the length that is not divided by, or the standard deviation.",
    "That lengths go on to differ: answers are bounded by 32 tokens, and the runs are short.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    going_on: float = 0.8
    """After each dot, in demonstrations."""
    most: int = 20
    """Dots in demonstrations."""
    longest: int = 32
    """Tokens that an answer may have in training, its end included."""
    bed: Bed = field(default_factory=Bed)
    """Its ``updates`` are not read: the tokens end a run."""
    budget: Budget = field(default_factory=lambda: Budget(tokens=75_000, points=3))


# --- the task -------------------------------------------------------------------------------------


def before_dots(completion: str, answer: str) -> float:
    """1 where the completion is the answer and then any number of dots."""
    return float(completion.rstrip(FILLER) == answer)


@dataclass(frozen=True)
class Rambler:
    """Demonstrates an answer, and dots."""

    going_on: float
    most: int

    def __call__(self, row: Row, rng: random.Random) -> str:
        return row["answer"] + FILLER * fillers(rng, self.going_on, self.most)


def rambling(settings: Settings) -> Task:
    """The task of the module's docstring."""
    sums = rlvr.modular_addition()
    return Task(
        f"rambling_{settings.going_on}_{settings.most}_{settings.longest}_{sums.name}",
        before_dots,
        sums.train,
        sums.held_out,
        Rambler(settings.going_on, settings.most),
        settings.longest,
    )


def train(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run."""
    return run(rambling(settings), ARMS[arm], seed, settings.bed, settings.budget)


# --- the verdict ----------------------------------------------------------------------------------


def judge(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The rule of the module's docstring; ``runs`` are those of each arm, by seed."""
    wrong: dict[str, list[Any]] = {arm: last(told, "wrong_length") for arm, told in runs.items()}
    pairs = [ab for ab in zip(wrong["grpo"], wrong["dr_grpo"], strict=True) if None not in ab]
    longer = sum(a > b for a, b in pairs) / len(wrong["grpo"])
    reward = compare(*(last(runs[arm], "pass@1") for arm in ARMS))
    unequal = reward["low"] > EQUAL or reward["high"] < -EQUAL
    effects = {"pass@1_grpo_minus_dr_grpo": reward}
    if pairs:
        effects["wrong_length_grpo_minus_dr_grpo"] = compare(
            [a for a, _ in pairs], [b for _, b in pairs]
        )
    if longer < SEEDS_OF_FIVE:
        verdict = "refuted"
    else:
        above = effects["wrong_length_grpo_minus_dr_grpo"]["low"] > 0
        verdict = "supported" if above else "inconclusive"
    return {
        "verdict": "inconclusive" if unequal else verdict,
        "guard": "the arms' rewards are not equal" if unequal else None,
        "share_of_seeds_longer": round(longer, 4),
        "effects": effects,
        "beside": beside(runs),
        "arms": {arm: about(told) for arm, told in runs.items()},
    }


def beside(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """What has no say: right answers."""
    right: dict[str, list[Any]] = {
        arm: [right_length(run["curve"][-1]) for run in runs[arm]] for arm in ARMS
    }
    if None in right["grpo"] + right["dr_grpo"]:
        return {}
    return {"right_length_grpo_minus_dr_grpo": compare(right["grpo"], right["dr_grpo"])}


def right_length(point: Mapping[str, Any]) -> float | None:
    """The mean length of right answers; None where none is."""
    p = point["pass@1"]
    if p == 0.0:
        return None
    # A mean over all answers is that of both kinds, each by its share.
    wrong = 0.0 if point["wrong_length"] is None else point["wrong_length"]
    return round(float((point["length"] - (1.0 - p) * wrong) / p), 4)


def about(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An arm's measures and curves."""
    found = columns(told)
    ends = [(run["curve"][0]["wrong_length"], run["curve"][-1]["wrong_length"]) for run in told]
    if all(None not in pair for pair in ends):
        found["wrong_length"] = by_seed([b for _, b in ends])
        found["growth_of_wrong"] = by_seed([round(b - a, 4) for a, b in ends])
    return found | {"curve": curves(told, ("pass@1", "length"))}


REPRODUCTION = comparison(
    ARMS,
    judge,
    id="length_bias",
    method="dr_grpo",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    train=train,
)
