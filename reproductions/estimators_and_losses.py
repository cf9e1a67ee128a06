"""Estimators and losses on the tiny RLVR bed: a table, and whether the bed is alive.

    python -m reproductions estimators_and_losses
    python -m reproductions.estimators_and_losses

The first runs it, the second prints the table of the record as it stands.

The claim is about the bed: plain GRPO raises the pass@1 of problems that were never trained on by
10 points or more. An arm that does not differ from another on a bed where nothing is learned would
say nothing.

The policy. A Llama of 89,000 weights, warm-started on demonstrations of addition modulo 97 until a
fifth to two fifths of its answers to held-out problems are right. All arms of a seed share the warm
start, the order of the prompts and the budget of generated tokens.

The learner. 16 problems times 8 answers a batch, 2 steps of AdamW on each batch, so that in the
second step the policy is another than the one that answered and the losses differ. The reward is
whether the answer is right; no KL term; one learning rate for all arms, which AdamW's steps make
nearly independent of a loss's scale. Each loss and estimator has its own defaults of this library,
which are those of its source; nothing was tuned for any arm.

The arms are :data:`ARMS`. Plain GRPO is `grpo + ppo`, a mean over tokens with the clip 0.2. `dapo`
is the loss alone (the higher upper clip), without DAPO's sampler.

The table. For each arm, with 95 % bootstrap intervals over 5 seeds: the gain of pass@1 on 256
held-out problems (8 answers each), pass@1 and pass@8 at the end, the entropy (nats per token) and
the length of sampled answers at the end, the share of tokens whose gradient a clip cut, over all
updates (none where a loss has no clip that it reports), and the share of answers with a zero
advantage.

The rule: the claim is supported if the interval of the gain of `grpo + ppo` lies above 0.10,
refuted if it lies below, else inconclusive.

Recorded without a say in the verdict: what the gain of each arm is beyond that of `grpo + ppo` of
the same seed. Those are 11 intervals; one in twenty would miss 0 where nothing differs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reproductions.effects import compare, spread
from reproductions.rlvr import Arm, Budget, columns, comparison, gained, markdown, run

from rewardsmith.testbeds import rlvr
from rewardsmith.testbeds.rlvr.bed import Bed

PLAIN = "grpo + ppo"
PPO = ("ppo", {"aggregation": "token-mean"})
ARMS = {
    PLAIN: Arm(("grpo", {}), PPO),
    "grpo + dapo": Arm(("grpo", {}), ("dapo", {})),
    "dr_grpo + ppo": Arm(("dr_grpo", {}), ("ppo", {"aggregation": "seq-mean-token-sum-norm"})),
    "rloo + ppo": Arm(("rloo", {}), PPO),
    "pass_at_k + ppo": Arm(("pass_at_k", {}), PPO),
    "negatives_only + ppo": Arm(("negatives_only", {}), PPO),
    "gpg + policy_gradient": Arm(("gpg", {}), ("policy_gradient", {})),
    "dcpo_advantage + dcpo": Arm(("dcpo_advantage", {}), ("dcpo", {})),
    "grpo + gspo": Arm(("grpo", {}), ("gspo", {})),
    "grpo + gmpo": Arm(("grpo", {}), ("gmpo", {})),
    "grpo + cispo": Arm(("grpo", {}), ("cispo", {})),
    "grpo + sapo": Arm(("grpo", {}), ("sapo", {})),
}
MARGIN = 0.10
CLAIM = (
    "The tiny RLVR bed is alive: plain GRPO raises the pass@1 of problems that were never trained "
    "on by 10 points or more."
)
UNPROVED = [
    "Which estimator or loss is best anywhere else: answers are two digits long here, the policy "
    "is tiny, and one learning rate serves all arms.",
    "That an arm which does not differ from plain GRPO here is the same: see the smallest effect "
    "that would have been seen.",
    "What the arms do with more than two steps per batch, with long answers or with noisy rewards.",
    "The whole of DAPO or GPG: only what is called after them, without their samplers.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds and the arms apart."""

    task: str = "modular_addition"
    epochs: int = 2
    bed: Bed = field(default_factory=Bed)
    """Its ``updates`` are not read: the tokens end a run."""
    budget: Budget = field(default_factory=lambda: Budget(tokens=60_000, points=4))


def train(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run."""
    task = getattr(rlvr, settings.task)()
    made = replace(ARMS[arm], config={"num_iterations": settings.epochs})
    return run(task, made, seed, settings.bed, settings.budget)


# --- the verdict ----------------------------------------------------------------------------------


def judge(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The rule of the module's docstring; ``runs`` are those of each arm, by seed."""
    gains = {arm: gained(told, "pass@1") for arm, told in runs.items()}
    gain = spread(gains[PLAIN])
    verdict = "supported" if gain["low"] > MARGIN else "inconclusive"
    return {
        "verdict": "refuted" if gain["high"] < MARGIN else verdict,
        "effects": {"gain_of_plain_grpo": gain},
        "beside": {
            f"{arm}_minus_{PLAIN}": compare(gains[arm], gains[PLAIN])
            for arm in runs
            if arm != PLAIN
        },
        "arms": {arm: columns(told) for arm, told in runs.items()},
    }


REPRODUCTION = comparison(
    ARMS,
    judge,
    id="estimators_and_losses",
    method="grpo",
    claim=CLAIM,
    unproved=UNPROVED,
    settings=Settings(),
    train=train,
)

if __name__ == "__main__":
    print(markdown(json.loads(REPRODUCTION.out.read_text(encoding="utf-8"))["arms"]))
