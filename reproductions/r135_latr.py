"""135, LATR: rollouts from a tree that branches where the model hesitates (arXiv 2510.24302).

    python -m reproductions 135

The claim: groups of answers that branch where the model hesitates, and are pruned where they agree
again, differ more than groups that are sampled, so that a policy learns faster (by 131 %, the paper
says) and ends more accurate.

The task, `countdown`: three numbers from 1 to 20 and a fourth, which `+ - *` are to make of them;
`03 07 12|16=` is answered by `12+07-03`, of 9 tokens with its end. Most problems have several
answers, and every answer is as long.

The policy. A Llama of 89,000 weights, warm-started on demonstrations until a fifth of its answers
are right. All arms of a seed share the warm start, the order of prompts and the budget of tokens
in the answers that are trained on. What a tree prunes is not counted, which favors it.

The learner. 16 problems times 8 answers a batch, one step of AdamW at 5e-4 on each, advantages of
`grpo`, the `ppo` loss, no KL term. The arms:

- `grpo`: answers sampled at temperature 1;
- `matched`: at the temperature at which groups of the warm start have as many different answers as
  LATR's have, out of eight temperatures from 0.3 to 1.7;
- `latr`: its defaults, but lookaheads of 3, 5 and 8 tokens instead of 20, 30 and 50, and trees that
  end after 4 tokens, about half of an answer, as in the authors' script; then what they hold goes
  on as samples. A group is all tree in the first 10 batches, and ever less of it; from the 80th
  on it is a quarter.

160,000 tokens a run, about 140 batches, 5 seeds, 8 measurements at equal distances of pass@1 on 256
held-out problems, 8 answers each, sampled at temperature 1 whatever trained.

- *Faster*: the tokens until pass@1 has risen by 80 % of what it rises under `grpo` in the mean over
  seeds, between measurements on a straight line; a run that never gets there counts with the whole
  budget. Of log(grpo / latr): supported if the interval lies above 0, refuted if it lies below
  log(1.25), a quarter faster; else inconclusive.
- *Better*: pass@1 at the end, `latr` minus `grpo`: refuted if the interval lies below 0.02; else
  supported if it lies above 0, else inconclusive.

The claim is refuted if a part is, supported if both are, else inconclusive. It is inconclusive
where `grpo` gains fewer than 5 points: nothing was learned then that could be learned faster.

Runs of 12,000 tokens on a seed of its own were made to see how long they take. They showed that
trees without an end after half an answer, which had been overlooked, hold 1.6 different answers of
8; it was added before anything was judged. The whole was run twice; the numbers were the same.

As it turned out, and without a say in the verdict:

- trees differ less than samples here (4.0 and 6.7 different answers of 8): that half of the claim
  is refuted, and the other half was not tried on groups that differ more;
- with trees of 4 tokens only the lookahead of 3 acts, on branches that begin at the first token or
  the second;
- `matched` takes the lowest temperature in every seed. It is matched to groups that are all tree,
  as only the first batches' are, and what it trains at 0.3 is measured at 1.

Recorded without a say in the verdict: of the warm start, on 64 problems, how many of 8 answers are
different and how many groups have right and wrong ones, from trees and sampled at either
temperature; and both parts against `matched`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from reproductions.effects import all_of, by_seed, compare, judged
from reproductions.rlvr import Arm, Budget, comparison, curves, gained, last, logged, run

from rewardsmith.testbeds import rlvr
from rewardsmith.testbeds.rlvr.bed import Bed

ARMS = ("grpo", "matched", "latr")
COUNTED = ("different", "mixed", "right")
"""Of groups: see :func:`answered`."""
FASTER = float(np.log(1.25))
BETTER = 0.02
ALIVE = 0.05
CLAIM = (
    "Groups of answers that branch where the model hesitates, and are pruned where they agree, "
    "make a policy learn faster and end more accurate than groups that are sampled."
)
UNPROVED = [
    "The same for long answers: a tree that ends after the first of hundreds of tokens and goes on "
    "with samples is another thing than one that is half of an answer.",
    "What a tree costs: pruned branches are not counted, and generating one token after another "
    "for each tree takes longer.",
    "That the bound on the gap between candidates is read as the authors mean it.",
    "Other thresholds than the defaults, and another schedule of shares.",
    "What groups do that differ more than samples: here trees differ less.",
    "More than one lookahead: in trees this short only that of 3 tokens acts.",
    "Equal diversity: the lowest temperature of `matched` is the nearest in every seed.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    lookahead: list[int] = field(default_factory=lambda: [3, 5, 8])
    temperatures: list[float] = field(
        default_factory=lambda: [0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7]
    )
    """Of the arm `matched`, one of them."""
    until: int = 4
    """After so many tokens trees end, and what they hold goes on as samples."""
    tried: int = 64
    """Problems on which answers of the warm start are counted."""
    bed: Bed = field(default_factory=Bed)
    """Its ``updates`` are not read: the tokens end a run."""
    budget: Budget = field(default_factory=lambda: Budget(tokens=160_000, points=8))


# --- the arms -------------------------------------------------------------------------------------


def train(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run, with what was found of its warm start."""
    task = rlvr.countdown()
    found = groups(task, seed, settings)
    trained = {
        "grpo": Arm(),
        "matched": Arm(config={"temperature": found["matched"]["temperature"]}),
        "latr": Arm(sampler={"latr": {"lookahead": settings.lookahead, "until": settings.until}}),
    }[arm]
    return {**run(task, trained, seed, settings.bed, settings.budget), "groups": found}


