"""145, spurious rewards: what the clip does to entropy where the reward says nothing.

    python -m reproductions.r145_spurious_reward [--out reproductions/results/145.json]

The claim, where everything but the sampling is exact: trained with GRPO on a reward that is a coin
toss, a policy loses entropy because its updates are clipped, and not without the clip (arXiv
2512.16912).

The policy. `EnumerableLM`: 8 prompts, 5 tokens, answers of at most 4 (341 of them), logits drawn
from a normal distribution with the standard deviation 2 ("skewed": the likeliest token has 0.6 in
the median) or 0.5 ("flat", beside).

The learner. 100 rollouts of 16 answers for each prompt; on each, 4 steps of plain gradient descent
on the whole rollout with the advantages of `grpo` and the loss of `ppo`, summed over tokens and
averaged over the 16 answers of a prompt. The learning rate, 1, was set on seeds 100 to 102 so that
about a tenth of the tokens is clipped in the fourth step, and nothing else was looked at then. The
arms differ in the reward and the clip:

- `clip`: reward 1 or 0 by a coin, clip 0.2;
- `no_clip`: the same without the clip;
- `flip_25`, `flip_10`, `true`: the reward is whether the answer is right (by a table in which 3 of
  10 answers are, whatever their probability), flipped for 25 %, 10 % and none of the answers; clip
  0.2. Flipped for 50 % it would be the coin;
- `entropy_only`: no reward; as many steps of the same rate down the exact entropy.

10 seeds, which give all arms the same policy, the same table and the same random numbers.

Measured is the exact entropy of whole answers after each rollout, its slope (least squares over the
run, times the number of rollouts, in parts of the entropy at the start), the exact accuracy, and
the share of tokens whose gradient the clip cut. Intervals are the 95 % bootstrap over seeds of the
difference between arms of the same seed. The rule, for the skewed start: with E = slope of
`no_clip` minus slope of `clip`, the claim is

- inconclusive if the clip cut less than 1 % of the tokens of the fourth step (it did not act);
- else refuted if E's interval lies below +0.02 (a fall by the clip of two hundredths of the entropy
  or more is excluded);
- else supported if it lies above 0;
- else inconclusive.

Recorded without a say in the verdict: the same for the flat start, both slopes by themselves, and
what becomes of the accuracy in every arm.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reproductions.record import compare, judged, resumed, shown, spread, tries, versions, write

from rewardsmith.policy.advantages.group_relative import grpo
from rewardsmith.policy.losses.aggregation import Aggregation
from rewardsmith.policy.losses.clipping import ppo
from rewardsmith.testbeds import EnumerableLM

OUT = Path(__file__).parent / "results" / "145.json"
FLIPS = {"clip": 0.5, "no_clip": 0.5, "flip_25": 0.25, "flip_10": 0.1, "true": 0.0}
"""For how many of the answers the reward is the wrong one."""
ARMS = (*FLIPS, "entropy_only")
STARTS = {"skewed": 2.0, "flat": 0.5}
MEASURES = ("slope", "entropy_change", "accuracy_change", "clipped")
MARGIN, ACTS = 0.02, 0.01
UNBOUNDED = (1.0 - 1e-12, 1e12)
"""A clip that no ratio reaches."""
CLAIM = (
    "Under a reward that is a coin toss, clipped updates lower the entropy of the policy below "
    "what the same updates without the clip leave."
)
UNPROVED = [
    "Anything about language models: this is a table of logits in which no prefix shares a "
    "parameter with another, and steps are plain gradient descent.",
    "That the effect grows or shrinks with the number of steps per rollout, the group or the rate.",
    "The paper's account of why random rewards can raise accuracy (reward misalignment): here "
    "right answers are right whatever their probability.",
]


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on, the seeds apart."""

    prompts: int = 8
    vocabulary: int = 5
    longest: int = 4
    group: int = 16
    rollouts: int = 100
    epochs: int = 4
    learning_rate: float = 1.0
    clip: float = 0.2
    right: float = 0.3


# --- the learner ----------------------------------------------------------------------------------


def train(arm: str, start: str, seed: int, settings: Settings) -> dict[str, Any]:
    """One run: what :data:`MEASURES` names, and the curves of entropy and accuracy."""
    lm = EnumerableLM.random(
        settings.prompts,
        settings.vocabulary,
        settings.longest,
        spread=STARTS[start],
        seed=seed,
    )
    generator = torch.Generator().manual_seed(1_000_000 + seed)
    shape = (settings.prompts, len(lm.tokens))
    right = torch.rand(shape, dtype=torch.float64, generator=generator) < settings.right
    entropy, accuracy = [lm.entropy().item()], [lm.objective(right.double()).item()]
    clipped: list[float] = []
    for _ in range(settings.rollouts):
        if arm == "entropy_only":
            for _ in range(settings.epochs):
                descend(lm, settings.prompts * lm.entropy(), settings.learning_rate)
        else:
            clipped.append(learn(lm, arm, right, generator, settings))
        entropy.append(lm.entropy().item())
        accuracy.append(lm.objective(right.double()).item())
    slope = np.polyfit(np.arange(len(entropy)), entropy, 1)[0] * settings.rollouts / entropy[0]
    return {
        "slope": round(float(slope), 6),
        "entropy_change": round(entropy[-1] / entropy[0] - 1.0, 6),
        "accuracy_change": round(accuracy[-1] - accuracy[0], 6),
        "clipped": round(float(np.mean(clipped)), 6) if clipped else 0.0,
        "entropy": np.round(entropy, 4).tolist(),
        "accuracy": np.round(accuracy, 4).tolist(),
    }


