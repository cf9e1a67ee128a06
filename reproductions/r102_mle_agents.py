"""102, RL for MLE agents: milestones and weights by duration (arXiv 2509.01684).

    python -m reproductions 102

The claim, in the smallest task that can show it: for an agent that writes programs of which most
fail and the good ones are slow, partial credit for milestones of a run finds valid solutions that
the real score alone does not, and where actors are cut off by a window of time, weighing each
program's gradient by its duration finds better ones.

The task. A program is 8 instructions of 12: NOP, IMPORT, LOAD, CLEAN, SPLIT, three models (SMALL,
MID, LARGE), TRAIN, PREDICT, WRITE, PLOT. What lacks its precondition (LOAD an IMPORT; CLEAN, SPLIT
and PLOT a LOAD; models an IMPORT; TRAIN a SPLIT and a model; PREDICT a TRAIN; WRITE a PREDICT) ends
the program: it has failed, as has one that does not WRITE. One that does is valid, with the score
0.4, 0.6 or 0.8 by its model, and 0.1 more if it was trained on cleaned data. A run takes 0.25 to
start, TRAIN 1, 3 or 8 by the model, CLEAN 0.5, LOAD, PREDICT and PLOT 0.3, NOP 0.05 and all else
0.1: failing is fast, and the best program takes 9.75.

The window. 16 actors run program after program for 12 units of time; what is unfinished then is
lost. That is one batch, of some 670 programs at the start.

The policy. A table of logits for the next instruction given the one before. It starts knowing a
little: normal noise of 0.5 by the seed, and 0.3 more on what comes next in a good program. That
number was chosen by the start itself, before any arm was run: all the programs of a run's budget
would, sampled without learning and uncut, hold 0.6 valid ones, so that two runs in five find one.

The learner. REINFORCE on the programs that were completed, advantages ``(r - mean) / std`` over the
batch, learning rate 0.5, 200 windows; 20 seeds, which give all arms the same start and the same
random numbers. With nothing but equal rewards in a batch, nothing is learned from it.

The arms: the reward of `rules/milestones.py` (-10 for a failed run, the score for a valid one) with
0.1 for each of 7 milestones of a failed run, or with none (real only); each with advantages as they
are, or weighted by ``duration_weights`` (mode "cutoff", no cap).

Settings and rule were written down before the first run. Intervals are the 95 % bootstrap over
seeds of the difference between arms of the same seed. With

    E = 1 if a run ever completes a valid program, else 0; milestones - real only, unweighted
    B = best true score of a run (0 if it has none), weighted - unweighted, both with milestones

*milestones* is refuted if E's mean is 0 or less, supported if E's interval lies above 0.
*duration* is refuted if B's interval lies below 0.01 (the paper's claim is larger), supported if it
lies above 0. The verdict is refuted if either is, supported if both are, and else inconclusive.

Recorded beside it, without a say in the verdict: the same effects in the other pair of arms, and
what 2,000 programs of the final policy are worth where none is cut off.

Added after the verdict was in, without a say in it either: both arms with milestones where nothing
is lost (each program that is started in a window is completed, so that there is nothing to
correct), and unweighted milestones at twice the learning rate (programs that get far take longer,
so that the weight also lengthens steps). Added later still, on the same seeds, and without a say:
milestones weighted by the inverse of the probability to be completed (``completion_weights``), the
exact correction of what this window cuts off; and how many runs find a valid program if nothing is
learned before the first, as with the score alone, computed exactly but for the chance of finding
two in one run, which is taken as Poisson's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from reproductions.effects import all_of, by_seed, compare, judged, mean_curve
from reproductions.runner import Key, Reproduction, Runs
from reproductions.tabular import reinforce, softmax

from rewardsmith.policy.advantages.durations import (
    completion_probabilities,
    completion_weights,
    duration_weights,
)
from rewardsmith.rules.milestones import grade, mark

ARMS = ("real_only", "real_only_weighted", "milestones", "milestones_weighted")
ADDED = (
    "milestones_none_lost",
    "milestones_weighted_none_lost",
    "milestones_double_rate",
    "milestones_completion_weighted",
)
MARGIN = 0.01
CLAIM = (
    "Partial credit for milestones raises the share of runs that ever find a valid program, and "
    "weights by duration the best score that is found where slow programs are cut off."
)
UNPROVED = [
    "Anything about language models, real machine learning tasks or the paper's sizes of effect: "
    "this is a table of 156 logits and an interpreter of 12 instructions.",
    "Milestones that can be forged: these are printed by the interpreter.",
    "Prompts that ask to improve the previous solution, which the paper finds worth 8 %.",
    "PPO, learned baselines, other windows and starts; learning rates other than two, and weights "
    "at the second.",
    "Tasks in which slow programs are not the better ones.",
]

# --- the machine ----------------------------------------------------------------------------------

NOP, IMPORT, LOAD, CLEAN, SPLIT, SMALL, MID, LARGE, TRAIN, PREDICT, WRITE, PLOT = range(12)
START = 12
"""What stands before the first instruction."""
NEXT = {
    START: [IMPORT],
    IMPORT: [LOAD],
    LOAD: [SPLIT],
    CLEAN: [SPLIT],
    SPLIT: [SMALL, MID, LARGE],
    SMALL: [TRAIN],
    MID: [TRAIN],
    LARGE: [TRAIN],
    TRAIN: [PREDICT],
    PREDICT: [WRITE],
}
STEPS = ("imported", "loaded", "split", "built", "trained", "predicted", "written")
NEEDS = {
    LOAD: ("imported",),
    CLEAN: ("loaded",),
    SPLIT: ("loaded",),
    PLOT: ("loaded",),
    SMALL: ("imported",),
    MID: ("imported",),
    LARGE: ("imported",),
    TRAIN: ("split", "built"),
    PREDICT: ("trained",),
    WRITE: ("predicted",),
}
"""What has to be there before an instruction, or the program ends."""
REACHES = {
    IMPORT: "imported",
    LOAD: "loaded",
    SPLIT: "split",
    SMALL: "built",
    MID: "built",
    LARGE: "built",
    TRAIN: "trained",
    PREDICT: "predicted",
    WRITE: "written",
}
MODEL = {SMALL: 1, MID: 2, LARGE: 3}
MILESTONES = {name: f"^{name}$" for name in STEPS}
TIME = np.array([0.05, 0.1, 0.3, 0.5, 0.1, 0.1, 0.1, 0.1, 0.0, 0.3, 0.1, 0.3])
TRAINING = np.array([0.0, 1.0, 3.0, 8.0])
SCORE = np.array([0.0, 0.4, 0.6, 0.8])
STARTUP, CLEANED = 0.25, 0.1
TICK = 0.05
"""All times are multiples of it."""
LENGTH = 8
KEY = "the interpreter's"


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    hint: float = 0.3
    noise: float = 0.5
    actors: int = 16
    window: float = 12.0
    updates: int = 200
    learning_rate: float = 0.5
    blocks: int = 20
    final: int = 2000


class Programs(NamedTuple):
    """Programs and what became of them; arrays over programs, and over their instructions."""

    before: NDArray[np.int64]
    chosen: NDArray[np.int64]
    ran: NDArray[np.bool_]
    reached: NDArray[np.int64]
    """Bits of the milestones."""
    valid: NDArray[np.bool_]
    score: NDArray[np.float64]
    """True scores; 0 of what is not valid."""
    seconds: NDArray[np.float64]


def run_programs(chosen: NDArray[np.int64]) -> Programs:
    """Interpret programs [n, 8]."""
    n = len(chosen)
    flags = {name: np.zeros(n, dtype=bool) for name in STEPS}
    model, trained_model = np.zeros((2, n), dtype=np.int64)
    clean, trained_clean = np.zeros((2, n), dtype=bool)
    live, seconds = np.ones(n, dtype=bool), np.full(n, STARTUP)
    ran = np.zeros(chosen.shape, dtype=bool)
    for t in range(LENGTH):
        now = chosen[:, t]
        ran[:, t] = live
        allowed = np.ones(n, dtype=bool)
        for instruction, needs in NEEDS.items():
            for name in needs:
                allowed &= (now != instruction) | flags[name]
        live &= allowed
        at = {i: live & (now == i) for i in range(12)}
        for instruction, size in MODEL.items():
            model[at[instruction]] = size
        clean |= at[CLEAN]
        trained_model[at[TRAIN]], trained_clean[at[TRAIN]] = model[at[TRAIN]], clean[at[TRAIN]]
        seconds += live * (TIME[now] + at[TRAIN] * TRAINING[model])
        for instruction, name in REACHES.items():
            flags[name] |= at[instruction]
        live &= ~at[WRITE]
    valid = flags["written"]
    reached = sum(flags[name].astype(np.int64) << i for i, name in enumerate(STEPS))
    score = np.where(valid, SCORE[trained_model] + CLEANED * trained_clean, 0.0)
    before = np.concatenate([np.full((n, 1), START), chosen[:, :-1]], axis=1)
    return Programs(before, chosen, ran, np.asarray(reached), valid, score, seconds)


@lru_cache(maxsize=4096)
def reward_of(reached: int, score: float | None, bonus: float) -> float:
    """What the interpreter's output is worth."""
    lines = [(name, "") for i, name in enumerate(STEPS) if reached >> i & 1]
    if score is not None:
        lines.append(("score:", str(score)))
    output = "".join(f"{mark(KEY, text)}\t{text}\t{value}\n" for text, value in lines)
    pattern = r"^score: (\S+)$"
    value = grade(output, "", milestones=MILESTONES, score=pattern, bonus=bonus, key=KEY).value
    if value is None:
        raise ValueError(f"no reward for the output {output!r}")
    return float(value)


