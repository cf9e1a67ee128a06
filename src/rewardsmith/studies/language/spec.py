"""What the ``study.yaml`` of a study of a language model says."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from ...core.fingerprint import fingerprint
from ...core.node import Node
from ...core.reference import source_hash
from ...core.reward import Reward
from .. import shared
from ..shared import Section, Study, StudySection, callables, is_reference

RECIPE = ("advantage", "loss", "sampler", "relabel")
"""What the learner does with scores, each written as in a ``reward.yaml``."""


class ProblemSection(Section):
    """Where problems come from: exactly one of three."""

    reasoning_gym: dict[str, Any] | None = None
    """``dataset``, ``size``, ``seed`` (0), ``instruction`` and the data set's own settings."""
    jsonl: str | None = None
    """A file of JSON lines, ``.gz`` or not."""
    task: str | dict[str, dict[str, Any]] | None = None
    """A function that returns rows, or ``{function: {arguments}}``."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our names: those of the data, where they differ (``prompt: question``)."""

    sources: ClassVar[tuple[str, ...]] = ("reasoning_gym", "jsonl", "task")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(getattr(self, name) is not None for name in self.sources) != 1:
            raise ValueError(f"give exactly one of {', '.join(self.sources)}")
        if isinstance(self.task, dict) and len(self.task) != 1:
            raise ValueError("a task is one function, or one {function: arguments}")
        return self

    def __str__(self) -> str:
        if self.reasoning_gym is not None:
            return f"reasoning-gym's {self.reasoning_gym.get('dataset')}"
        given = self.jsonl or self.task
        return next(iter(given)) if isinstance(given, dict) else str(given)


class HeldOutSection(ProblemSection):
    """What is never trained on: split off, or from elsewhere. A number alone is ``split``."""

    split: PositiveFloat | None = None
    """A share of the problems below 1, or how many of them."""

    sources: ClassVar[tuple[str, ...]] = ("split", *ProblemSection.sources)

    @model_validator(mode="before")
    @classmethod
    def _number(cls, given: Any) -> Any:
        return {"split": given} if isinstance(given, int | float) else given

    @model_validator(mode="after")
    def _is_share_or_count(self) -> Self:
        if self.split is not None and self.split >= 1 and not self.split.is_integer():
            raise ValueError(
                f"{self.split:g} is neither a share below 1 nor a whole number of problems"
            )
        return self


class WarmStartSection(Section):
    """Supervised steps before anything else: an initial policy that is now and then right."""

    steps: PositiveInt
    completion: str = "answer"
    """The column of the texts that are imitated."""
    batch_size: PositiveInt = 64
    learning_rate: PositiveFloat = 1e-3


class LearnerSection(shared.LearnerSection):
    """Who learns, and for how long."""

    algorithm: Literal["GRPO"] = "GRPO"
    model: str
    """What transformers loads, or a function that makes a model (see the guide)."""
    tokenizer: str | None = None
    """Likewise; default the model's own."""
    warm_start: WarmStartSection | None = None
    lora: dict[str, Any] | None = None
    """Arguments of ``peft.LoraConfig``; without it all weights are trained."""
    steps: PositiveInt
    """Updates of the weights."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Of ``trl.GRPOConfig``; ``module:Name`` or ``./file.py:Name`` stands for what it names."""
    advantage: str | dict[str, Any] | None = None
    loss: str | dict[str, Any] | None = None
    sampler: str | dict[str, Any] | None = None
    relabel: str | dict[str, Any] | None = None
    executor: Literal["processes", "inline"] = "processes"
    """What runs rows of rules: processes that are ended where one hangs, or the run's own."""
    timeout: PositiveFloat = 10.0
    """Seconds that a row may take in a process."""


class EvaluationSection(shared.EvaluationSection):
    """When the model is evaluated, and on how many completions of held-out problems."""

    every: PositiveInt
    """Updates between two evaluations."""
    problems: PositiveInt = 200
    """The first so many of those held out; all, where there are fewer."""
    samples: PositiveInt = 4
    """Completions for each."""
    final_samples: PositiveInt = 8
    temperature: PositiveFloat = 1.0
    """Of sampling, but for the initial model's completions, which are sampled at 1."""
    initial_rows: PositiveInt = 8000
    """Completions of the initial model in each run; the verdict needs 20,000 scored ones in all."""
    batch_size: PositiveInt = 256
    """How many are generated at once."""


