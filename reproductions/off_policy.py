"""Several steps on one batch of answers: which losses hold where PPO's clip does not?

    python -m reproductions off_policy

The claim: GSPO, GMPO, CISPO, SAPO and VESPO are stabler than PPO's clip where a policy takes many
steps on answers of an older one (arXiv 2507.18071, 2507.20673, 2506.13585, 2511.20347, 2602.10693).

The policy, the task and the measures are those of `estimators_and_losses`. Here every batch of 16
times 8 answers is trained on 4 times, and the learning rate is twice the bed's, so that PPO is
under stress. The factor was 3 at first; a trial of 16,000 tokens on seed 100, which is none of
those below, had PPO and GSPO both collapse within the first half of them, where nothing could be
told apart. No other loss was looked at, and 2 was not tried. All arms have the advantages of `grpo`
and their loss at its defaults. 5 seeds, which share the warm start, the order of prompts and the
budget of generated tokens.

A run has *collapsed* if at its end, on 256 held-out problems,

- pass@1 lies more than 0.05 below its own start, or
- pass@1 lies more than 0.10 below the best that was measured on the way, or
- the entropy is below 0.02 nats per token while pass@1 is below 0.5: there is nothing left to
  explore with, and half of the problems are still answered wrongly.

The rule, for each loss, of the shares of the 5 seeds that collapse: *stabler* is refuted if the
share is not lower than PPO's; else supported if the interval of the difference lies below 0, else
inconclusive. Where neither it nor PPO collapses at all, PPO was not stressed, and it is
inconclusive. The claim is refuted if a loss's part is, supported if all are, else inconclusive.

Recorded without a say in the verdict: pass@1, pass@8, entropy, clip fraction, the depth of the
worst fall from the best measurement, and the difference of pass@1 from PPO's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from reproductions.effects import all_of, by_seed, compare
from reproductions.rlvr import Arm, Budget, columns, comparison, last, run

from rewardsmith.testbeds import rlvr
from rewardsmith.testbeds.rlvr.bed import Bed

PPO = "ppo"
ARMS = (PPO, "gspo", "gmpo", "cispo", "sapo", "vespo")
BELOW_THE_START, BELOW_THE_BEST = 0.05, 0.10
CERTAIN, STILL_WRONG = 0.02, 0.5
CLAIM = (
    "GSPO, GMPO, CISPO, SAPO and VESPO are stabler than PPO's clip where a policy takes many steps "
    "on answers of an older one."
)
UNPROVED = [
    "Stability over thousands of steps, in mixtures of experts, or where the sampler's "
    "probabilities are not the trainer's: the papers' own cases.",
    "Anything about sequence ratios of long answers: here an answer has three tokens.",
    "That a loss which holds learns as much: one that discards most of what it is given, as GSPO's "
    "narrow clip may, has less to fall over.",
    "Other learning rates and numbers of steps: one of each was tried.",
    "Collapses that are rarer than one run in five.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    task: str = "modular_addition"
    epochs: int = 4
    stress: float = 2.0
    """Times the bed's learning rate."""
    bed: Bed = field(default_factory=Bed)
    """Its ``updates`` are not read: the tokens end a run."""
    budget: Budget = field(default_factory=lambda: Budget(tokens=20_000, points=5))


def train(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run."""
    bed = replace(settings.bed, learning_rate=settings.stress * settings.bed.learning_rate)
    made = Arm(("grpo", {}), (arm, {}), config={"num_iterations": settings.epochs})
    return run(getattr(rlvr, settings.task)(), made, seed, bed, settings.budget)


# --- the verdict ----------------------------------------------------------------------------------


def collapsed(run: Mapping[str, Any]) -> bool:
    """The definition of the module's docstring."""
    end, first = run["curve"][-1], run["curve"][0]
    return bool(
        end["pass@1"] < first["pass@1"] - BELOW_THE_START
        or fall(run) > BELOW_THE_BEST
        or (end["entropy"] < CERTAIN and end["pass@1"] < STILL_WRONG)
    )


def fall(run: Mapping[str, Any]) -> float:
    """How far pass@1 lies at the end below the best measurement."""
    curve = [point["pass@1"] for point in run["curve"]]
    return round(float(max(curve) - curve[-1]), 6)


def judge(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The rule of the module's docstring; ``runs`` are those of each arm, by seed."""
    shares = {arm: [float(collapsed(run)) for run in told] for arm, told in runs.items()}
    others = [arm for arm in runs if arm != PPO]
    effects = {f"collapse_{arm}_minus_{PPO}": compare(shares[arm], shares[PPO]) for arm in others}
    parts = {
        f"{arm}_is_stabler": stabler(
            shares[arm], shares[PPO], effects[f"collapse_{arm}_minus_{PPO}"]
        )
        for arm in others
    }
    return {
        "verdict": all_of(parts),
        "parts": parts,
        "guard": None if any(shares[PPO]) else f"{PPO} did not collapse in any seed",
        "effects": effects,
        "beside": {
            f"pass@1_{arm}_minus_{PPO}": compare(
                last(runs[arm], "pass@1"), last(runs[PPO], "pass@1")
            )
            for arm in others
        },
        "arms": {
            arm: {
                "collapsed": by_seed(shares[arm]),
                "fall": by_seed([fall(run) for run in told]),
                **columns(told),
            }
            for arm, told in runs.items()
        },
    }


def stabler(its: Sequence[float], ppo: Sequence[float], effect: Mapping[str, Any]) -> str:
    """The verdict on one loss, of who collapsed (1) and who did not."""
    if not any(its) and not any(ppo):
        return "inconclusive"
    if np.mean(its) >= np.mean(ppo):
        return "refuted"
    return "supported" if effect["high"] < 0 else "inconclusive"


REPRODUCTION = comparison(
    ARMS,
    judge,
    id="off_policy",
    method="gspo",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    train=train,
)
