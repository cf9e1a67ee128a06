"""128, VADE: prompts whose answers differ, guessed before anything is generated for them.

    python -m reproductions 128

The claim (arXiv 2511.18902): a Beta distribution of each prompt's pass rate, a Thompson draw and
decay on two scales find the prompts that have a gradient, better than uniform sampling and without
the rollouts that a filter throws away.

The first bed, a simulator: `PassRates` with 2000 prompts. Prompt i is solved with the probability
1 / (1 + exp(d_i - s_i t)) at step t, d_i normal (mean 2, standard deviation 2) and s_i log-normal
(median 0.02 a step, standard deviation of the log 1). 300 steps of 64 groups of 8 answers. Rates do
not depend on what was trained on, so that all arms meet the same drift. A group is *effective* if
some of its answers are right and some are wrong.

The arms:

- `uniform`: `Shuffled`;
- `oracle`: knows the true rates, and takes the prompts for which an effective group is likeliest;
- `filter`: `DynamicSampling` around `Shuffled`, which generates whole batches until 64 effective
  groups are there, 10 times at most; where they are not, the batch is what there is;
- `vade`: `ThompsonSampling` with its defaults, score p (1 - p)^2, decays 0.7 and 0.995;
- beside, without a say: `vade_even` with the score p (1 - p), `vade_still` without either decay,
  `vade_visit` and `vade_batch` with one of the two.

10 seeds, each with prompts of its own, which all arms share; so they do the numbers that answers
are drawn with, in order.

Measured of a run: `per_generated`, effective groups that were trained on, in parts of all groups
that were generated; `per_batch`, the same in parts of the 64 of a batch, the mean over steps;
`generated`, groups generated for a batch. Intervals are the 95 % bootstrap over seeds.

- *More than uniform*, `per_generated` of `vade` minus `uniform` of the same seed: refuted if the
  upper end is 10 points or less, supported if the lower end is above 10 points, else inconclusive.
- *More than the filter*, `vade` minus `filter`: refuted if the upper end is 0 or less, supported if
  the lower end is above 0, else inconclusive.

The bed refutes if a part is refuted, supports if both are supported, else it is inconclusive. And
inconclusive if the oracle is not above uniform by 10 points itself: there is then nothing to find.

The second bed, a language model under the trainer: the tiny RLVR bed with addition modulo 97, its
warm start, 640 problems to train on, and 16 of them times 8 answers a batch, one step of AdamW on
each, `grpo` and `ppo`. Here rates do depend on what was trained on. 60,000 generated tokens, those
included of groups that a filter drops, are about 400 batches of `uniform`, so that a problem comes
up 10 times, as in the simulator. The arms `uniform`, `filter` (`dapo_filter`, up to 40 rounds: the
whole pool) and `vade` (its defaults) share the warm start, for the first 5 of the seeds. A run of
the filter which finds no 16 effective groups in the whole pool fails, and there is no record then.

Measured are the same three numbers, and `pass@1` on 256 held-out problems (8 answers each), at the
end and over the run. The rule is that of the simulator, for both differences of `per_generated`;
and this bed is inconclusive if the share of `uniform` is above 0.9 in the mean: nothing could then
be above it by 10 points. Recorded without a say: the differences of `per_batch` and `pass@1`.

The claim's verdict is that of both beds: refuted if one is, supported if both are, else
inconclusive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from reproductions.effects import all_of, by_seed, compare, mean_curve, spread
from reproductions.rlvr import Arm, Budget, run
from reproductions.runner import Key, Reproduction, Runs

from rewardsmith.samplers.dynamic import DynamicSampling
from rewardsmith.samplers.prompts import PromptSampler, Shuffled
from rewardsmith.samplers.thompson import ThompsonSampling
from rewardsmith.testbeds import rlvr
from rewardsmith.testbeds.pass_rates import PassRates
from rewardsmith.testbeds.rlvr.bed import Bed

ARMS = ("uniform", "oracle", "filter", "vade")
VARIANTS: dict[str, dict[str, Any]] = {
    "vade": {},
    "vade_even": {"powers": (1.0, 1.0)},
    "vade_still": {"visit_decay": 1.0, "batch_decay": 1.0},
    "vade_visit": {"batch_decay": 1.0},
    "vade_batch": {"visit_decay": 1.0},
}
"""What they give to the sampler."""
BESIDE = tuple(VARIANTS)[1:]
MEASURES = ("per_generated", "per_batch", "generated")
SPOKEN = ("uniform", "filter", "vade")
"""The arms of the language model."""
SPOKEN_MEASURES = (*MEASURES, "pass@1", "pass@1_over_the_run", "pass@1_gained")
MARGIN = 0.1
ROOM = 1.0 - MARGIN
CLAIM = (
    "A Beta distribution of each prompt's pass rate, a Thompson draw and decay on two scales find "
    "the prompts that have a gradient, better than uniform sampling and without the rollouts that "
    "a filter throws away."
)
UNPROVED = [
    "That a policy which trains on these prompts ends more accurate: recorded for a tiny policy, "
    "without a say in the verdict.",
    "The same over thousands of batches, or with a pool of which most prompts come up once.",
    "The paper's formulas: score, decays and their sizes are our reading.",
    "Anything about images and language, which the paper's experiments are on: here answers are "
    "two digits.",
]


@dataclass(frozen=True)
class Language:
    """Of the second bed."""

    seeds: int = 5
    """So many, the first of all."""
    prompts: int = 640
    max_rounds: int = 40
    """Of the filter."""
    bed: Bed = field(default_factory=Bed)
    """Its ``updates`` are not read: the tokens end a run."""
    budget: Budget = field(default_factory=lambda: Budget(tokens=60_000, points=3))


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    prompts: int = 2000
    steps: int = 300
    batch: int = 64
    group: int = 8
    difficulty: float = 2.0
    spread: float = 2.0
    speed: float = 0.02
    speeds: float = 1.0
    max_rounds: int = 10
    blocks: int = 10
    language: Language = field(default_factory=Language)


# --- the simulator --------------------------------------------------------------------------------


class Oracle(PromptSampler):
    """The prompts for which an effective group is likeliest, by their true rates."""

    def __init__(self, rates: PassRates, group: int) -> None:
        super().__init__()
        self.rates, self.group = rates, group
        self.step = -1

    def begin(self) -> None:
        super().begin()
        self.step += 1

    def choose(self, n: int) -> list[int]:
        worth = np.where(self.free(), self.rates.mixed(self.group, self.step), -1.0)
        return [int(row) for row in np.argsort(-worth, kind="stable")[:n]]


def sampler_of(arm: str, rates: PassRates, seed: int, settings: Settings) -> PromptSampler:
    """The sampler of an arm."""
    if arm == "uniform":
        return Shuffled(seed)
    if arm == "oracle":
        return Oracle(rates, settings.group)
    if arm == "filter":
        return DynamicSampling(Shuffled(seed), max_rounds=settings.max_rounds)
    return ThompsonSampling(**VARIANTS[arm], seed=seed)


def simulate(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run: what :data:`MEASURES` names, and its curve over blocks of steps."""
    rates = PassRates(
        settings.prompts,
        seed,
        difficulty=settings.difficulty,
        spread=settings.spread,
        speed=settings.speed,
        speeds=settings.speeds,
    )
    sampler = sampler_of(arm, rates, 1_000 + seed, settings)
    sampler.over(rates)
    rng = np.random.default_rng(1_000_000 + seed)
    told = np.array([batch(sampler, rates, step, rng, settings) for step in range(settings.steps)])
    effective, generated = told.T
    parts = zip(
        np.array_split(effective, settings.blocks),
        np.array_split(generated, settings.blocks),
        strict=True,
    )
    return {
        "per_generated": round(float(effective.sum() / generated.sum()), 6),
        "per_batch": round(float(effective.mean() / settings.batch), 6),
        "generated": round(float(generated.mean()), 3),
        "curve": [round(float(some.sum() / of.sum()), 4) for some, of in parts],
    }


