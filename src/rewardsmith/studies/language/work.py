"""The work of a study of a language model: train it under a reward with TRL, and evaluate it."""

import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PrinterCallback, TrainerCallback

from ...adapters.scorer import execution
from ...adapters.trackers import BestEffort
from ...core.errors import MissingColumn, RewardsmithError, ScoreError
from ...core.execution import Execution, Inline, using
from ...core.reward import Reward
from ...core.rollouts import Rollouts
from ...learners.grpo import GRPOTrainer
from ..records import Run
from ..seeds import spread
from .data import training_data
from .evaluation import account, gold_of, score, shown
from .models import check_model, make_lora, make_model, make_tokenizer, trainer_settings
from .problems import Row, problems
from .sampling import Answers, sample
from .spec import LanguageStudy

__all__ = ["PACKAGES", "carry_out", "check", "earned", "show"]

PACKAGES = ("rewardsmith", "torch", "transformers", "trl", "peft", "reasoning-gym")
INITIAL, FINAL = "initial.json.gz", "final.json.gz"
"""What the first and the last model wrote, whole: other rewards are compared on it."""


def check(study: LanguageStudy) -> None:
    """Build everything that a study names but the model's weights, and score a few completions.

    Raises:
        SpecError: as the part that fails says, with its place in the file.
        MissingColumn: a reward needs a column that the data has not.
    """
    rows, held = problems(study)
    study.recipe()
    with _quiet():
        tokenizer = make_tokenizer(study)
        check_model(study)
        make_lora(study)
        settings = trainer_settings(study, Path("unused"), 0)
    training_data(study, rows)
    _check_enough(study, rows, settings)
    judged, trained = (_tried(tokenizer, side) for side in (held, rows))
    with using(Execution(Inline())):
        _try(study, study.gold(), judged, ("gold",))
        for name in study.section.rewards:
            reward, place = study.reward(name), ("rewards", name)
            _try(study, reward, judged, place)
            _try(study, reward, trained, place, "of the problems to train on: ")
    _check_compared(study, held, settings)


def _tried(tokenizer: Any, problems: Sequence[Row]) -> Rollouts:
    """Nothing, and a digit, in answer to the first problem: what any reward can be asked about."""
    chat = not isinstance(problems[0]["prompt"], str)
    made = Answers()
    for text in ("", "0"):
        ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        made.problem.append(0)
        made.completion.append([{"role": "assistant", "content": text}] if chat else text)
        made.token.append(ids)
        made.logprob.append([-1.0] * len(ids))
        made.entropy.append([1.0] * len(ids))
        made.ended.append(True)
    return made.rollouts(problems, len(made))


def _try(
    study: LanguageStudy, reward: Reward, rollouts: Rollouts, place: tuple[str, ...], of: str = ""
) -> None:
    """Score rollouts; that all of them break says that the reward does."""
    if reward.scope == "dataset":
        told = "this reward compares every row with the whole data set, which no trainer has"
        raise study.document.error(told, place)
    try:
        scores = score(reward, rollouts)
    except MissingColumn as error:
        raise study.document.error(f"{of}{error}", place) from error
    except RewardsmithError:
        raise
    except Exception as error:
        told = f"{of}the first rows failed: {type(error).__name__}: {error}"
        raise study.document.error(told, place) from error
    if len(scores.errors) == len(rollouts):
        part, message = scores.errors[0]
        told = f"{of}the first rows failed: {f'{part}: ' if part else ''}{message}"
        raise study.document.error(told, place)


def _check_enough(study: LanguageStudy, rows: Sequence[Row], settings: Any) -> None:
    """TRL drops the last problems of an epoch, so fewer than a batch would be none at all."""
    wanted = settings.generation_batch_size // settings.num_generations
    if len(rows) < wanted:
        told = (
            f"a batch has {wanted} problems, there are {len(rows)} to train on: give more, or make "
            "learner.params.per_device_train_batch_size smaller"
        )
        raise study.document.error(told, ("dataset",))


def _check_compared(study: LanguageStudy, held: Sequence[Row], settings: Any) -> None:
    """See that rewards that compare rows are measured on groups and batches as they train on."""
    section, size = study.section.evaluation, settings.num_generations
    named = [("gold", study.gold()), *((n, study.reward(n)) for n in study.section.rewards)]
    comparing = [(name, made.scope) for name, made in named if made.scope != "row"]
    for setting in ("samples", "final_samples") if comparing else ():
        place, samples = ("evaluation", setting), getattr(section, setting)
        if samples % size:
            told = (
                f"{comparing[0][0]!r} compares the {size} completions of a group "
                f"(num_generations), and {samples} are no whole groups: write a multiple of {size}"
            )
            raise study.document.error(told, place)
        rows = samples * len(held[: section.problems])
        batches = [name for name, scope in comparing if scope == "batch"]
        if batches and rows < settings.generation_batch_size:
            told = (
                f"{batches[0]!r} compares the {settings.generation_batch_size} completions of a "
                f"batch, and these are {rows}: write more, or raise evaluation.problems"
            )
            raise study.document.error(told, place)


def earned(study: LanguageStudy, run: Run, source: Run, policy: str) -> float:
    """The mean of what a model wrote at a run's start or end, under another run's final reward."""
    reward = study.reward(run.reward, seed=run.seed)
    reward.load_state_dict(torch.load(run.folder / "reward.pt", weights_only=True))
    answers = Answers.load(source.folder / (INITIAL if policy == "initial" else FINAL))
    _, held = problems(study)
    with _quiet():
        settings = trainer_settings(study, run.folder, 0)
    with using(_execution(study, reward)):
        scores = score(
            reward,
            answers.rollouts(held, settings.num_generations),
            answers.batches(settings.num_generations, settings.generation_batch_size),
        )
    if not bool(scores.scored.any()):
        raise ScoreError("none of the completions has a score")
    return float(scores.total()[scores.scored].double().mean())


