"""144, RECAP: what is replayed, and how much of it, while RL trains something else.

    python -m reproductions 144

The claim (arXiv 2510.21978): weights that move from objectives which are done to those that are
slow or volatile keep what a model could do while RL trains it, better than replay in fixed
proportions. The paper's abstract has the idea; the formulas of `recap` are this library's reading.

The bed: one policy, the tiny one, that was shown three tasks: addition modulo 97, and turning round
or copying four digits. The warm start ends with the latter two nearly done and the sums begun, and
is shared by all arms of a seed. RL then trains the sums alone.

The arms, all with `grpo` and `ppo`, 16 sums times 8 answers a batch, one step of AdamW on each:

- `no_replay`;
- `uniform_25`, `uniform_50`: in each step a quarter or a half of all rows are demonstrations of the
  other two tasks, in equal parts. The loss is the mean over rows: with f for the replayed part,
  (1 - f) RL + f / 2 (turning round) + f / 2 (copying), where the latter two are cross-entropies;
- `recap`: as `uniform_25`, each of the three losses times its weight by `recap`, which has seen the
  mean reward (best 1) and both cross-entropies (best 0) of every step. All options are defaults;
- `kl`: no replay, but a KL term to the start with the factor 0.1, on answers to sums.

5 seeds. All arms generate as many tokens; demonstrations are not generated, and come on top.

Measured on 384 held-out problems (a third of each task, 8 answers to each) at the end: `sums`, the
pass@1 of what RL trains; `kept`, the lower of the two other tasks' pass@1 in parts of what it was
at the start, above 1 where replay taught more than was known. Intervals are the 95 % bootstrap over
seeds.

The rule. The front of uniform replay is the three points (sums, kept) of `no_replay`, `uniform_25`
and `uniform_50`; the differences are those of `recap` minus a point, of the same seed.

- Refuted if `recap` is inside of the front: for one of the points, neither difference reaches 2
  points (both upper ends are below).
- Supported if for each of the points at least one of the differences lies above 0 (its lower end),
  and `recap` is nowhere worse than `uniform_25`, which replays as much: both lower ends of its
  differences are above minus 2 points.
- Else inconclusive. So too if `uniform_25` keeps less than 5 points more than `no_replay` in the
  mean (replay is good for nothing), or `no_replay` gains less than 5 points of sums (nothing was
  learned).

Recorded without a say in the verdict: the differences from `kl`; `sums` and `kept` over the run;
the weights of `recap`, as means over the tenths of the run.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from reproductions.effects import all_of, by_seed, compare, mean_curve
from reproductions.rlvr import Arm, Budget, comparison, run

from rewardsmith.policy.weights.convergence import ConvergenceWeights
from rewardsmith.testbeds import rlvr
from rewardsmith.testbeds.rlvr.bed import Bed

OURS = "recap"
TRAINED, REPLAYED = "sums", ("turned", "copied")
FRONT = ("no_replay", "uniform_25", "uniform_50")
SAME = "uniform_25"
"""The point of the front with as much replay."""
REPLAY = {"no_replay": 0.0, "uniform_25": 0.25, "uniform_50": 0.5, "recap": 0.25, "kl": 0.0}
"""Which part of the rows of a step is replayed."""
ARMS = tuple(REPLAY)
MEASURES = ("sums", "kept", "sums_over_the_run", "kept_over_the_run")
MARGIN, HELPS, LEARNED = 0.02, 0.05, 0.05
CLAIM = (
    "Weights by convergence and instability lie beyond the front of replay in fixed proportions: "
    "of what RL trains and what it would forget, one is better and none is worse."
)
UNPROVED = [
    "The paper's formulas: signals, softmax and smoothing are our reading of its abstract.",
    "Its experiments: vision-language models, rewards for reasoning, and replay of general data.",
    "Other amounts of replay than a quarter, and other options than the defaults.",
    "A front with more than three points, or points between them.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    low: float = 0.7
    high: float = 0.95
    """The warm start's pass@1 over the three tasks; it is shown what is far from the latter."""
    beta: float = 0.1
    """Of `kl`."""
    bed: Bed = field(default_factory=Bed)
    """Its ``updates`` are not read: the tokens end a run."""
    budget: Budget = field(default_factory=lambda: Budget(tokens=45_000, points=3, rows=384))


