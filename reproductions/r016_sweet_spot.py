"""016, SSL: a quality in few zones beside correctness (arXiv 2601.22491).

    python -m reproductions 016

The claim, in the smallest task that can show it: correctness plus a quality in tiers is learned
with fewer updates, and has gradients with a higher ratio of signal to noise, than correctness alone
and than correctness plus the same quality as it is.

The task. Click on a box: its middle is drawn evenly from a square of 2 by 2, its two half sizes
from 0.1 to 0.3. A click in the box is correct; its quality S is `gaussian_zone` (1 in the middle,
0.61 at the middle of an edge, 0.37 at a corner). The policy is Gaussian: the means come from a
network of one hidden layer of 32 that sees the box, the two logs of the standard deviations are
parameters, from ln 0.5. It starts with about one click in thirty right.

The learner. GRPO: 300 updates of 16 boxes with 8 clicks each, advantages of `grpo`, one step of
Adam with 1e-2 on ``-A log p`` per update. The rate was chosen on the seeds 100 and 101 by the arm
`binary` alone, which was to come to 80 % well within the budget (after 140 updates or so). 12
seeds, which give all arms the same start, the same boxes and the same random numbers.

The arms: `binary`, C; `continuous`, C + 0.5 S; `tiers`, `Tiers` with its defaults (K = 4, alpha
0.5, rho 1). Beside them `tiers_rho_2`, and `quality`, S alone.

Measured, every 2 updates, is success: the share of 500 clicks, one on each of 500 held-out boxes,
that are correct. *Updates* are those at which it is 0.8 for the first time; the budget if it never
is. *Signal to noise* is ``|mean g|^2 / tr cov g`` of the gradient of one update, from 100 batches,
at the same policies for all arms: those of a run of `binary` at its start and when its success
first comes to 0.25, 0.5 and 0.75. Its logarithm is averaged over the four.

Settings and rule were written down before the first run. Intervals are the 95 % bootstrap over
seeds of the difference between arms of the same seed. With, for `binary` and for `continuous`,

    U = ln(updates of the other / updates of tiers)
    N = ln(signal to noise of tiers) - ln(that of the other)

each of the four parts is refuted if its interval lies below 0.05 (a gain of 5 % is excluded), else
supported if it lies above 0, else inconclusive; and inconclusive if half of the seeds or more never
come to 80 % in both of its arms. The claim is refuted if a part is, supported if all four are, else
inconclusive. Recorded without a say: the other two arms, the same with noise in the quality (normal
with the standard deviation 0.2), and order: by how much the worst correct click of a batch earns
more than its best incorrect one, at the least.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from reproductions.effects import all_of, by_seed, compare, judged, mean_curve
from reproductions.runner import Key, Reproduction, Runs
from torch import Tensor, nn

import rewardsmith as rs
from rewardsmith.policy.advantages.group_relative import grpo
from rewardsmith.transforms.tiers import Tiers, gaussian_zone

AGAINST = ("binary", "continuous")
ARMS = (*AGAINST, "tiers", "tiers_rho_2", "quality")
NOISY = ("continuous", "tiers")
STAGES = (0.0, 0.25, 0.5, 0.75)
GOAL, MARGIN = 0.8, 0.05
CLAIM = (
    "Correctness plus a quality in tiers is learned with fewer updates, and has gradients with a "
    "higher ratio of signal to noise, than correctness alone and than correctness plus the "
    "quality as it is."
)
UNPROVED = [
    "Anything about language models, agents that see screens or the paper's sizes of effect: this "
    "is a click on a box whose place the policy is told.",
    "Puzzles and other tasks of more than one step, and grids.",
    "The paper's own zones, which are reconstructed here; other alphas, K and sharpness.",
    "Learners without scaling of advantages: within a group `grpo` takes away the size of rewards.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    smallest: float = 0.1
    largest: float = 0.3
    hidden: int = 32
    spread: float = 0.5
    alpha: float = 0.5
    zones: int = 4
    noise: float = 0.0
    updates: int = 300
    requests: int = 16
    group: int = 8
    rate: float = 1e-2
    every: int = 2
    held_out: int = 500
    batches: int = 100


# --- the task and its rewards ---------------------------------------------------------------------


def inside(point: Tensor, box: Tensor) -> Tensor:
    """1 for a click in the box, else 0."""
    return ((point >= box[:, :2]) & (point <= box[:, 2:])).all(dim=1).float()


class Inside(rs.Reward):
    """Correctness."""

    def forward(self, rollouts: rs.Rollouts) -> rs.Scores:
        return rs.Scores.outcome(inside(rollouts["point"], rollouts["box"]))


class Nearness(rs.Reward):
    """How near a click is to the middle, as it was measured."""

    def forward(self, rollouts: rs.Rollouts) -> rs.Scores:
        near = gaussian_zone(rollouts["point"], rollouts["box"])
        return rs.Scores.outcome(near + rollouts["noise"])


def reward_of(arm: str, settings: Settings) -> rs.Reward:
    """The arm's reward tree."""
    if arm == "binary":
        return Inside()
    if arm == "quality":
        return Nearness()
    if arm == "continuous":
        return rs.WeightedSum(
            {"correct": Inside(), "quality": Nearness()},
            {"correct": 1.0, "quality": settings.alpha},
        )
    rho = 2.0 if arm == "tiers_rho_2" else 1.0
    return Tiers(Inside(), Nearness(), settings.alpha, settings.zones, rho)


