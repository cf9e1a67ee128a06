"""004, G-RA: step rewards that count only where the outcome is good (arXiv 2508.10548).

    python -m reproductions 004

The claim, in the smallest task that can show it: in long multi-turn work, adding step rewards to
the outcome directly (D-RA) raises the total while completion collapses; gating their sum by the
outcome (G-RA) does not, and completes at least as often as learning from the outcome alone.

The task. The work has 3 pieces, an episode at most 30 turns. At each turn the agent chooses one of
`look` (a valid tool call that changes nothing), `edit` (a valid tool call that does the next piece,
and nothing once all are done), `malformed` (a call that is not valid and does nothing) and
`submit`, which ends the episode. The outcome is 1 if it submitted with all pieces done, else 0; an
episode that runs out of turns was not submitted. Each valid tool call pays 0.1, so that never
submitting can collect 3 times the outcome, as in work of many turns.

The learner. A tabular softmax policy over the number of pieces done, from all logits 0, by
REINFORCE: an episode's reward is its total, the baseline the batch mean, nothing is rescaled. It
does not see the turn: agents are rarely told how many they have left. 300 updates of 64 episodes,
learning rate 1, for each arm; 10 seeds, which give all arms the same random numbers. The gate's
threshold is 0.5: above an unfinished or missing submission, the paper's rule.

Settings and rule were written down before the first run. Measured is the last of 20 equal blocks
of training (960 episodes per seed), as means over seeds; intervals are the 95 % bootstrap of the
difference between arms of the same seed. With

    R = D-RA's total, last block - first block
    C = completion, D-RA - outcome only
    H = completion, G-RA - outcome only

*collapse* is refuted if R's interval lies at or below 0 or C's at or above 0, supported if R's lies
above 0 and C's below 0. *Hold* is refuted if H's interval lies below 0, supported if it
otherwise lies above -0.02 (that two are equal cannot be shown without a margin). The verdict is
refuted if either is, supported if both are, and else inconclusive; the effect that as many seeds
show four times in five is recorded with each.

Recorded beside it, without a say in the verdict: the same with a policy that sees the turn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from reproductions.effects import all_of, by_seed, compare, mean_curve
from reproductions.runner import Key, Reproduction, Runs
from reproductions.tabular import reinforce, softmax

import rewardsmith as rs
from rewardsmith.signals import EnvReward

LOOK, EDIT, MALFORMED, SUBMIT = range(4)
ARMS = ("outcome_only", "direct", "gated")
MARGIN = 0.02
CLAIM = (
    "Direct accumulation of step rewards raises the total while completion falls below that of "
    "learning from the outcome alone; gated accumulation completes at least as often as it."
)
UNPROVED = [
    "Anything about language models, software tasks or the paper's sizes of effect: this is a "
    "tabular policy in a task of 4 actions.",
    "More than two levels of priority, graded outcomes and other thresholds: the outcome here is "
    "0 or 1, for which every threshold in (0, 1] is the same gate.",
    "Learners that credit single turns (reward-to-go, a critic), rescale rewards, or discount.",
    "A start that no exploration from the outcome alone gets away from.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    pieces: int = 3
    turns: int = 30
    step_reward: float = 0.1
    threshold: float = 0.5
    sees_turn: bool = False
    updates: int = 300
    batch: int = 64
    learning_rate: float = 1.0
    blocks: int = 20


# --- the rewards, the task, the learner -----------------------------------------------------------


@rs.reward(batched=True)
def outcome(complete: Sequence[float]) -> Sequence[float]:
    """1 for submitted and complete, else 0."""
    return complete


def reward_of(arm: str, settings: Settings) -> rs.Reward:
    """The arm's reward tree."""
    if arm == "outcome_only":
        return outcome
    steps = settings.step_reward * EnvReward(column="valid")
    if arm == "direct":
        return rs.WeightedSum({"outcome": outcome, "steps": steps})
    return rs.Gate(condition=outcome, of=steps, threshold=settings.threshold, accumulate=True)


def play(logits: NDArray[np.float64], rng: np.random.Generator, settings: Settings) -> rs.Rollouts:
    """One batch of episodes under the policy: rows `complete`, steps `state`, `action`, `valid`."""
    n, turns = settings.batch, settings.turns
    bounds = softmax(logits).cumsum(axis=1)[:, :-1]
    # Drawn at once, so that what an arm chooses does not shift another turn's random numbers.
    drawn = rng.random((turns, n))
    state, action = np.zeros((2, n, turns), dtype=np.int64)
    mask = np.zeros((n, turns), dtype=bool)
    progress = np.zeros(n, dtype=np.int64)
    complete = np.zeros(n)
    live = np.ones(n, dtype=bool)
    for t in range(turns):
        state[:, t] = progress + (settings.pieces + 1) * t * settings.sees_turn
        action[:, t] = chosen = (drawn[t][:, None] >= bounds[state[:, t]]).sum(axis=1)
        mask[:, t] = live
        submitted = live & (chosen == SUBMIT)
        complete[submitted & (progress == settings.pieces)] = 1.0
        progress = np.minimum(progress + (live & (chosen == EDIT)), settings.pieces)
        live = live & ~submitted
        if not live.any():
            break
    valid = (mask & ((action == LOOK) | (action == EDIT))).astype(np.float64)
    steps = {"state": state, "action": action, "valid": valid}
    return rs.Rollouts({"complete": complete.tolist()}, steps, mask=torch.from_numpy(mask))