# --- replay ---------------------------------------------------------------------------------------


class Replay:
    """Demonstrations of other tasks in each step, and the weights of what is descended.

    Args:
        tasks: what is replayed, by name.
        part: of all rows of a step.
        seed: of the demonstrations.
        weights: of the trained task and the replayed ones; None for 1 each.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        part: float,
        seed: int,
        weights: ConvergenceWeights | None = None,
    ) -> None:
        self.tasks, self.part, self.weights = dict(tasks), part, weights
        self.rng = random.Random(seed)
        self.history: list[list[float]] = []
        """The weights of each step: the trained task's, then those of the replayed ones."""

    def loss(self, model: Any, tokenizer: Any, rl: Any, reward: float, rows: int) -> Any:
        """The mean loss over the rows of RL and those that are replayed.

        Args:
            model: what is trained.
            tokenizer: of its prompts.
            rl: the loss of RL.
            reward: the mean of the batch, which the weights observe.
            rows: of RL in this step.
        """
        each = max(1, round(rows * self.part / (1.0 - self.part) / len(self.tasks)))
        losses = {TRAINED: rl}
        for name, task in self.tasks.items():
            shown = task.demonstrations(self.rng, each)
            losses[name] = rlvr.demonstration_loss(model, tokenizer, shown)
        factors = dict.fromkeys(losses, 1.0)
        if self.weights is not None:
            told = {name: losses[name].item() for name in self.tasks}
            self.weights.observe({TRAINED: reward, **told})
            factors = self.weights.weights()
        self.history.append(list(factors.values()))
        share = self.part / len(self.tasks)
        total = (1.0 - self.part) * factors[TRAINED] * rl
        for name in self.tasks:
            total = total + share * factors[name] * losses[name]
        return total


def replaying(base: Any, replay: Replay) -> Callable[..., Any]:
    """A trainer that descends the loss of a replay beside its own."""

    class Replaying(base):  # type: ignore[misc]
        def _finished(self, batch: Any) -> Any:
            scores = batch.scores
            self.mean_reward = float(scores.total()[scores.scored].double().mean())
            return super()._finished(batch)

        def _compute_loss(self, model: Any, inputs: Any) -> Any:
            rl = super()._compute_loss(model, inputs)
            rows = len(inputs["completion_ids"])
            return replay.loss(model, self.processing_class, rl, self.mean_reward, rows)

    return Replaying


@contextmanager
def trainer_with(replay: Replay | None) -> Iterator[None]:
    """Meanwhile the trainer of the library is one that replays."""
    from rewardsmith.learners import grpo

    usual = grpo.GRPOTrainer
    if replay is not None:
        grpo.GRPOTrainer = replaying(usual, replay)  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        grpo.GRPOTrainer = usual  # type: ignore[misc]
    if replay is not None and not replay.history:
        raise RuntimeError("nothing was replayed: the run had another trainer")


# --- the runs -------------------------------------------------------------------------------------


def tasks() -> dict[str, Any]:
    """The three of them."""
    return {
        TRAINED: rlvr.modular_addition(),
        REPLAYED[0]: rlvr.reversal(),
        REPLAYED[1]: rlvr.copying(),
    }