def rewards(runs: Programs, bonus: float) -> NDArray[np.float64]:
    """The reward of each program."""
    score = [round(s, 6) if ok else None for s, ok in zip(runs.score, runs.valid, strict=True)]
    told = zip(runs.reached.tolist(), score, strict=True)
    return np.array([reward_of(reached, s, bonus) for reached, s in told])


# --- the policy and the learner -------------------------------------------------------------------


def start_of(seed: int, settings: Settings) -> NDArray[np.float64]:
    """The logits [13, 12] that every arm of a seed starts from."""
    logits = np.random.default_rng([seed, 0]).normal(scale=settings.noise, size=(13, 12))
    for before, after in NEXT.items():
        logits[before, after] += settings.hint
    return logits


def sample(logits: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Programs [n, 8]."""
    bounds = softmax(logits).cumsum(axis=1)[:, :-1]
    drawn = rng.random((LENGTH, n))
    programs = np.empty((n, LENGTH), dtype=np.int64)
    before = np.full(n, START)
    for t in range(LENGTH):
        before = (drawn[t][:, None] >= bounds[before]).sum(axis=1)
        programs[:, t] = before
    return programs


class Durations(NamedTuple):
    """How long programs take, exactly: the probability of each number of ticks, or of more."""

    valid: NDArray[np.float64]
    """Of being valid and taking that long."""
    all: NDArray[np.float64]


def durations(logits: NDArray[np.float64], most: int = 0) -> Durations:
    """Of programs of a policy; what takes more than ``most`` ticks is in the last entry."""
    odds = softmax(logits)
    valid, every = np.zeros((2, most + 2))
    begin = np.zeros(most + 2)
    begin[0] = 1.0
    # The state: what stands before, which steps were reached, the model that TRAIN would train.
    states = {(START, frozenset[str](), 0): _later(begin, STARTUP)}
    for _ in range(LENGTH):
        following: dict[tuple[int, frozenset[str], int], NDArray[np.float64]] = {}
        for (before, have, model), there in states.items():
            for now in range(12):
                p = there * odds[before, now]
                if not have.issuperset(NEEDS.get(now, ())):
                    every += p
                    continue
                after = _later(p, TIME[now] + (now == TRAIN) * TRAINING[model])
                if now == WRITE:
                    valid += after
                    every += after
                    continue
                reached = have | {REACHES[now]} if now in REACHES else have
                key = (now, reached, MODEL.get(now, model))
                following[key] = following.get(key, 0.0) + after
        states = following
    return Durations(valid, every + sum(states.values()))


def _later(p: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    """Probabilities by ticks, after so many seconds more."""
    ticks = round(seconds / TICK)
    moved = np.zeros_like(p)
    moved[ticks:-1] = p[: max(len(p) - 1 - ticks, 0)]
    moved[-1] = p.sum() - moved[:-1].sum()
    return moved


def hits(logits: NDArray[np.float64], settings: Settings) -> float:
    """The expected number of valid programs that a window completes, under a policy that stays."""
    most = round(settings.window / TICK)
    valid, every = durations(logits, most)
    # starts[u]: the probability that an actor starts a program u ticks after the window began.
    starts = np.zeros(most + 1)
    starts[0] = 1.0
    for u in range(1, most + 1):
        starts[u] = every[1 : u + 1] @ starts[:u][::-1]
    in_time = starts.cumsum()[::-1]
    return float(settings.actors * (valid[: most + 1] @ in_time))


def finders(expected: Sequence[float], found: int) -> dict[str, float]:
    """How many runs find a valid program, and the probability that no more than ``found`` do.

    Args:
        expected: how many valid programs each run completes in expectation, without learning.
        found: a number of runs.
    """
    number = np.ones(1)
    for chance in 1 - np.exp(-np.asarray(expected)):
        number = np.convolve(number, [1 - chance, chance])
    mean = float(number @ np.arange(len(number)))
    return {
        "expected": round(mean, 2),
        "found": found,
        "chance_of_no_more": round(float(number[: found + 1].sum()), 4),
    }


def completed(
    logits: NDArray[np.float64], rng: np.random.Generator, settings: Settings, lost: bool = True
) -> tuple[Programs, NDArray[np.float64]]:
    """The programs that actors complete in one window, and when all were started.

    Unless the unfinished ones are lost, all that are started count as completed.
    """
    most = int(settings.window / STARTUP) + 1
    runs = run_programs(sample(logits, settings.actors * most, rng))
    ends = runs.seconds.reshape(settings.actors, most).cumsum(axis=1)
    starts = ends - runs.seconds.reshape(ends.shape)
    started = starts < settings.window
    done = (ends <= settings.window if lost else started).ravel()
    # A difference of sums may miss the window's beginning by a rounding.
    return Programs(*(column[done] for column in runs)), starts[started].clip(min=0.0)


def gradient(
    logits: NDArray[np.float64], runs: Programs, advantage: NDArray[np.float64]
) -> NDArray[np.float64]:
    """REINFORCE: mean over programs of A_i sum_t grad log pi, over instructions that ran."""
    return reinforce(logits, runs.before, runs.chosen, runs.ran, advantage)


def weights(
    arm: str, seconds: NDArray[np.float64], starts: NDArray[np.float64], settings: Settings
) -> NDArray[np.float64]:
    """What each completed program's gradient weighs in the arm."""
    took = torch.from_numpy(seconds)
    if "completion_weighted" in arm:
        chances = completion_probabilities(took, torch.from_numpy(starts), settings.window)
        return np.asarray(completion_weights(chances).numpy())
    if "weighted" in arm:
        return np.asarray(duration_weights(took, mode="cutoff").numpy())
    return np.ones(len(seconds))


def advantages(
    paid: NDArray[np.float64], weight: NDArray[np.float64] | float = 1.0
) -> NDArray[np.float64]:
    """``(r - mean) / std`` over a batch, times the weights; 0 where all are equal."""
    if np.ptp(paid) < 1e-9:
        return np.zeros_like(paid)
    return np.asarray((paid - paid.mean()) / paid.std() * weight)


def train(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run: whether and when a valid program was completed, the best, the curve, the end."""
    rng, logits = np.random.default_rng([seed, 1]), start_of(seed, settings)
    bonus = 0.1 * arm.startswith("milestones")
    lost, rate = not arm.endswith("none_lost"), settings.learning_rate
    rate *= 2 if arm.endswith("double_rate") else 1
    first, best, seen = None, 0.0, np.zeros((settings.updates, 4))
    for update in range(settings.updates):
        runs, starts = completed(logits, rng, settings, lost)
        if runs.valid.any():
            first = update if first is None else first
            best = max(best, float(runs.score.max()))
        seen[update] = len(runs.valid), len(starts), runs.valid.mean(), runs.score.mean()
        weight = weights(arm, runs.seconds, starts, settings)
        gain = advantages(rewards(runs, bonus), weight)
        logits = logits + rate * gradient(logits, runs, gain)
    end = run_programs(sample(logits, settings.final, np.random.default_rng([seed, 2])))
    blocks = [block.mean(axis=0) for block in np.array_split(seen, settings.blocks)]
    names = ("completed", "started", "valid", "score")
    return {
        "first": first,
        "ever": float(first is not None),
        "best": round(best, 6),
        "programs": int(seen[:, 0].sum()),
        "final_valid": round(float(end.valid.mean()), 6),
        "final_score": round(float(end.score.mean()), 6),
        "final_seconds": round(float(end.seconds.mean()), 6),
        "curve": {n: [round(float(b[i]), 6) for b in blocks] for i, n in enumerate(names)},
    }


# --- the verdict ----------------------------------------------------------------------------------


def judge(
    ever: Mapping[str, Sequence[float]], best: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """The rule of the module's docstring.

    Args:
        ever: arm -> per seed, 1 if it ever completed a valid program.
        best: arm -> per seed, its best true score.
    """
    found = compare(ever["milestones"], ever["real_only"])
    better = compare(best["milestones_weighted"], best["milestones"])
    if found["mean"] <= 0:
        credit = "refuted"
    else:
        credit = "supported" if found["low"] > 0 else "inconclusive"
    halves = {"milestones": credit, "duration": judged(better, MARGIN)}
    return {
        "verdict": all_of(halves),
        "halves": halves,
        "effects": {
            "ever_valid_milestones_minus_real_only": found,
            "best_score_weighted_minus_unweighted": better,
        },
    }


# --- the record -----------------------------------------------------------------------------------

MEASURES = ("ever", "best", "programs", "final_valid", "final_score", "final_seconds")


def keys(settings: Settings, seeds: Sequence[int]) -> list[Key]:
    """Every run."""
    return [
        {"arm": arm, "seed": seed, "settings": settings} for seed in seeds for arm in ARMS + ADDED
    ]


def results(runs: Runs, settings: Settings, seeds: Sequence[int]) -> dict[str, Any]:
    """What the record tells."""
    found = runs.by_arm(ARMS + ADDED)
    told = {name: {arm: [run[name] for run in found[arm]] for arm in found} for name in MEASURES}
    arms = {
        arm: {
            **{name: by_seed(told[name][arm]) for name in MEASURES},
            "first": [run["first"] for run in of],
            "curve": {
                name: mean_curve([run["curve"][name] for run in of]) for name in of[0]["curve"]
            },
        }
        for arm, of in found.items()
    }
    pairs = {
        f"{name}_{a}_minus_{b}": compare(told[name][a], told[name][b])
        for name, a, b in (
            ("ever", "milestones_weighted", "real_only_weighted"),
            ("ever", "milestones_weighted", "milestones"),
            ("best", "real_only_weighted", "real_only"),
            ("best", "milestones", "real_only"),
            ("final_score", "milestones_weighted", "milestones"),
            ("final_score", "milestones", "real_only"),
        )
    }
    added = {
        f"{name}_{a}_minus_{b}": compare(told[name][a], told[name][b])
        for name in ("best", "final_score")
        for a, b in (
            ("milestones_weighted_none_lost", "milestones_none_lost"),
            ("milestones_double_rate", "milestones"),
            ("milestones_weighted", "milestones_double_rate"),
            ("milestones_completion_weighted", "milestones"),
            ("milestones_completion_weighted", "milestones_weighted"),
        )
    }
    starts = [start_of(seed, settings) for seed in seeds]
    chances = [float(durations(logits).valid.sum()) for logits in starts]
    expected = [settings.updates * hits(logits, settings) for logits in starts]
    return {
        **judge(told["ever"], told["best"]),
        "beside": pairs,
        "added_after_the_verdict": added,
        "arms": arms,
        "start": {
            "chance_of_a_valid_program": [float(f"{q:.4g}") for q in chances],
            "runs_that_find_one_without_learning": finders(
                expected, round(sum(told["ever"]["real_only"]))
            ),
        },
    }


def budget(settings: Settings, seeds: Sequence[int]) -> dict[str, int]:
    """What is spent."""
    return {"windows_per_run": settings.updates, "runs": len(keys(settings, seeds))}


REPRODUCTION = Reproduction(
    id="102",
    method="milestones",
    paper="2509.01684",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    seeds=range(20),
    keys=keys,
    train=train,
    judge=results,
    budget=budget,
)