def batch(
    sampler: PromptSampler,
    rates: PassRates,
    step: int,
    rng: np.random.Generator,
    settings: Settings,
) -> tuple[int, int]:
    """One batch as a trainer makes it: its effective groups, and how many were generated for it."""
    sampler.begin()
    trained = effective = generated = 0
    for _ in range(sampler.rounds):
        if trained == settings.batch:
            break
        rows = sampler.propose(settings.batch - trained)
        rollouts, scores = rates.answers(rows, settings.group, step, rng)
        sampler.observe(rollouts, scores)
        right = scores.values.view(len(rows), settings.group).sum(dim=1)
        mixed = (right > 0) & (right < settings.group)
        selected = sampler.select(rollouts, scores).view(len(rows), settings.group)[:, 0]
        used = mixed[selected][: settings.batch - trained]
        trained, effective = trained + len(used), effective + int(used.sum())
        generated += len(rows)
    return effective, generated


# --- the language model ---------------------------------------------------------------------------


def speak(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run: what :data:`SPOKEN_MEASURES` names, and pass@1 on the way."""
    of = settings.language
    whole = rlvr.modular_addition()
    start = rlvr.warm_start(whole, seed)
    pool = replace(whole, train=whole.train[: of.prompts])
    samplers: dict[str, Any] = {
        "uniform": {"shuffled": {}},
        "filter": {"dapo_filter": {"max_rounds": of.max_rounds}},
        "vade": {"vade": {}},
    }
    made = run(pool, Arm(sampler=samplers[arm]), seed, of.bed, of.budget, start=start)
    return spoken(made, of.bed.prompts)


def spoken(made: Mapping[str, Any], prompts: int) -> dict[str, Any]:
    """What a run on the bed tells; every round generates for as many prompts as a batch has.

    `grpo` gives an advantage of 0 to all answers of a group that is not effective, and to no other.
    """
    told, curve = made["logged"], [point["pass@1"] for point in made["curve"]]
    effective = 1.0 - told["zero_advantage"]
    return {
        "per_generated": round(effective / told["rounds"], 6),
        "per_batch": round(effective, 6),
        "generated": round(told["rounds"] * prompts, 3),
        "pass@1": curve[-1],
        "pass@1_over_the_run": round(float(np.mean(curve[1:])), 6),
        "pass@1_gained": round(curve[-1] - curve[0], 6),
        "curve": curve,
        "logged": told,
    }


# --- the verdict ----------------------------------------------------------------------------------


def above(effect: Mapping[str, Any], margin: float) -> str:
    """Supported if the interval lies above the margin, refuted if it does not reach beyond it."""
    if effect["high"] <= margin:
        return "refuted"
    return "supported" if effect["low"] > margin else "inconclusive"


Values = Mapping[str, Mapping[str, Sequence[float]]]


def collected(runs: Mapping[str, Sequence[Mapping[str, Any]]], names: Sequence[str]) -> Values:
    """Arm -> measure -> the value of each seed."""
    return {
        arm: {name: [run[name] for run in told] for name in names} for arm, told in runs.items()
    }


def against(values: Values, arm: str, other: str, name: str = "per_generated") -> dict[str, Any]:
    """One arm minus another."""
    return compare(values[arm][name], values[other][name])


def found_by_vade(values: Values) -> tuple[dict[str, Any], dict[str, str]]:
    """The effects that decide in both beds, and the verdicts on them."""
    effects = {
        "vade_minus_uniform": against(values, "vade", "uniform"),
        "vade_minus_filter": against(values, "vade", "filter"),
    }
    parts = {
        "more_than_uniform": above(effects["vade_minus_uniform"], MARGIN),
        "more_than_the_filter": above(effects["vade_minus_filter"], 0.0),
    }
    return effects, parts


def judge(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The simulator's rule, of the module's docstring; ``runs`` are those of each arm, by seed."""
    values = collected(runs, MEASURES)
    effects, parts = found_by_vade(values)
    effects["oracle_minus_uniform"] = against(values, "oracle", "uniform")
    found = effects["oracle_minus_uniform"]["low"] > MARGIN
    guard = None if found else "the oracle itself is not above uniform by the margin"
    beside = {
        "oracle_minus_vade": against(values, "oracle", "vade"),
        "vade_minus_filter_per_batch": against(values, "vade", "filter", "per_batch"),
        **{f"{arm}_minus_vade": against(values, arm, "vade") for arm in BESIDE},
    }
    return {
        "verdict": "inconclusive" if guard else all_of(parts),
        "parts": parts,
        "guard": guard,
        "effects": effects,
        "beside": beside,
        "arms": {
            arm: {
                **{name: by_seed(told) for name, told in values[arm].items()},
                "curve": mean_curve([run["curve"] for run in runs[arm]]),
            }
            for arm in (*ARMS, *BESIDE)
        },
    }


def judge_spoken(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The language model's rule, of the module's docstring."""
    values = collected(runs, SPOKEN_MEASURES)
    effects, parts = found_by_vade(values)
    full = np.mean(values["uniform"]["per_generated"]) > ROOM
    guard = "nothing could be above uniform by the margin" if full else None
    beside = {
        f"{name}_vade_minus_{other}": against(values, "vade", other, name)
        for name in ("per_batch", "pass@1", "pass@1_over_the_run")
        for other in ("uniform", "filter")
    }
    return {
        "verdict": "inconclusive" if guard else all_of(parts),
        "parts": parts,
        "guard": guard,
        "effects": effects,
        "beside": beside,
        "arms": {
            arm: {
                **{name: spread(told) for name, told in values[arm].items()},
                "runs": {name: list(told) for name, told in values[arm].items()},
                "curves": [run["curve"] for run in runs[arm]],
            }
            for arm in SPOKEN
        },
    }


# --- the record -----------------------------------------------------------------------------------


BEDS = {
    "simulator": (simulate, judge, (*ARMS, *BESIDE)),
    "language": (speak, judge_spoken, SPOKEN),
}
"""Of each bed one run, the rule and the arms."""


def seeds_of(bed: str, settings: Settings, seeds: Sequence[int]) -> Sequence[int]:
    """The language model takes longer, and has fewer of them."""
    return seeds[: settings.language.seeds] if bed == "language" else seeds


def keys(settings: Settings, seeds: Sequence[int]) -> list[Key]:
    """Every run."""
    return [
        {"bed": bed, "arm": arm, "seed": seed, "settings": settings}
        for bed, (_, _, arms) in BEDS.items()
        for seed in seeds_of(bed, settings, seeds)
        for arm in arms
    ]


def train(bed: str, arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run."""
    return BEDS[bed][0](arm, seed, settings)


def results(runs: Runs, settings: Settings, seeds: Sequence[int]) -> dict[str, Any]:
    """What the record tells: of each bed, and the verdict over all."""
    beds = {bed: rule(runs.by_arm(arms, bed=bed)) for bed, (_, rule, arms) in BEDS.items()}
    return {"verdict": all_of({bed: told["verdict"] for bed, told in beds.items()}), "beds": beds}


def budget(settings: Settings, seeds: Sequence[int]) -> dict[str, int]:
    """What is spent; the filter generates up to ``max_rounds`` times as much."""
    return {
        "answers_per_run": settings.steps * settings.batch * settings.group,
        "generated_tokens_per_run": settings.language.budget.tokens,
        "runs": len(keys(settings, seeds)),
    }


REPRODUCTION = Reproduction(
    id="128",
    method="vade",
    paper="2511.18902",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    seeds=range(10),
    keys=keys,
    train=train,
    judge=results,
    budget=budget,
    packages=("transformers", "trl"),
)