def draw(n: int, generator: torch.Generator, settings: Settings) -> Tensor:
    """Boxes [n, 4]."""
    middle = 2.0 * torch.rand(n, 2, generator=generator) - 1.0
    width = settings.largest - settings.smallest
    half = settings.smallest + width * torch.rand(n, 2, generator=generator)
    return torch.cat([middle - half, middle + half], dim=1)


# --- the policy and the learner -------------------------------------------------------------------


class Policy(nn.Module):
    """Clicks on boxes."""

    def __init__(self, hidden: int, spread: float) -> None:
        super().__init__()
        self.mean = nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, 2))
        self.log_spread = nn.Parameter(torch.full((2,), float(np.log(spread))))

    def click(self, box: Tensor, drawn: Tensor) -> Tensor:
        """Points [n, 2] from standard normal numbers."""
        return (self.mean(box) + self.log_spread.exp() * drawn).detach()

    def log_prob(self, box: Tensor, point: Tensor) -> Tensor:
        """Of clicks [n], up to a constant."""
        off = (point - self.mean(box)) / self.log_spread.exp()
        return -(off.square() / 2 + self.log_spread).sum(dim=1)


class Batch(NamedTuple):
    """Clicks, and what they earn."""

    box: Tensor
    point: Tensor
    rewards: Tensor
    correct: Tensor


def play(policy: Policy, tree: rs.Reward, drawn: torch.Generator, settings: Settings) -> Batch:
    """One batch."""
    boxes = draw(settings.requests, drawn, settings)
    box = boxes.repeat_interleave(settings.group, dim=0)
    point = policy.click(box, torch.randn(len(box), 2, generator=drawn))
    noise = settings.noise * torch.randn(len(box), generator=drawn)
    rollouts = rs.Rollouts({"point": point, "box": box, "noise": noise})
    return Batch(box, point, tree(rollouts).resolve("raise").values, inside(point, box))


def loss_of(policy: Policy, batch: Batch, settings: Settings) -> Tensor:
    """``-A log p``, averaged over clicks."""
    group = torch.arange(settings.requests).repeat_interleave(settings.group)
    advantage = grpo(batch.rewards, group).values
    return -(advantage * policy.log_prob(batch.box, batch.point)).mean()


def success(policy: Policy, seed: int, settings: Settings) -> float:
    """The share of clicks on held-out boxes that are correct; the same numbers every time."""
    generator = torch.Generator().manual_seed(3_000_000 + seed)
    box = draw(settings.held_out, generator, settings)
    point = policy.click(box, torch.randn(len(box), 2, generator=generator))
    return round(float(inside(point, box).mean()), 6)