def groups(task: Any, seed: int, settings: Settings) -> dict[str, dict[str, float]]:
    """Of the warm start: groups of answers from trees, and sampled, ``matched`` to them."""
    model = rlvr.load_model(rlvr.warm_start(task, seed)).eval()
    tree = answered(task, model, seed, settings, share=1.0)
    sampled = {
        t: answered(task, model, seed, settings, temperature=t) for t in settings.temperatures
    }
    nearest = min(sampled, key=lambda t: abs(sampled[t]["different"] - tree["different"]))
    return {
        "latr": tree,
        "grpo": sampled[1.0],
        "matched": {"temperature": nearest, **sampled[nearest]},
    }


def answered(
    task: Any,
    model: Any,
    seed: int,
    settings: Settings,
    *,
    share: float = 0.0,
    temperature: float = 1.0,
) -> dict[str, float]:
    """Of groups of answers: how many are ``different``, and the part with right and wrong ones."""
    import torch

    from rewardsmith.samplers.lookahead import lookahead_rollouts
    from rewardsmith.samplers.tree import Branching

    tokenizer = rlvr.tokenizer()
    rows = task.rows("train")[: settings.tried]
    made = lookahead_rollouts(
        model,
        [tokenizer(row["prompt"])["input_ids"] for row in rows],
        group_size=settings.bed.generations,
        max_new_tokens=task.longest,
        eos_ids=[tokenizer.eos_token_id],
        pad_id=tokenizer.pad_token_id,
        generator=torch.Generator().manual_seed(seed),
        temperature=temperature,
        share=share,
        branching=Branching(lookahead=settings.lookahead, until=settings.until),
    )
    texts = [
        [tokenizer.decode(branch.tokens, skip_special_tokens=True) for branch in group]
        for group in made
    ]
    rights = [
        [task.check(row, text) for text in group] for row, group in zip(rows, texts, strict=True)
    ]
    return {
        "different": float(np.mean([len(set(group)) for group in texts])),
        "mixed": float(np.mean([0 < sum(right) < len(right) for right in rights])),
        "right": float(np.mean(rights)),
    }


# --- the verdict ----------------------------------------------------------------------------------


def judge(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The rule of the module's docstring; ``runs`` are those of each arm, by seed."""
    # Where nothing is gained the goal is above the start still: the guard speaks then.
    rise = max(0.8 * float(np.mean(gained(runs["grpo"], "pass@1"))), 1e-6)
    logs = {
        arm: np.log([tokens_to(rise, one["curve"]) for one in told]) for arm, told in runs.items()
    }

    def faster(other: str) -> dict[str, Any]:
        return compare(logs[other].tolist(), logs["latr"].tolist())

    def better(other: str) -> dict[str, Any]:
        return compare(last(runs["latr"], "pass@1"), last(runs[other], "pass@1"))

    effects = {"log_tokens_grpo_by_latr": faster("grpo"), "pass@1_latr_minus_grpo": better("grpo")}
    parts = {
        "faster": judged(effects["log_tokens_grpo_by_latr"], FASTER),
        "better": judged(effects["pass@1_latr_minus_grpo"], BETTER),
    }
    guard = None
    if np.mean(gained(runs["grpo"], "pass@1")) < ALIVE:
        guard = "nothing was learned"
    return {
        "verdict": "inconclusive" if guard else all_of(parts),
        "parts": parts,
        "guard": guard,
        "effects": effects,
        "beside": {
            "log_tokens_matched_by_latr": faster("matched"),
            "pass@1_latr_minus_matched": better("matched"),
            "different_latr_minus_grpo": counted(runs, "different", "grpo"),
            "mixed_latr_minus_grpo": counted(runs, "mixed", "grpo"),
            "mixed_latr_minus_matched": counted(runs, "mixed", "matched"),
        },
        "matched_temperatures": [one["groups"]["matched"]["temperature"] for one in runs["latr"]],
        "arms": {arm: about(arm, told, rise) for arm, told in runs.items()},
    }


def tokens_to(rise: float, curve: Sequence[Mapping[str, float]]) -> float:
    """After how many tokens pass@1 has first risen so much; all of them where it never has."""
    goal = curve[0]["pass@1"] + rise
    for before, after in pairwise(curve):
        if after["pass@1"] >= goal:
            part = (goal - before["pass@1"]) / max(after["pass@1"] - before["pass@1"], 1e-9)
            return float(before["tokens"] + max(part, 0.0) * (after["tokens"] - before["tokens"]))
    return float(curve[-1]["tokens"])


def counted(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], name: str, other: str
) -> dict[str, Any]:
    """Of the warm starts' groups: those from trees less those that are sampled."""
    found = [one["groups"] for one in runs["latr"]]
    return compare([of["latr"][name] for of in found], [of[other][name] for of in found])


def about(arm: str, told: Sequence[Mapping[str, Any]], rise: float) -> dict[str, Any]:
    """An arm's measures and curve."""
    start = [one["groups"][arm] for one in told]
    return {
        "pass@1": by_seed(last(told, "pass@1")),
        "tokens_to_80_percent": by_seed([tokens_to(rise, one["curve"]) for one in told]),
        "zero_advantage": by_seed(logged(told, "zero_advantage")),
        **{f"{name}_at_the_start": by_seed([of[name] for of in start]) for name in COUNTED},
        "curve": curves(told, ["pass@1"]),
    }


REPRODUCTION = comparison(
    ARMS,
    judge,
    id="135",
    method="latr",
    paper="2510.24302",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    train=train,
)