class GoldSection(shared.GoldSection):
    """What really counts, for a completion of a held-out problem; the learner never sees it."""

    kind: Literal["function", "reward"]
    call: str | None = None
    """With ``function``: the reference; it gets columns by argument name, one row at a time."""
    reward: dict[str, Any] | None = None
    """With ``reward``: a node."""

    keys: ClassVar = {"reward": "reward"}

    def __str__(self) -> str:
        what = self.call or next(iter(self.reward or ()), "")
        return f"{what} of completions of held-out problems"


class LanguageSection(StudySection):
    """A whole ``study.yaml`` of a study of a language model."""

    dataset: ProblemSection
    held_out: HeldOutSection = HeldOutSection(split=0.2)
    learner: LearnerSection
    evaluation: EvaluationSection
    gold: GoldSection


class LanguageStudy(Study):
    """A study of rewards for a language model."""

    section: LanguageSection
    sections: ClassVar = LanguageSection
    kind: ClassVar = "language"
    extra: ClassVar = 'pip install "rewardsmith[trl]"'
    unit: ClassVar = "row"

    @property
    def steps(self) -> int:
        return self.section.learner.steps

    @property
    def judged(self) -> tuple[str, int]:
        return "evaluation.initial_rows", self.section.evaluation.initial_rows

    def told(self) -> dict[str, Any]:
        learner = self.section.learner
        return {
            "kind": self.kind,
            "dataset": str(self.section.dataset),
            "learner": f"{learner.algorithm} ({learner.model})",
            "timesteps": self.steps,
            "gold": str(self.section.gold),
        }

    def gold(self) -> Reward:
        """The gold measure, as a reward.

        Raises:
            SpecError: there is no such function or node.
        """
        section = self.section.gold
        if section.call is None:
            return self.build(section.reward, ("gold", "reward"))
        # Resolved first: an error then points at `call`.
        self.gold_function()
        return self.build({"function": {"call": section.call}}, ("gold",))

    def recipe(self) -> dict[str, Any]:
        """The learner's estimator, loss, sampler and relabelling, fresh, where they are given.

        Raises:
            SpecError: there is none of that name, or it refuses its arguments.
        """
        from ...learners.recipe import BUILDERS

        given = {key: getattr(self.section.learner, key) for key in RECIPE}
        return {
            key: BUILDERS[key](data, self.document, ("learner", key))
            for key, data in given.items()
            if data is not None
        }

    def lora(self) -> dict[str, Any] | None:
        """The arguments of LoRA, if it is wanted."""
        given = self.section.learner.lora
        return None if given is None else self.named(given, ("learner", "lora"))

    def maker(self, key: Literal["model", "tokenizer"]) -> Callable[..., Any] | None:
        """The function that makes the model or the tokenizer, where it is one and not a path."""
        name = getattr(self.section.learner, key)
        if name is None or not is_reference(name):
            return None
        made: Callable[..., Any] = self.resolve(name, ("learner", key))
        return made

    def task(
        self, section: ProblemSection, place: str
    ) -> tuple[Callable[..., Any], dict[str, Any]]:
        """The function of a task, with its arguments."""
        given = section.task
        ((name, arguments),) = given.items() if isinstance(given, dict) else [(str(given), {})]
        return self.resolve(name, (place, "task")), arguments

    def file(self, section: ProblemSection, place: str) -> Path:
        """The file of JSON lines.

        Raises:
            SpecError: it is not there.
        """
        path = self.document.base / str(section.jsonl)
        if not path.is_file():
            raise self.document.error(f"there is no file {path}", (place, "jsonl"))
        return path

    def identity(self, name: str) -> dict[str, Any]:
        section = self.section
        makers = [self.maker("model"), self.maker("tokenizer")]
        named = [*callables(self.params()), *callables(self.lora())]
        # A function with options has no name of its own; its options are among the learner's.
        nodes = [n for n in self.recipe().values() if isinstance(n, Node) and n.method_name]
        return {
            "dataset": self._source(section.dataset, "dataset"),
            "held_out": self._source(section.held_out, "held_out"),
            "learner": section.learner.model_dump(exclude={"executor"}),
            "evaluation": section.evaluation.model_dump(exclude={"threshold"}),
            "gold": fingerprint(self.gold()),
            "reward": fingerprint(self.reward(name)),
            "sources": [source_hash(call) for call in (*makers, *named) if call is not None],
            "recipe": [fingerprint(node) for node in nodes],
        }

    def _source(self, section: ProblemSection, place: str) -> list[Any]:
        if section.task is not None:
            call, _ = self.task(section, place)
            return [section.model_dump(), source_hash(call)]
        if section.jsonl is not None:
            text = self.file(section, place).read_bytes()
            return [section.model_dump(), hashlib.sha256(text).hexdigest()]
        return [section.model_dump()]