def train(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run of an arm; or, as "noise", the signal to noise of all arms along one of `binary`."""
    torch.manual_seed(seed)
    policy = Policy(settings.hidden, settings.spread)
    drawn = torch.Generator().manual_seed(1_000_000 + seed)
    tree = reward_of("binary" if arm == "noise" else arm, settings)
    optimizer = torch.optim.Adam(policy.parameters(), settings.rate)
    curve, order, stages = [success(policy, seed, settings)], [], []
    if arm == "noise":
        stages.append(signals(policy, seed, settings))
    for update in range(1, settings.updates + 1):
        batch = play(policy, tree, drawn, settings)
        right = batch.correct > 0
        if bool(right.any()) and not bool(right.all()):
            order.append(float(batch.rewards[right].min() - batch.rewards[~right].max()))
        loss = loss_of(policy, batch, settings)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if update % settings.every == 0:
            curve.append(success(policy, seed, settings))
            while arm == "noise" and len(stages) < len(STAGES) and curve[-1] >= STAGES[len(stages)]:
                stages.append(signals(policy, seed, settings))
    if arm == "noise":
        return {"stages": stages}
    return {
        "updates": updates_to(curve, settings),
        "curve": curve,
        "order": round(min(order, default=1.0), 6),
    }


def updates_to(curve: Sequence[float], settings: Settings) -> int:
    """The updates to the goal; all that there are if it is not reached."""
    at = [i for i, share in enumerate(curve) if share >= GOAL]
    return settings.every * at[0] if at else settings.updates


def signals(policy: Policy, seed: int, settings: Settings) -> dict[str, float]:
    """``|mean g|^2 / tr cov g`` of each arm's gradient at this policy."""
    policy = deepcopy(policy)
    told = {}
    for arm in NOISY if settings.noise else ARMS:
        # The same clicks for every arm.
        drawn = torch.Generator().manual_seed(2_000_000 + seed)
        tree, rows = reward_of(arm, settings), []
        for _ in range(settings.batches):
            loss = loss_of(policy, play(policy, tree, drawn, settings), settings)
            found = torch.autograd.grad(loss, list(policy.parameters()))
            rows.append(torch.cat([one.flatten() for one in found]).double())
        gradients = torch.stack(rows)
        told[arm] = float(gradients.mean(dim=0).square().sum() / gradients.var(dim=0).sum())
    return told


# --- the verdict ----------------------------------------------------------------------------------


def judge(
    updates: Mapping[str, Sequence[int]],
    noise: Mapping[str, Sequence[float]],
    budget: int,
) -> dict[str, Any]:
    """The rule of the module's docstring.

    Args:
        updates: arm -> per seed the updates to the goal.
        noise: arm -> per seed the mean log of signal to noise.
        budget: the updates of a run, which stand for a goal that was not reached.
    """
    log = {arm: np.log(values).tolist() for arm, values in updates.items()}
    lost = {arm: np.mean([n >= budget for n in values]) >= 0.5 for arm, values in updates.items()}
    effects, parts = {}, {}
    for other in AGAINST:
        name = f"log_updates_{other}_minus_tiers"
        effects[name] = compare(log[other], log["tiers"])
        found = judged(effects[name], MARGIN)
        parts[f"sooner_than_{other}"] = "inconclusive" if lost[other] and lost["tiers"] else found
    for other in AGAINST:
        name = f"log_signal_to_noise_tiers_minus_{other}"
        effects[name] = compare(noise["tiers"], noise[other])
        parts[f"clearer_than_{other}"] = judged(effects[name], MARGIN)
    beside = {
        f"log_updates_{other}_minus_tiers": compare(log[other], log["tiers"])
        for other in log
        if other not in (*AGAINST, "tiers")
    }
    return {
        "verdict": all_of(parts),
        "parts_of_the_claim": parts,
        "effects": effects,
        "beside": beside,
    }


# --- the record -----------------------------------------------------------------------------------


def noisy(settings: Settings) -> Settings:
    """What is recorded without a say in the verdict."""
    return replace(settings, noise=0.2)


def keys(settings: Settings, seeds: Sequence[int]) -> list[Key]:
    """Every run."""
    every = [*product([settings], (*ARMS, "noise")), *product([noisy(settings)], (*NOISY, "noise"))]
    return [{"arm": arm, "seed": s, "settings": which} for s in seeds for which, arm in every]


def told(runs: Runs, settings: Settings, arms: Sequence[str]) -> dict[str, Any]:
    """What the arms and the gradients come to at one level of noise."""
    found = runs.by_arm(arms, settings=settings)
    stages = [run["stages"] for run in runs.of(arm="noise", settings=settings)]
    noise = {arm: [mean_log([one[arm] for one in run]) for run in stages] for arm in arms}
    return {
        arm: {
            "updates": by_seed([run["updates"] for run in of]),
            "log_signal_to_noise": by_seed(noise[arm]),
            "order": min(run["order"] for run in of),
            "success": mean_curve([run["curve"] for run in of])[::15],
        }
        for arm, of in found.items()
    }


def mean_log(values: Sequence[float]) -> float:
    """The mean of the logarithms."""
    return round(float(np.mean(np.log(values))), 6)


def results(runs: Runs, settings: Settings, seeds: Sequence[int]) -> dict[str, Any]:
    """What the record tells."""
    arms, other = told(runs, settings, ARMS), told(runs, noisy(settings), NOISY)

    def of(arms: Mapping[str, Any], name: str) -> dict[str, Any]:
        return {arm: one[name]["per_seed"] for arm, one in arms.items()}

    found = judge(of(arms, "updates"), of(arms, "log_signal_to_noise"), settings.updates)
    updates, noise = of(other, "updates"), of(other, "log_signal_to_noise")
    log = {arm: np.log(values).tolist() for arm, values in updates.items()}
    return {
        **found,
        "arms": arms,
        "with_noise_in_the_quality": {
            "effects": {
                "log_updates_continuous_minus_tiers": compare(log["continuous"], log["tiers"]),
                "log_signal_to_noise_tiers_minus_continuous": compare(
                    noise["tiers"], noise["continuous"]
                ),
            },
            "arms": other,
        },
    }


def budget(settings: Settings, seeds: Sequence[int]) -> dict[str, int]:
    """What is spent."""
    clicks = settings.updates * settings.requests * settings.group
    return {"clicks_per_run": clicks, "runs": len(keys(settings, seeds))}


REPRODUCTION = Reproduction(
    id="016",
    method="tiers",
    paper="2601.22491",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    seeds=range(12),
    keys=keys,
    train=train,
    judge=results,
    budget=budget,
)