def show(study: LanguageStudy, run: Run) -> None:
    """Nothing is left to do: completions are kept while a run trains."""


def carry_out(
    study: LanguageStudy, run: Run, constant: Mapping[str, Any], trackers: Sequence[BestEffort]
) -> dict[str, Any]:
    """Train a model under one reward with one seed, and evaluate it as it goes."""
    with _quiet():
        return _carried_out(study, run, constant, trackers)


def _carried_out(
    study: LanguageStudy, run: Run, constant: Mapping[str, Any], trackers: Sequence[BestEffort]
) -> dict[str, Any]:
    started = time.monotonic()
    rows, held = problems(study)
    reward = study.reward(run.reward, seed=run.seed)
    settings = trainer_settings(study, run.folder / "trainer", spread(run.seed, "training"))
    tokenizer = make_tokenizer(study)
    # The same for all rewards: they start from one model.
    model = make_model(study, tokenizer, rows, spread(run.seed, "model"))
    with using(_execution(study, reward)):
        trainer = GRPOTrainer(
            model,
            reward,
            args=settings,
            train_dataset=training_data(study, rows),
            processing_class=tokenizer,
            peft_config=make_lora(study),
            **study.recipe(),
        )
        trainer.remove_callback(PrinterCallback)
        recorder = _Recorder(study, run, reward, tokenizer, held, settings, constant, trackers)
        trainer.add_callback(_Evaluations(recorder, trainer))
        recorder.record(trainer.model, 0, "initial")
        trainer.train()
        recorder.record(trainer.model, trainer.state.global_step, "final")
    trainer.save_model(str(run.folder / "policy"))
    torch.save(reward.state_dict(), run.folder / "reward.pt")
    return {"seconds": round(time.monotonic() - started, 1), "steps": trainer.state.global_step}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and the remarks of the libraries: several runs write to one terminal."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            # TRL still uses names that transformers has new ones for.
            warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
            yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        transformers.logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _execution(study: LanguageStudy, reward: Reward) -> Execution:
    """What runs rows of rules: a process beside the run's own, that is ended where a row hangs."""
    learner = study.section.learner
    return execution(reward, learner.executor, 1, learner.timeout)


@dataclass
class _Recorder:
    """Evaluates a model and appends a record, and some of what it wrote."""

    study: LanguageStudy
    run: Run
    reward: Reward
    tokenizer: Any
    held: Sequence[Row]
    settings: Any
    constant: Mapping[str, Any]
    trackers: Sequence[BestEffort]

    def __post_init__(self) -> None:
        self.gold = self.study.gold()

    def record(self, model: Any, steps: int, kind: str) -> None:
        section = self.study.section.evaluation
        asked = self.held[: section.problems]
        size = self.settings.num_generations
        initial = max(section.samples, -(-section.initial_rows // len(asked)))
        if any(reward.scope != "row" for reward in (self.reward, self.gold)):
            initial = -(-initial // size) * size  # whole groups; the others are, by `check`
        samples = {
            "initial": initial,
            "training": section.samples,
            "final": section.final_samples,
        }[kind]
        answers = sample(
            model,
            self.tokenizer,
            asked,
            samples=samples,
            longest=self.settings.max_completion_length,
            # The verdict rests on what the initial model itself says.
            temperature=1.0 if kind == "initial" else section.temperature,
            batch_size=section.batch_size,
            seed=spread(self.run.seed, "evaluation"),
        )
        rollouts = answers.rollouts(asked, size)
        batches = answers.batches(size, self.settings.generation_batch_size)
        scores = score(self.reward, rollouts, batches)
        gold = gold_of(self.gold, rollouts, batches)
        k = min(section.samples, section.final_samples)
        found = account(answers, self.reward, scores, gold, k=k)
        place = {"reward": self.run.reward, "seed": self.run.seed, "steps": steps, "kind": kind}
        self._keep(steps, shown(answers, asked, scores, gold))
        if kind == "final" or (kind == "initial" and self.reward.learns):
            answers.save(self.run.folder / (FINAL if kind == "final" else INITIAL))
        self.run.append({**place, **found, **self.constant})
        names = ("gold", "proxy", "length", "entropy", "truncated", "unscored")
        values = {f"evaluation/{name}": found[name] for name in names}
        for tracker in self.trackers:
            tracker.log(values, steps)

    def _keep(self, steps: int, samples: Sequence[Mapping[str, Any]]) -> None:
        with (self.run.folder / "samples.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"steps": steps, **one}) + "\n" for one in samples)


class _Evaluations(TrainerCallback):
    """Evaluates the model as it learns, and gives the trainer's numbers to the trackers."""

    def __init__(self, recorder: _Recorder, trainer: Any) -> None:
        self.recorder, self.trainer = recorder, trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        study = self.recorder.study
        if (
            state.global_step % study.section.evaluation.every == 0
            and state.global_step < study.steps
        ):
            self.recorder.record(self.trainer.model, state.global_step, "training")

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        numbers = {k: v for k, v in given["logs"].items() if isinstance(v, int | float)}
        for tracker in self.recorder.trackers:
            tracker.log(numbers, state.global_step)
