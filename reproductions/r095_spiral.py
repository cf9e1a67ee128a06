"""095, SPIRAL: a baseline for each role in self-play, where games and gradients are exact.

    python -m reproductions 095

The claim (arXiv 2506.24119), where the policy is a table: in self-play, where one policy plays both
roles, a running baseline for each role makes gradients vary less than no baseline does, or one for
both roles, and play ends less exploitable.

The game. Kuhn poker: three cards, an ante of 1, one bet of 1, and a value of -1/18 for the player
who moves first. 30 ways it can go, 12 situations (card and what was said) with two actions each.

The policy. A softmax of two logits in each situation, drawn at first from a normal distribution
with the standard deviation 0.5.

The learner. 1000 batches of 128 games against itself; after each, one step of plain gradient ascent
on the mean over games of ``A_0 grad log p_0 + A_1 grad log p_1``, the advantage of each player
times the gradient of what it did. No entropy bonus and no KL, as in the paper. The learning rate,
1 of 0.1, 0.3, 1 and 3, was the one under which the arm `none` had the least exploitability at the
end on seeds 100 to 102, with 300 batches; the variances of one such run were seen then. The arms
differ in A:

- `none`: the return R, in chips;
- `shared`: R less one running mean for both roles;
- `rae`: R less a running mean for each role.

Both are `role_advantages`, with the paper's decay 0.95 for each game that a role has seen, from 0.
20 seeds, which give all arms the same start and the same random numbers. All play 128,000 games.

Measured:

- *variance*: the trace of the covariance of one game's gradient, given what the estimator remembers
  before it, exactly, by all 30 ways; every 10 batches. Games of a batch add to it without cross
  terms, because a baseline that was there before a game leaves its expected gradient as it is
  (`shared` breaks that a little: the second player's baseline has seen the first one's return, and
  the number has that in it). All estimators see the games of all runs, so that they are compared at
  the same policies: a seed's number is the mean over its three runs.
- *exploitability*: what two best responses win together from the policy, in chips per game,
  exactly; every 10 batches. A seed's number is the mean over the last tenth of the run.

Intervals are the 95 % bootstrap over seeds. The rule, for `rae` against `none` and `shared`:

- *variance*: one minus the ratio of variances. Refuted if its interval lies below 0.01, else
  supported if it lies above 0, else inconclusive.
- *exploitability*: that of the other arm less that of `rae`. Refuted if its interval lies below
  0.01 chips, else supported if it lies above 0, else inconclusive.

The claim is refuted if any of the four is, supported if all are, else inconclusive.

Recorded without a say in the verdict: exploitability over all of training; the arm `rae_slow`, with
a decay of 0.995; the variance under the exact value of each role as the baseline, which is what a
running mean can reach; and all of it in a game with a handicap, in which the first player gets 1
chip from the second before each game. That changes no best response, but it is what a baseline for
each role is for.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from reproductions.effects import all_of, by_seed, compare, judged, mean_curve
from reproductions.runner import Key, Reproduction, Runs
from reproductions.tabular import softmax

from rewardsmith.policy.advantages.role_baseline import role_advantages

Array = NDArray[np.float64]
CLAIM = (
    "In self-play, a running baseline for each role makes gradients vary less than no baseline or "
    "one for both roles, and play ends less exploitable."
)
UNPROVED = [
    "Anything about language models, and the gains in reasoning that the paper is about.",
    "That traces of reasoning collapse without the baseline: there are none here.",
    "Games whose first move, or whose kind, is worth more than 1/18 of the ante: see `handicap`.",
    "Other optimizers: a step here is plain gradient ascent.",
]
ARMS = ("none", "shared", "rae")
BESIDE = ("rae_slow",)
GAMES = {"kuhn": 0.0, "handicap": 1.0}
"""What the first player gets before each game."""
MARGIN = 0.01


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    batches: int = 1000
    games: int = 128
    learning_rate: float = 1.0
    spread: float = 0.5
    decay: float = 0.95
    slow_decay: float = 0.995
    every: int = 10


# --- the game -------------------------------------------------------------------------------------

LINES = {"pp": (0, 0), "pbp": (0, 1, 0), "pbb": (0, 1, 1), "bp": (1, 0), "bb": (1, 1)}
"""How the two players can speak, in turns: to pass (check, fold) or to bet (call)."""
DEALS = tuple(permutations(range(3), 2))
WAYS = tuple((deal, line) for deal in DEALS for line in LINES)
"""All 30 ways that a game can go."""


def _paid(deal: tuple[int, int], line: str) -> float:
    """1 for the better hand, 2 if both have bet; who folds to a bet loses 1."""
    if line == "pbp":
        return -1.0
    if line == "bp":
        return 1.0
    size = 2.0 if line.endswith("bb") else 1.0
    return size if deal[0] > deal[1] else -size


def _did(deal: tuple[int, int], line: str) -> Array:
    """[2, 12, 2]: situation ``card + 3 place``; the places are the first move, after a pass, after
    a bet, and after a pass and a bet."""
    did = np.zeros((2, 12, 2))
    for turn, action in enumerate(LINES[line]):
        place = {0: 0, 1: 1 + LINES[line][0], 2: 3}[turn]
        did[turn % 2, deal[turn % 2] + 3 * place, action] = 1.0
    return did


RETURNS = np.array([_paid(*way) for way in WAYS])
"""[30] what the first player wins."""
DID = np.stack([_did(*way) for way in WAYS], axis=1)
"""[2, 30, 12, 2] 1 where a player does that in that situation."""


def reaches(policy: Array) -> Array:
    """[2, 30] the probability that a player does its part of each way; the cards come to 1/6."""
    said = np.where(DID > 0, policy, 1.0)
    return np.asarray(said.prod(axis=(2, 3)))


def probabilities(policy: Array) -> Array:
    """[30] of each way, for a policy [12, 2] that plays both roles."""
    return np.asarray(reaches(policy).prod(axis=0) / len(DEALS))


def value(policy: Array) -> float:
    """What the first player wins in the mean."""
    return float(probabilities(policy) @ RETURNS)


def exploitability(policy: Array) -> float:
    """What the best response to each role wins, summed over both: 0 at an equilibrium alone.

    By all 64 pure strategies of each player.
    """
    own = reaches(policy)
    first = (PURE[0] * own[1] * RETURNS).sum(axis=1).max()
    second = (PURE[1] * own[0] * -RETURNS).sum(axis=1).max()
    return float(first + second) / len(DEALS)


def _pure() -> Array:
    """[2, 64, 30] where each pure strategy of a player does its part."""
    of_player = ([0, 1, 2, 9, 10, 11], [3, 4, 5, 6, 7, 8])
    plays = np.ones((2, 64, 12, 2))
    for player, situations in enumerate(of_player):
        for k, actions in enumerate(product((0, 1), repeat=6)):
            for situation, action in zip(situations, actions, strict=True):
                plays[player, k, situation, 1 - action] = 0.0
    return np.stack([[reaches(play)[i] for play in plays[i]] for i in range(2)])


PURE = _pure()


def scores(policy: Array) -> Array:
    """[2, 30, 24] the gradient of the logarithm of what each player did."""
    grad = DID - DID.sum(axis=3, keepdims=True) * policy
    return np.asarray(grad.reshape(2, 30, 24))


# --- the estimators -------------------------------------------------------------------------------


class Baseline:
    """What an arm takes from returns, and what it remembers."""

    def __init__(self, arm: str, settings: Settings) -> None:
        self.arm = arm
        self.decay = settings.slow_decay if arm == "rae_slow" else settings.decay
        self.memory: dict[Hashable, float] = {}

    def keys(self, n: int) -> list[str]:
        """Whose baseline the rows of n games have, the first player's and the second's in turns."""
        return ["both"] * (2 * n) if self.arm == "shared" else ["first", "second"] * n

    def advantages(self, returns: Array) -> Array:
        """[n, 2] of n games, which are remembered then."""
        rows = np.stack([returns, -returns], axis=1)
        if self.arm == "none":
            return rows
        made, known = role_advantages(
            torch.from_numpy(rows.reshape(-1)),
            self.keys(len(returns)),
            self.memory,
            decay=self.decay,
        )
        self.memory |= known
        return np.asarray(made.values.numpy().reshape(-1, 2))

    def next_game(self, returns: Array) -> Array:
        """[n, 2] of one game more, whichever of n it is; nothing is remembered."""
        first = self.memory.get("both" if self.arm == "shared" else "first", 0.0)
        second: Array | float = self.memory.get("second", 0.0)
        if self.arm == "shared":
            second = self.decay * first + (1.0 - self.decay) * returns
        return np.stack([returns - first, -returns - second], axis=1)


def variance(ways: Array, score: Array, advantages: Array) -> float:
    """The trace of the covariance of one game's gradient.

    Args:
        ways: [30] their probabilities.
        score: [2, 30, 24].
        advantages: [30, 2].
    """
    gradient = (advantages.T[:, :, None] * score).sum(axis=0)
    mean = ways @ gradient
    return float(ways @ (gradient**2).sum(axis=1) - mean @ mean)


# --- the learner ----------------------------------------------------------------------------------


def train(arm: str, game: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run: exploitability by time, and the mean variance of every estimator on its way."""
    draw = np.random.default_rng(seed)
    logits = settings.spread * draw.standard_normal((12, 2))
    returns = RETURNS + GAMES[game]
    estimators = {name: Baseline(name, settings) for name in (*ARMS, *BESIDE)}
    curve: list[float] = []
    told: dict[str, list[float]] = {name: [] for name in (*estimators, "value")}
    for batch in range(settings.batches):
        policy = softmax(logits)
        ways, score = probabilities(policy), scores(policy)
        if batch % settings.every == 0:
            curve.append(exploitability(policy))
            for name, estimator in estimators.items():
                told[name].append(variance(ways, score, estimator.next_game(returns)))
            mean = float(ways @ returns)
            exact = np.stack([returns - mean, mean - returns], axis=1)
            told["value"].append(variance(ways, score, exact))
        met = np.searchsorted(ways.cumsum()[:-1], draw.random(settings.games), side="right")
        made = {name: of.advantages(returns[met]) for name, of in estimators.items()}
        step = np.einsum("gp,pgk->k", made[arm], score[:, met]) / settings.games
        logits += settings.learning_rate * step.reshape(12, 2)
    curve.append(exploitability(softmax(logits)))
    last = max(1, len(curve) // 10)
    return {
        "exploitability": float(np.mean(curve[-last:])),
        "over_training": float(np.mean(curve)),
        "value": value(softmax(logits)),
        "variance": {name: float(np.mean(numbers)) for name, numbers in told.items()},
        "curve": np.round(curve, 5).tolist(),
    }


# --- the verdict ----------------------------------------------------------------------------------


def judge(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The rule of the module's docstring; ``runs`` are those of each arm, by seed."""
    noise = {
        name: np.mean([[run["variance"][name] for run in runs[arm]] for arm in ARMS], axis=0)
        for name in (*ARMS, *BESIDE, "value")
    }
    ends = {arm: [run["exploitability"] for run in runs[arm]] for arm in (*ARMS, *BESIDE)}
    over = {arm: [run["over_training"] for run in runs[arm]] for arm in (*ARMS, *BESIDE)}
    effects = {}
    for other in ("none", "shared"):
        effects[f"variance_saved_from_{other}"] = saved(noise["rae"], noise[other])
        effects[f"exploitability_{other}_minus_rae"] = compare(ends[other], ends["rae"])
    parts = {name: judged(effect, MARGIN) for name, effect in effects.items()}
    beside = {
        **{f"over_training_{arm}_minus_rae": compare(over[arm], over["rae"]) for arm in ARMS[:2]},
        "variance_saved_by_rae_slow_from_none": saved(noise["rae_slow"], noise["none"]),
        "variance_saved_by_the_value_from_none": saved(noise["value"], noise["none"]),
        "exploitability_none_minus_rae_slow": compare(ends["none"], ends["rae_slow"]),
    }
    arms = {
        arm: {
            "exploitability": by_seed(ends[arm]),
            "over_training": by_seed(over[arm]),
            "variance": by_seed(noise[arm].tolist()),
            "curve": mean_curve([run["curve"] for run in runs[arm]])[::10],
        }
        for arm in (*ARMS, *BESIDE)
    }
    return {
        "verdict": all_of(parts),
        "parts": parts,
        "effects": effects,
        "beside": beside,
        "arms": arms,
    }


def saved(ours: Sequence[float] | Array, other: Sequence[float] | Array) -> dict[str, Any]:
    """One minus the ratio, over seeds."""
    parts = [one / two for one, two in zip(ours, other, strict=True)]
    return compare([1.0] * len(parts), parts)


# --- the record -----------------------------------------------------------------------------------


def keys(settings: Settings, seeds: Sequence[int]) -> list[Key]:
    """Every run."""
    return [
        {"arm": arm, "game": game, "seed": seed, "settings": settings}
        for game in GAMES
        for seed in seeds
        for arm in (*ARMS, *BESIDE)
    ]


def results(runs: Runs, settings: Settings, seeds: Sequence[int]) -> dict[str, Any]:
    """What the record tells; the verdict is of Kuhn poker as it is."""
    found = {game: judge(runs.by_arm((*ARMS, *BESIDE), game=game)) for game in GAMES}
    return {**found["kuhn"], "handicap": found["handicap"]}


def budget(settings: Settings, seeds: Sequence[int]) -> dict[str, int]:
    """What is spent."""
    return {
        "games_per_run": settings.batches * settings.games,
        "steps_per_run": settings.batches,
        "runs": len(keys(settings, seeds)),
    }


REPRODUCTION = Reproduction(
    id="095",
    method="rae",
    paper="2506.24119",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    seeds=range(20),
    keys=keys,
    train=train,
    judge=results,
    budget=budget,
)