def train(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run: what :data:`MEASURES` names, what it began at, the weights, and the curve."""
    of = tasks()
    whole = rlvr.mixed(of, "recap")
    start = rlvr.warm_start(whole, seed, (settings.low, settings.high))
    part = REPLAY[arm]
    replay = None
    if part:
        weights = weights_of() if arm == OURS else None
        replay = Replay({name: of[name] for name in REPLAYED}, part, seed, weights)
    config = {"beta": settings.beta} if arm == "kl" else {}
    with trainer_with(replay):
        made = run(
            only(TRAINED, whole),
            Arm(config=config),
            seed,
            settings.bed,
            settings.budget,
            start=Path(start),
        )
    told = {"weights": tenths(replay.history)} if replay and replay.weights else {}
    return {**measured(made), **told, **made}


def weights_of() -> ConvergenceWeights:
    """Of the mean reward and two cross-entropies."""
    best = {TRAINED: 1.0, **dict.fromkeys(REPLAYED, 0.0)}
    return ConvergenceWeights((TRAINED, *REPLAYED), losses=REPLAYED, best=best)


def only(name: str, whole: Any) -> Any:
    """A mixed task whose problems to train on are of one domain; it is measured on all."""
    return replace(whole, train=tuple(row for row in whole.train if row["domain"] == name))


def measured(made: Mapping[str, Any]) -> dict[str, float]:
    """What :data:`MEASURES` names, and ``sums_at_the_start``, of a run on the bed."""
    curve = made["curve"]
    sums = np.array([point[f"{TRAINED} pass@1"] for point in curve])
    others = np.array([[point[f"{name} pass@1"] for name in REPLAYED] for point in curve])
    kept = (others / others[0]).min(axis=1)
    told = {
        "sums": sums[-1],
        "kept": kept[-1],
        "sums_over_the_run": sums[1:].mean(),
        "kept_over_the_run": kept[1:].mean(),
        "sums_at_the_start": sums[0],
    }
    return {name: round(float(value), 6) for name, value in told.items()}


def tenths(history: Sequence[Sequence[float]]) -> list[list[float]]:
    """Means over tenths of the run, or over single steps where there are fewer."""
    parts = np.array_split(np.array(history), min(10, len(history)))
    return [part.mean(axis=0).round(4).tolist() for part in parts]


# --- the verdict ----------------------------------------------------------------------------------


def judge(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The rule of the module's docstring; ``runs`` are those of each arm, by seed."""
    values = {
        arm: {name: [run[name] for run in told] for name in (*MEASURES, "sums_at_the_start")}
        for arm, told in runs.items()
    }

    def minus(other: str) -> dict[str, Any]:
        return {
            f"{name}_{OURS}_minus_{other}": compare(values[OURS][name], values[other][name])
            for name in ("sums", "kept")
        }

    effects = {other: list(minus(other).values()) for other in FRONT}
    parts = {f"beyond_{other}": beyond(*effects[other]) for other in FRONT}
    parts["no_worse_at_equal_replay"] = no_worse(effects[SAME])
    guard = unfit(values)
    return {
        "verdict": "inconclusive" if guard else all_of(parts),
        "parts": parts,
        "guard": guard,
        "effects": {key: effect for other in FRONT for key, effect in minus(other).items()},
        "beside": minus("kl"),
        "weights": mean_curve([run["weights"] for run in runs[OURS]]),
        "arms": {
            arm: {name: by_seed(found) for name, found in values[arm].items()} for arm in runs
        },
    }


def beyond(sums: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
    """The verdict against one point of the front."""
    if sums["high"] < MARGIN and kept["high"] < MARGIN:
        return "refuted"
    return "supported" if sums["low"] > 0 or kept["low"] > 0 else "inconclusive"


def no_worse(differences: Sequence[Mapping[str, Any]]) -> str:
    """Supported if no loss by the margin is possible; this part refutes nothing by itself."""
    return "supported" if all(of["low"] > -MARGIN for of in differences) else "inconclusive"


def unfit(values: Mapping[str, Mapping[str, Sequence[float]]]) -> str | None:
    """Why the runs cannot tell, or None."""
    plain, replayed = values["no_replay"], values[SAME]
    if np.mean(np.subtract(replayed["kept"], plain["kept"])) < HELPS:
        return "replay keeps nothing that would be forgotten"
    if np.mean(np.subtract(plain["sums"], plain["sums_at_the_start"])) < LEARNED:
        return "nothing was learned without replay"
    return None


REPRODUCTION = comparison(
    ARMS,
    judge,
    id="144",
    method="recap",
    paper="2510.21978",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    train=train,
)