def train(arm: str, seed: int, settings: Settings) -> dict[str, list[float]]:
    """One run: completion, total and turns of each block of training."""
    rng = np.random.default_rng(seed)
    tree = reward_of(arm, settings)
    states = (settings.pieces + 1) * (settings.turns if settings.sees_turn else 1)
    logits = np.zeros((states, 4))
    seen = np.zeros((settings.updates, 3))
    for update in range(settings.updates):
        rollouts = play(logits, rng, settings)
        total = tree(rollouts).resolve("raise").total().numpy().astype(np.float64)
        mask = rollouts.mask.numpy()
        seen[update] = np.mean(rollouts["complete"]), total.mean(), mask.sum(axis=1).mean()
        logits = logits + settings.learning_rate * gradient(logits, rollouts, total - total.mean())
    blocks = [block.mean(axis=0) for block in np.array_split(seen, settings.blocks)]
    names = ("completion", "total", "turns")
    return {name: [round(float(b[i]), 6) for b in blocks] for i, name in enumerate(names)}


def gradient(
    logits: NDArray[np.float64], rollouts: rs.Rollouts, advantage: NDArray[np.float64]
) -> NDArray[np.float64]:
    """REINFORCE: mean over episodes of A_i sum_t grad log pi(a_t | s_t), shape of ``logits``."""
    state, action = rollouts["state"].numpy(), rollouts["action"].numpy()
    return reinforce(logits, state, action, rollouts.mask.numpy(), advantage)


# --- the verdict ----------------------------------------------------------------------------------


def judge(
    completion: Mapping[str, Sequence[float]], first: Sequence[float], last: Sequence[float]
) -> dict[str, Any]:
    """The rule of the module's docstring.

    Args:
        completion: arm -> the last block's completion, one number per seed.
        first: D-RA's total in the first block, per seed.
        last: the same in the last block.
    """
    rise = compare(last, first)
    fall = compare(completion["direct"], completion["outcome_only"])
    hold = compare(completion["gated"], completion["outcome_only"])
    if rise["high"] <= 0 or fall["low"] >= 0:
        collapses = "refuted"
    else:
        collapses = "supported" if rise["low"] > 0 and fall["high"] < 0 else "inconclusive"
    if hold["high"] < 0:
        holds = "refuted"
    else:
        holds = "supported" if hold["low"] > -MARGIN else "inconclusive"
    halves = {"direct_collapses": collapses, "gated_holds": holds}
    return {
        "verdict": all_of(halves),
        "halves": halves,
        "effects": {
            "direct_total_last_minus_first": rise,
            "completion_direct_minus_outcome_only": fall,
            "completion_gated_minus_outcome_only": hold,
            "completion_gated_minus_direct": compare(completion["gated"], completion["direct"]),
        },
    }


# --- the record -----------------------------------------------------------------------------------

MEASURES = ("completion", "total", "turns")


def beside(settings: Settings) -> Settings:
    """What is recorded without a say in the verdict."""
    return replace(settings, sees_turn=True)


def keys(settings: Settings, seeds: Sequence[int]) -> list[Key]:
    """Every run."""
    return [
        {"arm": arm, "seed": seed, "settings": which}
        for which in (settings, beside(settings))
        for seed in seeds
        for arm in ARMS
    ]


def told(runs: Runs, settings: Settings) -> dict[str, Any]:
    """Verdict, effects and arms of one kind of policy."""
    found = runs.by_arm(ARMS, settings=settings)
    last = {n: {arm: [run[n][-1] for run in found[arm]] for arm in ARMS} for n in MEASURES}
    first_total = [run["total"][0] for run in found["direct"]]
    arms = {
        arm: {
            **{name: by_seed(last[name][arm]) for name in MEASURES},
            "curve": {name: mean_curve([run[name] for run in found[arm]]) for name in MEASURES},
        }
        for arm in ARMS
    }
    return {**judge(last["completion"], first_total, last["total"]["direct"]), "arms": arms}


def results(runs: Runs, settings: Settings, seeds: Sequence[int]) -> dict[str, Any]:
    """What the record tells."""
    return {**told(runs, settings), "policy_that_sees_the_turn": told(runs, beside(settings))}


def budget(settings: Settings, seeds: Sequence[int]) -> dict[str, int]:
    """What is spent."""
    episodes = settings.updates * settings.batch
    return {"episodes_per_run": episodes, "runs": len(keys(settings, seeds))}


REPRODUCTION = Reproduction(
    id="004",
    method="gate",
    paper="2508.10548",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    seeds=range(10),
    keys=keys,
    train=train,
    judge=results,
    budget=budget,
)