def learn(
    lm: EnumerableLM,
    arm: str,
    right: torch.Tensor,
    generator: torch.Generator,
    settings: Settings,
) -> float:
    """One rollout and its steps; the share of tokens that the clip cut in the last of them."""
    sample = lm.sample(settings.group, generator)
    flip = torch.rand(len(sample.answer), dtype=torch.float64, generator=generator) < FLIPS[arm]
    rewards = (right[sample.prompt, sample.answer] ^ flip).double()
    advantage = grpo(rewards, sample.prompt).values
    for _ in range(settings.epochs):
        found = ppo(
            lm.logprob()[sample.prompt, sample.answer],
            sample.logprob,
            advantage,
            sample.mask,
            clip=UNBOUNDED if arm == "no_clip" else settings.clip,
            aggregation=Aggregation("seq-mean-token-sum", sequences=settings.group),
        )
        descend(lm, found.loss, settings.learning_rate)
    return float(found.metrics["clipped_high"] + found.metrics["clipped_low"])


def descend(lm: EnumerableLM, loss: torch.Tensor, rate: float) -> None:
    """One step of plain gradient descent."""
    step = lm.gradient(loss)
    with torch.no_grad():
        lm.logits -= rate * step


# --- the verdict ----------------------------------------------------------------------------------


def judge(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The rule of the module's docstring; ``runs`` are those of each arm, by seed."""
    values = {
        arm: {name: [run[name] for run in told] for name in MEASURES} for arm, told in runs.items()
    }
    effect = compare(values["no_clip"]["slope"], values["clip"]["slope"])
    guard = "the clip did not act" if np.mean(values["clip"]["clipped"]) < ACTS else None
    beside = {
        f"accuracy_{arm}_minus_true": compare(
            values[arm]["accuracy_change"], values["true"]["accuracy_change"]
        )
        for arm in ARMS
        if arm != "true"
    }
    return {
        "verdict": "inconclusive" if guard else judged(effect, MARGIN),
        "guard": guard,
        "effects": {"slope_no_clip_minus_clip": effect},
        "beside": beside,
        "arms": {
            arm: {name: {**spread(told), "per_seed": told} for name, told in values[arm].items()}
            for arm in ARMS
        },
    }


def measure(start: str, settings: Settings, seeds: Sequence[int], sidecar: Path) -> dict[str, Any]:
    """Train every arm on every seed that the sidecar does not hold yet, and judge."""

    def run(arm: str, seed: int) -> dict[str, Any]:
        key = {"arm": arm, "start": start, "seed": seed, "settings": asdict(settings)}
        return resumed(sidecar, key, lambda: train(arm, start, seed, settings))

    rows = [{arm: run(arm, seed) for arm in ARMS} for seed in seeds]
    told = judge({arm: [row[arm] for row in rows] for arm in ARMS})
    for arm in ARMS:
        told["arms"][arm]["curve"] = {
            name: np.mean([row[arm][name] for row in rows], axis=0).round(4).tolist()[::10]
            for name in ("entropy", "accuracy")
        }
    return told


# --- the record -----------------------------------------------------------------------------------


def reproduce(
    out: Path = OUT, settings: Settings | None = None, seeds: Sequence[int] = range(10)
) -> dict[str, Any]:
    """Run what is missing, write the record to ``out`` and return it."""
    settings = settings or Settings()
    out.parent.mkdir(parents=True, exist_ok=True)
    sidecar = out.with_suffix(".partial.jsonl")
    found = {start: measure(start, settings, seeds, sidecar) for start in STARTS}
    answers = settings.rollouts * settings.group * settings.prompts
    record = {
        "id": "145",
        "method": "spurious-reward-audit",
        "paper": "2512.16912",
        "claim": CLAIM,
        **found["skewed"],
        "flat": found["flat"],
        "settings": asdict(settings),
        "seeds": list(seeds),
        "budget": {
            "answers_per_run": answers,
            "steps_per_run": settings.rollouts * settings.epochs,
            "runs": len(STARTS) * len(ARMS) * len(seeds),
        },
        "tries": tries(out, asdict(settings), seeds, found["skewed"]["verdict"]),
        "versions": versions(),
        "unproved": UNPROVED,
    }
    write(out, record, sidecar)
    return record


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=OUT, help="where the record goes")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    record = reproduce(out)
    for title, found in (("skewed", record), ("flat", record["flat"])):
        print(title)
        for arm, told in found["arms"].items():
            print(f"  {arm:12} {'  '.join(f'{name} {shown(told[name])}' for name in MEASURES)}")
        for name, effect in (found["effects"] | found["beside"]).items():
            print(f"  {name} {shown(effect)}")
        print(f"  {found['verdict']}, guard: {found['guard']}")
    print(f"verdict: {record['verdict']} (of the skewed start); record: {out}")


if __name__ == "__main__":
    main()
