"""Runs on the tiny RLVR bed, through the trainer: equal generated tokens from one warm start."""

import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from reproductions.effects import by_seed, mean_curve, shown
from reproductions.runner import Key, Reproduction, Runs

import rewardsmith as rs
from rewardsmith.testbeds import rlvr
from rewardsmith.testbeds.rlvr.bed import Bed

Options = Mapping[str, Any]
CLIPS = ("clipped_high", "clipped_low", "clipped_dual")


@dataclass(frozen=True)
class Arm:
    """What an arm trains with, as a spec would say it: a name and options."""

    advantage: tuple[str, Options] = ("grpo", {})
    loss: tuple[str, Options] = ("ppo", {"aggregation": "token-mean"})
    sampler: Any = None
    """A spec of one, such as ``{"vade": {}}``."""
    relabel: Any = None
    reward: Any = None
    """A reward, if not the task's own check."""
    config: Options = field(default_factory=dict)
    """Changes of the bed's settings of ``GRPOConfig``."""


@dataclass(frozen=True)
class Budget:
    """How long a run is, and how it is measured."""

    tokens: int = 150_000
    """Generated in training, those included that are not trained on."""
    points: int = 4
    """Measurements on the way, at equal shares of the tokens, beside the one at the start."""
    rows: int = 256
    """Held-out problems."""
    samples: int = 8
    """Answers to each."""


def comparison(
    arms: Iterable[str],
    judge: Callable[[Mapping[str, Sequence[Any]]], Mapping[str, Any]],
    **told: Any,
) -> Reproduction:
    """A reproduction with one run of each arm on each of five seeds, all for as many tokens.

    Args:
        arms: their names, in the order of the record.
        judge: the runs of each arm, by seed -> what the record tells of them.
        **told: the other fields; the settings have a ``budget``, a :class:`Budget`.
    """
    names = list(arms)

    def keys(settings: Any, seeds: Sequence[int]) -> list[Key]:
        return [{"arm": arm, "seed": seed, "settings": settings} for seed in seeds for arm in names]

    def results(runs: Runs, settings: Any, seeds: Sequence[int]) -> Mapping[str, Any]:
        return judge(runs.by_arm(names))

    def budget(settings: Any, seeds: Sequence[int]) -> dict[str, int]:
        return {"tokens_per_run": settings.budget.tokens, "runs": len(names) * len(seeds)}

    fixed = {"keys": keys, "judge": results, "budget": budget}
    return Reproduction(seeds=range(5), packages=("transformers", "trl"), **fixed, **told)


def run(
    task: Any, arm: Arm, seed: int, bed: Bed, budget: Budget, *, start: str | Path | None = None
) -> dict[str, Any]:
    """Train one arm on one seed, and measure it on held-out problems.

    Args:
        task: of the bed.
        arm: what to train with.
        seed: of the warm start, the order of prompts and the samples.
        bed: what all arms share.
        budget: likewise.
        start: another start than the task's warm start of that seed.

    Returns:
        ``curve``: at ``tokens`` generated, ``pass@1``, ``pass@8``, ``greedy``, ``entropy``,
        ``length``, ``wrong_length`` (None where no answer is wrong), and each part's ``pass@1``;
        ``logged``: means over the run of what training told, per batch of answers
        (``zero_advantage``, ``rounds``, ``relabelled``, ``reward``, and ``training_entropy`` of its
        first update) or per update (``clipped``, None where the loss clips nothing),
        ``entropy_at_the_end``, and how many ``batches``, ``updates`` and ``generated_tokens`` there
        were.
    """
    import torch
    from transformers import PrinterCallback, TrainerCallback

    from rewardsmith.core.document import Document
    from rewardsmith.learners import recipe
    from rewardsmith.learners.grpo import GRPOTrainer
    from rewardsmith.policy.estimator import estimator
    from rewardsmith.policy.objective import objective

    torch.set_num_threads(1)
    tokenizer = rlvr.tokenizer()
    model = rlvr.load_model(start or rlvr.warm_start(task, seed))
    held_out = task.rows("held_out")[: budget.rows]
    curve: list[dict[str, Any]] = []

    def look(tokens: int) -> None:
        found = rlvr.measure(model, tokenizer, task, held_out, samples=budget.samples, seed=seed)
        curve.append({"tokens": tokens, **flat(found)})

    class Measuring(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            every = args.steps_per_generation * args.num_iterations
            if state.global_step * args.gradient_accumulation_steps % every:
                # Some of what was generated is not trained on yet.
                return
            done = trainer.generated_tokens
            if done >= budget.tokens * len(curve) / budget.points:
                look(done)
            control.should_training_stop = done >= budget.tokens

    document = Document({})
    named = {"sampler": arm.sampler, "relabel": arm.relabel}
    parts = {k: recipe.BUILDERS[k](of, document, (k,)) for k, of in named.items() if of is not None}
    folder = tempfile.mkdtemp()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import trl

            settings = bed.config(task, folder, seed, logging_steps=1, max_steps=10**6)
            trainer = GRPOTrainer(
                model,
                arm.reward if arm.reward is not None else rs.reward(task.reward),
                args=trl.GRPOConfig(**{**settings, **arm.config}),
                train_dataset=_data(task),
                processing_class=tokenizer,
                advantage=estimator(arm.advantage[0], **arm.advantage[1]),
                loss=objective(arm.loss[0], **arm.loss[1]),
                executor="inline",
                callbacks=[Measuring()],
                **parts,
            )
            trainer.remove_callback(PrinterCallback)
            look(0)
            trainer.train()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"curve": curve, "logged": _logged(trainer.state.log_history, trainer)}


