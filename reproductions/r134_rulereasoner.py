"""134, RuleReasoner: shares of a batch that follow what each domain still lacks.

    python -m reproductions 134

The claim (arXiv 2506.08672): sampling more of the domains whose rewards fall short trains a better
policy over many domains than fixed shares do. The paper tells of means over tasks; the test here
is the domain that ends worst, which such shares are to lift.

The bed: the tiny RLVR bed with four domains (addition, reversal, running parity, addition modulo
97), and its warm start, which is shared by all arms of a seed. To train on there are 640, 320, 160
and 80 problems of the four. Which domain has how many moves on by one with each seed; four seeds
are a round, so that the fifth has the sizes of the first, and the domain that is largest in both
has somewhat more than the others. Held-out problems are as many of each.

The arms differ in the sampler of prompts, and generate as many tokens:

- `uniform`: every domain has the same share (`rulereasoner`, whose shares never move);
- `proportional`: `shuffled`, each problem as often, so that shares go by size;
- `rulereasoner`: shares that move every 8 batches, all options at their defaults.

The learner is the bed's: 16 prompts times 8 answers a batch, one step of AdamW on each, `grpo` and
`ppo`. Tokens are what is equal: an arm that asks for long answers (parity has 11 tokens, modular
addition 3) takes fewer steps.

Measured on 512 held-out problems (8 answers each): pass@1 of each domain; `worst`, the lowest of
the four at the end; `mean`, their mean. Intervals are the 95 % bootstrap over seeds.

The rule is for `worst` at the end, `rulereasoner` minus each of the two others of the same seed,
so that it has to be above the better one, whichever that is. For each: refuted if the upper end is
below 2 points, else supported if the lower end is above 0, else inconclusive. The claim is refuted
if a part is, supported if both are, else inconclusive. And it is inconclusive where that says
nothing: if no arm's worst domain ends 2 points above the worst of the start in the mean (nothing
was learned there), or if that of one of the others ends above 0.97 (there is no room).

Recorded without a say in the verdict: the same for `mean`, and for both as means over the run,
which tell who gets there sooner; each domain; the share of answers without an advantage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from reproductions.effects import all_of, by_seed, compare, judged
from reproductions.rlvr import Arm, Budget, comparison, run

from rewardsmith.testbeds import rlvr
from rewardsmith.testbeds.rlvr.bed import Bed

OURS = "rulereasoner"
SAMPLERS: dict[str, Any] = {
    "uniform": {"rulereasoner": {"every": 10**9}},
    "proportional": {"shuffled": {}},
    OURS: {"rulereasoner": {}},
}
ARMS = tuple(SAMPLERS)
OTHERS = ("uniform", "proportional")
DOMAINS = ("addition", "reversal", "parity", "modular")
MEASURES = ("worst", "mean", "worst_over_the_run", "mean_over_the_run", "zero_advantage", *DOMAINS)
MARGIN, LEARNED, CEILING = 0.02, 0.02, 0.97
CLAIM = (
    "Sampling more of the domains whose rewards fall short lifts the worst of four domains, above "
    "equal shares and above shares by size."
)
UNPROVED = [
    "The paper's numbers: logic puzzles, models of billions of weights, and other domains than "
    "those trained on.",
    "Other temperatures, targets and memories than the defaults, and more than 20 updates of the "
    "shares.",
    "Domains that help each other: here four kinds of answer share little but digits.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    largest: int = 640
    """Problems of one domain; the others have a half, a quarter and an eighth."""
    bed: Bed = field(default_factory=Bed)
    """Its ``updates`` are not read: the tokens end a run."""
    budget: Budget = field(default_factory=lambda: Budget(tokens=60_000, points=3, rows=512))


# --- the runs -------------------------------------------------------------------------------------


def sizes(seed: int, largest: int) -> dict[str, int]:
    """How many problems each domain has, in a seed."""
    return {name: largest >> (i + seed) % len(DOMAINS) for i, name in enumerate(DOMAINS)}


def unequal(task: Any, seed: int, largest: int) -> Any:
    """The task of four domains, with so many of its problems to train on."""
    rows: list[dict[str, str]] = []
    for name, size in sizes(seed, largest).items():
        own = [row for row in task.rows("train") if row["domain"] == name]
        if len(own) < size:
            raise ValueError(f"{name} has {len(own)} problems, {size} are asked for")
        rows += own[:size]
    return replace(task, train=tuple(rows))


def train(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run: what :data:`MEASURES` names, what it began at, and the curve."""
    whole = rlvr.four_domains()
    task = unequal(whole, seed, settings.largest)
    # The warm start is of all problems: it is the same whatever the sizes.
    start = rlvr.warm_start(whole, seed)
    made = run(task, Arm(sampler=SAMPLERS[arm]), seed, settings.bed, settings.budget, start=start)
    return {**measured(made), "sizes": sizes(seed, settings.largest), **made}


def measured(made: Mapping[str, Any]) -> dict[str, float]:
    """What :data:`MEASURES` names, and ``worst_at_the_start``, of a run on the bed."""
    found = np.array([[point[f"{name} pass@1"] for name in DOMAINS] for point in made["curve"]])
    worst, mean = found.min(axis=1), found.mean(axis=1)
    told = {
        "worst": worst[-1],
        "mean": mean[-1],
        "worst_over_the_run": worst[1:].mean(),
        "mean_over_the_run": mean[1:].mean(),
        "worst_at_the_start": worst[0],
        "zero_advantage": made["logged"]["zero_advantage"],
        **dict(zip(DOMAINS, found[-1], strict=True)),
    }
    return {name: round(float(value), 6) for name, value in told.items()}


# --- the verdict ----------------------------------------------------------------------------------


def judge(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The rule of the module's docstring; ``runs`` are those of each arm, by seed."""
    values = {
        arm: {name: [run[name] for run in told] for name in (*MEASURES, "worst_at_the_start")}
        for arm, told in runs.items()
    }

    def above(name: str) -> dict[str, Any]:
        return {
            f"{name}_{OURS}_minus_{other}": compare(values[OURS][name], values[other][name])
            for other in OTHERS
        }

    effects = above("worst")
    parts = {
        f"above_{other}": judged(effects[f"worst_{OURS}_minus_{other}"], MARGIN) for other in OTHERS
    }
    guard = unfit(values)
    beside = {
        key: effect
        for name in MEASURES
        if name not in ("worst", "zero_advantage")
        for key, effect in above(name).items()
    }
    return {
        "verdict": "inconclusive" if guard else all_of(parts),
        "parts": parts,
        "guard": guard,
        "effects": effects,
        "beside": beside,
        "arms": {arm: {name: by_seed(told) for name, told in values[arm].items()} for arm in runs},
    }


def unfit(values: Mapping[str, Mapping[str, Sequence[float]]]) -> str | None:
    """Why the runs cannot tell, or None."""
    gains = [np.mean(np.subtract(of["worst"], of["worst_at_the_start"])) for of in values.values()]
    if max(gains) < LEARNED:
        return "no arm learned the worst domain"
    if max(np.mean(values[other]["worst"]) for other in OTHERS) > CEILING:
        return "there is no room above the others"
    return None


REPRODUCTION = comparison(
    ARMS,
    judge,
    id="134",
    method="rulereasoner",
    paper="2506.08672",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    train=train,
)
