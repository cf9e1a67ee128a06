"""121, DCPO: clips that are wider for unlikely tokens, and constant groups that still teach.

    python -m reproductions 121

The claim (arXiv 2509.02333): bounds that depend on a token's old probability cut fewer tokens, and
advantages that remember all that a prompt was paid leave fewer answers without one, than GRPO.

The task is addition modulo 97, of which only 320 problems are trained on. So a run comes back to
each of them several times: at a first visit there is nothing to remember, and the advantages are
GRPO's. Held-out problems are those of the whole task.

The policy and the learner are those of `estimators_and_losses`: the same warm start (on all train
problems), 16 problems times 8 answers a batch, 2 steps on each batch. The arms:

- `grpo`: advantages of `grpo`, `ppo` with the clip 0.2 and the mean over tokens;
- `dapo`: those of `grpo`, `dapo` with its clip (0.2, 0.28), `dapo_filter`, which drops groups
  whose answers are all right or all wrong and generates for others, for up to 20 rounds;
- `dcpo`: `dcpo_advantage` and `dcpo` with their defaults, which are the paper's.

5 seeds, which share the warm start, the order of prompts and the budget of generated tokens, those
included that the filter drops.

Measured over all of training: `nonzero`, the share of the answers trained on whose advantage is not
0; `clipped`, the share of tokens whose gradient a clip cut, over all updates, the first step on a
batch included, in which none is. And pass@1 on 256 held-out problems at the end, 8 answers each.

- *More answers teach*, `nonzero` of `dcpo` minus `grpo`: supported if the interval lies above 0;
  refuted if its upper end is below 0.02; else inconclusive.
- *Fewer tokens are cut*, 1 minus `clipped` of `dcpo` in parts of that of `grpo`: supported if the
  interval lies above 0; refuted if its upper end is below 0.1; else inconclusive.

The claim is refuted if a part is, supported if both are, else inconclusive. And inconclusive if in
any seed GRPO cut fewer than one token in ten thousand: there was then nothing to cut fewer of.

Recorded without a say in the verdict: pass@1 of `dcpo` minus each of the others, at the end and
over the run, and `clipped` against `dapo`. (Of the answers that `dapo` trains on, all have an
advantage: what it drops it has paid for in tokens.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reproductions.effects import all_of, by_seed, compare, raised, spread
from reproductions.rlvr import Arm, Budget, columns, comparison, last, logged, over_the_run, run

from rewardsmith.testbeds import rlvr
from rewardsmith.testbeds.rlvr.bed import Bed
from rewardsmith.testbeds.rlvr.tasks import Task

ARMS = {
    "grpo": Arm(),
    "dapo": Arm(loss=("dapo", {}), sampler={"dapo_filter": {"max_rounds": 20}}),
    "dcpo": Arm(("dcpo_advantage", {}), ("dcpo", {})),
}
MORE = 0.02
FEWER = 0.1
ACTS = 1e-4
CLAIM = (
    "Bounds that depend on a token's old probability cut fewer tokens, and advantages that "
    "remember all that a prompt was paid leave fewer answers without one, than GRPO."
)
UNPROVED = [
    "That either makes a better policy: pass@1 has no say in the verdict.",
    "What each half does alone: advantages and bounds are tried together.",
    "The share of tokens cut with long answers, or many steps on a batch: here answers have three "
    "tokens, and there are two steps.",
    "How prompts fare that come back after thousands of steps, when their history is old.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds and the arms apart."""

    problems: int = 320
    """That are trained on."""
    epochs: int = 2
    bed: Bed = field(default_factory=Bed)
    """Its ``updates`` are not read: the tokens end a run."""
    budget: Budget = field(default_factory=lambda: Budget(tokens=40_000, points=3))


# --- the task -------------------------------------------------------------------------------------


def fewer(task: Task, problems: int) -> Task:
    """The task with the first of its train problems only."""
    return replace(task, name=f"{task.name}_first_{problems}", train=task.train[:problems])


def train(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run."""
    whole = rlvr.modular_addition()
    start = rlvr.warm_start(whole, seed)
    made = replace(ARMS[arm], config={"num_iterations": settings.epochs})
    task = fewer(whole, settings.problems)
    return run(task, made, seed, settings.bed, settings.budget, start=start)


# --- the verdict ----------------------------------------------------------------------------------


def judge(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The rule of the module's docstring; ``runs`` are those of each arm, by seed."""
    shares = {arm: nonzero(told) for arm, told in runs.items()}
    cut = {arm: logged(told, "clipped") for arm, told in runs.items()}
    effects = {"nonzero_dcpo_minus_grpo": compare(shares["dcpo"], shares["grpo"])}
    parts = {"more_answers_teach": raised(effects["nonzero_dcpo_minus_grpo"], MORE)}
    guard = "in a seed the clip of GRPO did not act" if min(cut["grpo"]) < ACTS else None
    if guard is None:
        spared = [1.0 - a / b for a, b in zip(cut["dcpo"], cut["grpo"], strict=True)]
        effects["cut_less_by_dcpo_than_grpo"] = spread(spared)
        parts["fewer_tokens_are_cut"] = raised(effects["cut_less_by_dcpo_than_grpo"], FEWER)
    others = ("grpo", "dapo")
    return {
        "verdict": "inconclusive" if guard else all_of(parts),
        "parts": parts,
        "guard": guard,
        "effects": effects,
        "beside": {
            "clipped_dcpo_minus_grpo": compare(cut["dcpo"], cut["grpo"]),
            "clipped_dcpo_minus_dapo": compare(cut["dcpo"], cut["dapo"]),
            **{
                f"pass@1_dcpo_minus_{arm}": compare(
                    last(runs["dcpo"], "pass@1"), last(runs[arm], "pass@1")
                )
                for arm in others
            },
            **{
                f"pass@1_over_the_run_dcpo_minus_{arm}": compare(
                    over_the_run(runs["dcpo"], "pass@1"), over_the_run(runs[arm], "pass@1")
                )
                for arm in others
            },
        },
        "arms": {
            arm: {**columns(told), "nonzero": by_seed(shares[arm])} for arm, told in runs.items()
        },
    }


def nonzero(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    """The share of answers with an advantage."""
    return [round(1.0 - zero, 6) for zero in logged(runs, "zero_advantage")]


REPRODUCTION = comparison(
    ARMS,
    judge,
    id="121",
    method="dcpo",
    paper="2509.02333",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    train=train,
)