def flat(found: Any) -> dict[str, Any]:
    """Measures as JSON holds them."""
    numbers = {
        **{f"pass@{k}": round(value, 6) for k, value in found.pass_at.items()},
        "greedy": round(found.greedy, 6),
        "entropy": round(found.entropy, 6),
        "length": round(found.length, 4),
        "wrong_length": None if found.wrong_length is None else round(found.wrong_length, 4),
    }
    for column in found.parts.values():
        for name, part in column.items():
            numbers[f"{name} pass@1"] = round(part.pass_at[1], 6)
            numbers[f"{name} length"] = round(part.length, 4)
    return numbers


def last(runs: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """A measure at the end of each run."""
    return [run["curve"][-1][name] for run in runs]


def gained(runs: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """What it gained since the start."""
    return [run["curve"][-1][name] - run["curve"][0][name] for run in runs]


def over_the_run(runs: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """Its mean over the measurements after the start: who gets there sooner has more."""
    return [float(np.mean([point[name] for point in run["curve"][1:]])) for run in runs]


def logged(runs: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """What was logged in training, as a mean over the run."""
    return [run["logged"][name] for run in runs]


def curves(runs: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, list[float]]:
    """The mean over seeds of ``tokens`` and of measures, at each measurement that all runs have."""
    many = min(len(run["curve"]) for run in runs)
    return {
        name: mean_curve([[point[name] for point in run["curve"][:many]] for run in runs])
        for name in ("tokens", *names)
    }


def columns(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a table tells of an arm, over seeds; no column where a loss clips nothing."""
    found = {
        "gain": gained(runs, "pass@1"),
        **{name: last(runs, name) for name in ("pass@1", "pass@8", "entropy", "length")},
        **{name: logged(runs, name) for name in ("clipped", "zero_advantage")},
    }
    return {name: by_seed(values) for name, values in found.items() if None not in values}


def markdown(arms: Mapping[str, Mapping[str, Any]]) -> str:
    """A table with a row for each arm: means and 95 % intervals."""
    names = list(dict.fromkeys(name for told in arms.values() for name in told))
    rows = [
        [arm, *(shown(told[name]) if name in told else "-" for name in names)]
        for arm, told in arms.items()
    ]
    widths = [max(map(len, column)) for column in zip(["arm", *names], *rows, strict=True)]
    lines = [["arm", *names], ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def _data(task: Any) -> Any:
    from datasets import Dataset

    return Dataset.from_list(list(task.rows("train")))


def _logged(history: Sequence[Mapping[str, Any]], trainer: Any) -> dict[str, Any]:
    updates = [entry for entry in history if "entropy" in entry]
    # A batch of answers is trained on by one update or by several.
    batches = [entry for entry in updates if "advantage/zero" in entry]
    tail = batches[-max(1, len(batches) // 10) :]
    clips = [f"loss/{name}" for name in CLIPS]
    clipped = [sum(e.get(name, 0.0) for name in clips) for e in updates if clips[0] in e]

    def mean(entries: Sequence[Mapping[str, Any]], name: str) -> float:
        return round(float(np.mean([entry.get(name, 0.0) for entry in entries])), 6)

    return {
        "zero_advantage": mean(batches, "advantage/zero"),
        "clipped": round(float(np.mean(clipped)), 6) if clipped else None,
        "rounds": mean(batches, "sampler/rounds"),
        "relabelled": mean(batches, "relabel/changed"),
        "training_entropy": mean(batches, "entropy"),
        "reward": mean(batches, "reward"),
        "generated_tokens": trainer.generated_tokens,
        "batches": len(batches),
        "updates": len(updates),
        "entropy_at_the_end": mean(tail, "entropy"),
    }
